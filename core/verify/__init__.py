"""Verifies that a delivery is from DT Cloud, and for this receiver."""
