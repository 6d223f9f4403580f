"""What the roles ask of each operating system's package manager.

Ansible itself resolves the roles' variables, for hosts that are
nothing but the facts of an operating system.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import roles

# Host → distribution, version, code name, family.
SYSTEMS = {
    "debian12": ("Debian", "12.13", "bookworm", "Debian"),
    "debian13": ("Debian", "13.7", "trixie", "Debian"),
    "ubuntu2204": ("Ubuntu", "22.04", "jammy", "Debian"),
    "ubuntu2404": ("Ubuntu", "24.04", "noble", "Debian"),
    "ubuntu2604": ("Ubuntu", "26.04", "resolute", "Debian"),
    "rhel8": ("RedHat", "8.10", "Ootpa", "RedHat"),
    "rocky9": ("Rocky", "9.6", "Blue Onyx", "RedHat"),
    "rhel10": ("RedHat", "10.1", "Coughlan", "RedHat"),
    "centos9": ("CentOS", "9", "Stream", "RedHat"),
    # The same once more with everything pinned, on another architecture, with an old GPU.
    "pinned_debian13": ("Debian", "13.7", "trixie", "Debian"),
    "pinned_ubuntu2404": ("Ubuntu", "24.04", "noble", "Debian"),
    "pinned_rocky9": ("Rocky", "9.6", "Blue Onyx", "RedHat"),
}
PINS = {
    "nvidia_driver_version": "580.178.04",
    "docker_ce_version": "29.8.2-1",
    "docker_ce_containerd_version": "2.3.1-1",
    "nvidia_container_toolkit_version": "1.20.0-1",
}
# As they may be written where packages are rpm's, too.
WITHOUT_RELEASES = {"docker_ce_version": "29.8.2", "nvidia_container_toolkit_version": "1.20.0"}

# What the host has on disk: of everyone, and of those with pins.
DRIVERS = ("580.178.04", "550.163.01")

OF_FAMILY = "__nvidia_driver_of_family[ansible_facts['os_family']]"

# Role → what its tasks pass on.
RESOLVED = {
    "nvidia_fabric_manager": [
        "__nvidia_fabric_manager_package",
        "__nvidia_fabric_manager_wanted",
    ],
    "nvidia_driver": [
        "__nvidia_driver_repo_url",
        "__nvidia_driver_repo_key_url",
        "__nvidia_driver_upstream_fingerprint",
        "__nvidia_driver_packages",
        "__nvidia_driver_version_pattern",
        f"{OF_FAMILY}.first",
        f"{OF_FAMILY}.stream",
    ],
    "docker_ce": [
        "__docker_ce_repo_url",
        "__docker_ce_repo_key_url",
        "__docker_ce_repo_key_fingerprint",
        "__docker_ce_packages",
        "__docker_ce_pinned",
        "__docker_ce_conflicting",
    ],
    "nvidia_container_toolkit": [
        "__nvidia_container_toolkit_repo_url",
        "__nvidia_container_toolkit_repo_key_url",
        "__nvidia_container_toolkit_packages",
    ],
}
# Family → the files that tell the package manager where packages are.
SOURCES = {
    "Debian": [
        "__nvidia_driver_apt_source",
        "__nvidia_driver_apt_preferences",
        "__docker_ce_apt_source",
        "__nvidia_container_toolkit_apt_source",
    ],
    "RedHat": [
        "__nvidia_driver_yum_repository",
        "__docker_ce_yum_repository",
        "__nvidia_container_toolkit_yum_repository",
    ],
}


def facts(host: str) -> dict[str, Any]:
    distribution, version, release, family = SYSTEMS[host]
    pinned = host.startswith("pinned_")
    return {
        "distribution": distribution,
        "distribution_version": version,
        "distribution_major_version": version.partition(".")[0],
        "distribution_release": release,
        "os_family": family,
        "machine": "aarch64" if pinned else "x86_64",
        "nvidia_driver_state": {
            "modules": "proprietary" if pinned else "open",
            "kernel": "6.12",
            "headers_present": False,
        },
    }


def play(out: Path) -> list[dict[str, Any]]:
    """A play that resolves what RESOLVED and SOURCES name, into one file for each host."""
    tasks: list[dict[str, Any]] = [
        {
            "ansible.builtin.set_fact": {
                **{name: f"{{{{ facts.{name} }}}}" for name in facts("debian13")},
                "cacheable": True,
            }
        }
    ]
    for role in RESOLVED:
        folder = roles.ROLES / role
        main = yaml.safe_load((folder / "tasks" / "main.yml").read_text())
        # The role's own way of finding the file of the operating system.
        (include,) = [task for task in main if "ansible.builtin.include_vars" in task]
        include = json.loads(
            json.dumps(include).replace("paths=['vars']", f"paths=['{folder}/vars']")
        )
        name = include["ansible.builtin.include_vars"]["file"]
        if "first_found" not in name:
            include["ansible.builtin.include_vars"]["file"] = f"{folder}/vars/{name}"
        tasks += [
            {"ansible.builtin.include_vars": {"file": f"{folder}/vars/main.yml"}},
            include,
        ]
    variables = {name: f"{{{{ {name} }}}}" for names in RESOLVED.values() for name in names}
    rendered = {
        family: {name: f"{{{{ {name} }}}}" for name in names} for family, names in SOURCES.items()
    }
    tasks.append(
        {
            "ansible.builtin.copy": {
                "dest": f"{out}/{{{{ inventory_hostname }}}}.json",
                "content": "{{ variables | combine(rendered[facts.os_family]) | to_json }}",
                "mode": "0644",
            },
            "vars": {"variables": variables, "rendered": rendered},
        }
    )
    return [
        {
            "hosts": "all",
            "gather_facts": False,
            "connection": "local",
            "tasks": tasks,
        }
    ]


@pytest.fixture(scope="session")
def resolved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What each host's package manager is asked for, by host."""
    folder = tmp_path_factory.mktemp("systems")
    hosts = {
        host: {
            "facts": facts(host),
            "nvidia_fabric_manager_board": {"driver_version": DRIVERS[host.startswith("pinned_")]},
            "ansible_python_interpreter": sys.executable,
            **(PINS if host.startswith("pinned_") else {}),
            **(WITHOUT_RELEASES if host == "pinned_rocky9" else {}),
        }
        for host in SYSTEMS
    }
    defaults: dict[str, Any] = {}
    for role in RESOLVED:
        defaults |= yaml.safe_load((roles.ROLES / role / "defaults" / "main.yml").read_text())
    inventory = {"all": {"hosts": hosts, "vars": defaults}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
    (folder / "play.yml").write_text(yaml.safe_dump(play(folder), sort_keys=False))
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["ansible-playbook", "-i", folder / "hosts.yml", folder / "play.yml"],
        env={**os.environ, "PATH": programs, "LC_ALL": "C.UTF-8", "ANSIBLE_FORKS": "4"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {host: json.loads((folder / f"{host}.json").read_text()) for host in SYSTEMS}


CUDA = "https://developer.download.nvidia.com/compute/cuda/repos"


@pytest.mark.parametrize(
    ("host", "folder", "key"),
    [
        ("debian12", "debian12/x86_64", "3bf863cc.pub"),
        ("debian13", "debian13/x86_64", "8793F200.pub"),
        ("ubuntu2204", "ubuntu2204/x86_64", "3bf863cc.pub"),
        ("ubuntu2404", "ubuntu2404/x86_64", "3bf863cc.pub"),
        ("ubuntu2604", "ubuntu2604/x86_64", "60DF8A40.pub"),
        ("rhel8", "rhel8/x86_64", "D42D0685.pub"),
        ("rocky9", "rhel9/x86_64", "D42D0685.pub"),
        ("rhel10", "rhel10/x86_64", "CDF6BA43.pub"),
        ("pinned_ubuntu2404", "ubuntu2404/sbsa", "3bf863cc.pub"),
    ],
)
def test_each_system_has_its_cuda_repository_and_key(
    resolved: dict[str, dict[str, Any]], host: str, folder: str, key: str
) -> None:
    assert resolved[host]["__nvidia_driver_repo_url"] == f"{CUDA}/{folder}"
    assert resolved[host]["__nvidia_driver_repo_key_url"] == f"{CUDA}/{folder}/{key}"
    # A key's file is named after the end of its fingerprint.
    fingerprint = resolved[host]["__nvidia_driver_upstream_fingerprint"]
    assert host == "rhel10" or fingerprint.endswith(key.removesuffix(".pub").upper())


@pytest.mark.parametrize(
    ("host", "packages", "pattern"),
    [
        (
            "debian13",
            ["nvidia-driver-cuda", "nvidia-kernel-open-dkms", "nvidia-persistenced"],
            "580.*",
        ),
        (
            "pinned_debian13",
            ["nvidia-driver-cuda", "nvidia-kernel-dkms", "nvidia-persistenced"],
            "580.178.04-*",
        ),
        ("ubuntu2404", ["nvidia-open"], "580.*"),
        ("pinned_ubuntu2404", ["cuda-drivers"], "580.178.04-*"),
        (
            "rocky9",
            ["nvidia-driver-cuda", "kmod-nvidia-open-dkms", "nvidia-persistenced"],
            "580.*",
        ),
        (
            "pinned_rocky9",
            ["nvidia-driver-cuda", "kmod-nvidia-latest-dkms", "nvidia-persistenced"],
            "580.178.04-*",
        ),
    ],
)
def test_the_driver_is_asked_for_by_name_branch_and_flavour(
    resolved: dict[str, dict[str, Any]], host: str, packages: list[str], pattern: str
) -> None:
    assert resolved[host]["__nvidia_driver_packages"] == packages
    assert resolved[host]["__nvidia_driver_version_pattern"] == pattern


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ("debian13", "nvidia-fabricmanager=580.178.04-*"),
        ("ubuntu2404", "nvidia-fabricmanager=580.178.04-*"),
        ("pinned_debian13", "nvidia-fabricmanager-550=550.163.01-*"),
        ("rocky9", "nvidia-fabricmanager-580.178.04"),
        ("pinned_rocky9", "nvidia-fabric-manager-550.163.01"),
    ],
)
def test_the_fabric_manager_is_asked_for_at_the_drivers_version_by_its_branchs_name(
    resolved: dict[str, dict[str, Any]], host: str, wanted: str
) -> None:
    assert resolved[host]["__nvidia_fabric_manager_wanted"] == wanted


