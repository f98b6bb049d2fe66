"""The journal's file: opened, locked, checked, written, pruned, set aside. Used by one thread at a time."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from enum import Enum, auto
from pathlib import Path
from typing import Final

from mailprobe.errors import ConfigurationError
from mailprobe.observe.journal_rows import COUNTED, STATEMENTS, Rows
from mailprobe.observe.journal_schema import TABLES, migrate

PRUNE_WINDOW: Final = 500
"""Canaries looked at in one round of pruning: a few milliseconds of work, so that nobody waits long for it."""
_WAL_LIMIT: Final = 4 << 20
_PAGES_IN_MEMORY_KIB: Final = 4096

_OLDEST: Final = f"SELECT key, late_until, awaited FROM canary ORDER BY key LIMIT {PRUNE_WINDOW}"  # noqa: S608
_EXPIRED: Final = f"SELECT key FROM ({_OLDEST}) WHERE late_until < ?"  # noqa: S608
_OLD_ACKNOWLEDGEMENTS: Final = "DELETE FROM acknowledgement WHERE incident NOT IN (SELECT id FROM incident)"
_OLD_INCIDENTS: Final = "DELETE FROM incident WHERE closed = 1 AND ended < ?"
_OVER: Final = f"SELECT key FROM ({_OLDEST}) WHERE late_until < ? OR awaited = 0"  # noqa: S608


class Trouble(Enum):
    """What an exception from the file means for what is to be done."""

    DAMAGED = auto()
    """The file is no database any more: set it aside, begin another."""
    UNWRITABLE = auto()
    """The disk is full, gone or not ours: try again later."""
    MISFIT = auto()
    """Not the file's fault: this very row cannot be written."""


_TROUBLES: Final = {
    sqlite3.SQLITE_CORRUPT: Trouble.DAMAGED,
    sqlite3.SQLITE_NOTADB: Trouble.DAMAGED,
    sqlite3.SQLITE_AUTH: Trouble.UNWRITABLE,
    sqlite3.SQLITE_BUSY: Trouble.UNWRITABLE,
    sqlite3.SQLITE_CANTOPEN: Trouble.UNWRITABLE,
    sqlite3.SQLITE_FULL: Trouble.UNWRITABLE,
    sqlite3.SQLITE_IOERR: Trouble.UNWRITABLE,
    sqlite3.SQLITE_LOCKED: Trouble.UNWRITABLE,
    sqlite3.SQLITE_NOLFS: Trouble.UNWRITABLE,
    sqlite3.SQLITE_NOMEM: Trouble.UNWRITABLE,
    sqlite3.SQLITE_PERM: Trouble.UNWRITABLE,
    sqlite3.SQLITE_PROTOCOL: Trouble.UNWRITABLE,
    sqlite3.SQLITE_READONLY: Trouble.UNWRITABLE,
}
"""Primary result codes. Source: https://sqlite.org/rescode.html."""


class Damaged(Exception):
    """`PRAGMA quick_check` found something; the text says what."""


class InUse(ConfigurationError):
    """Another agent writes to this journal."""


def trouble_of(error: Exception) -> Trouble:
    """What to do about an exception raised by a Storage."""
    if isinstance(error, Damaged):
        return Trouble.DAMAGED
    if isinstance(error, OSError | ConfigurationError):
        return Trouble.UNWRITABLE
    code = getattr(error, "sqlite_errorcode", None)
    return Trouble.MISFIT if code is None else _TROUBLES.get(code & 0xFF, Trouble.MISFIT)


