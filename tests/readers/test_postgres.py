"""Reading Postgres, not to its end."""

import signal
from datetime import timedelta
from typing import Any

import pytest

from readers.postgres import PostgresReader
from readers.query import Query
from tests.cli.stored import NOW, ONE, event, filled
from tests.support.postgres import Postgres


def test_interrupt_before_the_loop_runs_leaves_nothing_behind(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncio.Runner has made the task by then; what it looks up first raises here, as the interrupt would."""
    url = filled(postgres, (event(ONE.body("touch", NOW - timedelta(seconds=n)), NOW) for n in range(3)))
    looked_up = signal.getsignal

    def interrupt(_: int) -> Any:
        monkeypatch.setattr(signal, "getsignal", looked_up)
        raise KeyboardInterrupt

    with PostgresReader(url) as reader:
        monkeypatch.setattr(signal, "getsignal", interrupt)
        with pytest.raises(KeyboardInterrupt):
            list(reader.matching(Query()))
        assert len(list(reader.matching(Query()))) == 3


def test_listing_that_is_left_in_the_middle_ends_with_the_reader(postgres: Postgres) -> None:
    url = filled(postgres, (event(ONE.body("touch", NOW - timedelta(seconds=n)), NOW) for n in range(3)))
    with PostgresReader(url) as reader:
        listing = iter(reader.matching(Query()))
        next(listing)
    # What is wrong now is an exception that Python ignores, which fails a test.
    del listing
