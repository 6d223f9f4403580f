"""Every failure text of the field is recognised; one that is not is shown whole."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from support.evidence import healthy_desired, healthy_evidence

from gpuhost.checks import judge
from gpuhost.checks.failure_words import KNOWN, explain, recognise
from gpuhost.model import Verdict

FILE = Path(__file__).parents[2] / "fixtures" / "failure_texts.yaml"
CASES = yaml.safe_load(FILE.read_text())


@pytest.mark.parametrize("case", CASES, ids=[case["text"][:60] for case in CASES])
def test_a_known_failure_is_explained(case: dict[str, str]) -> None:
    failure = recognise(case["text"])
    assert failure is not None
    assert case["cause"] in failure.cause
    assert failure.remedy


def test_the_errors_of_the_real_runtime_are_explained(captures: Path) -> None:
    text = (captures / "matrix-1.18.2.txt").read_text()
    errors = re.findall(r'level=error msg="((?:[^"\\]|\\.)*)"', text)
    assert errors
    for error in errors:
        assert recognise(error) is not None, error


def test_every_entry_is_needed_by_a_text_of_the_field() -> None:
    used = {id(recognise(case["text"])) for case in CASES}
    assert [failure.pattern.pattern for failure in KNOWN if id(failure) not in used] == []


def test_an_unknown_failure_is_said_to_be_unknown() -> None:
    cause, remedy = explain("the moon is full", "look up")
    assert "not a failure that gpuhost knows" in cause
    assert remedy == "look up"


WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zl", "Zp", "Zs")), min_size=3
)


@settings(max_examples=60, deadline=None)
@given(WORDS)
def test_the_words_of_any_failure_are_shown_whole_and_never_pass(words: str) -> None:
    evidence: Any = healthy_evidence(2)
    sections = evidence["sections"]
    for trial in sections["containers"]["data"]["trials"]:
        if trial["expected_uuids"]:
            trial.update(outcome="refused", error=words, list_gpus="", query="", nvml=None)
    sections["docker"]["data"].update(connect_error=words, info=None)
    sections["nvml"]["data"].update(failure={"code": None, "name": "", "text": words}, gpus=[])
    sections["health"]["data"].update(failure={"code": None, "name": "", "text": words}, gpus=[])
    sections["kernel_log"].update(error=words, data=None)
    results = {result.check: result for result in judge(evidence, healthy_desired(2))}
    for check in ("docker.running", "driver.nvml", "health.ecc", "health.xid", "partition.cdi"):
        assert results[check].verdict in (Verdict.FAIL, Verdict.UNKNOWN)
        assert words in results[check].seen, check


@settings(max_examples=60, deadline=None)
@given(WORDS)
def test_the_words_of_a_refused_container_are_shown_whole(words: str) -> None:
    evidence: Any = healthy_evidence(2)
    for trial in evidence["sections"]["containers"]["data"]["trials"]:
        if trial["expected_uuids"]:
            trial.update(outcome="refused", error=words, list_gpus="", query="", nvml=None)
    for result in judge(evidence, healthy_desired(2), ["partition.gpus", "container.cuda"]):
        assert result.verdict is Verdict.FAIL
        assert words in result.seen


def test_remedies_are_for_the_host_and_never_empty() -> None:
    for failure in KNOWN:
        assert len(failure.cause) > 20, failure
        assert len(failure.remedy) > 10, failure