def test_the_branch_is_held_the_way_each_system_has_for_it(
    resolved: dict[str, dict[str, Any]],
) -> None:
    first, stream = f"{OF_FAMILY}.first", f"{OF_FAMILY}.stream"
    assert resolved["ubuntu2404"][first] == ["nvidia-driver-pinning-580"]
    assert resolved["pinned_ubuntu2404"][first] == ["nvidia-driver-pinning-580.178.04"]
    assert resolved["debian13"][first] == []
    assert (
        "Pin: version 580.*\nPin-Priority: 1001"
        in resolved["debian13"]["__nvidia_driver_apt_preferences"]
    )
    assert resolved["rocky9"][stream] == "580-open"
    assert resolved["pinned_rocky9"][stream] == "580-dkms"
    assert resolved["rhel10"][stream] == ""


def test_what_the_driver_needs_of_a_rhel_comes_first(resolved: dict[str, dict[str, Any]]) -> None:
    of_the_system = ["python3-dnf-plugin-versionlock", "kernel-headers", "kernel-devel-6.12"]
    assert resolved["rocky9"][f"{OF_FAMILY}.first"] == ["epel-release", *of_the_system]
    assert resolved["rhel8"][f"{OF_FAMILY}.first"] == of_the_system


@pytest.mark.parametrize(
    ("host", "url", "first"),
    [
        ("debian13", "https://download.docker.com/linux/debian", "docker-ce"),
        ("ubuntu2604", "https://download.docker.com/linux/ubuntu", "docker-ce"),
        ("rocky9", "https://download.docker.com/linux/rhel", "docker-ce"),
        ("centos9", "https://download.docker.com/linux/centos", "docker-ce"),
        ("pinned_debian13", "https://download.docker.com/linux/debian", "docker-ce=29.8.2-1"),
        ("pinned_rocky9", "https://download.docker.com/linux/rhel", "docker-ce-29.8.2-*"),
    ],
)
def test_docker_comes_from_its_own_repository_for_the_system(
    resolved: dict[str, dict[str, Any]], host: str, url: str, first: str
) -> None:
    assert resolved[host]["__docker_ce_repo_url"] == url
    assert resolved[host]["__docker_ce_repo_key_url"] == f"{url}/gpg"
    assert resolved[host]["__docker_ce_packages"][0] == first
    assert len(resolved[host]["__docker_ce_packages"]) == 5


