"""What roles declare for a host: their own variables, resolved by the real Ansible."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gpuhost import inventory

HOSTS = """
all:
  hosts:
    bare: {}
    pinned: {docker_ce_version: "28.1", docker_ce_daemon_config: {debug: true}}
    wrong: {docker_ce_repo_url: "{{ nowhere }}"}
"""
BOOKWORM = {
    "distribution": "Debian",
    "distribution_version": "12",
    "distribution_major_version": "12",
    "distribution_release": "bookworm",
    "os_family": "Debian",
    "machine": "x86_64",
}
ROCKY = BOOKWORM | {"distribution": "Rocky", "os_family": "RedHat", "distribution_major_version": 9}


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> inventory.Inventory:
    path = tmp_path_factory.mktemp("declared") / "hosts.yml"
    path.write_text(HOSTS)
    return inventory.load(path)


def declared(hosts: inventory.Inventory, host: str, role: str, facts: dict[str, Any]) -> Any:
    found, unresolved = hosts.declare(host, [role], facts)
    assert unresolved == {}
    return found[role]


def test_files_are_rendered_for_the_host(hosts: inventory.Inventory) -> None:
    found = declared(hosts, "bare", "docker_ce", BOOKWORM)
    text = found["files"]["/etc/apt/sources.list.d/docker.sources"]
    assert "Suites: bookworm\n" in text
    assert f"Signed-By: {found['key']['path']}" in text


def test_the_operating_system_decides(hosts: inventory.Inventory) -> None:
    found = declared(hosts, "bare", "docker_ce", ROCKY)
    assert list(found["files"]) == ["/etc/yum.repos.d/docker-ce.repo"]
    assert "docker-engine" in found["conflicting"]


def test_the_inventorys_variables_are_taken(hosts: inventory.Inventory) -> None:
    found = declared(hosts, "pinned", "docker_ce", BOOKWORM)
    assert found["packages"]["docker-ce"] == "28.1"
    assert found["packages"]["containerd.io"] == ""
    assert found["held"] == ["docker-ce", "docker-ce-cli"]
    toolkit = declared(hosts, "pinned", "nvidia_container_toolkit", BOOKWORM)
    assert toolkit["daemon_config"]["debug"] is True
    assert toolkit["daemon_config"]["features"] == {"cdi": True}


def test_what_cannot_be_resolved_is_told_by_role(hosts: inventory.Inventory) -> None:
    found, unresolved = hosts.declare("wrong", ["docker_ce", "docker_users"], BOOKWORM)
    assert "nowhere" in unresolved["docker_ce"]
    assert "docker_ce" not in found


def test_a_role_without_a_declaration_declares_nothing(hosts: inventory.Inventory) -> None:
    assert declared(hosts, "bare", "docker_users", BOOKWORM) == {}


def test_every_role_that_installs_packages_declares_what_it_makes() -> None:
    roles = Path(__file__).parents[3] / "playbooks" / "roles"
    tasks = [
        p
        for p in roles.glob("*/tasks/*.yml")
        if re.search(r"^ +(text_files|software):", p.read_text(), re.MULTILINE)
    ]
    writing = {path.parents[1].name for path in tasks} - {"preflight", "software"}
    assert writing >= {"docker_ce", "nvidia_driver", "nvidia_container_toolkit"}
    for role in writing:
        assert f"__{role}_declared:" in (roles / role / "vars" / "main.yml").read_text()
