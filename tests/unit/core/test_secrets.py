import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gpuhost import engine, secrets
from gpuhost.events import Event
from gpuhost.inventory import Host, desired
from gpuhost.model import Login

NGC = Login("nvcr.io", "$oauthtoken")
SECRET = "correct-horse-battery-staple"
PLAYBOOK = """\
- hosts: all
  gather_facts: false
  vars:
    asked: "{{ lookup('ansible.builtin.file', __registry_login_asked) | from_json }}"
  tasks:
    - ansible.builtin.assert:
        that: asked["$oauthtoken@nvcr.io"] == "correct-horse-battery-staple"
      no_log: true
"""


def host(name: str, *logins: Mapping[str, Any]) -> Host:
    return Host(name, "192.0.2.1", {secrets.VARIABLE: list(logins)})


def test_logins_without_a_password_are_found_with_their_hosts() -> None:
    account = {"registry": "nvcr.io", "username": "$oauthtoken"}
    found = secrets.undeclared(
        [
            host("a", account),
            host("b", account | {"password": ""}),
            host("c", account | {"password": "x"}),
            Host("d", "192.0.2.4"),
        ]
    )
    assert found == {NGC: ["a", "b"]}


def test_what_was_typed_is_read_from_memory_and_gone_afterwards() -> None:
    with secrets.readable({NGC: SECRET}) as variables:
        path = Path(str(variables[secrets.ASKED]))
        assert json.loads(path.read_text()) == {"$oauthtoken@nvcr.io": SECRET}
        assert "memfd" in str(path.readlink())
        assert SECRET not in str(variables)
    assert not path.exists()


def test_ansible_reads_what_was_typed_and_no_file_of_the_run_has_it(
    own_tmp: Path, tmp_path: Path
) -> None:
    inventory = tmp_path / "hosts.ini"
    inventory.write_text("here ansible_connection=local\n")
    playbook = tmp_path / "playbook.yml"
    playbook.write_text(PLAYBOOK)
    found: list[Path] = []

    def look(_event: Event) -> None:
        found.extend(holding(own_tmp, SECRET))

    with secrets.readable({NGC: SECRET}) as variables:
        outcome = engine.run(str(playbook), inventory, ["here"], variables, look)
    assert outcome.hosts["here"].ok
    assert found == []


def test_no_file_of_a_run_has_what_is_in_the_environment(
    own_tmp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NGC_API_KEY", SECRET)
    inventory = tmp_path / "hosts.ini"
    inventory.write_text("here ansible_connection=local\n")
    playbook = tmp_path / "playbook.yml"
    playbook.write_text(
        "- hosts: all\n  gather_facts: false\n  tasks: [ansible.builtin.meta: noop]\n"
    )
    found: list[Path] = []

    def look(_event: Event) -> None:
        found.extend(holding(own_tmp, SECRET))

    engine.run(str(playbook), inventory, ["here"], {}, look)
    assert found == []


def holding(folder: Path, word: str) -> list[Path]:
    """The files in a folder that hold the word."""
    return [
        path for path in folder.rglob("*") if path.is_file() and word.encode() in path.read_bytes()
    ]


def test_nothing_that_describes_a_host_has_its_passwords() -> None:
    account = {"registry": "nvcr.io", "username": "$oauthtoken", "password": SECRET}
    branch = {"nvidia_driver_branch": "580"}
    state = desired(Host("a", "192.0.2.1", {secrets.VARIABLE: [account], **branch}))
    assert state.registry_logins == (NGC,)
    assert SECRET not in repr(state)
