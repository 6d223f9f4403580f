import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from support.lab_records import make_record

from gpuhost.lab import inventory_file, keys
from gpuhost.lab.settings import LabSettings
from gpuhost.lab.state import HostRecord
from gpuhost.onboard.yaml_text import insert


@pytest.fixture
def records(where: LabSettings) -> tuple[HostRecord, ...]:
    """Two hosts of one release and one of another, with the variables of each."""
    hosts = (
        make_record(where, "lab-01", 11),
        make_record(where, "lab-02", 12, "debian13"),
        make_record(where, "lab-03", 13),
    )
    return tuple(
        replace(record, variables={"nvidia_driver_repo_url": f"http://mirror/{record.release}"})
        for record in hosts
    )


def test_hosts_are_grouped_by_release_and_get_its_repositories(
    records: tuple[HostRecord, ...],
) -> None:
    lab = inventory_file.content(records, Path("/k/ops"), Path("/p/known_hosts"))["lab"]
    assert list(lab["children"]) == ["lab_debian12", "lab_debian13"]
    older = lab["children"]["lab_debian12"]
    assert list(older["hosts"]) == ["lab-01", "lab-03"]
    assert older["vars"] == {"nvidia_driver_repo_url": "http://mirror/debian12"}


def test_each_host_declares_its_address_and_its_gpus(records: tuple[HostRecord, ...]) -> None:
    lab = inventory_file.content(records, Path("/k/ops"), Path("/p/known_hosts"))["lab"]
    assert lab["children"]["lab_debian13"]["hosts"]["lab-02"] == {
        "ansible_host": "198.18.66.12",
        "gpuhost_gpu_count": 4,
        "gpuhost_gpu_model": "A100",
        "nvidia_driver_branch": "550",
    }


def test_host_keys_are_checked_also_where_the_project_has_a_blank_in_its_name(
    records: tuple[HostRecord, ...],
) -> None:
    known_hosts = Path("/home/my project/known_hosts")
    lab = inventory_file.content(records, Path("/k/ops"), known_hosts)["lab"]
    words = shlex.split(lab["vars"]["ansible_ssh_common_args"])
    assert 'UserKnownHostsFile="/home/my project/known_hosts"' in words
    assert "StrictHostKeyChecking=yes" in words


def test_known_hosts_name_each_host_by_name_and_address(
    records: tuple[HostRecord, ...], tmp_path: Path
) -> None:
    inventory_file.write(tmp_path, records, tmp_path / "ops")
    lines = (tmp_path / "known_hosts").read_text().splitlines()
    assert [line.split()[0] for line in lines] == [
        "lab-01,198.18.66.11",
        "lab-02,198.18.66.12",
        "lab-03,198.18.66.13",
    ]
    keys_of_hosts = {line.split()[2] for line in lines}
    assert len(keys_of_hosts) == len(records)


def test_what_is_written_is_yaml_that_says_who_wrote_it(
    records: tuple[HostRecord, ...], tmp_path: Path
) -> None:
    inventory_file.write(tmp_path, records, tmp_path / "ops")
    text = (tmp_path / "hosts.yml").read_text()
    assert "gpuhost lab up" in text.splitlines()[0]
    expected = inventory_file.content(records, tmp_path / "ops", tmp_path / "known_hosts")
    assert yaml.safe_load(text) == expected


def test_an_inventory_is_removed_with_its_folder(
    records: tuple[HostRecord, ...], tmp_path: Path
) -> None:
    folder = tmp_path / "lab"
    folder.mkdir()
    inventory_file.write(folder, records, tmp_path / "ops")
    inventory_file.remove(folder)
    assert not folder.exists()
    inventory_file.remove(folder)


def test_what_a_user_put_beside_the_inventory_stays(
    records: tuple[HostRecord, ...], tmp_path: Path
) -> None:
    folder = tmp_path / "lab"
    folder.mkdir()
    inventory_file.write(folder, records, tmp_path / "ops")
    (folder / "host_vars.txt").write_text("mine")
    inventory_file.remove(folder)
    assert [path.name for path in folder.iterdir()] == ["host_vars.txt"]


def test_a_hosts_key_stays_the_same_once_it_is_made(where: LabSettings) -> None:
    record = make_record(where)
    first = keys.host_key(record).read_text()
    assert keys.host_key(record).read_text() == first
    assert keys.host_key(record).stat().st_mode & 0o077 == 0


def test_hosts_of_one_release_with_other_gpus_get_a_driver_that_drives_them(
    records: tuple[HostRecord, ...],
) -> None:
    ampere, _, blackwell = records
    content = inventory_file.content(
        (ampere, replace(blackwell, model="B200")), Path("/k/ops"), Path("/p/known_hosts")
    )
    hosts = content["lab"]["children"]["lab_debian12"]["hosts"]
    assert hosts["lab-01"]["nvidia_driver_branch"] == "550"
    assert hosts["lab-03"]["nvidia_driver_branch"] == "580"


def test_a_gpu_is_declared_by_its_own_name_whatever_board_it_is_on(
    records: tuple[HostRecord, ...],
) -> None:
    on_board = replace(records[0], model="H100-HGX")
    content = inventory_file.content((on_board,), Path("/k/ops"), Path("/p/known_hosts"))
    (host,) = content["lab"]["children"]["lab_debian12"]["hosts"].values()
    assert host["gpuhost_gpu_model"] == "H100"


def test_a_host_that_is_not_listed_has_its_group_and_no_entry(
    records: tuple[HostRecord, ...], tmp_path: Path
) -> None:
    bare = replace(records[1], listed=False)
    inventory_file.write(tmp_path, (records[0], bare), tmp_path / "ops")
    written = yaml.safe_load((tmp_path / "hosts.yml").read_text())["lab"]["children"]
    assert written["lab_debian13"]["hosts"] == {}
    assert written["lab_debian13"]["vars"] == {"nvidia_driver_repo_url": "http://mirror/debian13"}
    assert bare.address not in (tmp_path / "known_hosts").read_text()


def test_what_an_onboarding_wrote_stays_when_other_hosts_come_and_go(
    records: tuple[HostRecord, ...], tmp_path: Path
) -> None:
    bare = replace(records[1], listed=False)
    inventory_file.write(tmp_path, (bare,), tmp_path / "ops")
    text = (tmp_path / "hosts.yml").read_text()
    entry = {"ansible_host": bare.address, "gpuhost_gpu_count": 4}
    hosts = ("lab", "children", "lab_debian13", "hosts")
    (tmp_path / "hosts.yml").write_text(insert(text, hosts, bare.name, entry))
    inventory_file.write(tmp_path, (records[0], bare), tmp_path / "ops")
    written = yaml.safe_load((tmp_path / "hosts.yml").read_text())["lab"]["children"]
    assert written["lab_debian13"]["hosts"] == {bare.name: entry}
    assert bare.address in (tmp_path / "known_hosts").read_text()
    inventory_file.write(tmp_path, (records[0],), tmp_path / "ops")
    assert bare.name not in (tmp_path / "hosts.yml").read_text()
