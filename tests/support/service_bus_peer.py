"""Our own stand-in for Azure Service Bus: an AMQP 1.0 server, run as ``python -m tests.support.service_bus_peer``.

It is neither Service Bus nor Microsoft's emulator. It is written from the protocol and from the SDK's use of the
protocol: tests with it show how our code and the real SDK handle what a Service Bus may do, not what Service Bus does.
It has queues, and accepts one message at a time. It has no batches, accepts every token and every length, and remembers
message ids for ever. It delivers messages under a lock, which also stays when the connection is lost, and has dead
letters. Its management peeks messages and renews locks:
https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-request-response

It listens on 127.0.0.1 only. A message is appended to the file before it is accepted; a message whose id is in the file
for that queue is accepted and not appended. The outcomes of deliveries and the received tokens are appended to other
files.

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

In `_REJECTIONS`, receivers and management are refused too. In ``silent``, management does not answer.
"""

import argparse
import base64
import json
import os
import sys
import threading
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from proton import (
    UNDESCRIBED,
    Array,
    Condition,
    Data,
    Delivery,
    Link,
    Message,
    SSLDomain,
    Terminus,
    int32,
    symbol,
    timestamp,
)
from proton.handlers import MessagingHandler
from proton.reactor import ApplicationEvent, Container, EventInjector, Handler

from tests.support.service_bus_queues import DEAD_LETTERS, Queues, Stored

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
_MAX_PEEKED = 50
_CBS = "$cbs"
_MANAGEMENT = "/$management"
_OUTCOMES = {
    Delivery.ACCEPTED: "accepted",
    Delivery.REJECTED: "rejected",
    Delivery.RELEASED: "released",
    Delivery.MODIFIED: "modified",
}
_BATCH = b"\0S"  # the beginning of a body with messages


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
        super().__init__(prefetch=1000, auto_accept=False, auto_settle=False)
        self._options = options
        self._queues = Queues(options.file, options.lock, options.deliveries)
        self._tokens = options.file.with_suffix(".tokens").open("ab", buffering=0)
        self._mode, self._times, self._seconds = "normal", 0, 0.0
        self._links: set[Link] = set()  # of those who send to a queue, and of those who receive
        self._refused: dict[Link, str] = {}

    def on_start(self, event: Any) -> None:
        self._container = event.container
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
        if condition := self._refusal(name, link):
            link.source.type = link.target.type = Terminus.UNSPECIFIED
            self._refused[link] = condition
            return
        link.source.address, link.target.address = link.remote_source.address, link.remote_target.address
        link.max_message_size = _MAX_MESSAGE_SIZE
        if _is_queue(name):
            self._links.add(link)
            link.rcv_settle_mode = link.remote_rcv_settle_mode
        elif link.is_sender:
            event.connection.answers = getattr(event.connection, "answers", {}) | {name: link}

    def _refusal(self, name: str, link: Link) -> str | None:
        if name == _CBS:
            return None
        queue = name.removesuffix(_MANAGEMENT).removesuffix(DEAD_LETTERS)
        if self._options.queues and queue not in self._options.queues:
            return "amqp:not-found"
        return _REJECTIONS.get(self._mode) if link.is_sender and _is_queue(name) else None

    def on_link_opened(self, event: Any) -> None:
        # A refused link is first attached, without a target.
        if condition := self._refused.pop(event.link, None):
            self._detach(event.link, condition)

    def on_link_closing(self, event: Any) -> None:
        self._links.discard(event.link)

    def on_disconnected(self, event: Any) -> None:
        self._links = {link for link in self._links if link.connection != event.connection}

    def on_link_flow(self, event: Any) -> None:
        self._deliver(event.link)
        if event.link.is_sender and event.link.drain_mode:
            event.link.drained()

    def _deliver(self, link: Link) -> None:
        if not link.is_sender or link not in self._links:
            return
        while link.credit > 0 and (message := self._queues.take(_name(link.source.address))):
            link.send(_message(message), tag=message.token)
            # If it is not settled until then, it is for anybody again.
            self._container.schedule(self._options.lock + 0.05, Later(self._deliver_all))

    def _deliver_all(self) -> None:
        for link in list(self._links):
            self._deliver(link)

    def on_accepted(self, event: Any) -> None:
        self._settle(event)

    def on_rejected(self, event: Any) -> None:
        self._settle(event)

    def on_released(self, event: Any) -> None:
        """Called if it is modified, too."""
        self._settle(event)

    def _settle(self, event: Any) -> None:
        delivery = event.delivery
        state = delivery.remote_state
        if delivery.link in self._links and not self._queues.settle(delivery.tag, _OUTCOMES[state]):
            self._reject(delivery, "com.microsoft:message-lock-lost")
        else:
            # The SDK waits for the outcome that it asked for.
            self.settle(delivery, state)
        self._deliver_all()

    def on_message(self, event: Any) -> None:
        name = _name(event.link.target.address)
        if name == _CBS:
            self._take_token(event)
            return
        if name.endswith(_MANAGEMENT):
            self.accept(event.delivery)
            self._manage(event, name)
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
            self._queues.store(_line(name, event.message))
            self._deliver_all()
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
        event.connection.answers[_CBS].send(Message(correlation_id=message.id, properties=answer))

    def _manage(self, event: Any, name: str) -> None:
        if self._mode == "silent":
            return
        request = event.message
        operation = request.properties["operation"]
        if condition := _REJECTIONS.get(self._mode):
            status, body = 400, None
        elif operation == "com.microsoft:peek-message":
            status, body = self._peek(name.removesuffix(_MANAGEMENT), request.body)
        elif operation != "com.microsoft:renew-lock":
            status, body, condition = 501, None, "amqp:not-implemented"
        else:
            # The SDK made the token from the bytes of the tag.
            tokens = [token.bytes_le.decode() for token in request.body["lock-tokens"].elements]
            ends = [end for token in tokens if (end := self._queues.renew(token))]
            if len(ends) < len(tokens):
                status, body, condition = 410, None, "com.microsoft:message-lock-lost"
            else:
                expirations: Any = Array(UNDESCRIBED, Data.TIMESTAMP, *map(_timestamp, ends))  # type: ignore[arg-type]
                status, body = 200, {"expirations": expirations}
        answer = {"statusCode": int32(status), "statusDescription": "the test wants it"}
        answer |= {"errorCondition": symbol(condition)} if condition else {}
        event.connection.answers[name].send(Message(body, correlation_id=request.id, properties=answer))

    def _peek(self, queue: str, body: dict[str, int]) -> tuple[int, Any]:
        found = islice(self._queues.peek(queue, body["from-sequence-number"]), min(body["message-count"], _MAX_PEEKED))
        messages = [{"message": _message(one).encode()} for one in found]
        return (200, {"messages": messages}) if messages else (204, None)


