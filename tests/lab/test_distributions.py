"""The roles on hosts that say they are of another distribution, with its repositories."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.lab import NOUVEAU, Lab
from support.target import Target

from gpuhost.collect import COMMAND_TIMEOUT_S
from gpuhost.lab import rpm

pytestmark = pytest.mark.slow
OTHER_BRANCH = "535"
# What dnf holds while it works.
HOLD_DNF = """
import subprocess, time
import dnf, dnf.lock
configuration = dnf.Base().conf
with (
    dnf.lock.build_rpmdb_lock(configuration.persistdir, True),
    dnf.lock.build_metadata_lock(configuration.cachedir, True),
):
    subprocess.run(["systemd-notify", "--ready"], check=True)
    time.sleep(10**6)
"""
HOLDING = ("--property=NotifyAccess=all", "/usr/bin/python3", "/root/hold.py")


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


def test_a_drop_in_that_somebody_changed_is_planned_and_written_again(
    lab: Lab, ubuntu: Target
) -> None:
    path = "/etc/systemd/system/nvidia-persistenced.service.d/gpuhost.conf"
    content = ubuntu.run("cat", path)
    ubuntu.write(path, "[Service]\n")
    plan = lab.ok("plan", ubuntu.name).stdout
    assert f"rewrite   {path}" in plan
    assert "restart   nvidia-persistenced.service" in plan
    lab.ok("provision", ubuntu.name, "--yes")
    assert ubuntu.run("cat", path) == content
    assert lab.ok("plan", ubuntu.name).stdout == f"{ubuntu.name}: nothing to change\n"
    ubuntu.run("rm", path)
    assert f"write     {path}" in lab.ok("plan", ubuntu.name).stdout
    lab.ok("provision", ubuntu.name, "--yes")
    assert ubuntu.run("cat", path) == content


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


@pytest.fixture(scope="module")
def rocky(lab: Lab) -> Iterator[Target]:
    """A Rocky Linux host, looked after by the real dnf, that gpuhost provisioned from bare."""
    name = lab.up("lab-82", "--gpus", "2", "--os", "rocky9")
    lab.ok("provision", name, "--yes")
    yield Target(lab, name)
    lab.ok("lab", "down", name)


def rpm_version(target: Target, package: str) -> str:
    return target.run("rpm", "-q", "--qf", "%{VERSION}", package)


def offered(target: Target, package: str) -> list[str]:
    listed = target.run("dnf", "-q", "repoquery", "--qf", "%{version}-%{release}", package)
    return listed.split()


def locks(target: Target) -> list[str]:
    return target.run("dnf", "-q", "versionlock", "list").split()


def test_a_rocky_host_passes_the_proof_and_a_second_run_changes_nothing(
    lab: Lab, rocky: Target
) -> None:
    verified = lab.verify(rocky.name)
    assert verified.bad == {}
    assert verified.host["facts"]["os"].startswith("Rocky Linux 9")
    assert rocky.good().changed == 0


def test_a_stream_that_is_not_offered_is_refused_with_those_that_are(rocky: Target) -> None:
    before = locks(rocky)
    play = rocky.provision("-t", "nvidia_driver", nvidia_driver_branch="590")
    assert not play.is_good
    assert play.changed == 0
    assert "The stream 590-open of the module nvidia-driver could not be enabled" in play.output
    assert "580-open" in play.output
    assert locks(rocky) == before


def test_a_version_that_is_not_offered_leaves_the_driver_held(rocky: Target) -> None:
    before = locks(rocky)
    play = rocky.provision("-t", "nvidia_driver", nvidia_driver_version="550.1")
    assert not play.is_good
    assert f"3:{rocky.loaded}-1.el9" in play.output
    assert locks(rocky) == before


def test_a_docker_on_rocky_that_no_repository_has_stops_a_run_before_the_driver_changes(
    rocky: Target,
) -> None:
    before = rocky.loaded
    play = rocky.provision(nvidia_driver_branch=OTHER_BRANCH, docker_ce_version="99.9")
    assert not play.is_good
    assert play.changed == 0
    assert "docker-ce, docker-ce-cli: no repository has 99.9-*, but 26." in play.output
    assert rocky.loaded == before


def test_another_branch_on_rocky_is_another_stream_and_is_held_alone(rocky: Target) -> None:
    before = rocky.loaded
    rocky.good(nvidia_driver_branch=OTHER_BRANCH)
    assert rocky.loaded.startswith(f"{OTHER_BRANCH}.")
    assert f"nvidia-driver-cuda-3:{rocky.loaded}-1.el9.*" in locks(rocky)
    assert not [lock for lock in locks(rocky) if before in lock]
    rocky.good()
    assert rocky.loaded == before


def test_an_upgrade_on_rocky_is_taken_back_out_of_another_stream(lab: Lab, rocky: Target) -> None:
    before, held = rocky.loaded, locks(rocky)
    rocky.good(nvidia_driver_branch=OTHER_BRANCH)
    ran = lab.ok("rollback", rocky.name, "--yes")
    assert f"back to 3:{before}-1.el9" in ran.stderr
    assert rocky.loaded == before
    assert sorted(locks(rocky)) == sorted(held)


def test_proprietary_modules_on_rocky_take_the_place_of_open_ones(rocky: Target) -> None:
    rocky.good("-t", "nvidia_driver", nvidia_driver_modules="proprietary")
    assert "Open" not in rocky.run("cat", "/proc/driver/nvidia/version")
    rocky.good("-t", "nvidia_driver")
    assert "Open" in rocky.run("cat", "/proc/driver/nvidia/version")


def test_pins_with_releases_and_of_several_packages_hold_still_on_rocky(rocky: Target) -> None:
    newer = {name: rpm_version(rocky, name) for name in ("docker-ce", "containerd.io")}
    older = next(v for v in offered(rocky, "docker-ce") if newer["docker-ce"] not in v)
    pins = {"docker_ce_version": older, "docker_ce_containerd_version": newer["containerd.io"]}
    rocky.good("-t", "docker_ce", **pins)
    assert rpm_version(rocky, "docker-ce") == older.partition("-")[0]
    assert rocky.good("-t", "docker_ce", **pins).changed == 0
    rocky.good("-t", "docker_ce", docker_ce_version=newer["docker-ce"])
    assert rpm_version(rocky, "docker-ce") == newer["docker-ce"]


def test_versions_without_a_release_conform_on_rocky_when_they_are_there(
    lab: Lab, rocky: Target
) -> None:
    versions = {
        "docker_ce_version": rpm_version(rocky, "docker-ce"),
        "docker_ce_containerd_version": rpm_version(rocky, "containerd.io"),
        "nvidia_container_toolkit_version": rpm_version(rocky, "nvidia-container-toolkit"),
    }
    with lab.variables(rocky.name, versions):
        lab.ok("provision", rocky.name, "--yes")
        assert lab.ok("plan", rocky.name).stdout == f"{rocky.name}: nothing to change\n"


def test_a_plan_on_rocky_tells_the_very_version_and_one_that_there_is_not(
    lab: Lab, rocky: Target
) -> None:
    older = next(v for v in offered(rocky, "docker-ce") if rpm_version(rocky, "docker-ce") not in v)
    with lab.variables(rocky.name, {"docker_ce_version": older.partition("-")[0]}):
        assert f"→ {older}" in lab.ok("plan", rocky.name).stdout
    with lab.variables(rocky.name, {"docker_ce_version": "99.9"}):
        assert "(no repository had it when " in lab.ok("plan", rocky.name).stdout


def test_a_dnf_on_rocky_that_does_not_end_is_told_before_anything_is_touched(
    lab: Lab, rocky: Target
) -> None:
    rocky.write("/root/hold.py", HOLD_DNF)
    rocky.run("systemd-run", "--quiet", "--unit=upgrade", "--property=Type=notify", *HOLDING)
    try:
        with lab.variables(rocky.name, {"preflight_lock_timeout": 1}):
            began = time.monotonic()
            assert lab.ok("plan", rocky.name).stdout.startswith(f"{rocky.name}: nothing to change")
            plan_s = time.monotonic() - began
            failed = lab.run("provision", rocky.name, "--yes", "--full", "--json")
    finally:
        rocky.run("systemctl", "stop", "upgrade")
    (report,) = failed.document["hosts"]
    assert failed.code == 1
    assert "packages-locked: the package manager is locked by python3" in report["error"]["message"]
    assert report["error"]["state"] == "nothing had been changed before that"
    assert plan_s < COMMAND_TIMEOUT_S


def test_a_podman_on_rocky_stops_a_run_while_it_needs_runc_and_stays_where_it_has_crun(
    lab: Lab, tmp_path: Path
) -> None:
    host = Target(lab, lab.up("lab-83", "--gpus", "1", "--os", "rocky9"))
    install(host, tmp_path, "runc")
    install(host, tmp_path, "podman", Requires=("(runc or crun)",))
    nouveau = host.run(*NOUVEAU)
    assert nouveau.startswith("nouveau")

    failed = lab.run("provision", host.name, "--yes", "--json")
    (report,) = failed.document["hosts"]
    assert failed.code == 1
    assert "needed-packages: podman would be removed" in report["error"]["message"]
    assert "dnf install crun" in report["error"]["message"]
    assert report["error"]["state"] == "nothing had been changed before that"

    install(host, tmp_path, "crun")
    host.run("sed", "-i", "$ a excludepkgs=iptables", "/etc/dnf/dnf.conf")
    failed = lab.run("provision", host.name, "--yes", "--json")
    (report,) = failed.document["hosts"]
    assert "docker-ce-3:26.1.5-1.el9.x86_64 requires iptables" in report["error"]["message"]
    assert host.run(*NOUVEAU) == nouveau

    host.run("sed", "-i", "/excludepkgs/d", "/etc/dnf/dnf.conf")
    lab.ok("provision", host.name, "--yes")
    installed = host.run("rpm", "-qa", "--qf", "%{NAME}\n").split()
    assert {"podman", "crun", "containerd.io"} <= set(installed)
    assert "runc" not in installed
    assert lab.ok("plan", host.name).stdout == f"{host.name}: nothing to change\n"
    lab.ok("lab", "down", host.name)


def install(host: Target, scratch: Path, name: str, **relations: tuple[str, ...]) -> None:
    """Install a package of Rocky's own, which has but a file."""
    tree = scratch / name
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin" / name).write_text("#!/bin/sh\n")
    package = rpm.Rpm(name, "1.1", "1.el9", f"{name} of the system", relations=relations)
    built = rpm.pack(package, tree, scratch, scratch)
    content = base64.b64encode(built.read_bytes()).decode()
    host.lab.exec(host.name, ["sh", "-ec", "base64 -d >/root/it.rpm; rpm -i /root/it.rpm"], content)


def test_docker_on_ubuntu_is_the_vendors_for_the_code_name(ubuntu: Target) -> None:
    assert "~ubuntu.24.04~noble" in ubuntu.version("docker-ce")
