"""Every decision about a Data Connector delivery: verify, parse, write once, answer. No cloud SDK, no framework."""

# A fork renames this: the receiver's name in requests to other services.
NAME = "data-connector-receiver"
