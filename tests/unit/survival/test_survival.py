"""What hosts go through, which of them, and what is held against them afterwards."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner
from support.evidence import healthy_desired, healthy_evidence

from gpuhost.commands.verify import verify
from gpuhost.model import CheckResult, HostReport, Verdict
from gpuhost.outcome import HostOutcome
from gpuhost.survival import Event, compare, in_use, left_alone, lost


def report(**verdicts: Verdict) -> HostReport:
    results = [
        CheckResult(name.replace("_", ".", 1), verdict, f"{name} it is", remedy=f"mend {name}")
        for name, verdict in verdicts.items()
    ]
    return HostReport("lab-01", tuple(results))


def test_a_host_on_which_all_passes_again_has_survived() -> None:
    well = report(gpu_count=Verdict.PASS, gpu_uuids=Verdict.SKIP)
    result = compare(Event.REBOOT, well, well)
    assert result.check == "survival.reboot"
    assert result.verdict is Verdict.PASS
    assert result.summary == "1 checks pass as before"


def test_a_check_that_fails_after_it_is_named_with_its_remedy() -> None:
    before = report(gpu_count=Verdict.PASS, cdi_spec=Verdict.PASS, smi_list=Verdict.FAIL)
    after = report(gpu_count=Verdict.PASS, cdi_spec=Verdict.FAIL, smi_list=Verdict.FAIL)
    result = compare(Event.DOCKER_RESTART, before, after)
    assert result.check == "survival.docker_restart"
    assert result.verdict is Verdict.FAIL
    assert result.summary == "docker-restart: 1 of 2 checks do not pass any more"
    assert "cdi.spec: FAIL" in result.seen
    assert "smi.list" not in result.seen
    assert result.remedy == "mend cdi_spec"


@pytest.mark.parametrize("after", [Verdict.UNKNOWN, Verdict.SKIP])
def test_what_cannot_be_told_any_more_is_unknown(after: Verdict) -> None:
    result = compare(Event.REBOOT, report(gpu_count=Verdict.PASS), report(gpu_count=after))
    assert result.verdict is Verdict.UNKNOWN


def test_where_nothing_passed_before_nothing_is_proven() -> None:
    ill = report(gpu_count=Verdict.FAIL)
    assert compare(Event.REBOOT, ill, ill).verdict is Verdict.UNKNOWN


def test_a_host_that_cannot_be_read_afterwards_is_unknown_in_its_words() -> None:
    gone = HostReport("lab-01", error="no route to host")
    result = compare(Event.REBOOT, report(gpu_count=Verdict.PASS), gone)
    assert result.verdict is Verdict.UNKNOWN
    assert result.seen == "no route to host"


def test_a_host_that_does_not_come_back_is_unknown_with_what_ansible_said() -> None:
    result = lost(Event.REBOOT, HostOutcome("lab-01", ok=False, message="timed out", remedy="look"))
    assert (result.verdict, result.seen, result.remedy) == (Verdict.UNKNOWN, "timed out", "look")


def test_why_a_host_was_left_alone_is_told() -> None:
    assert "--reboot" in left_alone(Event.REBOOT, (), agreed=False).summary
    busy = left_alone(Event.REBOOT, ("container train",), agreed=True)
    assert busy.verdict is Verdict.SKIP
    assert "container train" in busy.summary


def test_any_container_keeps_a_host_from_being_disturbed_but_a_trials_own() -> None:
    evidence: Any = healthy_evidence()
    running = evidence["sections"]["docker"]["data"]["running"]
    running.clear()
    assert in_use(evidence, healthy_desired()) == ()
    web = {"id": "1", "name": "web", "image": "nginx", "labels": {}, "gpus": ""}
    running.append({**web, "labels": {"gpuhost.trial": "1-2"}})
    assert in_use(evidence, healthy_desired()) == ()
    running.append(web)
    assert in_use(evidence, healthy_desired()) == ("container web (nginx)",)


def test_docker_that_could_not_be_asked_counts_as_in_use() -> None:
    evidence: Any = healthy_evidence()
    evidence["sections"]["docker"] = {"error": "boom", "duration_s": 0.0, "data": None}
    assert "unknown" in in_use(evidence, healthy_desired())[0]


def test_a_daemon_that_does_not_answer_may_have_containers_to_lose() -> None:
    evidence: Any = healthy_evidence()
    evidence["sections"]["docker"]["data"]["connect_error"] = "it did not answer in time"
    assert "dockerd does not answer" in in_use(evidence, healthy_desired())[0]


@pytest.mark.parametrize("suite", [[], ["--suite", "standard"]])
def test_consent_without_the_full_suite_is_a_mistake(suite: list[str]) -> None:
    done = CliRunner().invoke(verify, ["lab-01", "--reboot", *suite])
    assert done.exit_code == 2
    assert "--suite full" in done.output
