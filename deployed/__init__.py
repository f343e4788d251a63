"""Deployed receivers: what an adapter's ``deployment.py`` is made of, and what `dtconn` knows of it.

A receiver's package never contains any of this.
"""


class DeploymentError(Exception):
    """A deployed receiver cannot be found, or its platform refuses. ``str()`` says what to do; never a secret."""


class DeniedError(DeploymentError):
    """The platform refuses this account. A role that it just got may not be in effect everywhere yet."""
