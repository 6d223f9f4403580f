"""The roles on hosts as operators have them, run with plain ansible-playbook."""

from __future__ import annotations

import json
import re

import pytest
from support.lab import Lab
from support.target import DAEMON_JSON, Target

OTHER_BRANCH = "535"
FOREIGN = {"bip": "172.30.0.1/16", "features": {"buildkit": True}}


# ------------------------------------------------- a host with a history


@pytest.fixture(scope="module")
def target(lab: Lab) -> Target:
    """A Debian 13 host that had Debian's Docker, provisioned."""
    target = Target(lab, lab.up("lab-31", "--gpus", "2", "--os", "debian13"))
    target.run("apt-get", "update")
    target.run("apt-get", "install", "--yes", "--no-install-recommends", "docker.io", "docker-cli")
    target.run("mkdir", "-p", "/etc/docker", "/var/lib/docker/volumes/precious")
    target.write(DAEMON_JSON, json.dumps(FOREIGN))
    target.write(
        "/etc/apt/sources.list.d/nvidia-docker.list", "deb http://192.0.2.1/nvidia-docker ./\n"
    )
    target.good()
    return target


def test_debians_docker_is_replaced_and_what_it_stored_is_kept(target: Target) -> None:
    installed = target.run("dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n")
    assert "docker-ce installed" in installed
    assert "docker.io installed" not in installed
    assert "runc installed" not in installed
    target.run("test", "-d", "/var/lib/docker/volumes/precious")


def test_foreign_keys_and_features_survive_the_registration_of_the_runtime(target: Target) -> None:
    config = target.daemon_json
    assert config["bip"] == FOREIGN["bip"]
    assert config["features"] == {"buildkit": True, "cdi": True}
    assert config["runtimes"]["nvidia"] == {"path": "nvidia-container-runtime", "args": []}


def test_old_list_files_are_gone(target: Target) -> None:
    assert "nvidia-docker.list" not in target.run("ls", "/etc/apt/sources.list.d")


def test_every_package_of_the_driver_is_held_and_none_of_the_toolkit(target: Target) -> None:
    listed = target.run("dpkg-query", "-W", "-f", "${Package} ${Version}\n")
    version = target.version("nvidia-driver-cuda")
    of_driver = {line.split()[0] for line in listed.splitlines() if line.endswith(f" {version}")}
    assert len(of_driver) > 5
    assert target.held == of_driver


def test_a_second_run_changes_nothing(target: Target) -> None:
    assert target.good().changed == 0


def test_check_mode_foresees_no_change_either(target: Target) -> None:
    assert target.good("--check", "--diff").changed == 0


def test_a_pinned_docker_goes_back_a_version_is_held_and_comes_forward_again(
    target: Target,
) -> None:
    newer = target.version("docker-ce")
    (older,) = {
        line.split("|")[1].strip()
        for line in target.run("apt-cache", "madison", "docker-ce").splitlines()
    } - {newer}
    target.good("-t", "docker_ce", docker_ce_version=older)
    assert target.version("docker-ce") == target.version("docker-ce-cli") == older
    assert {"docker-ce", "docker-ce-cli"} <= target.held
    assert target.good("-t", "docker_ce", docker_ce_version=older).changed == 0
    target.good("-t", "docker_ce", docker_ce_version=newer)
    assert target.version("docker-ce") == newer
    target.run("apt-mark", "unhold", "docker-ce", "docker-ce-cli")


def test_what_dockerd_refuses_never_reaches_the_file(target: Target) -> None:
    before = target.daemon_json
    play = target.provision("-t", "docker_ce", docker_ce_daemon_config={"nonsense": 1})
    assert not play.is_good
    assert "don't match any configuration option: nonsense" in play.output
    assert target.daemon_json == before


def test_a_configuration_that_dockerd_cannot_start_with_is_taken_back(target: Target) -> None:
    before = target.daemon_json
    # Valid by itself; but the unit passes -H as well.
    hosts = {"hosts": ["tcp://127.0.0.1:2375"]}
    play = target.provision("-t", "docker_ce", docker_ce_daemon_config=hosts)
    assert not play.is_good
    assert "specified both as a flag and in the configuration file: hosts" in play.output
    assert "dockerd runs now" in play.output
    assert target.daemon_json == before
    target.run("docker", "info")


def test_a_broken_daemon_json_stops_everything_before_it_begins(target: Target) -> None:
    before = target.run("cat", DAEMON_JSON)
    target.write(DAEMON_JSON, '{"a": 1,}')
    try:
        play = target.provision()
        assert not play.is_good
        assert play.changed == 0
        assert "it is not valid JSON" in play.output
        assert target.run("cat", DAEMON_JSON) == '{"a": 1,}'
    finally:
        target.write(DAEMON_JSON, before)


