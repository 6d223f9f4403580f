"""The view that shows nothing, and what every view answers to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gpuhost.events import Event


class Ui:
    """A silent view (``--quiet``); the others override what they show."""

    def say(self, line: str) -> None:
        """One line that stays."""

    @contextmanager
    def stage(self, title: str, hosts: Sequence[str]) -> Iterator[None]:
        """A piece of work on ``hosts``; progress is shown until it ends, however it ends."""
        del title, hosts
        yield

    def listen(self, event: Event) -> None:
        """Something that happened on a host."""
