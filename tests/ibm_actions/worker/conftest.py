"""What these tests share."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.ibm_actions.worker.following import Following
from tests.support.couchdb import Events


@pytest.fixture
def follow(environ: dict[str, str], events: Events) -> Iterator[Callable[..., Following]]:
    """Start a worker, and end it after the test."""
    with contextlib.ExitStack() as stack:

        def follow(**options: Any) -> Following:
            following = Following(environ, events.prefix, **options)
            stack.callback(following.stop)
            return following

        yield follow
