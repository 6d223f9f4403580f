import io
import threading

import pytest

from gpuhost.events import HostResult, HostStarted, Progress
from gpuhost.ui.plain import PlainUi
from gpuhost.ui.tracker import Tracker, duration


def started(task: str = "Install", host: str = "lab-01") -> HostStarted:
    return HostStarted(host, task, "docker_ce")


def ended(status: str, message: str = "") -> HostResult:
    return HostResult("lab-01", "Install", status, message, duration_s=1.5, role="docker_ce")


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (65.4, "1 min 05 s")]
)
def test_durations_read_as_a_person_says_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_each_host_is_followed_by_itself() -> None:
    tracker = Tracker("provision", ["lab-01", "lab-02"])
    tracker.follow(started("One"))
    tracker.follow(ended("failed"))
    tracker.follow(started("Two", host="lab-02"))
    assert tracker.hosts["lab-01"].ended == "failed"
    assert tracker.hosts["lab-01"].task == "docker_ce: One"
    assert tracker.hosts["lab-02"].task == "docker_ce: Two"


def test_how_far_a_task_has_come_is_part_of_it_until_the_next_begins() -> None:
    tracker = Tracker("workload", ["lab-01"])
    tracker.follow(started("Bring the outputs"))
    tracker.follow(Progress("lab-01", "256 of 900 MiB"))
    tracker.follow(Progress("elsewhere", "1 of 2 MiB"))
    assert tracker.hosts["lab-01"].doing == "docker_ce: Bring the outputs  256 of 900 MiB"
    tracker.follow(started("Next"))
    assert tracker.hosts["lab-01"].doing == "docker_ce: Next"


def test_a_host_that_goes_on_after_a_failure_was_rescued() -> None:
    tracker = Tracker("provision", ["lab-01"])
    tracker.follow(ended("failed"))
    tracker.follow(started("Put the old configuration back"))
    assert tracker.hosts["lab-01"].ended == ""


def test_plain_lines_say_what_changed_and_what_failed_but_not_what_was_fine() -> None:
    stream = io.StringIO()
    ui = PlainUi(stream)
    with ui.stage("provision", ["lab-01"]):
        for event in (started(), ended("ok"), started(), ended("changed")):
            ui.listen(event)
        ui.listen(ended("failed", "no space left"))
    lines = [line.split("  ", 1)[1] for line in stream.getvalue().splitlines()]
    assert lines[0] == "provision: lab-01"
    assert lines[1:3] == [
        "lab-01  docker_ce: Install  changed  1.5 s",
        "lab-01  docker_ce: Install  failed  1.5 s  no space left",
    ]
    assert lines[3].startswith("provision: done in")


def test_what_a_host_said_of_its_failure_is_not_said_twice() -> None:
    stream = io.StringIO()
    ui = PlainUi(stream)
    with ui.stage("provision", ["lab-01"]):
        ui.listen(ended("failed", "no space left:\n/var is full"))
        ui.listen(ended("failed", "no space left:\n/var is full"))
        ui.listen(ended("failed", "another reason"))
    lines = [line.split("  ", 1)[1] for line in stream.getvalue().splitlines()]
    assert lines[1:5] == [
        "lab-01  docker_ce: Install  failed  1.5 s  no space left:",
        "        /var is full",
        "lab-01  docker_ce: Install  failed  1.5 s",
        "lab-01  docker_ce: Install  failed  1.5 s  another reason",
    ]


def test_a_long_task_gives_a_sign_of_life() -> None:
    spoken = threading.Event()

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            if "still at docker_ce: Install" in text:
                spoken.set()
            return super().write(text)

    ui = PlainUi(Stream(), heartbeat_s=0.01)
    with ui.stage("provision", ["lab-01"]):
        ui.listen(started())
        assert spoken.wait(5)


def test_a_sign_of_life_of_a_fleet_names_a_few_hosts_and_counts_the_others() -> None:
    hosts = [f"gpu-{number:02}" for number in range(40)]
    told = threading.Event()
    lines: list[str] = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            if not told.is_set():
                lines.append(text.split("  ", 1)[1].strip())
            if "more hosts are at work" in text:
                told.set()
            return super().write(text)

    ui = PlainUi(Stream(), heartbeat_s=0.01)
    with ui.stage("verify", hosts):
        assert told.wait(5)
    assert len(lines) == 7
    assert lines[-1] == "… and 35 more hosts are at work"


def test_an_interrupted_stage_does_not_say_that_it_is_done() -> None:
    stream = io.StringIO()

    def interrupted() -> None:
        with PlainUi(stream).stage("provision", ["lab-01"]):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert "done" not in stream.getvalue()