def test_all_users_that_do_not_exist_are_named(target: Target) -> None:
    play = target.provision("-t", "docker_users", docker_users_names=["alice", "dora", "emil"])
    assert not play.is_good
    assert "there is no user dora, emil on this host" in play.output


def test_another_branch_is_loaded_without_a_reboot_and_cdi_follows(target: Target) -> None:
    boot_id, before = target.boot_id, target.loaded
    target.good(nvidia_driver_branch=OTHER_BRANCH)
    assert target.loaded.startswith(f"{OTHER_BRANCH}.")
    assert target.boot_id == boot_id
    assert target.version("libnvidia-ml1").startswith(f"{OTHER_BRANCH}.")
    assert {"nvidia-driver-cuda", "libnvidia-ml1", "nvidia-smi"} <= target.held
    assert f"libnvidia-ml.so.{target.loaded}" in target.run("cat", "/var/run/cdi/nvidia.yaml")
    target.good()
    assert target.loaded == before


def test_a_branch_that_is_not_offered_is_refused_with_those_that_are_and_the_hold_stays(
    target: Target,
) -> None:
    held = target.held
    play = target.provision("-t", "nvidia_driver", nvidia_driver_branch="590")
    assert not play.is_good
    assert "nvidia-persistenced: no repository has 590.*, but 580." in play.output
    assert f", {target.version('nvidia-driver-cuda')}, " in play.output
    assert "nvidia_driver_branch and nvidia_driver_version choose among them" in play.output
    assert target.held == held
    target.good("-t", "nvidia_driver")


def test_a_busy_gpu_stands_against_another_driver_before_anything_is_touched(
    target: Target,
) -> None:
    # O_PATH: there is no hardware behind the simulated node that could be opened for real.
    script = "import os, time; os.open('/dev/nvidia0', os.O_PATH); time.sleep(600)"
    target.run("systemd-run", "--unit=trainer", "python3", "-c", script)
    try:
        play = target.provision(nvidia_driver_branch=OTHER_BRANCH)
        assert not play.is_good
        assert play.changed == 0
        assert re.search(r"GPUs are in use by \d+ python3", play.output)
        assert target.good("-t", "nvidia_driver").is_good
    finally:
        target.run("systemctl", "stop", "trainer")


# ------------------------------------------------- a bare host


@pytest.fixture(scope="module")
def bare(lab: Lab) -> Target:
    """A bare Debian 12 host, on which nouveau has the GPUs."""
    return Target(lab, lab.up("lab-32", "--gpus", "2", "--os", "debian12"))


def test_everything_that_is_wrong_is_said_at_once(bare: Target) -> None:
    play = bare.provision(
        nvidia_driver_branch="620",
        nvidia_driver_modules="proprietary",
        preflight_free_mib={"/usr": 10**9},
    )
    assert not play.is_good
    assert play.changed == 0
    assert "the proprietary kernel modules of branch 620 do not drive" in play.output
    assert "MiB are needed" in play.output


def test_a_key_with_another_fingerprint_is_refused_with_both(bare: Target) -> None:
    play = bare.provision(nvidia_driver_repo_key_fingerprint="A" * 40)
    assert not play.is_good
    assert re.search(
        rf"its fingerprint is [0-9A-F]{{40}}, and {'A' * 40} was expected", play.output
    )


def test_the_controller_can_die_while_packages_are_installed(bare: Target) -> None:
    bare.killed_at("software : Configure the repositories, and install and hold the packages", 2.5)


def test_a_host_that_must_not_be_rebooted_says_why_it_has_to_be(bare: Target) -> None:
    boot_id = bare.boot_id
    play = bare.provision(nvidia_driver_reboot=False)
    assert not play.is_good
    assert "nouveau is loaded and has the GPUs, and nvidia_driver_reboot is false" in play.output
    assert bare.boot_id == boot_id


@pytest.mark.parametrize(
    ("task", "seconds"),
    [
        ("Reboot, because nouveau is loaded and has the GPUs", 1.0),
        ("docker_ce : Merge the declared keys into daemon.json", 0.1),
        ("Register the runtime with dockerd", 1.0),
    ],
)
def test_the_controller_can_die_later(bare: Target, task: str, seconds: float) -> None:
    bare.killed_at(task, seconds)


def test_the_next_run_finishes_what_was_left_and_the_one_after_it_changes_nothing(
    bare: Target,
) -> None:
    bare.good()
    assert bare.good().changed == 0
    assert "libnvidia-ml" in bare.run("cat", "/var/run/cdi/nvidia.yaml")
    assert "nvidia" in bare.run("docker", "info", "--format", "{{.Runtimes}}")