def _line(queue: str, message: Any) -> dict[str, Any]:
    """Return what is stored of a message."""
    return {
        "queue": queue,
        "messageId": message.id,
        "contentType": None if message.content_type == "None" else message.content_type,  # proton's, for none
        "sessionId": message.group_id,
        "partitionKey": (message.annotations or {}).get(symbol("x-opt-partition-key")),
        "ttl": message.ttl or None,
        "properties": message.properties or {},
        "body": base64.b64encode(bytes(message.body)).decode(),
    }


def _message(stored: Stored) -> Message:
    """Return a stored message as it is received."""
    line = stored.line
    annotations: dict[Any, Any] = {symbol("x-opt-sequence-number"): stored.sequence}
    if stored.token:
        annotations[symbol("x-opt-locked-until")] = _timestamp(stored.until)
    return Message(
        base64.b64decode(line["body"]),
        inferred=True,  # a body of bytes, and not of a value
        id=line["messageId"],
        content_type=line["contentType"],
        properties=line["properties"],
        annotations=annotations,
        delivery_count=stored.deliveries,
    )


def _timestamp(seconds: float) -> timestamp:
    return timestamp(int(seconds * 1000))


def _is_queue(name: str) -> bool:
    return name != _CBS and not name.endswith(_MANAGEMENT)


def _condition(name: str) -> Condition:
    """Return an error with all three of its fields: without the third the SDK never returns."""
    return Condition(name, "the test wants it", {symbol("by"): "peer"})


def _name(address: str | None) -> str:
    """Return the queue of an address, which may be a complete URL."""
    return urlsplit(address or "").path.strip("/")


def main() -> None:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--file", type=Path, required=True, help="where the messages go")
    parser.add_argument("--certificate", help="to speak TLS with, in PEM")
    parser.add_argument("--key", help="the certificate's")
    parser.add_argument("--idle", type=float, default=240, help="seconds without a frame until a connection is dropped")
    parser.add_argument("--lock", type=float, default=60, help="seconds for which a message is locked")
    parser.add_argument("--deliveries", type=int, default=10, help="the most deliveries of a message")
    parser.add_argument("queues", nargs="*", help="the queues that there are; any if none is named")
    Container(Peer(parser.parse_args())).run()


if __name__ == "__main__":
    main()
