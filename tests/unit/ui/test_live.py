"""The live view as it stands on a terminal of 80 columns and 24 rows."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from gpuhost.events import HostResult, HostStarted, TaskStarted
from gpuhost.ui import live as room
from gpuhost.ui.live import LiveUi
from gpuhost.ui.tracker import Tracker

TASK = "Install Docker Engine"
ROWS = 24
FLEET = [f"gpu-{number:02}" for number in range(1, 41)]


class Screen:
    """A stage whose time passes when it is told to, and what would be drawn of it."""

    def __init__(self, hosts: list[str], width: int = 80) -> None:
        self.now = 0.0
        self.tracker = Tracker("provision", hosts, clock=lambda: self.now)
        self.console = Console(width=width, height=ROWS, record=True, file=io.StringIO())
        self.ui = LiveUi(io.StringIO())
        self.ui._console = self.console
        self.ui._tracker = self.tracker

    def start(self, *hosts: str, task: str = TASK) -> None:
        for host in hosts:
            self.ui.listen(HostStarted(host, task, "docker_ce"))

    def end(self, *hosts: str, status: str = "ok", message: str = "") -> None:
        for host in hosts:
            self.ui.listen(HostResult(host, TASK, status, message, 2.0, "docker_ce"))

    def printed(self) -> list[str]:
        """What has been printed above the live part since the last look."""
        return self.console.export_text().splitlines()

    def lines(self, *, styles: bool = False) -> list[str]:
        self.printed()
        self.console.print(self.ui._draw())
        return [line.rstrip() for line in self.console.export_text(styles=styles).splitlines()]


@pytest.fixture
def fleet() -> Screen:
    return Screen(FLEET)


def test_all_hosts_are_shown_where_there_is_room() -> None:
    screen = Screen(FLEET[:21])
    screen.start(*FLEET[:21])
    lines = screen.lines()
    assert [line.split()[1] for line in lines[1:]] == FLEET[:21]


def test_a_fleet_leaves_a_row_of_the_terminal_free_and_counts_the_rest(fleet: Screen) -> None:
    fleet.start(*FLEET[:10])
    fleet.now = 2.0
    lines = fleet.lines()
    assert len(lines) == ROWS - 1
    assert lines[-1] == "… and 19 more: 19 waiting"


def test_of_a_fleet_those_are_shown_that_have_been_at_a_task_longest(fleet: Screen) -> None:
    slow = FLEET[30:]
    fleet.start(*slow)
    fleet.now = 60.0
    fleet.start(*FLEET[:30])
    lines = fleet.lines()
    shown = [line.split()[1] for line in lines[1:-1]]
    assert set(slow) < set(shown)
    assert shown == sorted(shown)
    assert lines[-1] == "… and 19 more: 19 at work"


def test_hosts_of_about_the_same_time_do_not_change_places(fleet: Screen) -> None:
    for number, host in enumerate(reversed(FLEET)):
        fleet.now = number * 0.1
        fleet.start(host)
    assert [line.split()[1] for line in fleet.lines()[1:-1]] == FLEET[:21]


def test_hosts_that_failed_are_the_first_to_leave_the_screen(fleet: Screen) -> None:
    fleet.start(*FLEET)
    fleet.end(*FLEET[:25], status="failed")
    fleet.end("gpu-26", status="unreachable")
    lines = fleet.lines()
    assert {line.split()[1] for line in lines[1:-1]} >= set(FLEET[26:])
    assert lines[-1] == "… and 19 more: 18 failed, 1 unreachable"


def test_a_host_that_waits_for_the_others_is_dim() -> None:
    screen = Screen(["gpu-01", "gpu-02"])
    screen.start("gpu-01", "gpu-02")
    screen.end("gpu-01")
    screen.now = 5.0
    _, first, second = screen.lines(styles=True)
    assert "\x1b[2mwaits" in first
    assert "\x1b[1mgpu-02" in second
    assert "5.0 s" in second


def test_a_moment_between_two_tasks_is_no_waiting() -> None:
    screen = Screen(["gpu-01"])
    screen.start("gpu-01")
    screen.end("gpu-01")
    screen.now = 0.5
    assert "waits" not in "".join(screen.lines())


def test_a_long_task_keeps_to_its_row_and_leaves_the_time_readable() -> None:
    screen = Screen(["gpu-01"])
    screen.start("gpu-01", task="Install " + "and configure " * 10)
    screen.now = 65.0
    _, row = screen.lines()
    assert len(row) <= 80
    assert "…" in row
    assert row.endswith("1 min 05 s")


def test_what_a_few_hosts_changed_is_told_at_once() -> None:
    screen = Screen(["gpu-01"])
    screen.end("gpu-01", status="changed")
    assert screen.printed() == ["  ✓ gpu-01  docker_ce: Install Docker Engine  2.0 s"]


def test_what_a_task_changed_on_a_fleet_is_told_in_one_line_when_it_is_over(
    fleet: Screen,
) -> None:
    fleet.end(*FLEET[:30], status="changed")
    assert fleet.printed() == []
    fleet.ui.listen(TaskStarted("play", "Next"))
    assert fleet.printed() == ["  ✓ 30 of 40 hosts  docker_ce: Install Docker Engine  2.0 s"]


def test_a_host_of_a_fleet_that_fails_is_told_at_once(fleet: Screen) -> None:
    fleet.end("gpu-17", status="failed", message="no space left")
    assert fleet.printed() == [
        "  ✗ gpu-17  docker_ce: Install Docker Engine  2.0 s",
        "      no space left",
    ]


def test_what_a_fleet_changed_last_is_not_lost_with_the_end_of_the_stage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(
        room,
        "Console",
        lambda **_: Console(file=stream, width=80, height=ROWS, force_terminal=False),
    )
    ui = LiveUi(stream)
    with ui.stage("provision", FLEET):
        ui.listen(HostResult("gpu-01", TASK, "changed", "", 2.0, "docker_ce"))
    assert "✓ 1 of 40 hosts  docker_ce: Install Docker Engine" in stream.getvalue()
