"""The tables of the journal, their version, and how an older file becomes a current one.

One row per canary, attempt, sighting, bounce and incident; times are wall time (Unix seconds). `canary.awaited` is 1
while something may still be said of the canary: only those are found by their id, through a small index that holds no
others, so that unguessable ids cost no write to a random page of a large one.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from mailprobe.errors import ConfigurationError

APPLICATION_ID: Final = 0x6D70726F
"""`mpro`: says in the file's header whose file it is. Source: https://sqlite.org/pragma.html#pragma_application_id."""

TABLES: Final = ("canary", "attempt", "sighting", "bounce")
"""Those with a row or more for each canary; the others stay small."""

Migration = tuple[str, ...]

MIGRATIONS: Final[tuple[Migration, ...]] = (
    (
        """CREATE TABLE canary (
            key INTEGER PRIMARY KEY, id TEXT NOT NULL, route TEXT NOT NULL, sender TEXT NOT NULL, mailbox TEXT NOT NULL,
            opened REAL NOT NULL, deadline REAL NOT NULL, late_until REAL NOT NULL, awaited INTEGER NOT NULL DEFAULT 1,
            judged REAL, outcome TEXT, stage TEXT, reason TEXT, code INTEGER, enhanced TEXT, text TEXT, detail TEXT,
            delivery_seconds REAL, transit_seconds REAL, transit_error_seconds REAL, upper_bound INTEGER,
            attempts INTEGER, retried INTEGER, in_doubt INTEGER,
            resolution TEXT, resolved REAL,
            late_transit_seconds REAL, late_transit_error_seconds REAL, late_upper_bound INTEGER
        ) STRICT""",
        "CREATE UNIQUE INDEX awaited_canary ON canary(id) WHERE awaited = 1",
        """CREATE TABLE attempt (
            canary INTEGER NOT NULL, number INTEGER NOT NULL, begun REAL NOT NULL, dot_sent REAL, ended REAL,
            retry_at REAL, outcome TEXT, stage TEXT, reason TEXT, code INTEGER, enhanced TEXT, text TEXT, detail TEXT,
            queue_id TEXT, host TEXT, address TEXT, port INTEGER, tls_version TEXT, tls_cipher TEXT,
            tls_verified INTEGER, stages TEXT, replies TEXT, transcript TEXT,
            PRIMARY KEY (canary, number)
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE sighting (
            canary INTEGER NOT NULL, folder TEXT NOT NULL, uidvalidity INTEGER NOT NULL, uid INTEGER NOT NULL,
            junk INTEGER NOT NULL, noticed REAL NOT NULL, previous_look REAL, continuous INTEGER NOT NULL,
            internaldate REAL,
            PRIMARY KEY (canary, folder, uidvalidity, uid)
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE bounce (
            canary INTEGER NOT NULL, noticed REAL NOT NULL, action TEXT NOT NULL, status TEXT NOT NULL,
            diagnostic TEXT NOT NULL, reporting_mta TEXT NOT NULL
        ) STRICT""",
        "CREATE INDEX bounce_canary ON bounce(canary)",
        """CREATE TABLE watermark (
            mailbox TEXT NOT NULL, folder TEXT NOT NULL, uidvalidity INTEGER NOT NULL, uidnext INTEGER NOT NULL,
            PRIMARY KEY (mailbox, folder)
        ) STRICT, WITHOUT ROWID""",
        f"PRAGMA application_id = {APPLICATION_ID}",
    ),
    (
        """CREATE TABLE incident (
            id TEXT PRIMARY KEY, route TEXT NOT NULL, began REAL NOT NULL, first_sign REAL NOT NULL,
            detected REAL NOT NULL, ended REAL, closed INTEGER NOT NULL, state TEXT NOT NULL,
            stage TEXT, code INTEGER, enhanced TEXT, reason TEXT,
            share_worst REAL NOT NULL, affected INTEGER NOT NULL, relapses INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID""",
    ),
    (
        """CREATE TABLE acknowledgement (
            incident TEXT NOT NULL, feed TEXT NOT NULL, vendor_incident TEXT NOT NULL, title TEXT NOT NULL,
            posted REAL NOT NULL, noticed REAL NOT NULL, lag_seconds REAL NOT NULL,
            PRIMARY KEY (incident, feed)
        ) STRICT, WITHOUT ROWID""",
    ),
)
"""Entry n makes version n + 1 of version n. Entries are only ever added: files of every version are out there."""


def migrate(database: sqlite3.Connection, path: Path, migrations: tuple[Migration, ...] = MIGRATIONS) -> None:
    """Brings the file to the newest version, all or nothing.

    Raises ConfigurationError, and has written nothing, for a file of a newer mailprobe or of another program.
    """
    version: int = database.execute("PRAGMA user_version").fetchone()[0]
    if version > len(migrations):
        raise ConfigurationError(
            f"journal {path} was written by a newer mailprobe (format {version}; this one knows {len(migrations)}): "
            "use that version, or another file"
        )
    if version == 0 and database.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise ConfigurationError(f"journal {path} is a database of another program: name another file")
    if version == len(migrations):
        return
    database.execute("BEGIN IMMEDIATE")
    try:
        for statement in (statement for migration in migrations[version:] for statement in migration):
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {len(migrations)}")
        database.execute("COMMIT")
    except sqlite3.Error:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
