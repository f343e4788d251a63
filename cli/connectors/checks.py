"""The causes that ``dtconn doctor`` looks for, each with the command that mends it."""

import shlex
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cli import CommandError
from cli.answers import Kind, Said
from cli.connectors.access import Access
from cli.connectors.certificate import look_at
from cli.connectors.clock import ahead
from cli.connectors.endpoint import ask_signed, ask_unsigned
from cli.connectors.matching import at_url
from cli.connectors.options import check_organization
from cli.connectors.status import DEADLINE, SLOW, STATES
from cli.connectors.values import ACTIVE, HTTP_PUSH, MOST, Connector, Metrics, Project, shown_url
from core.text import printable

OK, NOTE, ILL, UNKNOWN = "ok", "note", "ill", "unknown"

# A receiver accepts a token that is issued this many seconds ahead of its clock.
_LEEWAY = 60
_SKEW = 10
_FEW_DAYS = 14
# What every sensor sends about itself, which many leave out on purpose.
_HOUSEKEEPING = frozenset({"networkStatus", "batteryStatus", "connectionStatus", "touch", "labelsChanged"})


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict.

    Attributes:
        level: `OK`, `NOTE`, `ILL` or `UNKNOWN`.
        topic: What was looked at.
        text: What was found.
        command: What mends it; an empty text if there is nothing to mend, or no command.
        connector: The id of the connector; None if it is not about one.
    """

    level: str
    topic: str
    text: str
    command: str = ""
    connector: str | None = None


def of_project(connectors: Sequence[Connector], project: Project) -> Iterator[Finding]:
    """Yield what is to say of a project."""
    if len(connectors) >= MOST:
        text = f"{project.shown} has {len(connectors)} connectors, and DT Cloud allows {MOST}: an eleventh is refused."
        yield Finding(NOTE, "room", text, f"dtconn status --project {project.project_id}")
    try:
        line = check_organization(project)
    except CommandError as error:
        yield Finding(ILL, "organization", str(error), f"export DT_ORGANIZATION_ID={project.organization_id}")
    else:
        text = "DT_ORGANIZATION_ID is not set here. A receiver of DT's asymmetric signature needs it."
        known = Finding(OK, "organization", f"DT_ORGANIZATION_ID has {project.organization_id}.")
        yield Finding(NOTE, "organization", text, f"export {line}") if line else known


def of_state(connector: Connector, connectors: Sequence[Connector]) -> Iterator[Finding]:
    """Yield what is to say of a connector's state, and of others at its URL."""
    if connector.status == ACTIVE:
        yield Finding(OK, "state", "It is active.")
    else:
        text = f"It is {STATES.get(connector.status, connector.status)}: DT Cloud sends and queues nothing."
        yield Finding(ILL, "state", text, f"dtconn enable {connector.argument}")
    others = [each for each in at_url(connectors, connector.url) if each.connector_id != connector.connector_id]
    if others:
        text = f"{', '.join(each.shown for each in others)} sends to the same URL: each event arrives more than once."
        yield Finding(ILL, "twins", text, f"dtconn disconnect {others[-1].argument}")


def of_filter(
    connector: Connector, devices: Sequence[Mapping[str, Any]], labels: Sequence[str]
) -> Iterator[Finding]:  # fmt: skip
    """Yield what the sensors report and the connector withholds."""
    reported = Counter(kind for each in devices for kind, data in (each.get("reported") or {}).items() if data)
    withheld = sorted(kind for kind in reported if not connector.sends(kind))
    measured = [kind for kind in withheld if kind not in _HOUSEKEEPING]
    if withheld:
        what = ", ".join(f"{kind} ({reported[kind]} devices)" for kind in measured or withheld)
        wanted = [*connector.events, *measured] if measured else ["all"]
        text = f"The filter withholds what the devices report: {printable(what)}."
        yield Finding(NOTE, "events", text, _connect(connector, *(f"--event={kind}" for kind in wanted)))
    else:
        yield Finding(OK, "events", "It sends every type that the devices report.")
    there = {name for each in devices for name in each.get("labels") or {}}
    missing = [name for name in labels if name in there and name not in connector.labels]
    if missing:
        options = [f"--label={name}" for name in [*connector.labels, *missing]]
        text = f"The devices have labels that are not sent: {printable(', '.join(missing))}."
        yield Finding(NOTE, "labels", text, _connect(connector, *options))
    else:
        yield Finding(OK, "labels", "It sends the labels that are wanted.")


def of_metrics(metrics: Metrics) -> Iterator[Finding]:
    """Yield what is to say of the last three hours."""
    counts = f"{metrics.successes:,} successes and {metrics.errors:,} errors in 3 h"
    if metrics.is_failing:
        text = f"{counts}: after five days like this, DT Cloud disables the connector."
        yield Finding(ILL, "deliveries", text)
    elif metrics.errors:
        yield Finding(NOTE, "deliveries", f"{counts}. What failed is sent again for 12 h.")
    else:
        yield Finding(OK, "deliveries", f"{counts}.")
    if metrics.p99 is None:
        yield Finding(UNKNOWN, "latency", "DT Cloud gives no latency.")
    elif metrics.p99 >= SLOW:
        text = (
            f"99 % of the answers come within {metrics.p99:.1f} s, and DT Cloud waits for {DEADLINE:.0f} s. The "
            "receiver's log says in totalMs how much of that is its own."
        )
        yield Finding(ILL if metrics.p99 >= DEADLINE else NOTE, "latency", text)
    else:
        yield Finding(OK, "latency", f"99 % of the answers come within {metrics.p99:.1f} of {DEADLINE:.0f} s.")


