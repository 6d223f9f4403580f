from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuhost.errors import ExitCode
from gpuhost.history.compare import Kind, Transition, changes, onset, transitions
from gpuhost.history.records import BAD, Examination, RunRecord
from gpuhost.history.standing import standing
from gpuhost.model import Verdict

CHECK = "gpu.count"


def seen(
    verdict: str | None,
    number: int = 0,
    facts: Mapping[str, str] | None = None,
    complete: bool = True,
) -> Examination:
    """A host with one check (None: not examined at all), in the run of one night."""
    found = Verdict(verdict) if verdict else None
    code = ExitCode.UNREACHABLE if found is None else ExitCode.OK
    code = ExitCode.FAILED if found in (Verdict.FAIL, Verdict.UNKNOWN) else code
    started = f"2026-11-{number + 1:02d}T02:30:00+00:00"
    return Examination(
        host="a",
        run=RunRecord(f"run-{number}", "nightly", started, started, complete, code),
        verdict=found or Verdict.UNKNOWN,
        exit_code=code,
        facts=facts or {},
        verdicts={CHECK: found} if found else {},
    )


def past(*verdicts: str | None) -> list[Examination]:
    """Nights as they followed each other, newest first."""
    return [seen(verdict, number) for number, verdict in enumerate(verdicts)][::-1]


def became(*verdicts: str | None) -> Transition | None:
    """What became of the check in the last of some nights."""
    now, *earlier = past(*verdicts)
    found = transitions(now, earlier)
    return found[0] if found else None


@pytest.mark.parametrize(
    ("verdicts", "kind", "starts"),
    [
        (("PASS", "FAIL"), Kind.NEW, True),
        (("FAIL",), Kind.NEW, True),
        (("PASS", "FAIL", "FAIL"), Kind.STILL, False),
        (("FAIL", "UNKNOWN"), Kind.STILL, False),
        (("PASS", "WARN"), Kind.NEW, True),
        (("FAIL", "PASS"), Kind.FIXED, True),
        (("PASS", "FAIL", "PASS", "FAIL"), Kind.FLAPPING, True),
        (("PASS", "FAIL", "PASS", "FAIL", "PASS"), Kind.FLAPPING, False),
        (("FAIL", "SKIP"), Kind.UNJUDGED, True),
        (("FAIL", "SKIP", "SKIP"), Kind.UNJUDGED, False),
        (("FAIL", None), Kind.UNJUDGED, True),
        (("FAIL", None, "PASS"), Kind.FIXED, True),
        (("FAIL", "SKIP", "FAIL"), Kind.STILL, False),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, tuple) else str(value),
)
def test_what_became_of_a_check(verdicts: tuple[str | None, ...], kind: Kind, starts: bool) -> None:
    found = became(*verdicts)
    assert found is not None
    assert (found.kind, found.starts) == (kind, starts)


@pytest.mark.parametrize("verdicts", [("PASS",), ("PASS", "PASS"), ("SKIP", "PASS"), ("SKIP",)])
def test_what_is_well_and_was_is_not_told(verdicts: tuple[str, ...]) -> None:
    assert became(*verdicts) is None


@given(st.lists(st.sampled_from([*map(str, Verdict), None]), min_size=1, max_size=14))
def test_a_check_that_is_bad_is_always_told_and_never_as_fixed(
    verdicts: list[str | None],
) -> None:
    found = became(*verdicts)
    now = Verdict(verdicts[-1]) if verdicts[-1] else None
    if now in BAD:
        assert found is not None
        assert found.kind in (Kind.NEW, Kind.STILL, Kind.FLAPPING)
    if found and found.kind is Kind.FIXED:
        assert now is Verdict.PASS


@given(st.lists(st.sampled_from(["PASS", "FAIL"]), min_size=2, max_size=14))
def test_the_same_verdict_as_the_night_before_is_never_news(verdicts: list[str]) -> None:
    found = became(*verdicts, verdicts[-1])
    assert found is None or not found.starts


class TestOnset:
    def test_it_names_the_first_bad_run_the_last_good_one_and_what_changed_between(self) -> None:
        nights = [
            seen("PASS", 0, {"kernel": "6.1.0-1", "driver": "580.1"}),
            seen("FAIL", 1, {"kernel": "6.1.0-2", "driver": "580.1"}),
            seen("SKIP", 2),
            seen("FAIL", 3, {"kernel": "6.1.0-2", "driver": "580.1"}),
        ][::-1]
        found = onset(CHECK, nights)
        assert found is not None
        assert found.first_bad.run.run_id == "run-1"
        assert found.last_good is not None
        assert found.last_good.run.run_id == "run-0"
        assert [(c.fact, c.before, c.now) for c in found.changes] == [
            ("kernel", "6.1.0-1", "6.1.0-2")
        ]

    def test_a_check_that_was_never_good_has_no_last_good_run(self) -> None:
        found = onset(CHECK, past("FAIL", "FAIL"))
        assert found is not None
        assert found.first_bad.run.run_id == "run-0"
        assert found.last_good is None

    def test_a_check_that_is_well_has_none(self) -> None:
        assert onset(CHECK, past("FAIL", "PASS")) is None


def test_facts_that_came_and_went_are_changes() -> None:
    found = changes({"docker": "29.7.2", "ngc_image": "x"}, {"docker": "29.8.2", "kernel": "6"})
    assert {c.fact: (c.before, c.now) for c in found} == {
        "docker": ("29.7.2", "29.8.2"),
        "kernel": ("", "6"),
        "ngc_image": ("x", ""),
    }


class TestQuarantine:
    def test_a_host_that_failed_is_in_it_from_that_run_on(self) -> None:
        found = standing(past("PASS", "FAIL", "FAIL"))
        assert found.quarantined_since.startswith("2026-11-02")
        assert [(f.check, f.since[:10]) for f in found.failing] == [(CHECK, "2026-11-02")]

    def test_a_full_pass_brings_the_host_back(self) -> None:
        found = standing(past("PASS", "FAIL", "PASS"))
        assert not found.quarantined
        assert found.last_full_pass.startswith("2026-11-03")

    def test_a_single_check_that_passes_does_not_bring_it_back(self) -> None:
        nights = [seen("PASS", 0), seen("FAIL", 1), seen("PASS", 2, complete=False)][::-1]
        assert standing(nights).quarantined_since.startswith("2026-11-02")

    def test_a_warning_does_not_put_a_host_into_it(self) -> None:
        assert not standing(past("PASS", "WARN")).quarantined

    def test_a_host_that_never_passed_is_in_it(self) -> None:
        assert standing([seen("PASS", 0, complete=False)]).quarantined
