"""Completes the package for AWS Lambda: reduced libraries, their bytecode, and the zip.

A cold start reads all imported files, so a smaller package starts faster. The effect of each step is in
docs/decisions/0016-the-zip.md.
"""

import gzip
import json
import py_compile
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

import lambda_sdk
from archive import write_zip

# Lambda's version: only the same Python writes its bytecode.
PYTHON = (3, 13)
# Lambda's names of processors, and those of Python's packages.
ARCHITECTURES = {"arm64": "aarch64", "x86_64": "x86_64"}
# The operations in the package, of AWS's some 400 services. Other operations are removed; boto3's resources, which need
# many of them, are removed too.
SERVICES = {
    "dynamodb": ("GetItem", "PutItem"),
    "secretsmanager": ("GetSecretValue",),
    "sqs": ("SendMessage",),
}
_MODELS = ("service-2.json", "endpoint-rule-set-1.json", "paginators-1.json", "waiters-2.json")
# Files that pip installs and nothing imports; of a distribution's metadata only the licence is kept.
_NOT_IMPORTED = ("*.dist-info/[!lLN]*", "bin", "boto3/data", "boto3/examples", "dateutil/zoneinfo/*.tar.gz")


def finish(target: Path, requirements: list[Path], architecture: str) -> Path:
    """Complete a package that has its own sources; return the path of the zip, next to the folder.

    Args:
        target: The package's folder.
        requirements: Files of requirements, with hashes.
        architecture: One of `ARCHITECTURES`.

    Raises:
        subprocess.CalledProcessError: pip failed, and printed why.
        lambda_sdk.SdkError: A library is not as expected.
    """
    _install(target, requirements, ARCHITECTURES[architecture])
    for pattern in _NOT_IMPORTED:
        for path in target.glob(pattern):
            _remove(path)
    _reduce(target / "botocore" / "data")
    lambda_sdk.change(target)
    if sys.version_info[:2] == PYTHON:
        _compile(target)
    for path in target.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return write_zip(target)


def _install(target: Path, requirements: list[Path], machine: str) -> None:
    files = [argument for path in requirements for argument in ("--requirement", str(path))]
    # Amazon Linux 2023 has glibc 2.34.
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in (34, 28, 17)]
    platforms.append(f"--platform=manylinux2014_{machine}")
    version = ".".join(map(str, PYTHON))
    # Without dependencies, because the files name all; pip prints only errors.
    options = "-qq --disable-pip-version-check --no-input --no-deps --require-hashes --only-binary=:all: --no-compile"
    command = [sys.executable, "-m", "pip", "install", *options.split(), f"--python-version={version}", *platforms]
    subprocess.run([*command, "--target", str(target), *files], check=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _reduce(data: Path) -> None:
    """Reduce the descriptions of AWS to `SERVICES`, without documentation."""
    for service in data.iterdir():
        if service.is_dir() and service.name not in SERVICES:
            shutil.rmtree(service)
    for name, operations in SERVICES.items():
        for version in (data / name).iterdir():
            models = {path.name.removesuffix(".gz"): path for path in version.iterdir()}
            kept = {file: _read(models[file]) for file in _MODELS if file in models}
            shutil.rmtree(version)
            if "service-2.json" in kept:
                kept["service-2.json"] = _operations_of(kept["service-2.json"], operations)
                pages = kept.get("paginators-1.json", {"pagination": {}})
                pages["pagination"] = {name: page for name, page in pages["pagination"].items() if name in operations}
                version.mkdir()
                for file, model in kept.items():
                    _write(version / file, _without_prose(model))
    endpoints = _read(data / "endpoints.json")
    for partition in endpoints["partitions"]:
        partition["services"] = {name: value for name, value in partition["services"].items() if name in SERVICES}
    _write(data / "endpoints.json", endpoints)


def _operations_of(model: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return a service's model with these operations and the shapes that they reach."""
    operations = {name: model["operations"][name] for name in names}
    shapes: dict[str, Any] = {}
    waiting: list[Any] = [operations]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += node
        elif isinstance(node, dict):
            waiting += node.values()
            shape = node.get("shape")
            if isinstance(shape, str) and shape not in shapes:
                shapes[shape] = model["shapes"][shape]
                waiting.append(shapes[shape])
    return {**model, "operations": operations, "shapes": shapes}


def _without_prose(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            name: _without_prose(value)
            for name, value in node.items()
            if not (name in ("documentation", "documentationUrl") and isinstance(value, str))
        }
    return [_without_prose(value) for value in node] if isinstance(node, list) else node


def _read(path: Path) -> Any:
    content = path.read_bytes()
    return json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)


def _write(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document, separators=(",", ":")))


def _compile(target: Path) -> None:
    """Write bytecode that is valid independent of the sources' times.

    A zip changes the times of files, and normal bytecode would count as outdated. Lambda cannot write files, so each
    cold start would compile everything.
    """
    for source in sorted(target.rglob("*.py")):
        py_compile.compile(
            str(source),
            cfile=cache_from_source(str(source)),
            dfile=source.relative_to(target).as_posix(),
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