def of_endpoint(connector: Connector, dt_ahead: float | None) -> Iterator[Finding]:
    """Yield what the endpoint says: who answers, its certificate, its clock, and whether it takes the secret.

    Args:
        connector: Its connector.
        dt_ahead: How many seconds DT Cloud's clock is ahead of this machine's; None if unknown.
    """
    if connector.kind != HTTP_PUSH:
        yield Finding(OK, "endpoint", f"It sends to {connector.kind}, which is not asked.")
        return
    yield from _certificate(connector)
    said = ask_unsigned(connector)
    if not said.is_receiver:
        yield Finding(ILL, "endpoint", said.text)
        return
    yield Finding(OK, "endpoint", f"The receiver answers in {said.seconds:.1f} s.")
    signed = ask_signed(connector, connector.secret) if connector.secret else None
    yield _clock(said, signed, dt_ahead)
    yield _secret(connector, signed)


def _certificate(connector: Connector) -> Iterator[Finding]:
    if urlsplit(connector.url).scheme == "http":
        yield Finding(
            NOTE, "certificate", f"{shown_url(connector.url)} has none, which only DT Cloud on your desk allows."
        )
        return
    found = look_at(connector.url)
    if found is None:
        yield Finding(UNKNOWN, "certificate", "The endpoint cannot be reached from here.")
    elif found.fault:
        text = f"It is not trusted: {found.fault}. DT Cloud wants a public root, and all intermediate certificates."
        yield Finding(ILL, "certificate", text)
    elif found.days is not None and found.days < _FEW_DAYS:
        yield Finding(NOTE, "certificate", f"It expires in {found.days:.0f} days. Renew it.")
    elif found.days is not None:
        yield Finding(OK, "certificate", f"It is trusted, for {found.days:.0f} more days.")


def _clock(said: Said, signed: Said | None, dt_ahead: float | None) -> Finding:
    skew = ahead(said.date, time.time())
    if skew is None:
        # No UNKNOWN: the local receiver and Heroku's app send no Date, and are well.
        if signed and signed.kind is Kind.STORED:
            text = "took a token issued now: it is at most DT_LEEWAY, 60 s by default, behind this machine's."
            return Finding(OK, "clock", f"The endpoint sends no valid Date header, but its clock {text}")
        return Finding(NOTE, "clock", "Cannot tell: the endpoint sends no valid Date header.")
    other = "this machine's" if dt_ahead is None else "DT Cloud's"
    skew -= dt_ahead or 0.0
    text = (
        f"The endpoint's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} {other}, by the Date header"
    )
    if abs(skew) > _LEEWAY:
        return Finding(
            ILL, "clock", f"{text}: tokens seem expired, or not yet valid, after {_LEEWAY} s (DT_LEEWAY). Set it there."
        )
    if abs(skew) > _SKEW:
        return Finding(NOTE, "clock", f"{text}. Set it there.")
    return Finding(OK, "clock", f"The endpoint's clock agrees with {other}, by the Date header.")


def _secret(connector: Connector, signed: Said | None) -> Finding:
    if signed is None:
        text = "The connector has none, so only DT's asymmetric signature protects the receiver."
        return Finding(NOTE, "secret", text, _connect(connector))
    if signed.kind is Kind.STORED:
        return Finding(OK, "secret", "The receiver takes the connector's secret.")
    if signed.kind is Kind.UNVERIFIED:
        text = (
            "The receiver refuses the connector's secret: it has another, or verifies DT's asymmetric signature alone. "
            "Set DT_SIGNATURE_SECRET here to the receiver's, and connect again."
        )
        return Finding(ILL, "secret", text, _connect(connector))
    return Finding(ILL, "secret", signed.text)


def _connect(connector: Connector, *options: str) -> str:
    """Return the command that changes a connector; with URL for an address that may have something secret in it."""
    if not connector.url:  # a queue, which connect does not know
        return ""
    shown = shown_url(connector.url)
    url = shown if shown == connector.url else "URL"
    return shlex.join(["dtconn", "connect", url, *map(printable, options), "--project", connector.project_id])


def of_machine(access: Access, dt_ahead: float | None) -> Iterator[Finding]:
    """Yield what on this machine misleads DT's client; dtconn itself keeps clear of it.

    Args:
        access: Where DT's API is.
        dt_ahead: How many seconds DT Cloud's clock is ahead of this machine's; None if unknown.
    """
    if dt_ahead is not None and abs(dt_ahead) > _SKEW:
        text = f"This machine's clock is {abs(dt_ahead):.0f} s {'behind' if dt_ahead > 0 else 'ahead of'} DT Cloud's."
        yield Finding(NOTE, "clock", text, "timedatectl set-ntp true")
    # What DT's client sends its requests with; it takes a while to import.
    from requests.utils import get_netrc_auth

    if get_netrc_auth(access.api):
        text = f"~/.netrc has an entry for {access.host}, which DT's Python client sends instead of its token."
        yield Finding(NOTE, "netrc", text, "export NETRC=/dev/null")
    proxies = urllib.request.getproxies()
    proxy = proxies.get(urlsplit(access.api).scheme) or proxies.get("all")
    if proxy and not urllib.request.proxy_bypass(access.host):
        if access.is_desk:
            text = "A proxy is set, and DT's Python client asks it for this machine's own addresses too."
            yield Finding(NOTE, "proxy", text, f"export NO_PROXY={access.host}")
        else:
            yield Finding(
                NOTE, "proxy", f"{access.host} is asked through the proxy {shown_url(proxy)}, endpoints are not."
            )
