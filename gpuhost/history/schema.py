"""The database's tables, and how an older one becomes the present one.

``PRAGMA user_version`` counts the steps of ``MIGRATIONS`` that a database has
been through. A step is never changed once it was released; the next one is
added below it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from gpuhost.errors import GpuhostError

MIGRATIONS = (
    """
    CREATE TABLE run (
        id INTEGER PRIMARY KEY,
        run_id TEXT NOT NULL UNIQUE,
        command TEXT NOT NULL,
        started TEXT NOT NULL,
        finished TEXT NOT NULL,
        gpuhost_version TEXT NOT NULL,
        complete INTEGER NOT NULL,
        exit_code INTEGER NOT NULL
    );
    CREATE TABLE host (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE "check" (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE measure (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    -- Every night finds nearly the same: what is the same is kept once.
    CREATE TABLE passed (id INTEGER PRIMARY KEY, checks TEXT NOT NULL UNIQUE);
    CREATE TABLE facts (id INTEGER PRIMARY KEY, facts TEXT NOT NULL UNIQUE);
    CREATE TABLE examination (
        id INTEGER PRIMARY KEY,
        run INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
        host INTEGER NOT NULL REFERENCES host,
        verdict TEXT NOT NULL,
        exit_code INTEGER NOT NULL,
        error TEXT NOT NULL,
        remedy TEXT NOT NULL,
        facts INTEGER NOT NULL REFERENCES facts,
        passed INTEGER NOT NULL REFERENCES passed,
        UNIQUE (host, run)
    );
    CREATE INDEX examination_of_run ON examination (run);
    -- What did not pass.
    CREATE TABLE result (
        examination INTEGER NOT NULL REFERENCES examination ON DELETE CASCADE,
        "check" INTEGER NOT NULL REFERENCES "check",
        verdict TEXT NOT NULL,
        summary TEXT NOT NULL,
        PRIMARY KEY (examination, "check")
    ) WITHOUT ROWID;
    CREATE TABLE measurement (
        examination INTEGER NOT NULL REFERENCES examination ON DELETE CASCADE,
        measure INTEGER NOT NULL REFERENCES measure,
        value REAL NOT NULL,
        PRIMARY KEY (examination, measure)
    ) WITHOUT ROWID;
    """,
)


class NewerDatabaseError(GpuhostError):
    """The database was written by a later gpuhost."""


def migrate(connection: sqlite3.Connection, migrations: tuple[str, ...] = MIGRATIONS) -> None:
    """Bring the database to the present schema, each step whole or not at all.

    Raises:
        NewerDatabaseError: it is of a schema that this gpuhost does not know.
        sqlite3.Error: it cannot be read or written.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        raise NewerDatabaseError(
            f"The history is of schema {version}, this gpuhost knows {len(migrations)}.",
            "Use the newer gpuhost that wrote it, or set GPUHOST_STATE_DIR to another folder.",
        )
    while version < len(migrations):
        version = _step(connection, migrations)


def _step(connection: sqlite3.Connection, migrations: tuple[str, ...]) -> int:
    """Take the next step, and give the version after it."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        # Another gpuhost may have taken it while this one waited.
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version >= len(migrations):
            return int(version)
        for statement in _statements(migrations[version]):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {version + 1}")
    return int(version) + 1


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement
