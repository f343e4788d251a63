"""Prints the lines of each folder, and the number of imports between folders: ``make size``."""

import ast
import subprocess
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ASIDE = frozenset({"tests", "bench", "tools"})
INFRASTRUCTURE = frozenset({".tf", ".tftpl", ".bicep", ".yaml", ".yml", ".sh"})


def sources() -> list[Path]:
    """Return the files that git tracks, or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    return [Path(name) for name in names if name and (ROOT / name).is_file()]


def arrows(paths: list[Path]) -> Counter[tuple[str, str]]:
    """Count the imports between rooms. A room is a folder of the product, or a subfolder of core."""
    found: Counter[tuple[str, str]] = Counter()
    folders = {path.parts[0] for path in paths if path.name == "__init__.py"} - ASIDE
    for path in paths:
        if path.suffix != ".py" or path.parts[0] not in folders:
            continue
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in folders:
                modules = {f"{node.module}.{name.name}" for name in node.names}
                for room in {_room(Path(*module.split("."))) for module in modules} - {_room(path)}:
                    found[_room(path), room] += 1
    return found


def _room(path: Path) -> str:
    is_room = len(path.parts) > 2 and (ROOT / path.parts[0] / path.parts[1] / "__init__.py").is_file()
    return "/".join(path.parts[:2]) if is_room else path.parts[0]


def main() -> None:
    """Print both tables."""
    paths = sources()
    lines: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for path in paths:
        if len(path.parts) == 1 or (path.suffix not in INFRASTRUCTURE and path.suffix not in (".py", ".sql")):
            continue
        count = len((ROOT / path).read_text(encoding="utf-8").splitlines())
        code = path.suffix in (".py", ".sql")
        folder = path.parts[0]
        kind = "infrastructure" if not code and folder not in ASIDE else folder if folder in ASIDE else "product"
        lines[folder if code else f"{folder} (infrastructure)"] += count
        kinds[kind] += count
    for folder, count in sorted(lines.items()):
        print(f"{count:>8,}  {folder}")
    print()
    for kind, count in kinds.most_common():
        print(f"{count:>8,}  {kind}")
    print(f"{kinds['tests'] / kinds['product']:>8.1f}  lines of test for each of product\n")
    for (room, other), count in sorted(arrows(paths).items()):
        print(f"{count:>8}  {room} -> {other}")


if __name__ == "__main__":
    main()
