"""Writes dist/<cloud>/: the files for one cloud's deploy tool, and nothing else.

A deploy tool uploads one folder and reads the files at its root. An adapter's folder alone lacks core, and the
repository has a pyproject.toml and six adapters. So each cloud gets a folder with core, the adapter, the modules that
these import, and at the root the files that the platform expects.
"""

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
ES256 = ROOT / "requirements" / "es256.txt"

# The file types of core and adapters. An allow-list, because a deny-list is never complete: a secret or a database that
# somebody left in a folder is never packaged, whatever its name.
SUFFIXES = frozenset({".py", ".sql"})
# Left out without a message.
SILENT = frozenset(
    {
        "__pycache__",
        "tests",
        "README.md",
        "deploy.sh",
        "deploy.yml",
        "package.toml",
        "requirements.in",
        "requirements.txt",
        "settings.toml",
        "targets.mk",
    }
)

# 1 January 1980, the earliest time in a zip: the same sources always give the same package.
MTIME = 315_532_800


@dataclass(frozen=True)
class Package:
    """The content of one package: the adapter's ``package.toml``.

    Attributes:
        adapter: The adapter's folder; packaged under its own name, like ``core``.
        name: The NAME in ``make package-NAME``.
        summary: The text of ``make help``.
        root: The adapter's files that the platform looks for at the root of the package. LICENSE is always there.
        elsewhere: Files of the adapter's folder that are used outside the package; left out without a message.
        is_zipped: Whether the deploy tool needs a zip, which is written next to the folder.
        has_libraries: Whether the package contains all libraries, which `lambda_zip` adds.
    """

    adapter: str
    name: str
    summary: str
    root: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    is_zipped: bool = False
    has_libraries: bool = False

    @property
    def files(self) -> dict[str, str]:
        """The files at the root: source in the repository -> destination in the package."""
        return {"LICENSE": "LICENSE"} | {f"{self.adapter}/{name}": name for name in self.root}


def _found() -> dict[str, Package]:
    """Return the packages of all adapters, by name."""
    packages = [
        Package(path.parent.name, **tomllib.loads(path.read_text(encoding="utf-8")))
        for path in sorted(ROOT.glob("*/package.toml"))
    ]
    return {package.name: package for package in packages}


PACKAGES = _found()


class PackageError(Exception):
    """The package cannot be written. ``str()`` is for the user."""


def sources(package: Package) -> tuple[dict[str, Path], list[str]]:
    """Return a package's files by destination, and the files of its folders that are left out.

    Raises:
        PackageError: A required file is missing.
    """
    found: dict[str, Path] = {}
    left_out: list[str] = []
    silent = SILENT.union(package.elsewhere)
    for folder in ("core", package.adapter):
        if not (ROOT / folder / "__init__.py").is_file():
            raise PackageError(f"{folder}/__init__.py is missing, so {folder}/ is not a package. Restore it from git.")
        for parent, folders, names in os.walk(ROOT / folder):
            folders[:] = sorted(name for name in folders if name not in silent and not name.startswith("."))
            for name in sorted(names):
                path = Path(parent, name)
                place = path.relative_to(ROOT).as_posix()
                if place in package.files or name in package.elsewhere:
                    continue
                if path.suffix in SUFFIXES and not name.startswith(".") and not path.is_symlink():
                    found[place] = path
                elif name not in silent:
                    left_out.append(place)
    missing = [source for source in package.files if not (ROOT / source).is_file()]
    if missing:
        raise PackageError(
            f"Missing: {', '.join(missing)}. Restore from git, or take it out of {package.adapter}/package.toml."
        )
    found |= _imported(list(found.values()))
    found |= {destination: ROOT / source for source, destination in package.files.items()}
    return dict(sorted(found.items())), left_out


def _imported(paths: list[Path]) -> dict[str, Path]:
    """Return the modules that these import from other folders of the repository, directly or indirectly.

    This includes `server` where we run the server, and another adapter's store that a fork uses.
    """
    found: dict[str, Path] = {}
    while paths:
        path = paths.pop()
        for module in _modules(path) if path.suffix == ".py" else ():
            parts = module.split(".")
            for count in range(1, len(parts) + 1):
                place = "/".join(parts[:count])
                for candidate in (f"{place}.py", f"{place}/__init__.py"):
                    if (
                        candidate not in found
                        and (ROOT / parts[0] / "__init__.py").is_file()
                        and (ROOT / candidate).is_file()
                    ):
                        found[candidate] = ROOT / candidate
                        paths.append(ROOT / candidate)
    return found


def _modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)


