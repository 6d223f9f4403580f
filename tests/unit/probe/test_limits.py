"""The probe ends, and when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from support.probe import spec, trials_asked

from gpuhost.probe import limits


@given(st.integers(0, 200), st.integers(1, 64), st.floats(1, 600))
def test_more_trials_never_make_the_limit_shorter(
    planned: int, parallel: int, timeout_s: float
) -> None:
    asked = spec(trials=trials_asked(parallel=parallel, trial_timeout_s=timeout_s))
    less, more = (limits.containers_s(asked, planned + extra) for extra in (0, 1))
    assert timeout_s < less <= more


def test_the_limit_covers_every_trial_taking_all_its_time() -> None:
    asked = spec(trials=trials_asked(parallel=2, trial_timeout_s=60.0))
    assert limits.containers_s(asked, 10) > 60 * 10 / 2


def test_pulling_counts_only_where_it_is_allowed() -> None:
    with_pull = spec(trials=trials_asked(pull=True, pull_timeout_s=1800.0))
    without = spec(trials=trials_asked(pull=False, pull_timeout_s=1800.0))
    assert limits.containers_s(with_pull, 1) - limits.containers_s(without, 1) == 1800


def test_a_whole_reading_has_a_bound_with_and_without_trials() -> None:
    asked = spec(trials=trials_asked())
    assert limits.probe_s(asked, 8) > limits.containers_s(asked, 71)
    assert 5 < limits.probe_s(spec(sections=["nvml"]), 8) < 120


def test_the_training_has_its_time_where_it_is_asked_for() -> None:
    without = limits.probe_s(spec(sections=["nvml"]), 8)
    assert limits.probe_s(spec(sections=["nvml", "throughput"]), 8) > without + limits.THROUGHPUT_S


def test_a_host_with_few_cpus_still_runs_a_few_trials_at_once() -> None:
    assert limits.parallel(trials_asked(parallel=1)) == 1
    assert limits.parallel(trials_asked(parallel=3)) == 3
    assert limits.parallel(trials_asked(parallel=10_000)) < 10_000
