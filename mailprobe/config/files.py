"""What is wrong with a file that a setting names; None if nothing is. Contents are not read, nothing is raised."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

MISSING: Final = "the file does not exist"


def unreadable(path: Path) -> str | None:
    """Why nothing can be read from the file."""
    found = _look(path)
    if isinstance(found, OSError):
        return MISSING if isinstance(found, FileNotFoundError) else f"the file cannot be read: {found.strerror}"
    if stat.S_ISDIR(found.st_mode):
        return "is a directory, not a file"
    if not os.access(path, os.R_OK):
        return "the file may not be read by the user that runs mailprobe"
    if stat.S_ISREG(found.st_mode) and not found.st_size:
        return "the file is empty"
    return None


def not_a_directory(path: Path) -> str | None:
    """Why it cannot be a directory of secrets."""
    found = _look(path)
    if isinstance(found, FileNotFoundError):
        return "the directory does not exist"
    if isinstance(found, OSError):
        return f"the directory cannot be read: {found.strerror}"
    return None if stat.S_ISDIR(found.st_mode) else "is a file, not a directory"


def unusable_as_database(path: Path) -> str | None:
    """Why a database can neither be there nor be made there. Whether it may be written is seen when it is."""
    found = _look(path)
    if isinstance(found, os.stat_result):
        return "is a directory; write the name of a file in it" if stat.S_ISDIR(found.st_mode) else None
    if not isinstance(found, FileNotFoundError):
        return f"the file cannot be used: {found.strerror}"
    if not_a_directory(path.parent):
        return "the directory that it is to be in does not exist; create it"
    return None


def _look(path: Path) -> os.stat_result | OSError:
    try:
        return path.stat()
    except OSError as error:
        return error
    except ValueError:  # a NUL, which only a wrong name can bring in
        return OSError(errno.EINVAL, "not a file name")
