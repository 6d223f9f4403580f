"""Every case in tests/fixtures/evidence is judged as it says; a new case is a new file.

A case has ``about`` (one line), ``desired`` (fields of Desired), ``evidence``
(one Evidence document) and ``verdicts``: every check that does not PASS, with
its verdict. Checks of sections that were not read yet when it was recorded are
left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gpuhost.checks import headline, judge
from gpuhost.model import Desired, Verdict

CASES = sorted((Path(__file__).parents[2] / "fixtures" / "evidence").glob("*.json"))


def desired(fields: dict[str, Any]) -> Desired:
    values: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    return Desired(**values)


@pytest.mark.parametrize("path", CASES, ids=[path.stem for path in CASES])
def test_a_recorded_host_is_judged_as_its_case_says(path: Path) -> None:
    case = json.loads(path.read_text())
    results = judge(case["evidence"], desired(case["desired"]))
    others = {
        r.check: str(r.verdict)
        for r in results
        if r.verdict is not Verdict.PASS and not r.summary.startswith("not asked for: this run did")
    }
    assert others == case["verdicts"]


@pytest.mark.parametrize("path", CASES, ids=[path.stem for path in CASES])
def test_a_recorded_host_has_a_headline(path: Path) -> None:
    case = json.loads(path.read_text())
    assert headline(case["evidence"])["os"]


def test_there_are_cases() -> None:
    assert CASES
