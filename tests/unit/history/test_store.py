from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.nights import night

from gpuhost import runs
from gpuhost.errors import ExitCode
from gpuhost.history import DATABASE, History, HistoryError, open_history
from gpuhost.history import schema as schema_room
from gpuhost.history.keeping import remember
from gpuhost.history.records import HOST
from gpuhost.history.schema import NewerDatabaseError, migrate
from gpuhost.model import Verdict
from gpuhost.settings import Settings
from gpuhost.ui import Ui
from gpuhost.verify import keep as keep_all

WELL = {"gpu.count": "PASS", "cdi.matches": "PASS"}
ILL = {"gpu.count": "FAIL", "cdi.matches": "PASS"}


def test_what_was_recorded_is_given_back(history: History) -> None:
    history.record(night(0, {"a": ILL, "b": WELL}, facts={"driver": "580.1"}))
    found = history.run(night(0, {}).run_id)
    assert list(found) == ["a", "b"]
    assert found["a"].verdicts == {
        "gpu.count": Verdict.FAIL,
        "cdi.matches": Verdict.PASS,
        HOST: Verdict.PASS,
    }
    assert found["a"].summaries == {"gpu.count": "gpu.count is FAIL"}
    assert found["a"].facts == {"driver": "580.1"}
    assert found["a"].exit_code is ExitCode.FAILED
    assert found["b"].is_full_pass


def test_a_host_that_could_not_be_reached_has_a_verdict_of_its_own(history: History) -> None:
    history.record(night(0, {"a": {"error": "No route to host"}}))
    (found,) = history.of_host("a")
    assert found.verdicts == {HOST: Verdict.UNKNOWN}
    assert found.summaries == {HOST: "No route to host"}
    assert found.remedy == "Switch it on."


def test_the_newest_run_comes_first(history: History) -> None:
    for number in (1, 0, 2):
        history.record(night(number, {"a": WELL}))
    started = [run.started[:10] for run in history.runs()]
    assert started == ["2026-11-03", "2026-11-02", "2026-11-01"]
    assert [e.run.started[:10] for e in history.of_host("a", 2)] == started[:2]


def test_a_run_that_is_recorded_twice_is_there_once(history: History) -> None:
    for _ in range(2):
        history.record(night(0, {"a": WELL}))
    assert len(history.runs()) == 1
    assert len(history.of_host("a")) == 1


def test_a_run_of_some_checks_is_no_full_pass(history: History) -> None:
    history.record(night(0, {"a": WELL}, complete=False))
    (found,) = history.of_host("a")
    assert not found.is_full_pass


def test_figures_are_told_in_the_order_of_time(history: History) -> None:
    for number, value in enumerate((61.0, 63.0, 60.0)):
        history.record(night(number, {"a": WELL}, measures={"gpu0.temperature_c": value}))
    points = history.trends("a", 2)["gpu0.temperature_c"]
    assert [(point.started[:10], point.value) for point in points] == [
        ("2026-11-02", 63.0),
        ("2026-11-03", 60.0),
    ]


def test_old_runs_are_forgotten_with_all_that_hangs_on_them(
    history: History, tmp_path: Path
) -> None:
    for number in range(4):
        facts = {"boot": str(number)}
        history.record(night(number, {"a": ILL}, facts=facts, measures={"x": 1.0}))
    assert history.forget_before("2026-11-03") == (night(0, {}).run_id, night(1, {}).run_id)
    with sqlite3.connect(tmp_path / DATABASE) as connection:
        for table in ("run", "examination", "result", "measurement", "facts"):
            (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
            assert count == 2, table


def test_only_its_owner_reads_the_history(history: History) -> None:
    assert stat.S_IMODE(history.path.stat().st_mode) == 0o600


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,6}\.[a-z_]{1,8}", fullmatch=True),
        st.sampled_from([str(verdict) for verdict in Verdict]),
        max_size=8,
    )
)
def test_every_set_of_verdicts_survives(verdicts: dict[str, str]) -> None:
    with History(Path(":memory:"), memory()) as history:
        history.record(night(0, {"a": verdicts}))
        (found,) = history.of_host("a")
    assert {name: str(verdict) for name, verdict in found.verdicts.items()} == {
        **verdicts,
        HOST: "PASS",
    }


def memory() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    return connection


