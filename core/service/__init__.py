"""Calls to a cloud's service: how often, and for how long."""
