"""A cold start: importing hundreds of modules."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_collector() -> Iterator[None]:
    """Keep the garbage collector from running during imports: dozens of collections that find nothing to free.

    Afterwards it ignores what was imported.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
