"""What is said of a host where a playbook did not come to its end."""

from __future__ import annotations

from gpuhost.apply import SHOWN_CHANGES, failure
from gpuhost.errors import ExitCode
from gpuhost.outcome import HostOutcome


def failed(**fields: object) -> HostOutcome:
    values = {"message": "no space left", "task": "Install", "failed": True, **fields}
    return HostOutcome("lab-01", ok=False, **values)  # type: ignore[arg-type]


def test_the_task_and_its_words_are_the_error_and_it_counts_as_failed() -> None:
    report = failure(failed(), "provision")
    assert report.error == "Install: no space left"
    assert report.error_code is ExitCode.FAILED


def test_a_task_that_is_there_to_explain_is_not_named() -> None:
    report = failure(failed(task="Say why dockerd did not run", message="Its socket."), "provision")
    assert report.error == "Its socket."


def test_the_state_tells_what_had_been_changed_until_then() -> None:
    report = failure(failed(changes=("Write a key", "Reboot")), "provision")
    assert report.error_state == "changed before that, and left so:\nWrite a key\nReboot"


def test_a_host_that_nothing_was_changed_on_is_said_to_be_so() -> None:
    assert failure(failed(), "remove").error_state == "nothing had been changed before that"


def test_of_many_changes_the_first_are_told_and_the_rest_counted() -> None:
    changes = tuple(f"Step {number}" for number in range(SHOWN_CHANGES + 3))
    lines = failure(failed(changes=changes), "provision").error_state.splitlines()
    assert lines[1:] == [*changes[:SHOWN_CHANGES], "and 3 more"]


def test_the_command_to_run_next_comes_after_what_else_is_to_do() -> None:
    assert failure(failed(), "rollback").error_remedy == "Then again: gpuhost rollback lab-01"
    remedies = failure(failed(remedy="Free some space."), "provision").error_remedy.splitlines()
    assert remedies == ["Free some space.", "Then again: gpuhost provision lab-01"]
