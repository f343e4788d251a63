"""Is this delivery from DT Cloud, and for this receiver?"""
