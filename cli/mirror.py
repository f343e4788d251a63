"""``dtconn mirror``: copies what a store has into a database that speaks SQL."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from cli import CommandError
from cli.fail import fail
from cli.reading import DATABASE, From, Yes, ask, opened

if TYPE_CHECKING:
    from readers.contract import Reader

To = Annotated[str, typer.Option("--to", metavar="URL|FILE", help="The copy: sqlite:PATH or postgres://...")]


def mirror(to: To, source: From = DATABASE, yes: Yes = False) -> None:
    """Copy new events of a store into SQLite or Postgres, with the receiver's tables and views.

    Each run copies what arrived since the last one, so a timer may run it every minute. An event that is there already
    changes nothing: it may be interrupted at any time, and several stores may share one copy.

    \b
    Examples:
      dtconn mirror --from dynamodb:dt-receiver-events --to sqlite:events.db
      dtconn mirror --from cloudant:https://HOST/events --to postgres://user@host/name --yes
    """  # noqa: D301
    from cli.progress import Progress
    from cli.targets import open_target
    from readers.rows import FOREIGN

    counts: Counter[str] = Counter()
    try:
        with (
            opened(source, needs_history=True) as reader,
            open_target(to) as target,
            Progress("{} events read") as progress,
        ):
            if _is_itself(reader, to):
                raise CommandError("The copy is the store itself. Name another by --to.", 2)
            name = reader.identity()
            position = target.position(name)
            ask(reader.follow_cost(position), yes)
            for batch in reader.follow(position):
                events = [event for event in batch.events if event.fault != FOREIGN]
                counts["foreign"] += len(batch.events) - len(events)
                counts += target.write(events)
                if batch.position and batch.position != position:
                    target.save(name, batch.position)
                    position = batch.position
                progress.show(counts.total())
            target.open()  # also where there was nothing to copy
    except CommandError as error:
        fail(error)
    except KeyboardInterrupt:
        typer.echo("Interrupted. The next run continues.", err=True)
        raise typer.Exit(130) from None
    typer.echo(_summary(counts))
    raise typer.Exit(1 if counts["refused"] else 0)


def _is_itself(reader: "Reader", to: str) -> bool:
    """Return whether a copy is the source, however its URL says so."""
    from readers import ReaderError
    from readers.sources import identity, open_reader

    if identity(to).partition(":")[0] != reader.url.partition(":")[0]:
        return False
    try:
        with open_reader(to) as copy:
            return copy.identity() == reader.identity() or bool(copy.place() and copy.place() == reader.place())
    except ReaderError:  # there is no such copy yet
        return False


def _summary(counts: Counter[str]) -> str:
    text = f"{counts['stored']:,} new events copied, {counts['duplicate']:,} were there already"
    if counts["foreign"]:
        text += f"; {counts['foreign']:,} rows were not written by the receiver, and not copied"
    if counts["refused"]:
        text += f"; {counts['refused']:,} were refused by the copy"
    return f"{text}."
