"""Runs a command while no other command runs by this, in any process: two `make` would install into one environment.

usage: python tools/alone.py LOCK COMMAND...

LOCK is a file. The kernel releases it when the command and what it started have ended, however they ended.
"""

import fcntl
import os
import signal
import sys


def main() -> None:
    """Wait for the lock, and become the command."""
    # A shell starts what is in the background with Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        sys.exit(f"{os.path.abspath(sys.argv[1])} cannot be written: {error.strerror}. Use a copy that belongs to you.")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("Another make is installing here: waiting for it.", file=sys.stderr)
        fcntl.flock(lock, fcntl.LOCK_EX)
    os.set_inheritable(lock, True)
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
