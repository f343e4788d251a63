"""Readers of every store, one class per store, on the vendors' own clients.

They never write. A receiver's package never contains them: their libraries are extras of `dtconn`, such as
``pip install '.[aws]'`` in a clone.
"""


class ReaderError(Exception):
    """The store cannot be read. ``str()`` is one sentence for a person: what failed, and what to do next."""


class DeniedError(ReaderError):
    """The store refuses this account. A role that it just got may not be in effect everywhere yet."""
