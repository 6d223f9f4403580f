"""Work in processes of their own."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gpuhost.probe.child import Child, ChildError, Stopped, wait_any


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.005)


def test_the_answer_is_what_the_function_returned() -> None:
    assert Child(lambda: {"pid": [1, 2]}, 5).answer() == {"pid": [1, 2]}


def test_the_work_is_done_in_another_process() -> None:
    assert Child(os.getpid, 5).answer() != os.getpid()


def test_an_answer_larger_than_a_pipe_holds_arrives_whole() -> None:
    assert Child(lambda: "x" * 3_000_000, 10).answer() == "x" * 3_000_000


def test_an_exception_becomes_words_with_the_place_it_came_from() -> None:
    def work() -> None:
        raise ValueError("no such thing")

    with pytest.raises(ChildError, match=r"ValueError: no such thing \(test_child\.py:\d+\)"):
        Child(work, 5).answer()


def test_an_answer_that_is_not_json_is_an_error_too() -> None:
    with pytest.raises(ChildError, match="not JSON serializable"):
        Child(object, 5).answer()


def test_a_process_that_is_killed_names_the_signal() -> None:
    with pytest.raises(ChildError, match="killed by SIGKILL"):
        Child(lambda: os.kill(os.getpid(), signal.SIGKILL), 5).answer()


def test_a_hang_ends_at_the_limit() -> None:
    began = time.monotonic()
    with pytest.raises(ChildError, match=r"gave no answer within 0\.2 s"):
        Child(lambda: time.sleep(600), 0.2).answer()
    assert time.monotonic() - began < 10


def test_a_hang_that_ignores_being_told_to_end_is_killed() -> None:
    def work() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(600)

    began = time.monotonic()
    with pytest.raises(ChildError, match="gave no answer"):
        Child(work, 0.2, grace_s=0.2).answer()
    assert time.monotonic() - began < 10


def test_a_child_that_is_stopped_can_clean_up(tmp_path: Path) -> None:
    def work() -> None:
        try:
            (tmp_path / "begun").touch()
            time.sleep(600)
        except Stopped as stopped:
            # A second signal must not disturb this.
            os.kill(os.getpid(), signal.SIGTERM)
            (tmp_path / "cleaned").write_text(str(stopped))
            raise

    child = Child(work, 60, grace_s=10)
    wait_for(tmp_path / "begun")
    child.stop()
    assert (tmp_path / "cleaned").read_text() == "SIGTERM"
    with pytest.raises(ChildError):
        child.answer()


def test_stopping_one_that_has_ended_changes_nothing() -> None:
    child = Child(lambda: 1, 5)
    assert child.answer() == 1
    child.stop()
    assert child.answer() == 1


def test_the_first_to_end_is_told_while_others_work() -> None:
    slow, fast = Child(lambda: time.sleep(600), 60), Child(lambda: 1, 60)
    try:
        assert wait_any([slow, fast]) == [fast]
    finally:
        slow.stop()


def test_the_duration_is_that_of_the_work() -> None:
    child = Child(lambda: 1, 5)
    child.answer()
    assert child.duration_s < 1


def test_a_child_holds_none_of_the_parents_streams() -> None:
    def work() -> list[str]:
        return [str(Path(f"/proc/self/fd/{fd}").readlink()) for fd in (0, 1, 2)]

    assert Child(work, 5).answer() == ["/dev/null"] * 3


def test_output_that_waits_in_a_buffer_is_not_written_twice(
    capfd: pytest.CaptureFixture[str],
) -> None:
    sys.stdout.write("once")
    Child(lambda: 1, 5).answer()
    sys.stdout.flush()
    assert capfd.readouterr().out == "once"


def test_no_child_is_left_as_a_zombie() -> None:
    child: Any = Child(lambda: time.sleep(600), 0.1)
    with pytest.raises(ChildError):
        child.answer()
    with pytest.raises(ChildProcessError):
        os.waitpid(child._pid, 0)
