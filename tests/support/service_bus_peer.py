"""Our own stand-in for Azure Service Bus: an AMQP 1.0 server, run as ``python -m tests.support.service_bus_peer``.

It is neither Service Bus nor Microsoft's emulator. It is written from the protocol and from the SDK's use of the
protocol: tests with it show how our code and the real SDK handle what a Service Bus may do, not what Service Bus does.
It has queues, and accepts one message at a time. It has no receivers, batches or management, accepts every token and
every length, and remembers message ids for ever.

It listens on 127.0.0.1 only. A message is appended to the file before it is accepted; a message whose id is in the file
for that queue is accepted and not appended. Each received token is appended to another file.

A line on stdin, ``MODE TIMES SECONDS``, sets the mode at once, also for open connections; the line is then repeated on
stdout. After TIMES messages, unless that is 0, the mode is ``normal`` again. The process ends when stdin does. The
modes are these, and `_REJECTIONS`:

- ``normal``: everything works.
- ``bare``: a message is rejected with two of the three fields of an error. The SDK never returns.
- ``released``: a message is released, as AMQP allows and Service Bus is not known to do. The SDK never returns.
- ``silent``: messages are read, but not stored and not answered.
- ``lost``: a message is stored; then the TCP connection drops without an answer.
- ``slow``: a message is stored, and answered SECONDS later.
- ``detach``: instead of an answer to a message its link is detached; nothing is stored. Once, if TIMES is 0.
- ``close``: the same, with the whole connection.
- ``denied``: tokens get a 401, and messages on open links are handled as with ``detach``.
- ``mute``: tokens are not answered; messages are.
- ``evict``: open links are detached now, as Service Bus does with idle ones. The mode does not change.
"""

import argparse
import base64
import json
import os
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from proton import Condition, Delivery, Link, Message, SSLDomain, Terminus, symbol
from proton.handlers import MessagingHandler
from proton.reactor import ApplicationEvent, Container, EventInjector, Handler

_REJECTIONS = {
    "busy": "com.microsoft:server-busy",
    "quota": "amqp:resource-limit-exceeded",
    "unauthorized": "amqp:unauthorized-access",
    "disabled": "com.microsoft:entity-disabled",
    "size": "amqp:link:message-size-exceeded",
    "internal": "com.microsoft:internal-error",
}
_MODES = {"normal", "bare", "released", "silent", "lost", "slow", "detach", "close", "denied", "mute", *_REJECTIONS}
_MAX_MESSAGE_SIZE = 262_144  # of the Standard tier
_CBS = "$cbs"
_BATCH = b"\0S"  # the beginning of a body with messages


class Journal:
    """The file of the messages.

    Args:
        path: The file; created if missing.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+b", buffering=0)
        self._file.seek(0)
        lines: list[dict[str, Any]] = [json.loads(line) for line in self._file.read().splitlines()]
        self._seen = {(line["queue"], line["messageId"]) for line in lines}

    def store(self, queue: str, message: Any) -> None:
        """Append a message, unless it exists."""
        if (queue, message.id) in self._seen:
            return
        line = {
            "queue": queue,
            "messageId": message.id,
            "contentType": None if message.content_type == "None" else message.content_type,  # proton's, for none
            "sessionId": message.group_id,
            "partitionKey": (message.annotations or {}).get(symbol("x-opt-partition-key")),
            "ttl": message.ttl or None,
            "properties": message.properties or {},
            "body": base64.b64encode(bytes(message.body)).decode(),
        }
        # One write, so that a kill leaves a complete line or none.
        self._file.write(json.dumps(line, default=str).encode() + b"\n")
        self._seen.add((queue, message.id))


class Later(Handler):
    """Calls a function at a later time."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def on_timer_task(self, event: Any) -> None:
        self._call()


