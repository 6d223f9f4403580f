"""Two views of the same work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gpuhost.events import Event
from gpuhost.ui.base import Ui


class Both(Ui):
    """What is told to it is told to both of its views."""

    def __init__(self, one: Ui, other: Ui) -> None:
        self._one = one
        self._other = other

    def say(self, line: str) -> None:
        """One line that stays, in both."""
        self._one.say(line)
        self._other.say(line)

    @contextmanager
    def stage(self, title: str, hosts: Sequence[str]) -> Iterator[None]:
        """A piece of work, shown by both."""
        with self._one.stage(title, hosts), self._other.stage(title, hosts):
            yield

    def listen(self, event: Event) -> None:
        """Something that happened on a host, told to both."""
        self._one.listen(event)
        self._other.listen(event)
