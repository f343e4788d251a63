"""Writes a folder as a reproducible zip."""

import zipfile
from pathlib import Path

# 1 January 1980, the earliest time in a zip.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_zip(folder: Path) -> Path:
    """Zip all files of ``folder``, readable by everybody; return the path of the zip, next to the folder."""
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as package:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _EPOCH)
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            package.writestr(entry, path.read_bytes())
    return archive
