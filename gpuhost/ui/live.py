"""Progress on a terminal: one calm line a host, and above them what changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from textwrap import indent
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Column, Table
from rich.text import Text

from gpuhost.events import Event, HostResult, TaskStarted
from gpuhost.ui.base import Ui
from gpuhost.ui.tracker import HostProgress, Tracker, duration, label

MARKS = {
    "changed": ("✓", "green"),
    "failed": ("✗", "bold red"),
    "unreachable": ("✗", "bold red"),
}
REFRESH_HZ = 8
# What hosts may be doing, in the order in which it is counted.
WORDS = ("at work", "waiting", "failed", "unreachable")


class LiveUi(Ui):
    """A view that redraws itself; what has ended scrolls up and stays."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False)
        self._tracker: Tracker | None = None
        self._spinner = Spinner("dots")
        self._changed: list[HostResult] = []

    def say(self, line: str) -> None:
        """One line above the live part."""
        self._console.print(Text(line))

    @contextmanager
    def stage(self, title: str, hosts: Sequence[str]) -> Iterator[None]:
        """Draw until the work ends; the terminal is put right however it ends."""
        self._tracker = tracker = Tracker(title, hosts)
        live = Live(
            console=self._console,
            get_renderable=self._draw,
            refresh_per_second=REFRESH_HZ,
            transient=True,
        )
        try:
            with live:
                yield
        finally:
            self._tell_changed(tracker)
            self._tracker = None
        self._console.print(
            Text.assemble(("✓ ", "green"), title, (f"  {duration(tracker.total())}", "dim"))
        )

    def listen(self, event: Event) -> None:
        """Follow the event; print it if it changed something or failed."""
        if self._tracker is None:
            return
        self._tracker.follow(event)
        if isinstance(event, TaskStarted):
            self._tell_changed(self._tracker)
        if not isinstance(event, HostResult) or event.status not in MARKS:
            return
        if event.status == "changed" and not self._shows_all(self._tracker):
            self._changed.append(event)
        else:
            self._console.print(self._line(event, self._tracker.reason(event)))

    def _tell_changed(self, tracker: Tracker) -> None:
        """Of a fleet, one line for what a task changed: one a host would rush by."""
        for task in dict.fromkeys(label(event) for event in self._changed):
            events = [event for event in self._changed if label(event) == task]
            longest = max(event.duration_s for event in events)
            self._console.print(
                Text.assemble(
                    ("  ✓ ", "green"),
                    (f"{len(events)} of {len(tracker.hosts)} hosts  ", "bold"),
                    task,
                    (f"  {duration(longest)}", "dim"),
                )
            )
        self._changed.clear()

    def _line(self, event: HostResult, reason: str) -> Text:
        mark, style = MARKS[event.status]
        line = Text.assemble(
            (f"  {mark} ", style),
            (f"{event.host}  ", "bold"),
            label(event),
            (f"  {duration(event.duration_s)}", "dim"),
        )
        if reason:
            line.append("\n" + indent(reason, " " * 6), style="red")
        return line

    def _room(self) -> int:
        """Rows for hosts: all but the heading, what is said of the rest, and the cursor's."""
        return max(1, self._console.height - 3)

    def _shows_all(self, tracker: Tracker) -> bool:
        return len(tracker.hosts) <= self._room()

    def _draw(self) -> RenderableType:
        tracker = self._tracker
        if tracker is None:
            return Text()
        shown = tracker.slowest(self._room())
        # Only the task gives way where the terminal is narrow: each host keeps to its one row.
        grid = Table.grid(
            Column(no_wrap=True),
            Column(no_wrap=True),
            Column(),
            Column(no_wrap=True),
            padding=(0, 2, 0, 0),
        )
        for host in shown:
            grid.add_row(*self._row(host, tracker))
        heading = Text.assemble((tracker.title, "bold"), (f"  {duration(tracker.total())}", "dim"))
        return Group(heading, grid, *rest(tracker, [host.name for host in shown]))

    def _row(self, host: HostProgress, tracker: Tracker) -> tuple[RenderableType, ...]:
        if host.ended:
            return Text("✗", style="red"), Text(host.name, style="bold"), Text(host.ended), Text()
        if tracker.waits(host):
            words = Text("waits", style="dim")
            return Text("·", style="dim"), Text(host.name, style="dim"), words, Text()
        elapsed = Text(duration(tracker.elapsed(host)), style="dim")
        task = Text(host.doing, no_wrap=True, overflow="ellipsis")
        return self._spinner, Text(host.name, style="bold"), task, elapsed


def rest(tracker: Tracker, shown: Collection[str]) -> Iterator[Text]:
    """A line for the hosts that are not ``shown``, if there are any."""
    hidden = [host for host in tracker.hosts.values() if host.name not in shown]
    if not hidden:
        return
    counts = Counter(
        host.ended or ("waiting" if tracker.waits(host) else "at work") for host in hidden
    )
    words = ", ".join(f"{counts[word]} {word}" for word in WORDS if counts[word])
    yield Text(f"… and {len(hidden)} more: {words}", style="dim")
