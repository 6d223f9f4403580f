"""The roles on hosts that say they are of another distribution, with its repositories."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.lab import Lab
from support.target import Target

pytestmark = pytest.mark.slow
OTHER_BRANCH = "535"


@pytest.fixture(scope="module")
def ubuntu(lab: Lab) -> Iterator[Target]:
    """An Ubuntu host that gpuhost provisioned from bare."""
    name = lab.up("lab-81", "--gpus", "2", "--os", "ubuntu2404")
    lab.ok("provision", name, "--yes")
    yield Target(lab, name)
    lab.ok("lab", "down", name)


def test_an_ubuntu_host_passes_the_proof(lab: Lab, ubuntu: Target) -> None:
    verified = lab.verify(ubuntu.name)
    assert verified.bad == {}
    assert verified.host["facts"]["os"] == "Ubuntu 24.04 LTS"


def test_a_second_run_on_ubuntu_changes_nothing(ubuntu: Target) -> None:
    assert ubuntu.good().changed == 0


def test_ubuntus_persistenced_is_started_in_persistence_mode(ubuntu: Target) -> None:
    unit = ubuntu.run("cat", "/usr/lib/systemd/system/nvidia-persistenced.service")
    assert "--no-persistence-mode" in unit
    assert "--no-persistence-mode" not in ubuntu.run("pgrep", "--list-full", "nvidia-persiste")


def test_another_branch_on_ubuntu_changes_its_pin_and_the_names_of_packages(
    ubuntu: Target,
) -> None:
    before = ubuntu.loaded
    ubuntu.good(nvidia_driver_branch=OTHER_BRANCH)
    assert ubuntu.loaded.startswith(f"{OTHER_BRANCH}.")
    names = {f"nvidia-driver-{OTHER_BRANCH}-open", f"nvidia-driver-pinning-{OTHER_BRANCH}"}
    assert names <= ubuntu.held
    installed = ubuntu.run("dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n")
    assert "libnvidia-compute-550 installed" not in installed
    ubuntu.good()
    assert ubuntu.loaded == before


def test_docker_on_ubuntu_is_the_vendors_for_the_code_name(ubuntu: Target) -> None:
    assert "~ubuntu.24.04~noble" in ubuntu.version("docker-ce")