def test_pinned_packages_are_the_ones_that_are_held(resolved: dict[str, dict[str, Any]]) -> None:
    held = ["docker-ce", "docker-ce-cli", "containerd.io"]
    assert resolved["pinned_debian13"]["__docker_ce_pinned"] == held
    assert resolved["debian13"]["__docker_ce_pinned"] == []


def test_a_version_with_a_release_is_asked_for_as_it_is(
    resolved: dict[str, dict[str, Any]],
) -> None:
    assert "containerd.io-2.3.1-1" in resolved["pinned_rocky9"]["__docker_ce_packages"]


def test_podman_itself_is_never_among_the_conflicting_packages(
    resolved: dict[str, dict[str, Any]],
) -> None:
    for host in resolved.values():
        assert "podman" not in host["__docker_ce_conflicting"]


@pytest.mark.parametrize(
    ("host", "kind", "package"),
    [
        ("ubuntu2204", "deb", "nvidia-container-toolkit"),
        ("rhel8", "rpm", "nvidia-container-toolkit"),
        ("pinned_debian13", "deb", "nvidia-container-toolkit=1.20.0-1"),
        ("pinned_rocky9", "rpm", "nvidia-container-toolkit-1.20.0-*"),
    ],
)
def test_the_toolkit_is_asked_for_at_one_version(
    resolved: dict[str, dict[str, Any]], host: str, kind: str, package: str
) -> None:
    base = "https://nvidia.github.io/libnvidia-container"
    assert resolved[host]["__nvidia_container_toolkit_repo_url"] == f"{base}/stable/{kind}"
    assert resolved[host]["__nvidia_container_toolkit_repo_key_url"] == f"{base}/gpgkey"
    packages = resolved[host]["__nvidia_container_toolkit_packages"]
    assert packages[0] == package
    version = package.removeprefix("nvidia-container-toolkit")
    assert len(packages) == 4
    assert all(name.endswith(version) for name in packages)


