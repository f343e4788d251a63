"""Every decision about a Data Connector delivery: verify, parse, write once, answer. No cloud SDK, no framework."""

# What a fork renames: how the receiver calls itself to other services.
NAME = "data-connector-receiver"
