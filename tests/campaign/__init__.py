"""Fault campaigns: signed deliveries, sent as DT Cloud sends them, during a series of faults."""
