"""An upgrade by inventory, and the way back: by hand, and by itself where it is not proven."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from support.lab import Lab

PACKAGES = ("nvidia-driver-cuda", "libnvidia-ml1", "docker-ce", "nvidia-container-toolkit")
OLD = {
    "nvidia_driver_branch": "535",
    "docker_ce_version": "5:26.1.4-1~debian.12~bookworm",
    "nvidia_container_toolkit_version": "1.19.1-1",
}
NEW = {
    "nvidia_driver_branch": "550",
    "docker_ce_version": "5:26.1.5-1~debian.12~bookworm",
    "nvidia_container_toolkit_version": "1.20.0-1",
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def host(lab: Lab) -> str:
    """A host with older versions of everything, provisioned by gpuhost."""
    name = lab.up("lab-63", "--gpus", "1", "--os", "debian12")
    lab.ok("provision", name, "--yes", "-i", inventory(lab, name, OLD))
    return name


def inventory(lab: Lab, host: str, variables: dict[str, str]) -> str:
    """The lab's inventory with variables of one host set; its path."""
    return inventory_of(lab, {host: variables})


def inventory_of(lab: Lab, variables: dict[str, dict[str, str]]) -> str:
    """The lab's inventory with variables of some hosts set; its path."""
    content = yaml.safe_load((lab.project / "inventories/lab/hosts.yml").read_text())
    for release in content["lab"]["children"].values():
        for host in release["hosts"]:
            release["hosts"][host].update(variables.get(host, {}))
    path = Path(lab.project / f"{'-'.join(variables)}.yml")
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(path)


def versions(lab: Lab, host: str) -> dict[str, str]:
    shown = lab.exec(host, ["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *PACKAGES])
    return dict(line.split() for line in shown.splitlines())


def held(lab: Lab, host: str) -> set[str]:
    return {name.partition(":")[0] for name in lab.exec(host, ["apt-mark", "showhold"]).split()}


def test_a_host_that_was_never_upgraded_has_nothing_to_go_back_to(lab: Lab, host: str) -> None:
    ran = lab.ok("rollback", host, "-i", inventory(lab, host, OLD))
    assert "nothing to roll back" in ran.stdout


def test_an_upgrade_is_taken_back_and_the_host_proven_as_it_was(lab: Lab, host: str) -> None:
    before, held_before = versions(lab, host), held(lab, host)
    upgraded = inventory(lab, host, NEW)
    lab.ok("provision", host, "--yes", "-i", upgraded)
    assert all(new != before[name] for name, new in versions(lab, host).items())
    asked = lab.run("rollback", host, "-i", upgraded)
    assert asked.code == 2
    assert "nvidia-driver-cuda from 550.163.01-1 back to 535.261.03-1" in asked.stderr
    ran = lab.ok("rollback", host, "--yes", "-i", upgraded)
    assert versions(lab, host) == before
    assert held(lab, host) == held_before
    assert lab.exec(host, ["cat", "/sys/module/nvidia/version"]).strip() == "535.261.03"
    assert 'nvidia_driver_version: "535.261.03"' in ran.stderr
    assert 'docker_ce_version: "5:26.1.4-1~debian.12~bookworm"' in ran.stderr


def test_the_lines_that_were_told_keep_the_host_where_it_is(lab: Lab, host: str) -> None:
    kept = {**OLD, "nvidia_driver_version": "535.261.03"}
    ran = lab.ok("provision", host, "--yes", "-i", inventory(lab, host, kept))
    assert "nothing to change" in ran.stderr
    assert f"{host}: 1 changed" not in ran.stderr


def test_a_version_that_the_repository_lost_is_told_before_anything_is_touched(
    lab: Lab, host: str
) -> None:
    upgraded = inventory(lab, host, {**OLD, "docker_ce_version": NEW["docker_ce_version"]})
    lab.ok("provision", host, "--yes", "-i", upgraded)
    before = versions(lab, host)
    shorten = "sed -i '/^Package: docker-ce$/,/^$/s/26.1.4/26.1.3/' /var/lib/apt/lists/*docker*"
    lab.exec(host, ["sh", "-c", shorten])
    ran = lab.run("rollback", host, "docker", "--yes", "-i", upgraded)
    lab.exec(host, ["sh", "-c", "rm /var/lib/apt/lists/*docker* && apt-get update"])
    assert ran.code == 1
    assert "docker-ce 5:26.1.4-1~debian.12~bookworm is not in the host's" in ran.stdout
    assert "rollback: " not in ran.stderr
    assert versions(lab, host) == before


def test_an_upgrade_that_is_not_proven_is_taken_back_by_itself_and_still_fails(
    lab: Lab, host: str
) -> None:
    lab.ok("rollback", host, "--yes", "-i", inventory(lab, host, OLD))
    before = versions(lab, host)
    unmet = inventory(lab, host, {**NEW, "gpuhost_gpu_model": "H100"})
    offered = lab.run("provision", host, "--yes", "-i", unmet)
    assert offered.code == 1
    assert f"Or take the upgrade back: gpuhost rollback {host}" in offered.stdout
    lab.run("rollback", host, "--yes", "-i", unmet)
    assert versions(lab, host) == before
    taken = lab.run("provision", host, "--yes", "--auto-rollback", "-i", unmet)
    assert taken.code == 1
    assert "The upgrade was taken back (nvidia-driver-cuda from 550.163.01-1" in taken.stdout
    assert versions(lab, host) == before


def test_a_fleet_goes_back_each_host_its_own_way_and_not_past_a_canary_that_fails(
    lab: Lab,
) -> None:
    first, second = lab.up("lab-64", "--gpus", "1"), lab.up("lab-65", "--gpus", "1")
    old = {first: {"docker_ce_version": OLD["docker_ce_version"]}, second: {**OLD}}
    lab.ok("provision", first, second, "--yes", "-i", inventory_of(lab, old))
    before = {name: versions(lab, name) for name in old}
    new = {name: {**variables, **{k: NEW[k] for k in variables}} for name, variables in old.items()}
    lab.ok("provision", first, second, "--yes", "-i", inventory_of(lab, new))
    upgraded = versions(lab, second)
    sick = inventory_of(lab, {**new, first: {**new[first], "gpuhost_gpu_model": "H100"}})
    stopped = lab.run("rollback", first, second, "--yes", "--canary", "-i", sick)
    assert stopped.code == 1
    assert f"the canary {first} failed" in stopped.stderr
    assert versions(lab, first) == before[first]
    assert versions(lab, second) == upgraded
    ran = lab.ok("rollback", first, second, "--yes", "-i", inventory_of(lab, new))
    assert "nothing to roll back" in ran.stdout
    assert {name: versions(lab, name) for name in old} == before
