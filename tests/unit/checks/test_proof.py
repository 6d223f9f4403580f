from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support.evidence import healthy_evidence

from gpuhost.checks.proof import SHOWN, conclude, served
from gpuhost.checks.trials import Examined
from gpuhost.model import Verdict

CONTAINERS: Any = healthy_evidence(1)["sections"]["containers"]["data"]
TRIAL = next(trial for trial in CONTAINERS["trials"] if trial["id"] == "gpus/all")

verdicts = st.sampled_from([Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN])


def examined(verdict: Verdict) -> Examined:
    if verdict is Verdict.PASS:
        return Examined(TRIAL, verdict)
    return Examined(TRIAL, verdict, "leak", "seen", "cause", "remedy")


@given(st.lists(verdicts), st.lists(st.just("GPU 0 alone"), max_size=1))
def test_one_failure_is_a_failure_and_only_all_of_everything_is_a_pass(
    found: list[Verdict], untried: list[str]
) -> None:
    finding = conclude([examined(verdict) for verdict in found], untried, "fine", "gpus")
    if Verdict.FAIL in found:
        assert finding.verdict is Verdict.FAIL
    elif Verdict.UNKNOWN in found or untried or not found:
        assert finding.verdict is Verdict.UNKNOWN
    else:
        assert finding.verdict is Verdict.PASS


@given(st.integers(1, 60))
def test_many_failures_are_counted_and_some_of_them_shown(number: int) -> None:
    finding = conclude([examined(Verdict.FAIL)] * number, (), "", "gpus")
    assert f"{number} of {number} trials" in finding.summary
    assert len(finding.seen.splitlines()) <= SHOWN + 1


def test_several_mechanisms_are_told_apart() -> None:
    by_hook: Any = {**TRIAL, "served_by": "all"}
    hook = Examined(by_hook, Verdict.PASS)
    assert served([examined(Verdict.PASS), hook, hook]) == "served by CDI (1), hook (2)"
