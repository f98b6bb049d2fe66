"""What is wrong with a file that a setting names; None if nothing is. Contents are not read."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def unreadable(path: Path) -> str | None:
    """Why nothing can be read from the file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return "the file does not exist"
    except OSError as error:
        return f"the file cannot be read: {error.strerror}"
    if stat.S_ISDIR(found.st_mode):
        return "is a directory, not a file"
    if not os.access(path, os.R_OK):
        return "the file may not be read by the user that runs mailprobe"
    if stat.S_ISREG(found.st_mode) and not found.st_size:
        return "the file is empty"
    return None


def not_a_directory(path: Path) -> str | None:
    """Why it cannot be a directory of secrets."""
    try:
        return None if stat.S_ISDIR(path.stat().st_mode) else "is a file, not a directory"
    except FileNotFoundError:
        return "the directory does not exist"
    except OSError as error:
        return f"the directory cannot be read: {error.strerror}"


def unusable_as_database(path: Path) -> str | None:
    """Why a database can neither be there nor be made there. Whether it may be written is seen when it is."""
    if path.is_dir():
        return "is a directory; write the name of a file in it"
    if not_a_directory(path.parent):
        return "the directory that it is to be in does not exist; create it"
    return None
