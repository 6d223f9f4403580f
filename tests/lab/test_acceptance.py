"""An independent look at a host that gpuhost provisioned: none of gpuhost's checks is used."""

from __future__ import annotations

import json
import re

import pytest
from support.lab import Lab
from testinfra.host import Host

DRIVER = ("nvidia-driver-cuda", "nvidia-kernel-open-dkms")
DOCKER = ("docker-ce", "docker-ce-cli", "containerd.io")
TOOLKIT = (
    "nvidia-container-toolkit",
    "nvidia-container-toolkit-base",
    "libnvidia-container-tools",
    "libnvidia-container1",
)
UUIDS = re.compile(r"GPU-[0-9a-f-]{36}")


def uuids_inside(host: Host, options: str, image: str) -> list[str]:
    """The GPUs that a container with these options sees."""
    ran = host.run(f"docker run --rm {options} {image} nvidia-smi -L")
    return UUIDS.findall(ran.stdout)


@pytest.fixture(scope="module")
def uuids(host: Host) -> list[str]:
    """The host's GPUs in their order."""
    return UUIDS.findall(host.check_output("nvidia-smi -L"))


@pytest.fixture(scope="module")
def cuda_image(host: Host) -> str:
    """The CUDA image that verification brought."""
    listed: str = host.check_output("docker images --format '{{.Repository}}:{{.Tag}}'")
    images = listed.split()
    return next(image for image in images if image.startswith("nvidia/cuda:"))


@pytest.mark.parametrize("name", [*DRIVER, *DOCKER, *TOOLKIT])
def test_the_package_is_installed(host: Host, name: str) -> None:
    assert host.package(name).is_installed


def test_the_driver_is_of_the_declared_branch_and_held(
    lab: Lab, provisioned: str, host: Host
) -> None:
    (declared,) = json.loads(lab.ok("hosts", provisioned, "--json").stdout)
    assert host.package("nvidia-driver-cuda").version.startswith(f"{declared['driver_branch']}.")
    held = host.check_output("apt-mark showhold").split()
    assert set(DRIVER) <= set(held)


def test_the_four_toolkit_packages_have_one_version(host: Host) -> None:
    assert len({host.package(name).version for name in TOOLKIT}) == 1


@pytest.mark.parametrize(
    "unit", ["docker.service", "containerd.service", "nvidia-persistenced.service"]
)
def test_the_service_runs_and_starts_at_boot(host: Host, unit: str) -> None:
    assert host.service(unit).is_running
    assert host.service(unit).is_enabled


def test_daemon_json_registers_the_nvidia_runtime(host: Host) -> None:
    config = json.loads(host.file("/etc/docker/daemon.json").content_string)
    assert config["runtimes"]["nvidia"]["path"] == "nvidia-container-runtime"


def test_the_declared_user_is_in_the_docker_group_and_runs_docker_without_sudo(host: Host) -> None:
    assert "docker" in host.user("alice").groups
    assert host.run("su - alice -c 'docker ps'").rc == 0


def test_nouveau_is_gone_for_good(host: Host) -> None:
    assert not host.file("/sys/module/nouveau").exists
    assert host.run("grep -rqs 'blacklist nouveau' /etc/modprobe.d").rc == 0


def test_the_host_has_its_four_gpus(uuids: list[str]) -> None:
    assert len(set(uuids)) == 4


@pytest.mark.parametrize(
    "options",
    [
        "--gpus device={index}",
        "--gpus device={uuid}",
        "--runtime=nvidia -e NVIDIA_VISIBLE_DEVICES={index}",
        "--device nvidia.com/gpu={index}",
    ],
)
def test_a_container_sees_just_the_gpu_that_it_asked_for(
    host: Host, uuids: list[str], cuda_image: str, options: str
) -> None:
    request = options.format(index=2, uuid=uuids[2])
    assert uuids_inside(host, request, cuda_image) == [uuids[2]]


def test_the_kernel_and_not_only_the_file_system_keeps_a_container_from_other_gpus(
    host: Host, cuda_image: str
) -> None:
    script = "mknod /tmp/other c 195 0 && exec 3</tmp/other"
    ran = host.run(f"docker run --rm --gpus device=1 {cuda_image} sh -c '{script}'")
    assert ran.rc != 0
    assert "Operation not permitted" in ran.stderr


def test_no_container_of_the_verification_is_left(host: Host) -> None:
    assert host.check_output("docker ps -aq") == ""


def test_a_second_provision_runs_no_role(lab: Lab, provisioned: str, host: Host) -> None:
    boot_id = host.file("/proc/sys/kernel/random/boot_id").content_string
    ran = lab.ok("provision", provisioned, "--yes")
    assert "provision: " not in ran.stderr
    assert host.file("/proc/sys/kernel/random/boot_id").content_string == boot_id


def test_every_role_run_in_full_changes_nothing(lab: Lab, provisioned: str) -> None:
    ran = lab.ok("provision", provisioned, "--yes", "--full")
    assert f"{provisioned}: no changes" in ran.stderr


def test_a_file_edited_by_hand_is_noticed_and_put_right_by_its_role_and_those_after_it(
    lab: Lab, provisioned: str
) -> None:
    path = "/etc/apt/sources.list.d/docker.sources"
    before = lab.exec(provisioned, ["cat", path])
    lab.exec(provisioned, ["sh", "-c", f"echo '# by hand' >>{path}"])
    (planned,) = lab.ok("plan", provisioned, "--json").document["hosts"]
    (change,) = planned["changes"]
    assert change["what"] == f"rewrite {path} (it is not as it was written)"
    assert planned["runs"][0] == {"role": "docker_ce", "why": "the plan has changes of it"}
    assert "nvidia_driver" not in [run["role"] for run in planned["runs"]]
    lab.ok("provision", provisioned, "--yes")
    assert lab.exec(provisioned, ["cat", path]) == before
    (planned,) = lab.ok("plan", provisioned, "--json").document["hosts"]
    assert planned["runs"] == []


def test_after_provisioning_the_plan_is_empty(lab: Lab, provisioned: str) -> None:
    ran = lab.ok("plan", provisioned)
    assert ran.stdout == f"{provisioned}: nothing to change\n"
