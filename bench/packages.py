"""How large each function's package is with its libraries, beside what one would write instead."""

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from bench import ROOT, CannotMeasure, Options
from bench.report import Section
from tests.support.environments import written

# The functions, and what the peers of `bench.peers` import; AWS's package has its libraries inside.
_PEERS = {
    "aws": ("aws_lambda", ("boto3", "pyjwt")),
    "gcp": ("gcp_functions", ("functions-framework", "google-cloud-pubsub", "pyjwt")),
    "azure": ("azure_functions", ("azure-functions", "azure-servicebus", "pyjwt")),
    "ibm": ("ibm_actions", ("ibmcloudant", "pyjwt")),
}


def measure(options: Options) -> Section:  # noqa: ARG001 - a size has no rounds
    """Write each package, and install its libraries and those of its peer.

    Raises:
        CannotMeasure: Something could not be installed.
    """
    rows = []
    for cloud, (adapter, names) in _PEERS.items():
        if not (ROOT / adapter).is_dir():  # removed in a fork
            continue
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            peer = _installed(folder / "peer", *names, "--constraint", str(_versions(folder)))
            rows.append([f"{cloud}: peer", f"{peer:,}", "1.00"])
            for extra in ((), ("--es256",)):
                own = _own(written(cloud, folder / f"repository{len(extra)}", *extra))
                rows.append([" ".join((f"{cloud}: ours", *extra)), f"{own:,}", f"{own / peer:.2f}"])
        print(f"packages: {cloud}", file=sys.stderr)
    notes = (
        "Installed with pip for this machine, and zipped without bytecode; AWS's as it is uploaded, with bytecode.",
        f"The peers: {'; '.join(', '.join(names) for _, names in _PEERS.values())}.",
    )
    return Section("packages: the size of each function", ("What", "bytes", "x peer"), rows, notes)


def _own(package: Path) -> int:
    requirements = package / "requirements.txt"
    if not requirements.exists():
        return package.with_suffix(".zip").stat().st_size
    libraries = _installed(package.with_name("libraries"), "--no-deps", "--require-hashes", "-r", str(requirements))
    return libraries + _zipped(package)


def _installed(folder: Path, *what: str) -> int:
    """Install in ``folder``; return the size of a zip of it."""
    pip = (sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-compile")
    if subprocess.run([*pip, "--target", str(folder), *what], check=False).returncode:
        raise CannotMeasure("A package could not be installed: see pip's message above.")
    return _zipped(folder)


def _zipped(folder: Path) -> int:
    archive = folder.with_name(f"{folder.name}-zipped")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                opened.write(path, path.relative_to(folder))
    return archive.stat().st_size


def _versions(folder: Path) -> Path:
    """Write the versions of all our requirements, with their markers and without their hashes."""
    pins = re.findall(r"^[\w.-]+==[^\\\n]+", (ROOT / "requirements" / "dev.txt").read_text(), re.MULTILINE)
    path = folder / "versions.txt"
    path.write_text("\n".join(pins))
    return path
