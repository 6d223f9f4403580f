"""Progress on a terminal: one calm line a host, and above them what changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from gpuhost.events import Event, HostResult
from gpuhost.ui.base import Ui
from gpuhost.ui.tracker import HostProgress, Tracker, duration, label

MARKS = {
    "changed": ("✓", "green"),
    "failed": ("✗", "bold red"),
    "unreachable": ("✗", "bold red"),
}
REFRESH_HZ = 8


class LiveUi(Ui):
    """A view that redraws itself; what has ended scrolls up and stays."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False)
        self._tracker: Tracker | None = None
        self._spinner = Spinner("dots")

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
            self._tracker = None
        self._console.print(
            Text.assemble(("✓ ", "green"), title, (f"  {duration(tracker.total())}", "dim"))
        )

    def listen(self, event: Event) -> None:
        """Follow the event; print it if it changed something or failed."""
        if self._tracker is None:
            return
        self._tracker.follow(event)
        if isinstance(event, HostResult) and event.status in MARKS:
            self._console.print(self._line(event))

    def _line(self, event: HostResult) -> Text:
        mark, style = MARKS[event.status]
        line = Text.assemble(
            (f"  {mark} ", style),
            (f"{event.host}  ", "bold"),
            label(event),
            (f"  {duration(event.duration_s)}", "dim"),
        )
        if event.status != "changed" and event.message:
            line.append(f"\n      {event.message}", style="red")
        return line

    def _draw(self) -> RenderableType:
        tracker = self._tracker
        if tracker is None:
            return Text()
        grid = Table.grid(padding=(0, 2))
        for host in tracker.hosts.values():
            grid.add_row(*self._row(host, tracker))
        heading = Text.assemble((tracker.title, "bold"), (f"  {duration(tracker.total())}", "dim"))
        return Group(heading, grid)

    def _row(self, host: HostProgress, tracker: Tracker) -> tuple[RenderableType, ...]:
        if host.ended:
            return Text("✗", style="red"), Text(host.name, style="bold"), Text(host.ended), Text()
        elapsed = Text(duration(tracker.elapsed(host)), style="dim")
        return self._spinner, Text(host.name, style="bold"), Text(host.task), elapsed
