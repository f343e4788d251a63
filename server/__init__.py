"""The receiver as an ASGI application, for platforms on which we run the server."""
