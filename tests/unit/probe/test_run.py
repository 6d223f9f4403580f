"""Commands that always end."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from gpuhost.probe.run import OUTPUT_LIMIT_BYTES, command, runner


def sh(script: str, timeout_s: float = 10.0):  # type: ignore[no-untyped-def]
    return command(["/bin/sh", "-c", script], timeout_s)


def test_both_streams_and_the_exit_status_are_kept() -> None:
    done = sh("echo out; echo err >&2; exit 3")
    assert (done["rc"], done["stdout"], done["stderr"]) == (3, "out\n", "err\n")
    assert done["error"] is None
    assert not done["timed_out"]


def test_a_missing_program_is_an_error_and_raises_nothing() -> None:
    done = command(["/nowhere/nvidia-smi", "-L"], 1)
    assert done["rc"] is None
    assert done["error"] == "/nowhere/nvidia-smi: No such file or directory"


def test_a_program_that_hangs_is_killed_and_what_it_said_is_kept() -> None:
    done = sh("echo before; exec sleep 600", timeout_s=0.3)
    assert done["timed_out"]
    assert done["rc"] is None
    assert done["stdout"] == "before\n"
    assert done["duration_s"] < 5


def test_the_children_of_a_program_that_hangs_are_killed_with_it(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    sh(f"sleep 600 & echo $! > {pid_file}; wait", timeout_s=0.5)
    pid = int(pid_file.read_text())
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and is_running(pid):
        time.sleep(0.01)
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_child_that_keeps_the_output_open_does_not_hold_the_probe_up() -> None:
    done = sh("sleep 600 & echo ready", timeout_s=0.5)
    assert done["stdout"] == "ready\n"
    assert done["duration_s"] < 5


def test_output_over_the_limit_is_cut_and_the_program_still_ends() -> None:
    done = sh(f"head -c {3 * OUTPUT_LIMIT_BYTES} /dev/zero | tr '\\0' x; echo end >&2")
    assert done["rc"] == 0
    assert len(done["stdout"]) == OUTPUT_LIMIT_BYTES
    assert done["stderr"] == "end\n"


def test_bytes_that_are_not_utf_8_are_replaced() -> None:
    assert sh(r"printf 'a\377b'")["stdout"] == "a�b"


def test_the_program_reads_nothing_and_speaks_plain_english() -> None:
    done = runner(10)(["/bin/sh", "-c", "cat; echo $LC_ALL"])
    assert done["stdout"] == "C\n"


def test_a_program_killed_by_a_signal_has_its_number_as_negative_status() -> None:
    assert sh("kill -KILL $$")["rc"] == -signal.SIGKILL


def test_the_program_leads_a_session_of_its_own() -> None:
    done = sh("ps -o sid= -p $$ 2>/dev/null || cut -d' ' -f6 /proc/$$/stat")
    assert int(done["stdout"]) != os.getsid(0)
