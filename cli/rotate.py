"""``dtconn rotate-secret``: changes the signature secret of a deployed receiver without refusing an event."""

import secrets as random
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from cli import CommandError
from cli.connectors.options import AsJson, Quiet
from cli.connectors.signing import Signing, find_signing
from cli.connectors.values import shown_url
from cli.deployment import find_deployment
from cli.remote import (
    Cloud,
    Name,
    NotTakenError,
    Project,
    Region,
    Show,
    Url,
    Wait,
    deployed,
    report_of,
    wait_until_taken,
    waiting,
)
from cli.report import Report
from core.event import rfc3339
from core.verify.secret_text import SecretText, read_secrets
from deployed import DeploymentError
from deployed.contract import Deployment, Place
from readers import ReaderError

# Bytes. RFC 7518, 3.2: a key for HS256 must be at least as long as its hash.
_SHORTEST = 32
_WAIT = 600.0
# Seconds for a receiver that has worked until now: an instance may have to start.
_WAIT_BEFORE = 120.0
# DT repeats a failed delivery for 12 hours, perhaps with the signature of the first attempt.
_REPEATS = timedelta(hours=13)
_STUDIO = "DT Studio > API Integrations > Data Connectors"


def rotate_secret(
    cloud: Cloud,
    name: Name = None,
    project: Project = None,
    region: Region = None,
    url: Url = None,
    finish: Annotated[
        bool, typer.Option("--finish", help="Drop the old secret, when nothing uses it any more.")
    ] = False,
    now: Annotated[
        bool, typer.Option("--now", help="With --finish: without looking whether anything uses it, as after a leak.")
    ] = False,
    new: Annotated[
        Path | None,
        typer.Option(
            "--new-from-file",
            metavar="FILE",
            allow_dash=True,
            show_default="made at random",
            help="Has the new secret; - for standard input.",
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a value that cannot be used: the receiver has none that works.")
    ] = False,
    show: Show = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --finish: read the store, whatever it costs.")] = False,
    wait: Wait = _WAIT,
    watch: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            show_default="the platform's",
            help="For how long both secrets must be accepted before they count as accepted by every instance.",
        ),
    ] = None,
    no_connector: Annotated[
        bool, typer.Option("--no-connector", help="Leave the Data Connector alone: you enter the secret in DT Studio.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Change the signature secret of a deployed receiver and of its Data Connector, without refusing an event.

    Writes a new secret beside the old one, confirms by signed requests that both are accepted, and sets the new one on
    the Data Connectors that post to the receiver. Without an account for DT's API, you enter it in DT Studio. If it is
    interrupted, run it again: it goes on. 13 hours later, drop the old secret with --finish.

    \b
    Examples:
      dtconn rotate-secret aws
      dtconn rotate-secret heroku my-app --show
      dtconn rotate-secret aws --finish --json
      dtconn rotate-secret gcp --new-from-file - <secret.txt
    """  # noqa: D301
    if now and not finish:
        raise typer.BadParameter("It needs --finish.", param_hint="--now")
    if finish and (new or replace):
        raise typer.BadParameter("First the one, then the other.", param_hint="--finish")
    report = report_of(as_json, quiet, show)
    place = Place(name=name, project=project, region=region)
    with deployed(cloud, place, url) as deployment:
        need = ["dataconnector.read"] if finish else ["dataconnector.read", "dataconnector.update"]
        signing = None if no_connector else find_signing(deployment.url, *need)
        watch = deployment.settle_seconds if watch is None else watch
        rotation = _Rotation(deployment, lambda: find_deployment(cloud, place), signing, report, wait, watch)
        if finish:
            rotation.finish(now, yes)
        elif replace:
            rotation.replace(_new_secret(new))
        else:
            rotation.start(_new_secret(new) if new else None)
        if show:
            typer.echo(deployment.read_secrets()[0])
    report.close()


class _Rotation:
    def __init__(
        self,
        deployment: Deployment,
        find: Callable[[], Deployment],
        signing: Signing | None,
        report: Report,
        wait: float,
        watch: float,
    ) -> None:
        self._deployment = deployment
        self._find = find
        self._signing = signing
        self._report = report
        report.found = {"url": shown_url(deployment.url), "isChanged": False}
        self._wait = wait
        self._watch = watch

    def start(self, wanted: str | None) -> None:
        """Have both secrets accepted, and the new one used."""
        text = self._read()
        found = self._usable(text)
        if len(found) == 2:
            self._report.say("A rotation is unfinished: both of its secrets stay, and no other is made.")
            if wanted not in (None, found[0]):
                raise CommandError("The new secret is not the one of that rotation: finish it first, with --finish.")
            new, old = found
            self._require_signing(new, old, todo="set the receiver's by `dtconn connect`")
            # The last run may have ended between the write and the restart.
            if not self._is_taken(old, new):
                self._write(new, old)
        else:
            [old] = found
            new = wanted or _new_secret(None)
            if new == old:
                raise CommandError("The new secret is the one that is deployed.", 2)
            self._require_signing(new, old, todo="set the receiver's by `dtconn connect`")
            self._require(old)
            self._write(new, old)
        self._confirm({"old": old, "new": new}, None if len(found) == 2 else text)
        self._mark(old)
        if connectors := self._use(new):
            self._report.say(f"Both secrets are accepted. These Data Connectors use the new one: {connectors}.")
        else:
            self._report.say(
                f"Both secrets are accepted. Enter the new one in {_STUDIO} > Signature secret.\n"
                "  This command prints it, with --show. What is deployed, the new one first:\n"
                f"  {self._deployment.secret_command}"
            )
        self._report.found |= {"secrets": 2, "finishAfter": rfc3339(datetime.now(UTC) + _REPEATS)}
        self._report.say("13 hours later, drop the old one: run this command with --finish.")

    def finish(self, now: bool, yes: bool) -> None:
        """Drop the old secret."""
        text = self._read()
        found = self._usable(text)
        if len(found) == 1:
            self._confirm({"secret": found[0]}, None)
            self._report.found["secrets"] = 1
            self._report.say("There is one secret, and it is accepted: nothing is left to finish.")
            return
        self._require_signing(found[0], todo="run this command without --finish")
        if not now:
            _require_unused(self._deployment, yes)
        self._require(found[0])
        self._write(found[0])
        self._confirm({"new": found[0]}, text)
        self._report.found["secrets"] = 1
        self._report.say(f"The old secret is dropped. Within {waiting(300)} it is refused; the new one is accepted.")

    def replace(self, new: str) -> None:
        """Write a secret in place of a value that cannot be used."""
        secrets, faults = read_secrets(self._read())
        if secrets and not faults:
            raise CommandError("The secret that is deployed can be used: leave --replace out.", 2)
        self._write(new)
        self._confirm({"new": new}, None)
        self._report.found["secrets"] = 1
        if connectors := self._use(new):
            self._report.say(f"The new secret is accepted. These Data Connectors use it: {connectors}.")
        else:
            self._report.say(f"The new secret is accepted. Enter it in {_STUDIO} > Signature secret; --show prints it.")

    def _read(self) -> str:
        text = self._deployment.read_text()
        # What is deployed as far as this command knows: what it read, and later what it wrote.
        self._known = [read_secrets(text)]
        return text

    def _require_known(self, consequence: str) -> None:
        """Check that no other command changed what is deployed; a platform may still show what was there before.

        Found anew, because a deployment may have read which version of the secret is in use.
        """
        if read_secrets(self._find().read_text()) not in self._known:
            raise CommandError(
                f"The deployed secret was changed meanwhile, as by another rotation. {consequence} When the other has "
                "ended, run the same command again."
            )

    def _use(self, secret: str) -> str:
        """Have the Data Connectors sign with a secret; return their names, empty if there are none to change."""
        if self._signing:
            self._require_known("The Data Connector keeps its secret.")
        connectors = self._signing.use(secret) if self._signing else ()
        self._report.found["connectors"] = [each.connector_id for each in connectors]
        return ", ".join(each.shown for each in connectors)

    def _usable(self, text: str) -> tuple[str, ...]:
        found, faults = read_secrets(text)
        if faults or not found:
            fault = "; ".join(faults) or "is empty"
            raise CommandError(
                f"The signature secret that is deployed {fault}. Nothing was changed. No event can be verified with "
                "it, so --replace writes a new one in its place."
            )
        if len(found) > 2:
            raise CommandError(
                f"{len(found)} signature secrets are deployed, as for several projects: this command changes one. "
                "Nothing was changed. Write the array yourself: docs/settings.md, Several projects."
            )
        return found

    def _require_signing(self, *secrets: str, todo: str) -> None:
        """Check that the Data Connectors sign with one of these secrets before anything is changed."""
        if self._signing and (others := self._signing.other_than(*secrets)):
            raise CommandError(f"{others} signs with another secret. Nothing was changed: first {todo}.")

    def _is_taken(self, *secrets: str) -> bool:
        from cli.answers import understood
        from cli.proof import Proof

        proof = Proof(self._deployment.url)
        return all(understood(proof.deliver(secret)).is_stored for secret in secrets)

    def _require(self, secret: str) -> None:
        """Check that the receiver accepts a secret before anything is changed."""
        from cli.proof import Proof

        url, wait = self._deployment.url, min(self._wait, _WAIT_BEFORE)
        try:
            wait_until_taken(Proof(url), url, {"secret": secret}, wait)
        except NotTakenError as error:
            raise CommandError(f"{error.refused['secret']} Nothing was changed.") from None

    def _write(self, *secrets: str) -> None:
        self._require_known("Nothing was changed.")
        self._known.append(SecretText(secrets, ()))
        self._report.say(self._deployment.write_secrets(secrets))
        self._report.found["isChanged"] = True
        if todo := self._deployment.todo:
            # Also with --quiet and --json: until a person has done it, this command waits.
            self._report.found["todo"] = todo
            typer.echo(todo, err=self._report.quiet or self._report.as_json)

    def _confirm(self, secrets: dict[str, str], before: str | None) -> None:
        """Check that each secret is accepted; if one that worked before no longer is, put ``before`` back."""
        from cli.proof import Proof

        longest = waiting(self._wait + self._watch)
        self._report.say(f"Confirming by signed requests, for {waiting(self._watch)}; it gives up after {longest}.")
        deployment = self._deployment
        try:
            wait_until_taken(Proof(deployment.url), deployment.url, secrets, self._wait, self._watch)
        except NotTakenError as error:
            reasons = " ".join(f"The {name} secret: {reason}" for name, reason in error.refused.items())
            if before is not None and ("old" in error.refused or "old" not in secrets):
                self._put_back(before, reasons)
                raise CommandError(f"{reasons} So the value before was put back. Try again later.") from None
            self._require_known(reasons)
            todo = "" if before is None else f" {deployment.todo}"
            raise CommandError(f"{reasons} Nothing was taken away.{todo} Run the same command again.") from None

    def _mark(self, old: str) -> None:
        """Have the time of the rotation stored, by a new event that is signed with the old secret.

        Those before may have been verified by an instance that had the old secret only, and so called it the first.
        """
        from cli.proof import Proof
        from cli.send import outcome_of

        url = self._deployment.url
        try:
            answer = wait_until_taken(Proof(url), url, {"old": old}, self._wait)["old"]
        except NotTakenError as error:
            raise CommandError(f"{error.refused['old']} Nothing was taken away. Run the same command again.") from None
        if outcome_of(answer) == "dropped":
            self._report.say(
                "DT_EVENT_TYPES or DT_PROJECT_ID drops this command's events, so the store does not have this time."
            )

    def _put_back(self, before: str, reasons: str) -> None:
        try:
            self._require_known(reasons)
            self._deployment.write_text(before)
        except (DeploymentError, ReaderError) as error:
            raise CommandError(f"{reasons} The value before could not be put back: {error}") from None


def _new_secret(path: Path | None) -> str:
    """Return the secret in a file, without the line end after it; a random one without a file."""
    if path is None:
        return random.token_urlsafe(48)
    try:
        with nullcontext(sys.stdin) if str(path) == "-" else path.open(encoding="utf-8-sig") as file:
            text = file.read().removesuffix("\n").removesuffix("\r")
    except (OSError, ValueError) as error:
        raise CommandError(f"The new secret cannot be read: {type(error).__name__}.", 2) from None
    secrets, faults = read_secrets(text)
    if faults or len(secrets) != 1:
        raise CommandError(f"The new secret {'; '.join(faults) or 'is not one secret'}.", 2)
    if len(secrets[0].encode()) < _SHORTEST:
        raise CommandError(f"The new secret is shorter than {_SHORTEST} bytes: make a longer one.", 2)
    return secrets[0]


def _require_unused(deployment: Deployment, yes: bool) -> None:
    """Check that no event of the last 13 hours was signed with the old secret, and that one was with the new."""
    from cli.reading import ask
    from readers.query import is_proof
    from readers.sources import open_reader

    since = datetime.now(UTC) - _REPEATS
    arrivals: Counter[int] = Counter()
    newest = since
    try:
        with open_reader(deployment.source) as reader:
            if reader.is_queue:
                _ask_person("A queue has no history.")
                return
            ask(reader.arrived_cost(since), yes)
            for event in reader.arrived(since):
                if event.received_at < since:
                    continue
                if "hs256:1" in event.signed_by.split("+"):
                    arrivals[1] += 1
                    newest = max(newest, event.received_at)
                elif "hs256:0" in event.signed_by.split("+") and not is_proof(event):
                    arrivals[0] += 1
    except ReaderError as error:
        _ask_person(str(error))
        return
    if arrivals[1]:
        raise CommandError(
            f"Events of the last 13 hours that were signed with the old secret: {arrivals[1]}, the newest at "
            f"{rfc3339(newest)}; the rotation itself sent some. If the new one is in DT Studio, try again after "
            f"{rfc3339(newest + _REPEATS)}. Nothing was changed; --now drops it all the same."
        )
    if not arrivals[0]:
        raise CommandError(
            "No event of the last 13 hours was signed with the new secret. Is it in DT Studio? Nothing was changed; "
            "--now drops the old one all the same."
        )


def _ask_person(why: str) -> None:
    todo = f'{why} So look at the log: a line with "signedBy":"hs256:1" is an event signed with the old secret.'
    if not sys.stdin.isatty():
        raise CommandError(f"{todo} Nothing was changed. If there was none for 13 hours, add --now.")
    typer.echo(todo, err=True)
    typer.confirm("Was there none for 13 hours?", abort=True, err=True)
