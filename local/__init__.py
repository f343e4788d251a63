"""The receiver on your own machine, with the events in an embedded database."""
