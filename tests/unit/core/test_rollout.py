from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuhost.errors import ExitCode, Interrupted, PlaybookError, UsageError
from gpuhost.model import HostReport, RunReport, Verdict
from gpuhost.rollout import Strategy, batches, roll_out

FIVE = ("a", "b", "c", "d", "e")


def silent(_line: str) -> None:
    pass


class Fleet:
    """Hosts that are worked on; those in ``sick`` fail."""

    def __init__(self, *sick: str) -> None:
        self.sick = sick
        self.touched: list[tuple[str, ...]] = []

    def work(self, batch: Sequence[str]) -> list[HostReport]:
        self.touched.append(tuple(batch))
        return [
            HostReport(name, error="sick", error_code=ExitCode.FAILED)
            if name in self.sick
            else HostReport(name, skipped="fine")
            for name in batch
        ]


def attempted(reports: Sequence[HostReport]) -> list[str]:
    return [r.host for r in reports if not r.skipped.startswith("not attempted")]


@pytest.mark.parametrize(
    ("serial", "canary", "sizes"),
    [
        ("", False, [5]),
        ("2", False, [2, 2, 1]),
        ("50%", False, [2, 2, 1]),
        ("1%", False, [1, 1, 1, 1, 1]),
        ("1,3", False, [1, 3, 1]),
        ("", True, [1, 4]),
        ("2", True, [1, 2, 2]),
        ("100", False, [5]),
    ],
)
def test_batches_are_hosts_or_percentages_and_the_last_size_goes_on(
    serial: str, canary: bool, sizes: list[int]
) -> None:
    assert [len(b) for b in batches(FIVE, Strategy.of(serial, canary, None))] == sizes


@given(
    count=st.integers(0, 60),
    sizes=st.lists(st.integers(1, 100).flatmap(lambda n: st.sampled_from([f"{n}", f"{n}%"]))),
    canary=st.booleans(),
)
def test_every_host_is_in_one_batch_in_its_order(
    count: int, sizes: list[str], canary: bool
) -> None:
    names = [f"gpu-{number}" for number in range(count)]
    found = batches(names, Strategy.of(",".join(sizes), canary, None))
    assert [name for batch in found for name in batch] == names
    assert all(found)


@pytest.mark.parametrize("serial", ["0", "-1", "x", "101%", "5,,5", "1.5"])
def test_a_batch_size_that_makes_no_sense_is_an_error(serial: str) -> None:
    with pytest.raises(UsageError, match="--serial"):
        Strategy.of(serial, False, None)


def test_a_canary_that_fails_saves_the_others() -> None:
    fleet = Fleet("a")
    reports = roll_out(FIVE, Strategy(canary=True), fleet.work, silent)
    assert fleet.touched == [("a",)]
    assert attempted(reports) == ["a"]
    assert reports[1].skipped == "not attempted: the canary a failed"
    assert reports[1].exit_code is ExitCode.FAILED
    assert reports[1].verdict is Verdict.SKIP


def test_a_canary_that_comes_through_lets_the_others_follow() -> None:
    fleet = Fleet()
    roll_out(FIVE, Strategy(canary=True), fleet.work, silent)
    assert fleet.touched == [("a",), ("b", "c", "d", "e")]


def test_after_so_many_failures_no_further_batch_begins() -> None:
    fleet = Fleet("a", "c")
    strategy = Strategy(serial=("2",), max_failures=2)
    reports = roll_out(FIVE, strategy, fleet.work, silent)
    assert fleet.touched == [("a", "b"), ("c", "d")]
    assert [report.host for report in reports] == list(FIVE)
    assert "2 hosts failed (a, c), and --max-failures is 2" in reports[4].skipped


def test_one_sick_host_does_not_stop_the_others() -> None:
    fleet = Fleet("b")
    reports = roll_out(FIVE, Strategy(serial=("2",)), fleet.work, silent)
    assert attempted(reports) == list(FIVE)


def test_a_batch_that_fails_as_a_whole_is_the_last() -> None:
    fleet = Fleet("a", "b")
    reports = roll_out(FIVE, Strategy(serial=("2",)), fleet.work, silent)
    assert attempted(reports) == ["a", "b"]


def test_batches_are_announced() -> None:
    said: list[str] = []
    roll_out(FIVE, Strategy(serial=("2",), canary=True), Fleet().work, said.append)
    assert said == [
        "batch 1 of 3 (canary): a",
        "batch 2 of 3: b, c",
        "batch 3 of 3: d, e",
    ]


@pytest.mark.parametrize("kind", [Interrupted, PlaybookError])
def test_what_stops_a_batch_tells_of_the_others(kind: type[Interrupted | PlaybookError]) -> None:
    def work(batch: Sequence[str]) -> list[HostReport]:
        if "c" in batch:
            raise kind("It stopped.", "Go on.")
        return Fleet().work(batch)

    with pytest.raises(kind) as caught:
        roll_out(FIVE, Strategy(serial=("2",)), work, silent)
    assert caught.value.message == "It stopped.\nFinished before: a, b.\nNot attempted: e."
    assert caught.value.remedy == "Go on."


def report_of(*hosts: HostReport) -> RunReport:
    return RunReport("r1", "provision", "", "", "0.1.0", hosts)


def test_drained_hosts_do_not_spoil_a_run_even_where_there_are_no_others() -> None:
    drained = HostReport("a", skipped="drained")
    failed = HostReport("b", error="no", error_code=ExitCode.FAILED)
    assert drained.exit_code is ExitCode.OK
    assert report_of(drained, failed).exit_code is ExitCode.FAILED
    assert report_of(drained).exit_code is ExitCode.OK
