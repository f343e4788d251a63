"""``dtconn backup``: a copy of the local receiver's database while it is in use."""

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli import CommandError
from cli.fail import fail
from cli.places import find
from core.text import printable

_TIMEOUT = 10.0
# Pages of 4 KB between two looks at the progress.
_PAGES = 5_000


def backup(
    to: Annotated[Path | None, typer.Argument(metavar="FILE", show_default="var/backups/TIME.db")] = None,
    database: Annotated[
        Path, typer.Option("--from", envvar="DT_DATABASE", metavar="FILE", help="The receiver's database.")
    ] = Path("var/events.db"),
) -> None:
    """Copy the database of the local receiver while it runs, and check the copy.

    A copy made by `cp` lacks the newest events, which are in the log beside the file. To restore one, stop the
    receiver, move the copy to its place, and start it.

    \b
    Examples:
      dtconn backup
      dtconn backup /mnt/backup/events.db
    """  # noqa: D301
    source = find(database)
    copy = to or source.parent / "backups" / f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}.db"
    try:
        events = _copy(source, copy)
    except CommandError as error:
        fail(error)
    typer.echo(f"{events:,} events copied to {copy}.")


def _copy(source: Path, copy: Path) -> int:
    """Copy a database, and return how many events the copy has.

    Raises:
        CommandError: It cannot be read or written; then there is no copy.
    """
    from cli.progress import Progress

    if not source.is_file():
        raise CommandError(f"There is no database at {source}. Name it by --from.")
    if copy.exists():
        raise CommandError(f"{copy} exists already. Name another file.")
    part = copy.with_name(f"{copy.name}.part")
    try:
        copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))  # as private as the database
        with (
            closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True, timeout=_TIMEOUT)) as connection,
            closing(sqlite3.connect(part)) as target,
            Progress("{} pages copied") as progress,
        ):
            connection.backup(target, pages=_PAGES, progress=lambda _, left, total: progress.show(total - left))
            # One file, without a log beside it.
            target.execute("PRAGMA journal_mode=DELETE")
            if target.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise CommandError(f"{source} is damaged, and so is the copy. See docs/local.md.")
            events: int = target.execute("SELECT count(*) FROM events").fetchone()[0]
        part.replace(copy)
    except UnicodeDecodeError:  # SQLite quotes what is damaged
        raise CommandError(f"{source} is damaged. See docs/local.md.") from None
    except (OSError, sqlite3.Error) as error:
        raise CommandError(f"{source} cannot be copied to {copy}: {printable(str(error))}.") from None
    finally:
        part.unlink(missing_ok=True)
    return events
