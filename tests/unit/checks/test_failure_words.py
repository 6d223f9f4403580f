"""Every failure text of the field is recognised; one that is not is shown whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from gpuhost.checks.failure_words import KNOWN, explain, recognise

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


def test_remedies_are_for_the_host_and_never_empty() -> None:
    for failure in KNOWN:
        assert len(failure.cause) > 20, failure
        assert len(failure.remedy) > 10, failure
