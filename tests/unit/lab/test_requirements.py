import os
import shutil
from pathlib import Path

import pytest

from gpuhost.errors import LabError
from gpuhost.lab import cgroups, mounts, requirements


def test_an_ordinary_user_is_told_to_use_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError) as caught:
        requirements.check_requirements()
    assert "sudo" in caught.value.remedy


def test_missing_programs_become_one_command_that_installs_their_packages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        shutil, "which", lambda name, **_: None if "ssh" in name else f"/bin/{name}"
    )
    monkeypatch.setitem(requirements.FILES, "/nowhere/stdio.h", "libc6-dev")
    with pytest.raises(LabError) as caught:
        requirements.check_packages()
    assert caught.value.remedy.endswith("install --no-install-recommends libc6-dev openssh-client")


def test_a_machine_without_apt_is_told_what_the_lab_runs_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(LabError) as caught:
        requirements.check_packages()
    assert "Debian 12" in caught.value.remedy


def test_a_machine_without_version_2_cgroups_is_told_how_to_mount_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table = tmp_path / "mountinfo"
    table.write_text("24 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n")
    monkeypatch.setattr(mounts, "TABLE", table)
    with pytest.raises(LabError) as caught:
        cgroups.mount_point()
    assert "mount -t cgroup2" in caught.value.remedy


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
def test_a_state_folder_that_no_overlay_can_lie_over_is_refused_with_the_kernels_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requirements, "_OVERLAY_TRIAL", 'echo "wrong fs type: $1" >&2; exit 32')
    with pytest.raises(LabError) as caught:
        requirements.check_overlay(tmp_path)
    assert "wrong fs type" in caught.value.message
    assert "GPUHOST_LAB_STATE" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="making links takes root")
def test_trials_of_the_network_leave_no_link_on_the_machine() -> None:
    before = sorted(Path("/sys/class/net").iterdir())
    requirements.check_network()
    assert sorted(Path("/sys/class/net").iterdir()) == before
