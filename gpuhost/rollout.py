"""A fleet a batch at a time: each batch is proven before the next is touched."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gpuhost.errors import ExitCode, GpuhostError, UsageError
from gpuhost.model import HostReport

Work = Callable[[Sequence[str]], Sequence[HostReport]]
Say = Callable[[str], None]

_SIZE = re.compile(r"(?P<number>[1-9][0-9]*)(?P<percent>%?)")
_ALL = 100
SHOWN_NAMES = 10


@dataclass(frozen=True)
class Strategy:
    """How a fleet is gone through.

    ``serial``: sizes of the batches, as hosts or percentages; the last one
    goes on. Empty: all at once. ``canary``: one host before the first batch.
    ``max_failures``: so many hosts may fail before the others are spared.
    """

    serial: tuple[str, ...] = ()
    canary: bool = False
    max_failures: int | None = None

    @classmethod
    def of(cls, serial: str, canary: bool, max_failures: int | None) -> Strategy:
        """The strategy that was typed; raises UsageError."""
        sizes = tuple(size.strip() for size in serial.split(",")) if serial else ()
        for size in sizes:
            match = _SIZE.fullmatch(size)
            if match is None or (match["percent"] and int(match["number"]) > _ALL):
                raise UsageError(
                    f"--serial {serial}: {size!r} is neither a number of hosts nor a percentage.",
                    "Write, for example, --serial 5, --serial 10%, or --serial 1,5,25%.",
                )
        return cls(sizes, canary, max_failures)


def batches(names: Sequence[str], strategy: Strategy) -> list[tuple[str, ...]]:
    """The hosts in the batches in which they come."""
    sizes = _sizes(len(names), strategy)
    found: list[tuple[str, ...]] = []
    begin = 0
    while begin < len(names):
        end = begin + next(sizes)
        found.append(tuple(names[begin:end]))
        begin = end
    return found


def _sizes(count: int, strategy: Strategy) -> Iterator[int]:
    if strategy.canary:
        yield 1
    serial = strategy.serial or (f"{_ALL}%",)
    for size in serial:
        yield _hosts(size, count)
    while True:
        yield _hosts(serial[-1], count)


def _hosts(size: str, count: int) -> int:
    if size.endswith("%"):
        return max(1, math.floor(count * int(size[:-1]) / _ALL))
    return int(size)


def roll_out(names: Sequence[str], strategy: Strategy, work: Work, say: Say) -> list[HostReport]:
    """Do ``work`` on the hosts a batch at a time; a report for each, in order.

    Goes on while the canary came through, not all of a batch failed, and
    fewer than ``max_failures`` hosts did; the hosts that are left get a report
    that says so.
    """
    planned = batches(names, strategy)
    reports: list[HostReport] = []
    for number, batch in enumerate(planned, 1):
        if len(planned) > 1:
            say(_heading(number, len(planned), batch, strategy))
        try:
            reports += work(batch)
        except GpuhostError as error:
            raise _with_progress(error, names, reports, batch) from error
        rest = [name for later in planned[number:] for name in later]
        reason = _stop_reason(reports, batch, number, strategy)
        if rest and reason:
            say(f"stopped: {reason}; not attempted: {shortened(rest)}")
            return [*reports, *(_spared(name, reason) for name in rest)]
    return reports


def has_failed(report: HostReport) -> bool:
    """Whether a host did not come through."""
    return report.exit_code is not ExitCode.OK


def _stop_reason(
    reports: Sequence[HostReport], batch: Sequence[str], number: int, strategy: Strategy
) -> str:
    failed = [report.host for report in reports if has_failed(report)]
    if strategy.canary and number == 1 and failed:
        return f"the canary {failed[0]} failed"
    if strategy.max_failures is not None and len(failed) >= strategy.max_failures:
        hosts = "1 host" if len(failed) == 1 else f"{len(failed)} hosts"
        return (
            f"{hosts} failed ({shortened(failed)}), and --max-failures is {strategy.max_failures}"
        )
    if set(batch) <= set(failed):
        return f"every host of the batch {shortened(batch)} failed"
    return ""


def _heading(number: int, total: int, batch: Sequence[str], strategy: Strategy) -> str:
    role = " (canary)" if strategy.canary and number == 1 else ""
    return f"batch {number} of {total}{role}: {shortened(batch)}"


def _spared(name: str, reason: str) -> HostReport:
    return HostReport(
        host=name,
        skipped=f"not attempted: {reason}",
        error_remedy="Mend what failed, then run the same command again.",
        error_code=ExitCode.FAILED,
    )


def _with_progress(
    error: GpuhostError, names: Sequence[str], done: Sequence[HostReport], batch: Sequence[str]
) -> GpuhostError:
    """The error, and what became of the other hosts."""
    finished = [report.host for report in done]
    untouched = [name for name in names if name not in (*finished, *batch)]
    words = [error.message]
    if finished:
        words.append(f"Finished before: {shortened(finished)}.")
    if untouched:
        words.append(f"Not attempted: {shortened(untouched)}.")
    return type(error)("\n".join(words), error.remedy)


def shortened(names: Sequence[str]) -> str:
    """A list of hosts that fits into a line."""
    if len(names) <= SHOWN_NAMES:
        return ", ".join(names)
    return f"{', '.join(names[:SHOWN_NAMES])} … ({len(names)} in all)"
