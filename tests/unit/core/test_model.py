from hypothesis import given
from hypothesis import strategies as st

from gpuhost.errors import ExitCode, worst
from gpuhost.model import CheckResult, HostReport, RunReport, Verdict, worst_verdict

CODES = [ExitCode.OK, ExitCode.FAILED, ExitCode.UNREACHABLE, ExitCode.SETUP, ExitCode.BUG]


def result(verdict: Verdict, check: str = "some.check") -> CheckResult:
    return CheckResult(check, verdict, "")


def host(*verdicts: Verdict) -> HostReport:
    return HostReport("gpu-01", tuple(result(v) for v in verdicts))


def run(*hosts: HostReport) -> RunReport:
    return RunReport("r", "verify", "", "", "0", hosts)


def test_several_exit_codes_become_the_worst_by_precedence() -> None:
    assert worst([ExitCode.FAILED, ExitCode.UNREACHABLE]) is ExitCode.UNREACHABLE
    assert worst([ExitCode.UNREACHABLE, ExitCode.SETUP]) is ExitCode.SETUP
    assert worst([ExitCode.SETUP, ExitCode.BUG]) is ExitCode.BUG
    assert worst([]) is ExitCode.OK


@given(st.lists(st.sampled_from(CODES)))
def test_an_exit_code_is_zero_only_if_all_are(codes: list[ExitCode]) -> None:
    assert (worst(codes) is ExitCode.OK) == all(code is ExitCode.OK for code in codes)


@given(st.lists(st.sampled_from(list(Verdict)), min_size=1))
def test_a_host_exits_zero_only_if_something_was_judged_and_nothing_is_bad(
    verdicts: list[Verdict],
) -> None:
    bad = {Verdict.FAIL, Verdict.UNKNOWN} & set(verdicts)
    judged = {Verdict.PASS, Verdict.WARN} & set(verdicts)
    assert (host(*verdicts).exit_code is ExitCode.OK) == (bool(judged) and not bad)


def test_what_was_skipped_takes_nothing_from_what_passed() -> None:
    assert host(Verdict.PASS, Verdict.SKIP).verdict is Verdict.PASS


def test_unknown_is_never_a_pass() -> None:
    assert host(Verdict.PASS, Verdict.UNKNOWN).exit_code is ExitCode.UNREACHABLE
    assert host(Verdict.PASS, Verdict.UNKNOWN).verdict is Verdict.UNKNOWN


def test_a_host_without_a_single_result_is_not_fine() -> None:
    assert host().exit_code is not ExitCode.OK


def test_a_warning_alone_does_not_fail_the_run() -> None:
    assert run(host(Verdict.PASS, Verdict.WARN)).exit_code is ExitCode.OK


def test_coverage_counts_the_checks_that_reached_a_judgement() -> None:
    assert host(Verdict.PASS, Verdict.FAIL, Verdict.SKIP, Verdict.UNKNOWN).coverage == (2, 4)


def test_one_unreachable_host_among_failed_ones_shows_in_the_exit_code() -> None:
    gone = HostReport("gpu-02", error="no route", error_code=ExitCode.UNREACHABLE)
    assert run(host(Verdict.FAIL), gone).exit_code is ExitCode.UNREACHABLE


def test_the_worst_of_no_verdicts_is_not_a_pass() -> None:
    assert worst_verdict([]) is Verdict.SKIP