class TestMigration:
    def test_a_database_of_an_earlier_schema_is_brought_up_to_date_with_its_rows(
        self, tmp_path: Path
    ) -> None:
        with open_history(tmp_path) as history:
            history.record(night(0, {"a": ILL}))
        later = (*schema_room.MIGRATIONS, "ALTER TABLE run ADD COLUMN note TEXT DEFAULT ''")
        with sqlite3.connect(tmp_path / DATABASE, isolation_level=None) as connection:
            migrate(connection, later)
            assert connection.execute("SELECT command, note FROM run").fetchall() == [
                ("nightly", "")
            ]
            assert connection.execute("PRAGMA user_version").fetchone() == (len(later),)

    def test_a_step_that_fails_leaves_the_database_as_it_was(self, tmp_path: Path) -> None:
        with open_history(tmp_path):
            pass
        broken = (*schema_room.MIGRATIONS, "CREATE TABLE more (x);\nSELECT * FROM absent")
        connection = sqlite3.connect(tmp_path / DATABASE, isolation_level=None)
        with pytest.raises(sqlite3.Error):
            migrate(connection, broken)
        connection.close()
        with open_history(tmp_path) as history:
            history.record(night(0, {"a": WELL}))
        with sqlite3.connect(tmp_path / DATABASE) as connection:
            assert not connection.execute(
                "SELECT name FROM sqlite_master WHERE name = 'more'"
            ).fetchall()

    def test_a_database_of_a_later_gpuhost_is_left_alone(self, tmp_path: Path) -> None:
        with open_history(tmp_path):
            pass
        with sqlite3.connect(tmp_path / DATABASE) as connection:
            connection.execute("PRAGMA user_version = 99")
        with pytest.raises(NewerDatabaseError, match="schema 99"):
            open_history(tmp_path)


class TestTrouble:
    def test_a_locked_history_is_said_to_be_in_use(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gpuhost.history.store.PATIENCE_S", 0.1)
        with open_history(tmp_path), sqlite3.connect(tmp_path / DATABASE) as other:
            other.execute("BEGIN IMMEDIATE")
            said = remember(tmp_path, tmp_path / "runs", night(0, {"a": WELL}))
        assert "in use by another gpuhost" in said
        assert "This run is not in it" in said

    def test_a_damaged_history_is_put_aside_and_made_anew_from_the_reports(
        self, tmp_path: Path
    ) -> None:
        keep(tmp_path, 0)
        keep(tmp_path, 1)
        (tmp_path / DATABASE).write_bytes(b"SQLite format 3\0" + b"no database" * 500)
        said = remember(tmp_path, tmp_path / "runs", night(1, {"a": WELL}))
        assert "made anew from 2 kept reports" in said
        with open_history(tmp_path) as history:
            assert len(history.runs()) == 2
        assert list(tmp_path.glob("history.db.damaged-*"))

    def test_a_history_in_a_folder_that_cannot_be_written_is_an_error_with_a_remedy(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(HistoryError, match="cannot be opened") as caught:
            open_history(tmp_path / "file")
        assert "GPUHOST_STATE_DIR" in caught.value.remedy

    def test_runs_that_record_at_the_same_time_wait_for_each_other(self, tmp_path: Path) -> None:
        script = (
            "import sys; from pathlib import Path; from support.nights import night;"
            "from gpuhost.history import open_history\n"
            "for number in range(int(sys.argv[1]), int(sys.argv[1]) + 20):\n"
            "    with open_history(Path(sys.argv[2])) as history:\n"
            "        history.record(night(number, {'a': {'gpu.count': 'PASS'}}))\n"
        )
        running = [
            subprocess.Popen(
                [sys.executable, "-c", script, start, tmp_path],
                env={"PYTHONPATH": ":".join(path for path in sys.path if path)},
            )
            for start in ("0", "100")
        ]
        assert [process.wait(60) for process in running] == [0, 0]
        with open_history(tmp_path) as history:
            assert len(history.runs()) == 40

    def test_a_new_history_that_several_open_at_once_is_opened_by_each(
        self, tmp_path: Path
    ) -> None:
        def opened(attempt: int) -> None:
            at_once.wait(60)
            open_history(tmp_path / str(attempt)).__exit__()

        readers = 4
        at_once = threading.Barrier(readers)
        with ThreadPoolExecutor(readers) as pool:
            for attempt in range(50):
                list(pool.map(opened, [attempt] * readers))


def keep(state_dir: Path, number: int) -> None:
    """Keep a night's report as a run does."""
    report = night(number, {"a": WELL})
    run = runs.Run(report.run_id, report.started, state_dir / "runs" / report.run_id)
    runs.keep_report(run, report)


def test_the_page_of_a_run_shows_the_figures_of_the_runs_before(tmp_path: Path) -> None:
    for number, warmth in enumerate((40.0, 47.0)):
        report = night(number, {"a": WELL}, measures={"gpu0.temperature_c": warmth})
        run = runs.Run(report.run_id, report.started, tmp_path / "runs" / report.run_id)
        kept = keep_all(run, report, Settings(tmp_path, None, tmp_path, 1), Ui())
        assert kept == report
    page = (tmp_path / "runs" / "latest" / "report.html").read_text()
    assert "gpu0.temperature_c: 47 °C now, 40–47 °C in 2 runs" in page


def test_a_history_that_cannot_be_used_costs_the_page_no_more_than_its_trends(
    tmp_path: Path,
) -> None:
    (tmp_path / DATABASE).mkdir()
    report = night(0, {"a": WELL})
    run = runs.Run(report.run_id, report.started, tmp_path / "runs" / report.run_id)
    keep_all(run, report, Settings(tmp_path, None, tmp_path, 1), Ui())
    assert "gpu.count" in (run.folder / "report.html").read_text()
