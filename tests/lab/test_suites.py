"""The suites and single checks on a real host: no more is read or started than is judged."""

from __future__ import annotations

import json
from pathlib import Path

from support.lab import Lab

QUICK_S = 10


def test_the_quick_suite_passes_in_ten_seconds_and_starts_few_containers(
    lab: Lab, provisioned: str
) -> None:
    verified = lab.verify(provisioned, "--suite", "quick")
    assert verified.code == 0, verified.bad
    assert verified.host["duration_s"] < QUICK_S
    assert "partition.gpus" not in verified.results
    evidence = json.loads(Path(verified.host["evidence_path"]).read_text())
    ran = [trial["id"] for trial in evidence["sections"]["containers"]["data"]["trials"]]
    assert ran == ["gpus/all", "runtime/all", "cdi/all"]


def test_a_single_check_reads_only_its_own_sections(lab: Lab, provisioned: str) -> None:
    verified = lab.verify(provisioned, "--check", "users.docker_group")
    assert verified.code == 0
    assert list(verified.results) == ["users.docker_group"]
    evidence = json.loads(Path(verified.host["evidence_path"]).read_text())
    assert list(evidence["sections"]) == ["users"]


def test_a_single_partition_check_runs_only_its_own_trials(lab: Lab, provisioned: str) -> None:
    verified = lab.verify(provisioned, "--check", "partition.refusal")
    assert verified.code == 0, verified.bad
    evidence = json.loads(Path(verified.host["evidence_path"]).read_text())
    trials = evidence["sections"]["containers"]["data"]["trials"]
    assert {trial["selector"] for trial in trials} == {"all", "bad-index", "bad-uuid"}
