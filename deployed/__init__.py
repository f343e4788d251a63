"""Deployed receivers: what an adapter's ``deployment.py`` is made of, and what `dtconn` knows of it.

A receiver's package never contains any of this.
"""


class DeploymentError(Exception):
    """A deployed receiver cannot be found, or its platform refuses. ``str()`` says what to do; never a secret."""
