"""A host whose GPUs are divided as declared: from bare to proven, and what can go wrong."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.ground import silent
from support.lab import Lab

from gpuhost import lab as room
from gpuhost.lab import mirror, settings
from gpuhost.lab.faults import find, injected

LAYOUTS = {
    "whole": [{"devices": "all", "mig-enabled": False}],
    "half": [{"devices": [0], "mig-enabled": True, "mig-devices": {"3g.20gb": 1}}],
    "mixed": [
        {"devices": [0], "mig-enabled": True, "mig-devices": {"3g.20gb": 1, "1g.5gb": 2}},
        {"devices": [1], "mig-enabled": False},
    ],
    "too-much": [
        {"devices": "all", "mig-enabled": True, "mig-devices": {"3g.20gb": 2, "1g.5gb": 1}}
    ],
}
# O_PATH: there is no hardware behind the simulated node that could be opened for real.
TRAINING = "import os, time; os.open('/dev/nvidia0', os.O_PATH); time.sleep(600)"


def declare(lab: Lab, host: str, layout: str, **others: str) -> None:
    folder = lab.project / "inventories/lab/host_vars"
    folder.mkdir(exist_ok=True)
    declared = {"nvidia_mig_layout": layout, "nvidia_mig_config": LAYOUTS, **others}
    Path(folder / f"{host}.yml").write_text(yaml.safe_dump(declared))


@pytest.fixture(scope="module")
def divided(lab: Lab) -> Iterator[str]:
    """A host that was provisioned from bare with its first GPU divided in three."""
    name = lab.up("lab-82", "--gpus", "2")
    declare(lab, name, "mixed")
    lab.ok("provision", name, "--yes")
    yield name
    room.down([name], silent)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "repository", "suffix", "locked"),
    [
        ("debian12", "cuda/debian12/x86_64", "deb", ["apt-mark", "showhold"]),
        ("rocky9", "cuda/rhel9/x86_64", "rpm", ["dnf", "--quiet", "versionlock", "list"]),
    ],
)
def test_the_manager_of_a_release_is_installed_by_its_checksum_and_the_plan_knows_its_version(
    lab: Lab, system: str, repository: str, suffix: str, locked: list[str]
) -> None:
    host = lab.up("lab-83", "--gpus", "1", "--os", system)
    lab_settings = settings.load()
    file = next((lab_settings.state / "mirror" / repository).glob(f"nvidia-mig-*.{suffix}"))
    release = {
        "nvidia_mig_manager_url": (
            f"http://{lab_settings.address}:{mirror.PORT}/{repository}/{file.name}"
        ),
        "nvidia_mig_manager_sha256": "0" * 64,
    }
    declare(lab, host, "half", **release)
    refused = lab.run("provision", host, "--yes")
    assert refused.code == 1
    assert "checksum" in refused.stdout
    release["nvidia_mig_manager_sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    declare(lab, host, "half", **release)
    version = re.findall(r"\d+(?:\.\d+)+-\d+", file.name)[0]
    assert f"nvidia-mig-manager  {version}" in lab.ok("plan", host).stdout
    lab.ok("provision", host, "--yes")
    assert parts(lab, host) == ["3g.20gb"]
    assert lab.ok("plan", host).stdout == f"{host}: nothing to change\n"
    assert "nvidia-mig-manager" in lab.exec(host, locked)
    room.down([host], silent)


def parts(lab: Lab, host: str) -> list[str]:
    return re.findall(r"MIG (\S+)", lab.exec(host, ["nvidia-smi", "-L"]))


def test_a_divided_host_is_proven_part_by_part(lab: Lab, divided: str) -> None:
    verified = lab.verify(divided)
    assert verified.bad == {}
    assert verified.verdict("gpu.mig") == "PASS"
    assert "1 GPU and 3 MIG devices" in verified.results["partition.cdi"]["summary"]
    assert parts(lab, divided) == ["3g.20gb", "1g.5gb", "1g.5gb"]


def test_a_toolkit_that_leaks_one_mig_device_is_told_with_the_device(
    lab: Lab, divided: str
) -> None:
    with injected(lab.exec, divided, find("toolkit-leak-one")):
        verified = lab.verify(divided, "--check", "partition.gpus")
    result = verified.results["partition.gpus"]
    assert result["verdict"] == "FAIL"
    assert re.search(r"gpus/index/0:0: leak: also sees MIG-[0-9a-f-]{36} ", result["seen"])


@pytest.mark.slow
def test_mig_devices_that_are_gone_are_missed(lab: Lab, divided: str) -> None:
    for option in ("-dci", "-dgi"):
        lab.exec(divided, ["nvidia-smi", "mig", "-i", "0", option])
    result = lab.verify(divided, "--check", "gpu.mig").results["gpu.mig"]
    assert result["verdict"] == "FAIL"
    assert result["seen"] == "GPU 0 is divided, without MIG devices"
    assert result["expected"] == "GPU 0 is 2 × 1g.5gb + 1 × 3g.20gb"
    plan = lab.ok("plan", divided).stdout
    assert "GPU 0  divided, without MIG devices → 2 × 1g.5gb + 1 × 3g.20gb" in plan
    lab.ok("provision", divided, "--yes")
    assert lab.ok("plan", divided).stdout == f"{divided}: nothing to change\n"


@pytest.mark.slow
def test_the_layout_outlasts_a_reboot(lab: Lab, divided: str) -> None:
    before = lab.exec(divided, ["nvidia-smi", "-L"])
    lab.testinfra(divided).run("systemctl reboot")
    lab.run("provision", divided, "--yes")  # waits for the host to come back
    assert lab.exec(divided, ["nvidia-smi", "-L"]) == before
    assert lab.verify(divided).bad == {}


@pytest.mark.slow
def test_gpus_in_use_are_not_divided_and_it_is_said_who_uses_them(lab: Lab, divided: str) -> None:
    declare(lab, divided, "whole")
    lab.exec(divided, ["systemd-run", "--unit=training", "python3", "-c", TRAINING])
    ran = lab.run("provision", divided, "--yes", "--include-busy")
    assert ran.code == 1
    assert re.search(r"GPUs are in use by \d+ python3", ran.stdout)
    lab.exec(divided, ["systemctl", "stop", "training"])
    assert len(parts(lab, divided)) == 3
    lab.ok("provision", divided, "--yes")
    assert parts(lab, divided) == []


@pytest.mark.slow
def test_a_layout_that_the_gpus_cannot_have_is_refused_before_anything_is_changed(
    lab: Lab, divided: str
) -> None:
    declare(lab, divided, "too-much")
    config = lab.exec(divided, ["cat", "/etc/nvidia-mig-manager/gpuhost.yaml"])
    ran = lab.run("provision", divided, "--yes")
    assert ran.code == 1
    assert "GPU 0: the profiles take 46080 MiB of 40960" in ran.stdout
    assert lab.exec(divided, ["cat", "/etc/nvidia-mig-manager/gpuhost.yaml"]) == config


@pytest.mark.slow
def test_gpus_are_whole_again_when_gpuhost_is_removed(lab: Lab, divided: str) -> None:
    declare(lab, divided, "mixed")
    lab.ok("provision", divided, "--yes")
    assert len(parts(lab, divided)) == 3
    ran = lab.ok("remove", divided, "--yes")
    assert re.search(r"GPUs as before +\S.*whole", ran.stderr)
    assert f"{divided}: is as it was before gpuhost\n" in ran.stdout
    # The division outlasts the driver, so that another one shows it.
    declare(lab, divided, "")
    lab.ok("provision", divided, "--yes")
    assert parts(lab, divided) == []
