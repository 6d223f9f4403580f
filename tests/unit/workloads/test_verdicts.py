"""From what a host told of a workload to results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpuhost.model import Verdict
from gpuhost.workloads.definition import Definition
from gpuhost.workloads.probes import Measure, Probe
from gpuhost.workloads.verdicts import judge

SPEED = Measure("images per second", r"^speed: (\S+)$", "images/s", tolerance=0.1)
DEFINITION = Definition(
    "train",
    Path("/nonexistent"),
    "",
    {"services": {}},
    probes=(Probe("the loss fell", "log", "^converged"),),
    measures=(SPEED,),
)
FULL = "workload.train.images_per_second"


def told(**changes: Any) -> dict[str, Any]:
    fell = {"name": "the loss fell", "seen": "converged", "wrong": []}
    return {
        "problem": "",
        "words": "",
        "probes": [fell],
        "log": "speed: 90\nspeed: 100\n",
        "left": "",
        "duration_s": 3.0,
        **changes,
    }


def verdicts(found: dict[str, Any], *earlier: float) -> dict[str, Verdict]:
    judged = judge("lab-01", DEFINITION, found, {FULL: list(earlier)} if earlier else {})
    for result in judged.results:
        if result.verdict in (Verdict.FAIL, Verdict.UNKNOWN):
            assert result.seen
            assert result.expected
            assert result.cause
            assert result.remedy
    return {result.check.rpartition(".")[2]: result.verdict for result in judged.results}


def test_work_that_works_passes_and_its_last_figure_counts() -> None:
    assert set(verdicts(told()).values()) == {Verdict.PASS}
    assert judge("lab-01", DEFINITION, told(), {}).measures == {FULL: 100.0}


def test_a_probe_that_found_something_wrong_fails_by_its_name() -> None:
    wrong = {"name": "the loss fell", "seen": "", "wrong": ["no line of the log is like ^conv"]}
    found = verdicts(told(probes=[wrong]))
    assert (found["starts"], found["the_loss_fell"]) == (Verdict.PASS, Verdict.FAIL)


def test_work_that_does_not_start_fails_once_and_the_rest_is_skipped() -> None:
    found = verdicts(told(problem="its image could not be built", probes=[], log=""))
    assert found == {
        "starts": Verdict.FAIL,
        "the_loss_fell": Verdict.SKIP,
        "images_per_second": Verdict.SKIP,
    }


@pytest.mark.parametrize(
    ("value", "earlier", "verdict"),
    [
        (100, (), Verdict.PASS),
        (1, (100, 100), Verdict.PASS),  # two nights do not make what is usual
        (91, (100, 99, 500), Verdict.PASS),
        (89, (100, 99, 500), Verdict.FAIL),
        (300, (100, 99, 101), Verdict.PASS),
        ("nan", (100, 99, 101), Verdict.UNKNOWN),
        ("inf", (100, 99, 101), Verdict.UNKNOWN),
    ],
)
def test_a_figure_is_held_against_the_middle_of_earlier_ones(
    value: object, earlier: tuple[float, ...], verdict: Verdict
) -> None:
    found = verdicts(told(log=f"speed: {value}"), *earlier)
    assert found["images_per_second"] is verdict


def test_a_figure_that_is_not_told_is_unknown_unless_cuda_was_not_exercised() -> None:
    assert verdicts(told(log="done"))["images_per_second"] is Verdict.UNKNOWN
    log = "CUDA not exercised: this PyTorch has none"
    assert verdicts(told(log=log))["images_per_second"] is Verdict.SKIP


def test_a_full_disk_is_named_as_the_cause() -> None:
    words = "write /x: no space left on device\nprocess did not complete: exit code: 1"
    found = told(problem="its image could not be built", words=words, probes=[])
    starts = judge("lab-01", DEFINITION, found, {}).results[0]
    assert "disk" in starts.cause
    assert "df" in starts.remedy


def test_what_could_not_be_removed_fails() -> None:
    assert verdicts(told(left="it could not be removed"))["removed"] is Verdict.FAIL