class Peer(MessagingHandler):
    """Handles connections, links and messages.

    Args:
        options: The command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(prefetch=1000, auto_accept=False)
        self._options = options
        self._journal = Journal(options.file)
        self._tokens = options.file.with_suffix(".tokens").open("ab", buffering=0)
        self._mode, self._times, self._seconds = "normal", 0, 0.0
        self._links: set[Link] = set()  # of the senders

    def on_start(self, event: Any) -> None:
        tls = None
        if self._options.certificate:
            tls = SSLDomain(SSLDomain.MODE_SERVER)
            tls.set_credentials(self._options.certificate, self._options.key, None)
        event.container.listen(f"127.0.0.1:{self._options.port}", tls)
        commands = EventInjector()
        event.container.selectable(commands)
        threading.Thread(target=self._read, args=(commands,), daemon=True).start()

    def _read(self, commands: EventInjector) -> None:
        for line in sys.stdin:
            commands.trigger(ApplicationEvent("command", subject=line))
        os._exit(0)

    def on_command(self, event: Any) -> None:
        line = event.subject
        mode, times, seconds = line.split()
        if mode == "evict":
            for link in list(self._links):
                self._detach(link, "amqp:link:detach-forced")
        else:
            assert mode in _MODES, mode
            self._mode, self._seconds = mode, float(seconds)
            self._times = int(times) or int(mode in {"detach", "close"})
        sys.stdout.write(line)
        sys.stdout.flush()

    def on_connection_opening(self, event: Any) -> None:
        event.transport.idle_timeout = self._options.idle

    def on_link_opening(self, event: Any) -> None:
        link = event.link
        address = link.remote_source.address if link.is_sender else link.remote_target.address
        name = _name(address)
        if name != _CBS and (link.is_sender or (self._options.queues and name not in self._options.queues)):
            link.source.type = link.target.type = Terminus.UNSPECIFIED
            return
        link.source.address, link.target.address = link.remote_source.address, link.remote_target.address
        link.max_message_size = _MAX_MESSAGE_SIZE
        if link.is_sender:
            event.connection.answers = link
        elif name != _CBS:
            self._links.add(link)

    def on_link_opened(self, event: Any) -> None:
        # A refused link is first attached, without a target.
        if event.link.target.type == Terminus.UNSPECIFIED:
            self._detach(event.link, "amqp:not-found")

    def on_link_closing(self, event: Any) -> None:
        self._links.discard(event.link)

    def on_disconnected(self, event: Any) -> None:
        self._links = {link for link in self._links if link.connection != event.connection}

    def on_message(self, event: Any) -> None:
        name = _name(event.link.target.address)
        if name == _CBS:
            self._take_token(event)
            return
        mode = self._mode
        if self._times:
            self._times -= 1
            self._mode = self._mode if self._times else "normal"
        if mode == "silent":
            pass
        elif mode == "detach":
            self._detach(event.link, "amqp:link:detach-forced")
        elif mode == "denied":
            self._detach(event.link, "amqp:unauthorized-access")
        elif mode == "close":
            event.connection.condition = _condition("amqp:connection:forced")
            event.connection.close()
        elif mode == "released":
            self.release(event.delivery, delivered=False)
        elif mode == "bare":
            event.delivery.local.condition = Condition("com.microsoft:server-busy", "the test wants it")
            self.settle(event.delivery, Delivery.REJECTED)
        elif mode in _REJECTIONS:
            self._reject(event.delivery, _REJECTIONS[mode])
        elif bytes(event.message.body).startswith(_BATCH):
            self._reject(event.delivery, "amqp:not-implemented")
        else:
            self._journal.store(name, event.message)
            if mode == "lost":
                event.transport.close_head()
                event.transport.close_tail()
            elif mode == "slow":
                event.container.schedule(self._seconds, Later(partial(self._answer, event.delivery)))
            else:
                self.accept(event.delivery)

    def _answer(self, delivery: Delivery) -> None:
        if delivery.link in self._links:
            self.accept(delivery)

    def _detach(self, link: Link, condition: str) -> None:
        self._links.discard(link)
        link.condition = _condition(condition)
        link.close()

    def _reject(self, delivery: Delivery, condition: str) -> None:
        delivery.local.condition = _condition(condition)
        self.settle(delivery, Delivery.REJECTED)

    def _take_token(self, event: Any) -> None:
        message = event.message
        put = message.properties
        token = {"type": put["type"], "audience": put["name"], "token": message.body}
        self._tokens.write(json.dumps(token).encode() + b"\n")
        self.accept(event.delivery)
        if self._mode == "mute":
            return
        status = (401, "Unauthorized") if self._mode == "denied" else (202, "Accepted")
        answer = dict(zip(("status-code", "status-description"), status, strict=True))
        event.connection.answers.send(Message(correlation_id=message.id, properties=answer))


def _condition(name: str) -> Condition:
    """Return an error with all three of its fields: without the third the SDK never returns."""
    return Condition(name, "the test wants it", {symbol("by"): "peer"})


def _name(address: str) -> str:
    """Return the queue of an address, which may be a complete URL."""
    return urlsplit(address).path.strip("/")


def main() -> None:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--file", type=Path, required=True, help="where the messages go")
    parser.add_argument("--certificate", help="to speak TLS with, in PEM")
    parser.add_argument("--key", help="the certificate's")
    parser.add_argument("--idle", type=float, default=240, help="seconds without a frame until a connection is dropped")
    parser.add_argument("queues", nargs="*", help="the queues that there are; any if none is named")
    Container(Peer(parser.parse_args())).run()


if __name__ == "__main__":
    main()