class Storage:
    """One journal file. Every method may raise sqlite3.Error, OSError or Damaged: see `trouble_of`.

    After any of these the file must be closed; the next call opens it again. Opening raises ConfigurationError
    for a file that is another agent's at the moment, a newer mailprobe's, or another program's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self.size_bytes = 0
        self._database: sqlite3.Connection | None = None
        self._lock: int | None = None
        self._inode = 0
        self._trusted = 0  # the inode of a file that has been checked and counted

    def open(self) -> sqlite3.Connection:
        """The connection; opened, locked, checked and migrated if it is not open already."""
        if self._database is None:
            if self._lock is not None and os.fstat(self._lock).st_ino != _inode(_beside(self.path, ".lock")):
                self._unlock()
            if self._lock is None:
                self._lock = _locked(self.path)
            return self._connect()
        if _inode(self.path) != self._inode:
            raise FileNotFoundError(f"{self.path} was removed or replaced")
        return self._database

    def write(self, rows: Rows) -> None:
        """Writes all rows in one transaction."""
        database, added = self.open(), 0
        database.execute("BEGIN IMMEDIATE")
        try:
            for statement in STATEMENTS:
                if statement in rows:
                    changed = database.executemany(statement, rows[statement]).rowcount
                    added += changed if statement in COUNTED else 0
            database.execute("COMMIT")
        except Exception:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
        self.rows += added

    def prune(self, now_wall: float, retention_seconds: float, max_bytes: int) -> bool:
        """Deletes some of what is too old or too much, oldest first; true if there may be more to delete.

        Canaries that are still awaited are kept whatever the size.
        """
        database = self.open()
        self.measure()
        database.execute(_OLD_INCIDENTS, (now_wall - retention_seconds,))
        database.execute(_OLD_ACKNOWLEDGEMENTS)
        keys = database.execute(_EXPIRED, (now_wall - retention_seconds,)).fetchall()
        if not keys and _used_bytes(database) > max_bytes:
            keys = database.execute(_OVER, (now_wall,)).fetchall()
        if keys:
            self._delete(database, keys)
        return len(keys) > PRUNE_WINDOW // 2

    def measure(self) -> None:
        """Brings `size_bytes` up to date: the database and its write-ahead log."""
        self.size_bytes = sum(_size(part) for part in (self.path, _beside(self.path, "-wal")))

    def set_aside(self) -> Path:
        """Moves a damaged file, its log and its index out of the way; the name they have now. Nothing is deleted.

        Closed only afterwards: SQLite would remove a log that it makes nothing of.
        """
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        aside, count = _beside(self.path, f".damaged-{stamp}"), 1
        while aside.exists():
            aside, count = _beside(self.path, f".damaged-{stamp}-{count}"), count + 1
        for suffix in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                os.rename(_beside(self.path, suffix), _beside(aside, suffix))
        self.disconnect()
        return aside

    def close(self) -> None:
        """Closes the file and gives it free for other agents. Never raises; may be called twice."""
        self.disconnect()
        self._unlock()

    def disconnect(self) -> None:
        """Closes the file, and goes on keeping other agents from it. Never raises; may be called twice."""
        if self._database is not None:
            with suppress(sqlite3.Error):
                self._database.close()
            self._database = None

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _connect(self) -> sqlite3.Connection:
        if _create(self.path):
            self._trusted = 0
        self._inode = _inode(self.path)
        self._database = database = sqlite3.connect(self.path, isolation_level=None, timeout=1.0)
        if self._inode != self._trusted:
            _check(database)
        migrate(database, self.path)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT}")
        database.execute(f"PRAGMA cache_size = -{_PAGES_IN_MEMORY_KIB}")
        database.text_factory = lambda text: text.decode("utf-8", "replace")
        if self._inode != self._trusted:
            self.rows = sum(_count(database, table) for table in TABLES)
        self._trusted = self._inode
        self.measure()
        return database

    def _delete(self, database: sqlite3.Connection, keys: Iterable[tuple[int]]) -> None:
        keys, gone = tuple(keys), 0
        database.execute("BEGIN IMMEDIATE")
        try:
            for table in TABLES:
                column = "key" if table == "canary" else "canary"
                statement = f"DELETE FROM {table} WHERE {column} = ?"  # noqa: S608 - names from this package
                gone += database.executemany(statement, keys).rowcount
            database.execute("COMMIT")
        except Exception:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
        self.rows -= gone


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _inode(path: Path) -> int:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return 0


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _create(path: Path) -> bool:
    """Makes an empty file that only we may read, if there is none; SQLite gives its log the same permissions.

    An existing file is never opened here: closing it would drop the locks of SQLite's own connections to it.
    Source: https://sqlite.org/howtocorrupt.html 2.2.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        os.chmod(path, 0o600)
        return False
    return True


def _locked(path: Path) -> int:
    """A descriptor that holds the lock of this journal, until it is closed or the process ends in whatever way."""
    descriptor = os.open(_beside(path, ".lock"), os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(OSError):  # only told to people: a full disk must not keep us from the lock
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
    except BlockingIOError:
        owner = os.read(descriptor, 20).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise InUse(
            f"journal {path} is in use by another mailprobe (process {owner or 'unknown'}): "
            "stop that one, or name another file"
        ) from None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check(database: sqlite3.Connection) -> None:
    (finding,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if finding != "ok":
        raise Damaged(str(finding).splitlines()[-1])


def _count(database: sqlite3.Connection, table: str) -> int:
    return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - names from this package


def _used_bytes(database: sqlite3.Connection) -> int:
    pages, free, size = (
        database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)
