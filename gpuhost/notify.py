"""Telling people what changed in a night: one message a run, and none where nothing did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuhost.checks.words import counted
from gpuhost.errors import UsageError
from gpuhost.history.compare import Kind, Onset, Transition

if TYPE_CHECKING:
    from gpuhost.nightly import Night

# Slack and mail take more, a person does not.
LONGEST = 40
SECONDS_A_DAY = 86_400
SIGNS = {Kind.NEW: "✗", Kind.FLAPPING: "~", Kind.FIXED: "✓"}


@dataclass(frozen=True)
class Message:
    """A title in one line, and the text below it."""

    title: str
    body: str


def check(urls: Sequence[str]) -> None:
    """See that Apprise knows every URL, before anything is done.

    Raises:
        UsageError: it does not; the URL itself, which may hold a password, is not shown.
    """
    if not urls:
        return
    from apprise import Apprise  # noqa: PLC0415  (it loads a hundred services)

    for number, url in enumerate(urls, start=1):
        if not Apprise().add(url):
            scheme = url.partition("://")[0] if "://" in url else "no scheme"
            raise UsageError(
                f"The {_ordinal(number)} notification URL ({scheme}) is none that Apprise knows.",
                "See its list of services for how one is written, e.g. mailto://USER:PASS@HOST.",
            )


def message(night: Night) -> Message | None:
    """What to tell about a night; None where nothing became otherwise."""
    news = night.news
    missed, troubles = night.missed, night.troubles
    if not (news or missed or troubles):
        return None
    lines = [_line(found, night.onsets.get((found.host, found.check))) for found in news]
    if len(lines) > LONGEST:
        lines = [*lines[:LONGEST], f"… and {len(lines) - LONGEST} more, in the report"]
    if missed:
        days = missed.total_seconds() / SECONDS_A_DAY
        lines.append(f"! no run for {days:.1f} days before this one: was the controller off?")
    lines += [f"! {trouble}" for trouble in troubles]
    lines.append(_rest(night))
    return Message(_title(news, missed is not None or bool(troubles)), "\n".join(lines))


def _title(news: Sequence[Transition], troubled: bool) -> str:
    failing = {found.host for found in news if found.kind in (Kind.NEW, Kind.FLAPPING)}
    fixed = {found.host for found in news if found.kind is Kind.FIXED} - failing
    parts = []
    if failing:
        parts.append(f"{_hosts(failing)} newly failing")
    if fixed:
        parts.append(f"{_hosts(fixed)} recovered")
    if troubled and not parts:
        parts.append("the nightly run needs attention")
    return f"gpuhost: {', '.join(parts)}"


def _hosts(names: set[str]) -> str:
    return next(iter(names)) if len(names) == 1 else f"{len(names)} hosts"


def _line(found: Transition, began: Onset | None) -> str:
    words = f"{SIGNS[found.kind]} {found.host}  {found.check}  {found.kind}"
    if found.kind is not Kind.FIXED:
        first, *rest = found.summary.splitlines() or [""]
        words += f": {found.now} {first}{' …' if rest else ''}"
    changed = began.changes if began and found.kind is Kind.NEW else ()
    if changed:
        told = ", ".join(f"{c.fact} {c.before or 'none'} → {c.now or 'none'}" for c in changed)
        words += f"\n    changed since it was last good: {told}"
    return words


def _rest(night: Night) -> str:
    still = [t for host in night.transitions.values() for t in host if t.kind is Kind.STILL]
    hosts = len({found.host for found in still})
    words = f"{counted(len(night.report.hosts), 'host')} verified"
    if still:
        words += f", {counted(len(still), 'check')} still failing on {hosts} of them"
    return f"{words}. Run {night.report.run_id}"


def send(urls: Sequence[str], told: Message) -> Iterator[str]:
    """Send the message to every URL; yields which could not be reached, without their secrets."""
    if not urls:
        return
    from apprise import Apprise  # noqa: PLC0415  (as above)

    for number, url in enumerate(urls, start=1):
        service = Apprise()
        service.add(url)
        if not service.notify(title=told.title, body=told.body):
            scheme = url.partition("://")[0]
            yield f"The {_ordinal(number)} notification ({scheme}) could not be delivered."


def _ordinal(number: int) -> str:
    words: Mapping[int, str] = {1: "first", 2: "second", 3: "third"}
    return words.get(number, f"{number}th")
