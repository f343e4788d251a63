"""``python -m bench.called SUBJECT CALLERS``: hands deliveries to a receiver, and measures.

SUBJECT is a module with ``handle``, such as ``peers.aws_dynamodb``, or ``ours.`` and an adapter's folder. Standard
input has pairs of token and body, as JSON. Prints a line after the first delivery, and at the end a JSON array: CPU in
microseconds an event, p50 and p99 in microseconds, and the peak of the memory in MiB.
"""

import asyncio
import importlib
import inspect
import json
import logging
import os
import resource
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from bench.rounds import percentiles
from core.http import Request

Delivery = tuple[str, str]
Handle = Callable[[str, bytes], Awaitable[None] | None]


def _ours(adapter: str) -> Handle:
    receiver = importlib.import_module(f"{adapter}.wiring").build_receiver(os.environ)

    def request(token: str, body: bytes) -> Request:
        return Request("POST", "/events", [("x-dt-signature", token)], body)

    async def handle_async(token: str, body: bytes) -> None:
        assert (await receiver.handle(request(token, body))).status == 200

    def handle(token: str, body: bytes) -> None:
        assert receiver.handle(request(token, body)).status == 200

    return handle_async if inspect.iscoroutinefunction(receiver.handle) else handle


async def _with_tasks(handle: Handle, deliveries: Sequence[Delivery], callers: int) -> list[float]:
    times: list[float] = []

    async def call(own: Sequence[Delivery]) -> None:
        for token, body in own:
            started = time.perf_counter()
            handled = handle(token, body.encode())
            assert handled is not None
            await handled
            times.append(time.perf_counter() - started)

    await asyncio.gather(*(call(deliveries[at::callers]) for at in range(callers)))
    return times


def _with_threads(handle: Handle, deliveries: Sequence[Delivery], callers: int) -> list[float]:
    times: list[float] = []

    def call(own: Sequence[Delivery]) -> None:
        for token, body in own:
            started = time.perf_counter()
            handle(token, body.encode())
            times.append(time.perf_counter() - started)

    threads = [threading.Thread(target=call, args=(deliveries[at::callers],)) for at in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(times) == len(deliveries), "a call failed"
    return times


def _peak() -> float:
    """Return the most memory so far, in MiB: of this program, where rusage's is the parent's until it is exceeded."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def main(subject: str, callers: int) -> None:
    """Measure ``subject`` with ``callers`` concurrent calls."""
    printed, sys.stdout = sys.stdout, open(os.devnull, "w")  # noqa: SIM115 - ours log there, until the end
    logging.getLogger().addHandler(logging.StreamHandler(sys.stdout))
    logging.getLogger().setLevel(logging.INFO if subject.startswith("ours") else logging.WARNING)
    kind, _, name = subject.partition(".")
    handle: Handle = _ours(name) if kind == "ours" else importlib.import_module(f"bench.{subject}").handle
    deliveries: list[Delivery] = json.load(sys.stdin)
    warm = 8 * callers

    with asyncio.Runner() as runner:

        def run(some: Sequence[Delivery]) -> list[float]:
            if inspect.iscoroutinefunction(handle):
                return runner.run(_with_tasks(handle, some, callers))
            return _with_threads(handle, some, callers)

        run(deliveries[:1])
        print("ready", file=printed, flush=True)
        run(deliveries[1:warm])
        started = time.process_time()
        times = run(deliveries[warm:])
        cpu = (time.process_time() - started) / len(times)
        p50, p99 = percentiles(times)
        print(json.dumps([cpu * 1e6, p50 * 1e6, p99 * 1e6, _peak()]), file=printed, flush=True)
    # Some SDKs' threads would hold it up.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
