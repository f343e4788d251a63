"""Fault campaigns: signed deliveries, sent as DT Cloud sends them, while one fault after the other happens."""
