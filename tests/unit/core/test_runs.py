from __future__ import annotations

import io
from pathlib import Path

import pytest

from gpuhost import runs
from gpuhost.errors import StateError
from gpuhost.events import HostResult
from gpuhost.ui import PlainUi


def test_a_run_keeps_in_its_folder_what_was_shown(tmp_path: Path) -> None:
    shown = io.StringIO()
    run = runs.begin(tmp_path / "runs")
    with runs.logged(run, PlainUi(shown)) as ui, ui.stage("provision", ["lab-01"]):
        ui.listen(HostResult("lab-01", "Install", "failed", "no space left", 1.5, "docker_ce"))
        ui.say("lab-01: stopped")
    log = (run.folder / runs.LOG).read_text()
    assert "lab-01  docker_ce: Install  failed  1.5 s  no space left" in log
    assert "lab-01: stopped" in log
    assert [line[8:] for line in log.splitlines()] == [
        line[8:] for line in shown.getvalue().splitlines()
    ]


def test_a_place_where_no_run_can_be_kept_is_refused_before_anything_is_done() -> None:
    with pytest.raises(StateError, match="cannot be kept in /proc/nope/runs: No such file"):
        runs.begin(Path("/proc/nope/runs"))


def test_what_a_run_keeps_is_for_its_owner_alone(tmp_path: Path) -> None:
    run = runs.begin(tmp_path / "runs")
    with runs.logged(run, PlainUi(io.StringIO())):
        pass
    assert run.folder.stat().st_mode & 0o077 == 0
