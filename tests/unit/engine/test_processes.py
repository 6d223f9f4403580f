"""Processes of a run, told from those of others by the run's folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.engine import until

from gpuhost import processes

# Starts a child that outlives it, as Ansible's workers may.
PARENT = "import subprocess; subprocess.Popen(['sleep', '67'], start_new_session=True)"


@pytest.fixture
def orphan(tmp_path: Path) -> Iterator[list[int]]:
    subprocess.run(
        [sys.executable, "-c", PARENT],
        env=os.environ | {"ANSIBLE_LOCAL_TEMP": f"{tmp_path}/tmp"},
        check=True,
    )
    until(lambda: list(processes.descendants(tmp_path)))
    yield list(processes.descendants(tmp_path))
    processes.end(processes.descendants, tmp_path)


def test_a_process_that_lost_its_parent_is_still_found_and_ended(
    tmp_path: Path, orphan: list[int]
) -> None:
    assert len(orphan) == 1
    assert list(processes.children(tmp_path)) == []
    processes.end(processes.descendants, tmp_path)
    assert list(processes.descendants(tmp_path)) == []


@pytest.mark.usefixtures("orphan")
def test_a_folder_whose_name_only_begins_alike_has_no_processes(tmp_path: Path) -> None:
    assert list(processes.descendants(Path(str(tmp_path)[:-1]))) == []


def test_own_children_are_told_from_other_descendants(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "67"], env={"X": f"{tmp_path}/x"}) as child:
        until(lambda: list(processes.children(tmp_path)) == [child.pid])
        child.kill()


def test_this_process_is_never_its_own_descendant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANSIBLE_LOCAL_TEMP", f"{tmp_path}/tmp")
    assert os.getpid() not in list(processes.descendants(tmp_path))


def test_a_process_that_has_ended_meanwhile_is_no_error() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    processes.signal_all([child.pid], signal.SIGTERM)
