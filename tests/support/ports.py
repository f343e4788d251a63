"""Ports of this machine."""

import secrets
import socket
import subprocess
import time

# Below the ephemeral ports: an outgoing connection could take the port before its server does, and a connection to an
# ephemeral port without a listener can connect to itself. https://docs.kernel.org/networking/ip-sysctl.html
# (ip_local_port_range).
_FIRST, _LAST = 20_000, 32_000


def free_port() -> int:
    """Return a free port that another process is unlikely to take."""
    while True:
        port = _FIRST + secrets.randbelow(_LAST - _FIRST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return when ``process`` accepts connections."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, f"it ended with {process.returncode}"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError("it does not listen")
