"""Every decision about a Data Connector delivery: verify, parse, write once, answer. No cloud SDK, no framework."""
