"""What goes wrong between an operator and a host: said clearly, with the right exit code."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.lab import Lab, Ran


@pytest.fixture
def inventory(lab: Lab, provisioned: str, tmp_path: Path) -> Path:  # noqa: ARG001  (it must be up)
    """A copy of the lab's inventory, to be spoilt."""
    source = lab.project / "inventories" / "lab" / "hosts.yml"
    copy = tmp_path / "hosts.yml"
    copy.write_text(source.read_text())
    return copy


def change(inventory: Path, host: str, **variables: Any) -> None:
    """Set variables of one host; a host that is not there is added beside the others."""
    content = yaml.safe_load(inventory.read_text())
    (release,) = content["lab"]["children"].values()
    release["hosts"].setdefault(host, {}).update(variables)
    inventory.write_text(yaml.safe_dump(content))


def verify(lab: Lab, inventory: Path, *hosts: str) -> tuple[Ran, dict[str, dict[str, Any]]]:
    ran = lab.run("verify", *hosts, "-i", str(inventory), "--json", "--quiet")
    return ran, {host["host"]: host for host in ran.document["hosts"]}


def test_an_unreachable_host_is_said_and_the_other_is_verified(
    lab: Lab, provisioned: str, inventory: Path
) -> None:
    change(inventory, "lab-99", ansible_host="198.18.77.199")
    ran, hosts = verify(lab, inventory, "lab-99", provisioned)
    assert ran.code == 3
    assert "198.18.77.199" in hosts["lab-99"]["error"]["message"]
    assert hosts["lab-99"]["error"]["remedy"]
    assert hosts[provisioned]["verdict"] == "PASS"


def test_a_wrong_key_is_a_login_that_was_refused(
    lab: Lab, provisioned: str, inventory: Path, tmp_path: Path
) -> None:
    key = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    change(inventory, provisioned, ansible_ssh_private_key_file=str(key))
    ran, hosts = verify(lab, inventory, provisioned)
    assert ran.code == 3
    assert "Permission denied" in hosts[provisioned]["error"]["message"]
    assert "key" in hosts[provisioned]["error"]["remedy"]


def test_a_changed_host_key_stops_everything_and_names_the_danger(
    lab: Lab, provisioned: str, inventory: Path, tmp_path: Path
) -> None:
    key = tmp_path / "host"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    address = yaml.safe_load(lab.ok("hosts", provisioned, "--json", "-i", str(inventory)).stdout)[
        0
    ]["address"]
    public = key.with_suffix(".pub").read_text().split()[:2]
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(f"{address} {' '.join(public)}\n")
    change(
        inventory,
        provisioned,
        ansible_ssh_common_args=f"-o UserKnownHostsFile={known_hosts} "
        "-o StrictHostKeyChecking=yes -o IdentitiesOnly=yes",
    )
    ran, hosts = verify(lab, inventory, provisioned)
    assert ran.code == 3
    assert "host key" in hosts[provisioned]["error"]["message"].lower()
    assert "ssh-keygen" in hosts[provisioned]["error"]["remedy"]


@pytest.fixture
def host_without_sudo(lab: Lab, provisioned: str) -> Iterator[str]:
    """The host, whose operator may not become root."""
    lab.exec(provisioned, ["mv", "/etc/sudoers.d/gpuhost-lab", "/root/ops.sudoers"])
    yield provisioned
    lab.exec(provisioned, ["mv", "/root/ops.sudoers", "/etc/sudoers.d/gpuhost-lab"])


def test_an_operator_without_sudo_is_told_so(
    lab: Lab, host_without_sudo: str, inventory: Path
) -> None:
    ran, hosts = verify(lab, inventory, host_without_sudo)
    assert ran.code == 3
    assert "sudo" in hosts[host_without_sudo]["error"]["message"].lower()
    assert hosts[host_without_sudo]["error"]["remedy"]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("nvidia/cuda:99.9.9-base-ubuntu24.04", "manifest"),
        ("nvcr.io/nvstaging/secret:1.0", "denied"),
    ],
    ids=["an unknown image", "a registry that refuses"],
)
def test_an_image_that_cannot_be_pulled_fails_its_check_with_the_registrys_words(
    lab: Lab, provisioned: str, inventory: Path, image: str, words: str
) -> None:
    change(inventory, provisioned, gpuhost_cuda_image=image)
    ran, hosts = verify(lab, inventory, provisioned)
    results = {result["check"]: result for result in hosts[provisioned]["checks"]}
    assert ran.code in (1, 3)
    assert results["container.cuda"]["verdict"] in ("FAIL", "UNKNOWN")
    assert words in results["container.cuda"]["seen"]
    assert results["container.cuda"]["remedy"]
    assert results["container.ngc"]["verdict"] == "PASS"


def test_a_misspelt_host_is_an_error_with_a_suggestion(lab: Lab, provisioned: str) -> None:
    ran = lab.run("verify", provisioned.replace("lab", "lap"))
    assert ran.code == 2
    assert f"Did you mean '{provisioned}'" in ran.stderr


def test_a_misspelt_inventory_is_an_error(lab: Lab, provisioned: str) -> None:
    ran = lab.run("verify", provisioned, "-i", "inventories/lap")
    assert ran.code == 2
    assert "There is no inventory" in ran.stderr


def test_a_misspelt_variable_is_an_error_that_names_host_and_variable(
    lab: Lab, provisioned: str, inventory: Path
) -> None:
    change(inventory, provisioned, nvidia_driver_brunch="550")
    ran = lab.run("verify", provisioned, "-i", str(inventory))
    assert ran.code == 2
    assert f"{provisioned}: nvidia_driver_brunch" in ran.stderr
    assert "Did you mean 'nvidia_driver_branch'" in ran.stderr
