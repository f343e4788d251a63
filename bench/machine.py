"""The machine and the versions of a result."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("PyJWT", "cryptography", "uvicorn", "uvloop", "httptools", "asyncpg", "boto3", "botocore")


def describe() -> list[str]:
    """Return one line each for the machine, Python, and the other programs."""
    load = os.getloadavg()[0]
    return [
        f"{os.cpu_count()} cores, {_cpu_model()}; {platform.system()} {platform.release()}; load {load:.1f} before",
        f"{platform.python_implementation()} {platform.python_version()}, {platform.python_compiler()}",
        ", ".join(f"{name} {_version(name)}" for name in _PACKAGES),
        _postgres(),
    ]


def cpu_seconds(pid: int) -> float | None:
    """Return what the process and its children have taken."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        stats = [Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split() for each in (pid, *children)]
    except OSError:
        return None
    # utime and stime, fields 14 and 15 of https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    return sum(int(fields[11]) + int(fields[12]) for fields in stats) / os.sysconf("SC_CLK_TCK")


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _postgres() -> str:
    try:
        from tests.support.postgres import find_binaries
    except ImportError:
        return "PostgreSQL not looked for"
    folder = find_binaries()
    if folder is None:
        return "PostgreSQL not installed"
    answer = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    return answer.strip().replace("postgres (PostgreSQL)", "PostgreSQL")
