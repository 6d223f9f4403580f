"""ansible-runner's dictionaries become typed events."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuhost.events import (
    HIDDEN,
    FileDiff,
    HostResult,
    HostStats,
    Message,
    PlayStarted,
    Stats,
    TaskStarted,
    failure_words,
    translate,
)


def raw(event: str, stdout: str = "", **data: Any) -> dict[str, Any]:
    return {"event": event, "stdout": stdout, "event_data": data}


def test_plays_and_tasks_begin_with_their_names() -> None:
    assert translate(raw("playbook_on_play_start", name="Provision")) == PlayStarted("Provision")
    started = translate(raw("playbook_on_task_start", play="P", task="Install", role="docker_ce"))
    assert started == TaskStarted("P", "Install", "docker_ce")


@pytest.mark.parametrize(
    ("event", "result", "status"),
    [
        ("runner_on_ok", {"changed": False}, "ok"),
        ("runner_on_ok", {"changed": True}, "changed"),
        ("runner_on_skipped", {"changed": False}, "skipped"),
        ("runner_on_failed", {"changed": True, "msg": "no"}, "failed"),
        ("runner_on_unreachable", {"msg": "no"}, "unreachable"),
    ],
)
def test_a_result_has_one_status(event: str, result: dict[str, Any], status: str) -> None:
    translated = translate(raw(event, host="a", task="T", res=result, duration=1.5))
    assert isinstance(translated, HostResult)
    assert (translated.status, translated.duration_s) == (status, 1.5)
    assert bool(translated.message) == (status in ("failed", "unreachable"))


def test_only_what_gpuhosts_own_modules_hand_back_is_kept() -> None:
    result = {"changed": False, "stdout": "much", "evidence": {"a": 1}}
    translated = translate(raw("runner_on_ok", host="a", task="T", res=result))
    assert isinstance(translated, HostResult)
    assert translated.data == {"evidence": {"a": 1}}


def test_stats_count_only_hosts_that_took_part() -> None:
    event = raw("playbook_on_stats", processed={"a": 1, "b": 1}, ok={"a": 3}, dark={"b": 1})
    assert translate(event) == Stats({"a": HostStats(ok=3), "b": HostStats(dark=1)})


def test_colours_and_empty_lines_are_no_message() -> None:
    assert translate(raw("verbose", "\x1b[0m\r\n")) is None
    assert translate(raw("error", "\x1b[0;31m[ERROR]: no\x1b[0m")) == Message(
        "error", "[ERROR]: no"
    )


def test_a_diff_is_told_as_ansible_shows_it() -> None:
    event = raw("runner_on_file_diff", "--- before\r\n+++ after\r\n+x", host="a", task="T")
    assert translate(event) == FileDiff("a", "T", "--- before\n+++ after\n+x")
    assert translate(raw("runner_on_file_diff", host="a", task="T")) is None


@pytest.mark.parametrize("event", ["playbook_on_start", "runner_item_on_ok", "EOF", ""])
def test_what_is_of_no_use_is_no_event(event: str) -> None:
    assert translate(raw(event)) is None


def test_a_censored_result_is_not_told_not_even_by_what_ansible_shows() -> None:
    shown = "[ERROR]: Task failed: Module failed: s3cret"
    assert failure_words({"censored": "hidden", "msg": "s3cret"}, shown) == HIDDEN


def test_output_that_the_message_already_holds_is_not_told_twice() -> None:
    assert failure_words({"msg": "apt failed: E: no", "stderr": "E: no\n"}) == "apt failed: E: no"


def test_output_on_stdout_is_told_where_there_is_none_on_stderr() -> None:
    assert failure_words({"msg": "it broke", "stderr": "", "stdout": "why\n"}) == "it broke\nwhy"


def test_where_ssh_says_nothing_ansibles_own_words_are_told() -> None:
    words = "Task failed: Failed to connect to the host via ssh: "
    assert failure_words({"msg": words}) == words.strip()


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "msg": st.text() | st.lists(st.text()) | st.none() | st.integers(),
            "stderr": st.text() | st.none(),
            "stdout": st.text(),
            "rc": st.integers(),
            "cmd": st.text() | st.lists(st.text()),
        },
    ),
    st.text(),
)
def test_every_failure_has_words(result: dict[str, Any], shown: str) -> None:
    assert failure_words(result, shown).strip()


# As ansible-core 2.21 tells it: in other words, and no item of a loop is marked as failed.
EXITED = {
    "changed": True,
    "exception": "(traceback unavailable)",
    "msg": "The command exited with a non-zero return code.",
    "rc": 1,
    "ansible_loop_var": "item",
    "_ansible_item_label": "two",
    "item": "two",
    "stdout": "",
    "stderr": "two is bad",
    "cmd": "test two = one",
}


def test_a_command_that_failed_is_told_in_the_same_words_of_every_ansible() -> None:
    told = "test two = one exited with 1\ntwo is bad"
    assert failure_words(EXITED) == told
    assert failure_words({**EXITED, "msg": "non-zero return code", "failed": True}) == told


def test_of_a_loop_the_item_that_failed_is_told() -> None:
    well = {"item": "one", "msg": "", "rc": 0, "_ansible_item_label": "one"}
    result = {"msg": "One or more items failed", "results": [well, EXITED]}
    assert failure_words(result) == "two: test two = one exited with 1\ntwo is bad"
