"""Several hosts at once: one is well, one is sick, one cannot be reached."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.lab import Lab

SICK, AWAY = "lab-00", "lab-99"


@pytest.fixture(scope="module")
def fleet(lab: Lab, provisioned: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An inventory of the three, the sick host first; it has no room for a driver."""
    lab.up(SICK, "--gpus", "1")
    content = yaml.safe_load((lab.project / "inventories/lab/hosts.yml").read_text())
    (release,) = content["lab"]["children"].values()
    release["hosts"][SICK]["preflight_free_mib"] = {"/usr": 10**9}
    away = {**release["hosts"][provisioned], "ansible_host": "198.18.77.199"}
    named = {SICK: release["hosts"][SICK], provisioned: release["hosts"][provisioned], AWAY: away}
    release["hosts"] = named
    path = tmp_path_factory.mktemp("fleet") / "hosts.yml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def changed(fleet: Path, folder: Path, host: str, **variables: Any) -> str:
    """The inventory with variables of one host set; its path."""
    content = yaml.safe_load(fleet.read_text())
    (release,) = content["lab"]["children"].values()
    release["hosts"][host].update(variables)
    path = folder / "hosts.yml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(path)


def test_a_sick_and_an_unreachable_host_do_not_keep_the_others_from_finishing(
    lab: Lab, provisioned: str, fleet: Path
) -> None:
    ran = lab.run("provision", "lab", "-i", str(fleet), "--yes")
    assert ran.code == 3
    lines = ran.stdout.splitlines()
    assert lines[-1] == "3 hosts: 1 PASS, 1 UNKNOWN, 1 FAIL"
    assert [line.split()[1:3] for line in lines[-5:-2]] == [
        ["PASS", provisioned],
        ["UNKNOWN", AWAY],
        ["FAIL", SICK],
    ]
    assert "MiB are needed" in ran.stdout
    assert "198.18.77.199" in ran.stdout


def test_a_canary_that_fails_keeps_the_others_untouched(
    lab: Lab, provisioned: str, fleet: Path
) -> None:
    ran = lab.run("provision", SICK, provisioned, "-i", str(fleet), "--yes", "--canary", "--json")
    assert ran.code == 1
    sick, spared = ran.document["hosts"]
    assert (sick["host"], sick["verdict"]) == (SICK, "FAIL")
    assert (spared["host"], spared["verdict"]) == (provisioned, "SKIP")
    assert spared["skipped"]["reason"] == f"not attempted: the canary {SICK} failed"
    assert f"batch 1 of 2 (canary): {SICK}" in ran.stderr
    assert f"provision: {provisioned}" not in ran.stderr


def test_a_limit_narrows_what_was_named(lab: Lab, provisioned: str, fleet: Path) -> None:
    ran = lab.ok("hosts", "lab", "-i", str(fleet), "--limit", f"lab:!{SICK}:!{AWAY}")
    assert [line.split()[0] for line in ran.stdout.splitlines()] == [provisioned]


def test_a_drained_host_is_left_alone_and_said_so(
    lab: Lab, provisioned: str, fleet: Path, tmp_path: Path
) -> None:
    reason = {"gpuhost_drained": True, "gpuhost_drained_reason": "a fan is being replaced"}
    ran = lab.run("provision", provisioned, "-i", changed(fleet, tmp_path, provisioned, **reason))
    assert ran.code == 0
    assert "drained: a fan is being replaced" in ran.stdout
    assert "plan:" not in ran.stderr


@pytest.fixture
def training(lab: Lab, provisioned: str) -> Iterator[str]:
    """A container that has the host's GPUs."""
    name = "training"
    words = ["docker", "run", "-d", "--name", name, "--gpus", "device=0", "--entrypoint", "sleep"]
    images = lab.exec(provisioned, ["docker", "images", "-q", "nvidia/cuda"]).split()
    lab.exec(provisioned, [*words, images[0], "600"])
    yield name
    lab.exec(provisioned, ["docker", "rm", "-f", name])


def test_a_busy_host_is_left_alone_where_it_would_be_disturbed(
    lab: Lab, provisioned: str, fleet: Path, training: str, tmp_path: Path
) -> None:
    wanted = {"docker_ce_daemon_config": {"log-opts": {"max-size": "7m"}}}
    path = changed(fleet, tmp_path, provisioned, **wanted)
    ran = lab.run("provision", provisioned, "-i", path, "--yes")
    assert ran.code == 1
    assert f"busy, and provisioning would disturb it: container {training}" in ran.stdout
    assert "GPUs 0" in ran.stdout
    assert "--include-busy" in ran.stdout
    state = ["docker", "inspect", "-f", "{{.State.Running}}", training]
    assert lab.exec(provisioned, state).strip() == "true"


def test_a_busy_host_is_not_disturbed_by_what_touches_neither_docker_nor_driver(
    lab: Lab, provisioned: str, fleet: Path, training: str
) -> None:
    lab.exec(provisioned, ["gpasswd", "--delete", "alice", "docker"])
    started = ["docker", "inspect", "-f", "{{.State.StartedAt}}", training]
    before = lab.exec(provisioned, started)
    ran = lab.run("provision", provisioned, "-i", str(fleet), "--yes", "--json")
    (host,) = ran.document["hosts"]
    assert host["skipped"] is None
    assert "alice" in lab.exec(provisioned, ["getent", "group", "docker"])
    assert lab.exec(provisioned, started) == before