def test_sources_for_apt_name_suite_architecture_and_key(
    resolved: dict[str, dict[str, Any]],
) -> None:
    docker = resolved["ubuntu2404"]["__docker_ce_apt_source"]
    assert "Suites: noble\nComponents: stable\nArchitectures: amd64\n" in docker
    assert "Signed-By: /etc/apt/keyrings/docker.asc" in docker
    assert "Architectures: arm64" in resolved["pinned_ubuntu2404"]["__docker_ce_apt_source"]
    cuda = resolved["debian12"]["__nvidia_driver_apt_source"]
    assert f"URIs: {CUDA}/debian12/x86_64/\nSuites: /\n" in cuda
    toolkit = resolved["pinned_debian13"]["__nvidia_container_toolkit_apt_source"]
    assert "/stable/deb/arm64/\nSuites: /\n" in toolkit


def test_repositories_for_dnf_check_signatures_with_the_key_on_disk(
    resolved: dict[str, dict[str, Any]],
) -> None:
    docker = resolved["rocky9"]["__docker_ce_yum_repository"]
    assert "baseurl=https://download.docker.com/linux/rhel/9/$basearch/stable" in docker
    assert "gpgcheck=1\ngpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-docker" in docker
    assert "gpgcheck=1\n" in resolved["rhel8"]["__nvidia_driver_yum_repository"]
    assert "repo_gpgcheck=1\n" in resolved["rhel8"]["__nvidia_container_toolkit_yum_repository"]