def write(cloud: str) -> tuple[dict[str, int], list[str]]:
    """Write the package's folder from scratch; return the size of each file in bytes, and the files left out.

    Raises:
        PackageError: As in `sources`; the old folder is then unchanged.
    """
    found, left_out = sources(PACKAGES[cloud])
    target = DIST / PACKAGES[cloud].adapter
    _empty(target)
    for destination, source in found.items():
        path = target / destination
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
        path.chmod(0o644)
        os.utime(path, (MTIME, MTIME))
    # After writing the content, which changes the times.
    for folder in {parent for destination in found for parent in Path(destination).parents}:
        (target / folder).chmod(0o755)
        os.utime(target / folder, (MTIME, MTIME))
    return {destination: (target / destination).stat().st_size for destination in found}, left_out


def _empty(target: Path) -> None:
    """Empty a folder, except .git: for Heroku, the package is a separate repository."""
    target.mkdir(parents=True, exist_ok=True)
    for path in target.iterdir():
        if path.name == ".git":
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _merged(paths: list[Path]) -> bytes:
    """Return the requirements of all ``paths``, each once.

    Raises:
        PackageError: A file is missing.
    """
    pins: dict[str, str] = {}
    for path in paths:
        if not path.is_file():
            raise PackageError(f"There is no {path.relative_to(ROOT)}: restore it from git.")
        # A pin begins its line, its hashes follow in lines of their own; comments do not matter.
        found = re.findall(r"^\w.*\n(?:[ ].*\n)*", path.read_text(encoding="utf-8"), re.MULTILINE)
        pins |= {pin.partition("\n")[0]: pin for pin in found}
    return "".join(pins[name] for name in sorted(pins)).encode()


def main(arguments: list[str] | None = None) -> int:
    """Write the requested package; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="tools/package.py",
        description="Write dist/<adapter>/: core, one adapter, and at the root what its platform looks for.",
        epilog=(
            "examples:\n"
            "  python tools/package.py heroku\n"
            "  python tools/package.py aws --es256 --arch x86_64\n"
            '  make package-aws ARGS="--es256 --arch x86_64"'
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cloud", choices=sorted(PACKAGES), help="which package to write")
    parser.add_argument("--es256", action="store_true", help="with what DT's asymmetric signature needs")
    parser.add_argument("--arch", choices=("arm64", "x86_64"), help="aws, with --es256: Lambda's processor (arm64)")
    chosen = parser.parse_args(arguments)
    cloud = chosen.cloud
    package, target = PACKAGES[cloud], DIST / PACKAGES[cloud].adapter
    if chosen.arch and not package.has_libraries:
        parser.error(f"--arch is not for {cloud}: its platform installs the libraries.")
    try:
        requirements = {
            name: _merged([ROOT / package.adapter / name, ES256])
            for name in package.root
            if chosen.es256 and name.endswith("requirements.txt")
        }
        sizes, left_out = write(cloud)
        for name, text in requirements.items():
            sizes[name] = (target / name).write_bytes(text)
            os.utime(target / name, (MTIME, MTIME))
        if package.has_libraries:
            return _finish(package.adapter, target, chosen.es256, chosen.arch or "arm64")
    except PackageError as error:
        print(error, file=sys.stderr)
        return 1
    for destination, size in sizes.items():
        print(f"{size:>9,}  {destination}")
    for place in left_out:
        print(f" left out  {place}")
    print(f"{sum(sizes.values()):>9,}  bytes in {len(sizes)} files: dist/{target.name}/")
    if package.is_zipped:
        from archive import write_zip

        archive = write_zip(target)
        print(f"{archive.stat().st_size:>9,}  bytes zipped: dist/{archive.name}")
    return 0


def _finish(adapter: str, target: Path, es256: bool, architecture: str) -> int:
    import lambda_sdk
    import lambda_zip

    requirements = [ROOT / adapter / "requirements.txt"]
    if es256:
        requirements.append(ES256)
    try:
        archive = lambda_zip.finish(target, requirements, architecture)
    except subprocess.CalledProcessError:
        raise PackageError("The libraries could not be installed: see pip's message above.") from None
    except lambda_sdk.SdkError as error:
        raise PackageError(str(error)) from None
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{size:>9,}  bytes unpacked: dist/{target.name}/")
    processors = architecture if es256 else "arm64 and x86_64"
    print(f"{archive.stat().st_size:>9,}  bytes zipped: dist/{archive.name}, for {processors}")
    if sys.version_info[:2] != lambda_zip.PYTHON:
        wanted = ".".join(map(str, lambda_zip.PYTHON))
        print(
            f"The package has no bytecode, so a cold start takes twice as long: Lambda has Python {wanted}, and this "
            f"is another version. Install Python {wanted}, then: make clean, make package-aws.",
            file=sys.stderr,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
