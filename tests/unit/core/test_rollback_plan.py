"""Which versions a host goes back to, from what its ledger has on record."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.evidence import healthy_desired, healthy_evidence

from gpuhost.commands.rollback import COMPONENTS
from gpuhost.parse.policy import offered
from gpuhost.probe.schema import Command
from gpuhost.rollback_plan import PINS, HostRollback, last_change, lines_to_keep, plan, steps

OLD_DOCKER, NEW_DOCKER = "5:26.1.4-1~debian.12~bookworm", "5:26.1.5-1~debian.12~bookworm"
POLICY = f"""\
docker-ce:
  Installed: {NEW_DOCKER}
  Candidate: {NEW_DOCKER}
  Version table:
 *** {NEW_DOCKER} 500
        500 http://mirror bookworm/stable amd64 Packages
        100 /var/lib/dpkg/status
     {OLD_DOCKER} 500
        500 http://mirror bookworm/stable amd64 Packages
nvidia-driver-cuda:
  Installed: 550.163.01-1
  Candidate: 550.163.01-1
  Version table:
 *** 550.163.01-1 1001
        100 /var/lib/dpkg/status
     535.261.03-1 -1
        500 http://mirror  Packages
"""
DRIVER = {"nvidia-driver-cuda": ["535.261.03-1", "550.163.01-1"], "libnvidia-ml1": ["1", "2"]}
DOCKER = {"docker-ce": [OLD_DOCKER, NEW_DOCKER], "docker-ce-cli": [OLD_DOCKER, NEW_DOCKER]}
FIRST = {"docker-ce": [None, OLD_DOCKER], "nvidia-driver-cuda": [None, "535.261.03-1"]}


def asked(stdout: str, *argv: str) -> Command:
    return Command(
        argv=list(argv) or ["apt-cache", "policy"],
        rc=0,
        stdout=stdout,
        stderr="",
        duration_s=0.1,
        timed_out=False,
        error=None,
    )


def entry(packages: dict[str, Any], kind: str = "provision") -> dict[str, Any]:
    return {"kind": kind, "packages": packages}


def reversed_(packages: dict[str, Any]) -> dict[str, Any]:
    return {name: [new, old] for name, (old, new) in packages.items()}


def rollback(
    *history: dict[str, Any],
    only: tuple[str, ...] = (),
    run: dict[str, Any] | None = None,
    policy: str = POLICY,
) -> HostRollback:
    """The plan for a host with docker 26.1.5 and driver 550 that has this on record."""
    evidence = healthy_evidence()
    section = evidence["sections"]["provisioning"]
    versions = {"docker-ce": NEW_DOCKER, "nvidia-driver-cuda": "550.163.01-1"}
    section["data"] = {
        **(section["data"] or {}),
        "history": json.dumps(history),
        "run": json.dumps(run) if run else None,
        "packages": [{"name": n, "version": v, "held": False} for n, v in versions.items()],
        "candidates": asked(policy),
    }
    return plan("gpu-01", evidence, healthy_desired(), only)


def test_the_last_change_is_taken_back_and_says_what_becomes_of_the_driver() -> None:
    found = rollback(entry(FIRST), entry({**DRIVER, **DOCKER}))
    assert [(s.package, s.found, s.to) for s in found.steps] == [
        ("nvidia-driver-cuda", "550.163.01-1", "535.261.03-1"),
        ("docker-ce", NEW_DOCKER, OLD_DOCKER),
    ]
    assert found.pins == {
        "nvidia_driver_branch": "535",
        "nvidia_driver_version": "535.261.03",
        "docker_ce_version": OLD_DOCKER,
    }
    assert found.roles == (
        "nvidia_driver",
        "nvidia_fabric_manager",
        "docker_ce",
        "nvidia_container_toolkit",
    )
    assert found.reboot


def test_only_what_is_asked_for_is_taken_back() -> None:
    found = rollback(entry({**DRIVER, **DOCKER}), only=("docker",))
    assert found.pins == {"docker_ce_version": OLD_DOCKER}
    assert found.roles == ("docker_ce", "nvidia_container_toolkit")
    assert not found.reboot


def test_without_a_component_only_what_the_last_run_changed_is_meant() -> None:
    assert rollback(entry(DOCKER), entry(DRIVER)).pins.keys() == {
        "nvidia_driver_branch",
        "nvidia_driver_version",
    }


def test_a_rollback_takes_its_change_off_so_that_the_next_goes_back_further() -> None:
    older = {"docker-ce": ["5:26.1.3-1", OLD_DOCKER]}
    history = [entry(older), entry(DOCKER), entry(reversed_(DOCKER), "rollback")]
    assert last_change(history) == {"docker-ce": older["docker-ce"]}


def test_a_change_after_a_rollback_can_be_taken_back_again() -> None:
    history = [entry(DOCKER), entry(reversed_(DOCKER), "rollback"), entry(DOCKER)]
    assert last_change(history) == {"docker-ce": DOCKER["docker-ce"]}


def test_what_was_installed_for_the_first_time_has_nothing_to_go_back_to() -> None:
    found = rollback(entry(FIRST))
    assert not found.steps
    assert "were not there before it" in found.nothing


@pytest.mark.parametrize(
    "history", [[], [entry({"curl": ["1", "2"]})], [entry(DOCKER), entry({}, "rollback")]]
)
def test_a_host_without_a_change_that_stands_is_told_so(history: list[dict[str, Any]]) -> None:
    found = rollback(*history, only=("toolkit",))
    assert found.nothing == "no change of toolkit is on record that has not been taken back"


def test_a_version_that_the_repositories_lack_stops_it_and_is_named_with_those_they_have() -> None:
    gone = POLICY.replace(f"     {OLD_DOCKER} 500\n        500 http://mirror bookworm", "     ")
    found = rollback(entry(DOCKER), policy=gone)
    assert not found.steps
    assert found.problem == (
        f"docker-ce {OLD_DOCKER} is not in the host's repositories (they have {NEW_DOCKER})"
    )


def test_a_host_that_is_there_already_is_left_alone() -> None:
    found = rollback(entry({"docker-ce": [NEW_DOCKER, "5:27.0.0-1~debian.12~bookworm"]}))
    assert found.nothing.startswith("the versions of driver, docker and toolkit are as they were")


def test_what_a_run_changed_that_died_counts_as_the_last_change() -> None:
    before = {"docker-ce": OLD_DOCKER, "nvidia-driver-cuda": "550.163.01-1"}
    found = rollback(run={"kind": "provision", "before": before})
    assert found.pins == {"docker_ce_version": OLD_DOCKER}
    assert rollback(run={"kind": "survive", "before": None}).nothing


def test_a_change_of_the_kernel_modules_flavour_goes_back_to_the_other_package() -> None:
    (step,) = steps({"nvidia-open": [None, "580.1.2-1"], "cuda-drivers": ["570.9.9-1", None]})
    assert (step.package, step.to, step.pin) == ("cuda-drivers", "570.9.9-1", "570.9.9")


def test_rpm_versions_of_docker_are_pinned_as_the_role_takes_them() -> None:
    (step,) = steps({"docker-ce": ["3:29.8.1-1.el9", "3:29.8.2-1.el9"]})
    assert step.pin == "29.8.1"


def test_the_lines_to_keep_are_those_that_the_inventory_does_not_have_yet() -> None:
    found = HostRollback("a", tuple(steps(DRIVER)))
    assert lines_to_keep(found, {"nvidia_driver_branch": "535"}) == [
        'nvidia_driver_version: "535.261.03"'
    ]


def test_a_host_that_could_not_be_read_is_a_problem() -> None:
    evidence = healthy_evidence()
    evidence["sections"]["provisioning"] = {"error": "dpkg hangs", "duration_s": 1.0, "data": None}
    found = plan("gpu-01", evidence, healthy_desired(), ())
    assert found.problem == "it could not be read: provisioning: dpkg hangs"


def test_what_is_only_installed_is_not_offered() -> None:
    assert offered(asked(POLICY)) == {
        "docker-ce": (NEW_DOCKER, OLD_DOCKER),
        "nvidia-driver-cuda": ("535.261.03-1",),
    }
    assert offered(None) == {}


def test_what_dnf_offers_is_read_line_by_line() -> None:
    lines = asked("docker-ce 29.8.2-1.el9\ndocker-ce 29.8.1-1.el9\n", "dnf", "repoquery")
    assert offered(lines) == {"docker-ce": ("29.8.2-1.el9", "29.8.1-1.el9")}


def test_the_command_knows_the_components_that_can_be_pinned() -> None:
    assert tuple(PINS) == COMPONENTS
