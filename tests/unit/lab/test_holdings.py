from pathlib import Path

import pytest

from gpuhost.errors import LabError
from gpuhost.lab import holdings, mounts
from gpuhost.lab.state import Holdings, boot_id


def group_with_a_switch(folder: Path) -> Path:
    """A folder that looks like a control group to what would end its processes."""
    folder.mkdir()
    (folder / "cgroup.kill").write_text("")
    (folder / "cgroup.events").write_text("populated 0\nfrozen 0\n")
    return folder


def test_folders_on_record_are_removed_and_others_left(tmp_path: Path) -> None:
    ours, other = tmp_path / "lab-01", tmp_path / "lab-010"
    for folder in (ours, other):
        (folder / "upper").mkdir(parents=True)
    holdings.release(Holdings(boot_id=boot_id(), folders=(str(ours),)))
    assert not ours.exists()
    assert other.exists()


def test_giving_back_twice_is_harmless(tmp_path: Path) -> None:
    held = Holdings(
        boot_id=boot_id(),
        cgroups=(str(tmp_path / "group"),),
        mounts=(str(tmp_path / "root"),),
        links=("vb-no-such-link",),
        folders=(str(tmp_path / "host"),),
    )
    holdings.release(held)
    holdings.release(held)


def test_processes_of_a_group_from_before_a_reboot_are_not_ours_to_end(tmp_path: Path) -> None:
    group = group_with_a_switch(tmp_path / "group")
    holdings.release(Holdings(boot_id="an earlier boot", cgroups=(str(group),)))
    assert (group / "cgroup.kill").read_text() == ""


def test_a_link_from_before_a_reboot_is_not_ours_to_remove() -> None:
    holdings.release(Holdings(boot_id="an earlier boot", links=("lo",)))
    assert (holdings.LINKS / "lo").exists()


def test_processes_of_this_boot_are_ended(tmp_path: Path) -> None:
    group = group_with_a_switch(tmp_path / "group")
    with pytest.raises(OSError, match="not empty"):  # a real group's files vanish with it
        holdings.release(Holdings(boot_id=boot_id(), cgroups=(str(group),)))
    assert (group / "cgroup.kill").read_text() == "1"


def test_a_folder_with_something_mounted_in_it_is_not_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "lab-01"
    (folder / "docker" / "data").mkdir(parents=True)
    table = tmp_path / "mountinfo"
    table.write_text(f"50 24 254:0 / {folder}/docker rw - ext4 /dev/vda rw\n")
    monkeypatch.setattr(mounts, "TABLE", table)
    with pytest.raises(LabError) as caught:
        holdings.release(Holdings(boot_id=boot_id(), folders=(str(folder),)))
    assert caught.value.remedy == f"Run: umount {folder}/docker"
    assert (folder / "docker" / "data").exists()
