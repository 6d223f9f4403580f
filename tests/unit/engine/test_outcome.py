"""The tally of a run, whatever order its events come in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gpuhost.events import Event, HostResult, HostStarted, HostStats, Message, Stats
from gpuhost.outcome import Tally
from gpuhost.ssh_words import Cause

HOSTS = ("a", "b", "c")
RESULTS = st.builds(
    HostResult,
    host=st.sampled_from(HOSTS),
    task=st.text(max_size=3),
    status=st.sampled_from(["ok", "changed", "failed", "unreachable", "skipped"]),
    message=st.text(max_size=3),
)
COUNTS = st.builds(
    HostStats, ok=st.integers(0, 2), failures=st.integers(0, 1), dark=st.integers(0, 1)
)


def tallied(events: list[Event]) -> Tally:
    tally = Tally(HOSTS)
    for event in events:
        tally.follow(event)
    return tally


@given(st.lists(RESULTS), st.dictionaries(st.sampled_from(HOSTS), COUNTS))
def test_only_a_host_that_was_counted_without_a_failure_is_ok(
    results: list[HostResult], counts: dict[str, HostStats]
) -> None:
    outcome = tallied([*results, Stats(counts)]).outcome()
    assert set(outcome.hosts) == set(HOSTS)
    for name, host in outcome.hosts.items():
        stats = counts.get(name)
        assert host.ok == (stats is not None and not stats.failures and not stats.dark)
        assert host.ok != (host.failed or host.unreachable)
        assert host.ok == (host.cause is None)


def test_the_last_failure_is_the_one_that_counts() -> None:
    first = HostResult("a", "Install", "failed", "no space")
    second = HostResult("a", "Roll back", "failed", "rolled back: no space")
    host = tallied([first, second, Stats({"a": HostStats(failures=1)})]).outcome().hosts["a"]
    assert (host.task, host.message) == ("Roll back", "rolled back: no space")


def test_a_host_that_took_part_unasked_is_told_too() -> None:
    outcome = tallied([Stats({"localhost": HostStats(failures=1)})]).outcome()
    assert outcome.hosts["localhost"].failed


def test_what_is_running_is_known_until_its_result_comes() -> None:
    tally = tallied([HostStarted("a", "Install"), HostStarted("b", "Install")])
    tally.follow(HostResult("b", "Install", "ok"))
    assert tally.running == {"a": "Install"}


def test_the_last_words_are_the_errors_if_there_are_any() -> None:
    tally = tallied([Message("info", "reading"), Message("error", "no"), Message("info", "bye")])
    assert tally.last_words == "no"
    assert tallied([Message("info", "one"), Message("info", "two")]).last_words == "one\ntwo"


def test_of_an_error_that_comes_line_by_line_the_begin_is_told() -> None:
    lines = ["reading", "[ERROR]: no", "Origin: a.yml:1:1", *["an example"] * 50]
    words = tallied([Message("info", line) for line in lines]).last_words
    assert words.startswith("[ERROR]: no\nOrigin: a.yml:1:1\n")


def test_without_a_count_nothing_has_ended() -> None:
    assert not tallied([HostResult("a", "Install", "ok")]).has_ended
    assert tallied([Stats({})]).outcome().hosts["a"].cause is Cause.NOT_ATTEMPTED
