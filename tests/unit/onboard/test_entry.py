"""What the inventory says of a new host."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from gpuhost.onboard import entry
from gpuhost.onboard.entry import Connection
from gpuhost.onboard.host_key import Place
from gpuhost.onboard.look import Found

PLACE = Place("192.0.2.17", 2222)
FOUND = Found("Debian 12", "6.1.0", None, 4)
KNOWN_HOSTS = Path("/site with a blank/known_hosts")


def test_an_entry_says_how_to_reach_the_host_and_what_was_found() -> None:
    made = entry.make(Connection(PLACE, "ops", Path("/keys/site")), {}, KNOWN_HOSTS, FOUND)
    assert list(made) == [
        "ansible_host",
        "ansible_port",
        "ansible_user",
        "ansible_ssh_private_key_file",
        "ansible_ssh_common_args",
        "gpuhost_gpu_count",
    ]
    options = shlex.split(made["ansible_ssh_common_args"])
    assert options[1] == 'UserKnownHostsFile="{{ inventory_dir }}/known_hosts"'
    assert options[3:] == ["StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes"]


def test_what_the_group_says_is_not_said_again() -> None:
    inherited = {
        "ansible_user": "ops",
        "ansible_ssh_common_args": f"-o 'UserKnownHostsFile=\"{KNOWN_HOSTS}\"'",
        "gpuhost_gpu_count": 4,
        "gpuhost_gpu_model": "H100",
    }
    found = Found("Debian 12", "6.1.0", True, 4, ("NVIDIA H100",))
    made = entry.make(Connection(Place("192.0.2.17"), "ops", None), inherited, KNOWN_HOSTS, found)
    assert made == {"ansible_host": "192.0.2.17"}


def test_ssh_options_of_the_group_come_after_ours() -> None:
    inherited = {"ansible_ssh_common_args": "-o ProxyJump=bastion"}
    made = entry.make(Connection(PLACE, "ops", None), inherited, KNOWN_HOSTS, FOUND)
    assert made["ansible_ssh_common_args"].startswith("-o 'UserKnownHostsFile=")
    assert made["ansible_ssh_common_args"].endswith(" -o ProxyJump=bastion")


def test_a_declaration_of_the_group_outweighs_what_is_found_and_that_is_said() -> None:
    inherited = {"gpuhost_gpu_count": 8}
    made = entry.make(Connection(PLACE, "ops", None), inherited, KNOWN_HOSTS, FOUND)
    assert "gpuhost_gpu_count" not in made
    assert "8, and 4 were found" in entry.contradictions(inherited, FOUND)
    assert entry.contradictions({"gpuhost_gpu_count": "4"}, FOUND) == ""
    assert entry.contradictions({}, FOUND) == ""


def test_a_model_is_declared_where_there_is_one() -> None:
    for models, declared in (
        (("NVIDIA H100",), "NVIDIA H100"),
        ((), None),
        (("NVIDIA H100", "NVIDIA L4"), None),
    ):
        found = Found("Debian 12", "6.1.0", False, 4, models)
        made = entry.make(Connection(PLACE, "ops", None), {}, KNOWN_HOSTS, found)
        assert made.get("gpuhost_gpu_model") == declared


def test_a_key_at_home_is_written_so_that_others_may_have_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    connection = Connection(PLACE, "ops", tmp_path / ".ssh" / "id_ed25519")
    assert connection.variables("x")["ansible_ssh_private_key_file"] == "~/.ssh/id_ed25519"


def test_the_look_takes_the_groups_interpreter_and_no_variables_of_roles() -> None:
    inherited = {"ansible_python_interpreter": "/opt/python", "docker_ce_version": "1"}
    variables = entry.to_look(Connection(PLACE, "ops", None), inherited, KNOWN_HOSTS)
    assert variables["ansible_python_interpreter"] == "/opt/python"
    assert "docker_ce_version" not in variables
    assert str(KNOWN_HOSTS) in variables["ansible_ssh_common_args"]
