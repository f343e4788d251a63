"""A cold start: importing hundreds of modules."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_collector() -> Iterator[None]:
    """Disable the garbage collector during imports: importing hundreds of modules triggers useless collections.

    Afterwards the collector ignores the imported objects.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
