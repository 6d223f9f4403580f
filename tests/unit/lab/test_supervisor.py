from pathlib import Path

import pytest

from gpuhost.lab.servers import supervisor


class Host:
    """A command that ends with one status after the other."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.groups: list[Path] = []

    def boot(self, group: Path, _command: list[str]) -> int:
        self.groups.append(group)
        return self.statuses.pop(0)


def supervise(host: Host, group: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(supervisor, "boot", host.boot)
    return supervisor.main(group, ["systemd-nspawn"])


def test_a_host_that_reboots_is_booted_again_until_it_powers_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(133, 133, 0)
    assert supervise(host, tmp_path, monkeypatch) == 0
    assert host.groups == [tmp_path / "machine"] * 3


def test_a_host_that_fails_to_start_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(1, 0)
    assert supervise(host, tmp_path, monkeypatch) == 1
    assert host.statuses == [0]


def test_the_supervisor_lives_beside_the_host_in_the_hosts_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervise(Host(0), tmp_path, monkeypatch)
    assert (tmp_path / "supervisor" / "cgroup.procs").read_text() == "0"


def test_each_boot_gets_a_new_group_without_what_the_last_one_left(tmp_path: Path) -> None:
    group = tmp_path / "machine"
    (group / "payload" / "system.slice").mkdir(parents=True)
    supervisor.renew(group)
    assert group.is_dir()
    assert list(group.iterdir()) == []
