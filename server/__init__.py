"""The receiver as an ASGI application, for every platform on which we run the server ourselves."""
