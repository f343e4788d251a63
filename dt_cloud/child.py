"""``python -m dt_cloud.child MODULE``: runs a module while its parent process lives."""

import os
import runpy
import signal
import sys
import threading


def _end_with_parent() -> None:
    # The parent has the other end and never writes: this returns when the parent has ended for any reason.
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    module = sys.argv[1]
    del sys.argv[1]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
