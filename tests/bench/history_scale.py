"""Whether the history stays quick: 90 nights of 400 hosts with 60 checks, against 9 nights.

Run by `make bench`. The times are of one run on one machine; what has to hold
is their ratio: ten times the nights may cost ten times as much, and not more
than half of that again.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from support.nights import Verdicts, night

from gpuhost.history import DATABASE, History, open_history
from gpuhost.history.diff import between
from gpuhost.history.standing import standing

HOSTS, CHECKS = 400, 60
FEW, MANY = 9, 90
FAILING = 0.002
MOST = 1.5 * MANY / FEW
ROUNDS = 3


def fill(history: History, nights: int) -> None:
    """Record nights in which a few checks fail by chance."""
    chance = random.Random(1)

    def verdicts() -> Verdicts:
        return {
            f"area.check_{number}": "FAIL" if chance.random() < FAILING else "PASS"
            for number in range(CHECKS)
        }

    for number in range(nights):
        hosts: Mapping[str, Verdicts] = {f"gpu-{n:03}": verdicts() for n in range(HOSTS)}
        history.record(night(number, hosts, facts={"boot": str(number // 7)}))


def status(history: History) -> None:
    """What `gpuhost status` asks."""
    for host in history.hosts():
        standing(history.of_host(host))


def diff(history: History) -> None:
    """What `gpuhost diff` asks."""
    new, old, *_ = [run.run_id for run in history.runs()]
    between(history, old, new)


def one_host(history: History) -> None:
    """What `gpuhost history HOST` asks."""
    history.of_host("gpu-007", 20)


def best(work: Callable[[History], None], history: History) -> float:
    """Seconds of the quickest of a few rounds."""

    def once() -> float:
        began = time.perf_counter()
        work(history)
        return time.perf_counter() - began

    return min(once() for _ in range(ROUNDS))


def main() -> int:
    """Print a line a question; 1 where one of them grew faster than the nights did."""
    with (
        tempfile.TemporaryDirectory() as few,
        tempfile.TemporaryDirectory() as many,
        open_history(Path(few)) as small,
        open_history(Path(many)) as large,
    ):
        fill(small, FEW)
        fill(large, MANY)
        size = (Path(many) / DATABASE).stat().st_size / 1e6
        print(f"{HOSTS} hosts × {MANY} nights × {CHECKS} checks: {size:.1f} MB")  # noqa: T201
        slow = [_is_slow(work, small, large) for work in (status, diff, one_host)]
        return int(any(slow))


def _is_slow(work: Callable[[History], None], small: History, large: History) -> bool:
    times = best(work, small), best(work, large)
    ratio = times[1] / times[0]
    print(  # noqa: T201
        f"{work.__name__:<9} {times[0]:8.4f} s in {FEW} nights, {times[1]:8.4f} s in {MANY}: "
        f"{ratio:4.1f} times (at most {MOST:.0f})"
    )
    return ratio > MOST


if __name__ == "__main__":
    sys.exit(main())
