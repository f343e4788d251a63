"""Says before the start why files cannot be written somewhere, by writing there."""

import contextlib
import errno
import os
import stat
import tempfile
from pathlib import Path

# What a new database takes, with its log and the index of that.
_SIZE = 131_072


def fault_of(path: Path) -> str | None:
    """Return why a database cannot be at a path, as the beginning of a sentence; None if it can.

    Its folder is made. In it a file is written and deleted. What is there already is opened, and not changed.

    Args:
        path: Of the database; its log, and the index of that, are beside it.
    """
    if os.path.islink(path):  # SQLite keeps them beside its target
        path = Path(os.path.realpath(path))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(prefix=".probe-", dir=path.parent)
    except OSError as error:
        return explain(error, path.parent)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(bytes(_SIZE))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return explain(error, path.parent)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(name)
    for each in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        try:
            os.close(os.open(each, os.O_RDWR))
        except FileNotFoundError:
            continue
        except OSError as error:
            return explain(error, each)
    return None


def explain(error: OSError, path: Path, use: str = "write") -> str:
    """Return what an error of a file or folder is about, as the beginning of a sentence.

    Args:
        error: The error.
        path: The file or folder.
        use: What was to be done with it.
    """
    match error.errno:
        case errno.EROFS:
            return f"{path} is on a read-only disk"
        case errno.ENOSPC | errno.EDQUOT:
            return f"The disk of {path} is full"
        case errno.EEXIST | errno.ENOTDIR:
            return f"{path} is not a folder"
        case errno.EISDIR:
            return f"{path} is a folder"
        case errno.EACCES | errno.EPERM:
            return f"You may not {use} {path}{_whose(path)}"
    return f"You cannot {use} {path} ({error.strerror})"


def _whose(path: Path) -> str:
    try:
        import pwd  # Windows has none

        status = path.stat()
        owner = pwd.getpwuid(status.st_uid).pw_name
    except (ImportError, OSError, KeyError):  # without the mode, or a name of the user, the sentence is true too
        return ""
    return f", which belongs to {owner} and has the mode {stat.S_IMODE(status.st_mode):04o}"
