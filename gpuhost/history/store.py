"""The database of all runs.

It holds what is asked for later (verdicts, facts, figures); the whole report
and the evidence stay in the run's folder, and the database can be made anew
from those.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from gpuhost.errors import ExitCode, GpuhostError
from gpuhost.history.records import HOST, Examination, Point, RunRecord, Trends
from gpuhost.history.schema import migrate
from gpuhost.model import HostReport, RunReport, Verdict

DATABASE = "history.db"
PATIENCE_S = 15.0
RETRY_S = 0.05
# SQLite takes 32766 parameters in one statement.
AT_ONCE = 10_000


class HistoryError(GpuhostError):
    """The history cannot be used; ``damaged`` where its file is no database any more."""

    def __init__(self, message: str, remedy: str = "", *, damaged: bool = False) -> None:
        super().__init__(message, remedy)
        self.damaged = damaged


class History:
    """An open database; a context manager that closes it."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    # ------------------------------------------------------------------ writing

    def record(self, report: RunReport) -> None:
        """Keep a run; one that is there already is left as it is.

        Raises:
            HistoryError: the database is locked, full or damaged.
        """
        with self._transaction() as connection:
            added = connection.execute(
                "INSERT OR IGNORE INTO run (run_id, command, started, finished, gpuhost_version,"
                " complete, exit_code) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    report.run_id,
                    report.command,
                    report.started,
                    report.finished,
                    report.gpuhost_version,
                    report.complete,
                    int(report.exit_code),
                ),
            )
            if added.rowcount and added.lastrowid:
                for host in (host for host in report.hosts if not host.skipped):
                    self._keep_host(connection, added.lastrowid, host)

    def _keep_host(self, connection: sqlite3.Connection, run: int, host: HostReport) -> None:
        verdicts = {r.check: (r.verdict, r.summary) for r in host.results}
        verdicts[HOST] = (host.verdict, host.error) if host.error else (Verdict.PASS, "")
        passed = sorted(name for name, (v, _) in verdicts.items() if v is Verdict.PASS)
        row = connection.execute(
            "INSERT INTO examination (run, host, verdict, exit_code, error, remedy, facts, passed)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                run,
                _id(connection, "host", "name", host.host),
                str(host.verdict),
                int(host.exit_code),
                host.error,
                host.error_remedy,
                _id(connection, "facts", "facts", json.dumps(dict(host.facts))),
                _id(connection, "passed", "checks", json.dumps(passed)),
            ),
        ).lastrowid
        connection.executemany(
            "INSERT INTO result VALUES (?, ?, ?, ?)",
            [
                (row, _id(connection, "check", "name", name), str(verdict), summary)
                for name, (verdict, summary) in verdicts.items()
                if verdict is not Verdict.PASS
            ],
        )
        connection.executemany(
            "INSERT INTO measurement VALUES (?, ?, ?)",
            [(row, _id(connection, "measure", "name", n), v) for n, v in host.measures.items()],
        )

    def forget_before(self, moment: str) -> tuple[str, ...]:
        """Drop the runs that began before ``moment`` (ISO 8601, UTC); their ids."""
        with self._transaction() as connection:
            gone = connection.execute(
                "DELETE FROM run WHERE started < ? RETURNING run_id", (moment,)
            ).fetchall()
            for table in ("facts", "passed"):
                connection.execute(
                    f"DELETE FROM {table} WHERE id NOT IN (SELECT {table} FROM examination)"  # noqa: S608
                )
        return tuple(run_id for (run_id,) in gone)

    # ------------------------------------------------------------------ reading

    def runs(self, limit: int | None = None) -> tuple[RunRecord, ...]:
        """The runs, newest first."""
        rows = self._ask(
            f"SELECT {_RUN} FROM run ORDER BY started DESC, id DESC LIMIT ?",  # noqa: S608
            (-1 if limit is None else limit,),
        )
        return tuple(_run(row) for row in rows)

    def hosts(self) -> tuple[str, ...]:
        """Every host that was ever examined, by name."""
        return tuple(name for (name,) in self._ask("SELECT name FROM host ORDER BY name"))

    def run(self, run_id: str) -> Mapping[str, Examination]:
        """What one run found, by host; empty for a run that is not there."""
        found = self._examinations("run.run_id = ?", (run_id,))
        return {examination.host: examination for examination in found}

    def of_host(self, host: str, limit: int | None = None) -> tuple[Examination, ...]:
        """What was found on a host, newest first."""
        return self._examinations(_OF_HOST, (host, -1 if limit is None else limit))

    def trends(self, host: str, limit: int) -> Trends:
        """Every figure of a host over its newest examinations, oldest first."""
        rows = self._ask(
            "SELECT measure.name, started, value FROM examination"  # noqa: S608
            " JOIN run ON run.id = examination.run"
            " JOIN measurement ON measurement.examination = examination.id"
            " JOIN measure ON measure.id = measurement.measure"
            f" WHERE {_OF_HOST} ORDER BY measure.name, started",
            (host, limit),
        )
        found: dict[str, list[Point]] = {}
        for name, started, value in rows:
            found.setdefault(name, []).append(Point(started, value))
        return {name: tuple(points) for name, points in found.items()}

    def _examinations(self, where: str, values: Sequence[Any]) -> tuple[Examination, ...]:
        rows = self._ask(
            f"SELECT {_RUN}, examination.id, host.name, verdict, examination.exit_code, error,"  # noqa: S608
            " remedy, examination.facts, examination.passed FROM examination"
            " JOIN run ON run.id = examination.run JOIN host ON host.id = examination.host"
            f" WHERE {where} ORDER BY started DESC, run.id DESC, host.name",
            values,
        )
        results: dict[int, list[tuple[str, str, str]]] = {}
        for key, *result in self._by_ids(_RESULTS, [row[_RUN_FIELDS] for row in rows]):
            results.setdefault(key, []).append((result[0], result[1], result[2]))
        facts = self._documents("SELECT id, facts FROM facts WHERE id", rows, -2)
        passed = self._documents("SELECT id, checks FROM passed WHERE id", rows, -1)
        well = {key: dict.fromkeys(checks, Verdict.PASS) for key, checks in passed.items()}
        return tuple(
            _examination(row, facts[row[-2]], well[row[-1]], results.get(row[_RUN_FIELDS], []))
            for row in rows
        )

    def _documents(
        self, select: str, rows: Sequence[tuple[Any, ...]], column: int
    ) -> Mapping[int, Any]:
        """The JSON documents that the ids in a column of ``rows`` stand for, each read once."""
        ids = sorted({row[column] for row in rows})
        return {key: json.loads(text) for key, text in self._by_ids(select, ids)}

    def _by_ids(self, select: str, ids: Sequence[int]) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(ids), AT_ONCE):
            some = ids[start : start + AT_ONCE]
            yield from self._ask(f"{select} IN ({','.join('?' * len(some))})", some)

    def _ask(self, select: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with _explained(self.path):
            return self._connection.execute(select, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _explained(self.path), self._connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection


_RUN_FIELDS = 6
_RUN = "run.run_id, command, started, finished, complete, run.exit_code"
_OF_HOST = (
    "examination.id IN (SELECT e.id FROM examination e JOIN run r ON r.id = e.run"
    " WHERE e.host = (SELECT id FROM host WHERE name = ?)"
    " ORDER BY r.started DESC, r.id DESC LIMIT ?)"
)
_RESULTS = (
    'SELECT examination, "check".name, verdict, summary FROM result'
    ' JOIN "check" ON "check".id = result."check" WHERE examination'
)


def _id(connection: sqlite3.Connection, table: str, column: str, text: str) -> int:
    """The row's id, made where it is not there yet."""
    found = connection.execute(
        f'SELECT id FROM "{table}" WHERE {column} = ?',  # noqa: S608
        (text,),
    ).fetchone()
    if found is None:
        found = connection.execute(
            f'INSERT INTO "{table}" ({column}) VALUES (?) RETURNING id',  # noqa: S608
            (text,),
        ).fetchone()
    return int(found[0])


def open_history(folder: Path) -> History:
    """The history in the state folder, made or brought up to date where needed.

    Raises:
        HistoryError: it is locked or damaged, or the folder cannot be written.
        NewerDatabaseError: a later gpuhost wrote it.
    """
    path = folder / DATABASE
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # It names hosts and what is wrong with them: for its owner only, as the runs are.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise HistoryError(
            f"The history {path} cannot be opened: {error.strerror}.",
            "Make the folder writable, or set GPUHOST_STATE_DIR to another one.",
        ) from error
    with _explained(path):
        connection = sqlite3.connect(path, timeout=PATIENCE_S, isolation_level=None)
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            _let_readers_go_on(connection)
            migrate(connection)
        except BaseException:
            connection.close()
            raise
    return History(path, connection)


def _let_readers_go_on(connection: sqlite3.Connection) -> None:
    """Readers go on while a run is written.

    A new database becomes one of that kind only while nobody else reads it;
    SQLite gives up on this at once, whatever the connection's timeout.
    """
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > end:
                raise
            time.sleep(RETRY_S)
        else:
            return


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """SQLite's errors as what they mean for the history."""
    try:
        yield
    except sqlite3.OperationalError as error:
        busy = error.sqlite_errorname.startswith("SQLITE_BUSY")
        raise HistoryError(
            f"The history {path} is in use by another gpuhost for more than {PATIENCE_S:.0f} s."
            if busy
            else f"The history {path} cannot be used: {error}.",
            "Run the command again once that one has ended."
            if busy
            else "See to the disk and the rights of that file.",
        ) from error
    except sqlite3.DatabaseError as error:
        raise HistoryError(
            f"The history {path} is damaged: {error}.",
            "Make it anew from the kept reports: gpuhost history --rebuild",
            damaged=True,
        ) from error


def _run(row: Sequence[Any]) -> RunRecord:
    run_id, command, started, finished, complete, exit_code = row
    return RunRecord(run_id, command, started, finished, bool(complete), ExitCode(exit_code))


def _examination(
    row: Sequence[Any],
    facts: Mapping[str, str],
    passed: Mapping[str, Verdict],
    results: Sequence[tuple[str, str, str]],
) -> Examination:
    _, host, verdict, exit_code, error, remedy = row[_RUN_FIELDS:-2]
    return Examination(
        host=host,
        run=_run(row[:_RUN_FIELDS]),
        verdict=Verdict(verdict),
        exit_code=ExitCode(exit_code),
        error=error,
        remedy=remedy,
        facts=facts,
        verdicts={**passed, **{name: Verdict(value) for name, value, _ in results}},
        summaries={name: summary for name, _, summary in results if summary},
    )
