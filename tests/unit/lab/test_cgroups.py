import os
from pathlib import Path

import pytest

from gpuhost.errors import LabError
from gpuhost.lab import cgroups

needs_groups = pytest.mark.skipif(os.geteuid() != 0, reason="making control groups takes root")


@pytest.fixture
def top() -> Path:
    """The mounted hierarchy; skipped where there is none."""
    try:
        return cgroups.mount_point()
    except LabError as error:
        pytest.skip(error.message)


@needs_groups
def test_a_group_and_all_below_it_is_made_and_removed(top: Path) -> None:
    ours = top / f"gpuhost-test-{os.getpid()}"
    group = ours / "lab-01"
    try:
        cgroups.create(group, below=top)
        (group / "machine" / "payload").mkdir(parents=True)
        assert not cgroups.is_populated(group)
        assert list(cgroups.processes(group)) == []
    finally:
        cgroups.remove(ours)
    assert not ours.exists()


@needs_groups
def test_a_hosts_group_gets_every_controller_that_there_is(top: Path) -> None:
    ours = top / f"gpuhost-test-{os.getpid()}"
    try:
        cgroups.create(ours / "lab-01", below=top)
        available = (ours / "cgroup.controllers").read_text().split()
        assert (ours / "lab-01" / "cgroup.controllers").read_text().split() == available
    finally:
        cgroups.remove(ours)


def test_a_group_that_is_gone_has_nothing_to_end_or_to_remove(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    cgroups.kill(gone)
    cgroups.remove(gone)
    assert not cgroups.is_populated(gone)
    assert list(cgroups.processes(gone)) == []


def test_processes_that_hang_in_the_kernel_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "_END_WITHIN_S", 0.0)
    (tmp_path / "cgroup.kill").write_text("")
    (tmp_path / "cgroup.events").write_text("populated 1\n")
    (tmp_path / "cgroup.procs").write_text("4711\n4712\n")
    with pytest.raises(LabError, match="4711, 4712"):
        cgroups.kill(tmp_path)
