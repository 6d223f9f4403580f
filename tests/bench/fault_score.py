"""`make fault-score`: every fault of the lab made in a healthy host, and what verify says of it.

Prints a table and writes it as docs/faults.md: was the fault caught, by the
check that has to, with the right cause and remedy, and did other checks raise
a false alarm. A healthy host is verified many times besides, without an alarm.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.ground import own_lab
from support.lab import PROJECT, Lab, Verified

from gpuhost.lab.faults import Fault, all_faults, find, injected

PAGE = PROJECT / "docs" / "faults.md"
HOST = "score-01"
HEAD = """\
# Faults

What can go wrong with a host, made on purpose in the rehearsal lab, and what `gpuhost verify` \
says of it. Written by `make fault-score`; try one yourself:

```shell-session
$ gpuhost lab up && gpuhost provision lab-01
$ gpuhost lab fault lab-01 ecc-uncorrected && gpuhost verify lab-01
$ gpuhost lab fault lab-01 --clear
```

{right} of {total} faults are caught by the check that has to, with the right cause and remedy, \
and without a false alarm of another check. A healthy host was verified {runs} times, with \
{alarms} alarms.

| fault | what is wrong | caught by | caught | cause and remedy | false alarms |
|---|---|---|---|---|---|
"""
MARKS = {True: "yes", False: "**no**"}


@dataclass(frozen=True)
class Score:
    """How one fault was judged."""

    fault: Fault
    is_caught: bool
    is_named: bool
    false_alarms: tuple[str, ...] = ()
    said: str = ""
    error: str = ""

    @property
    def is_right(self) -> bool:
        return self.is_caught and self.is_named and not self.false_alarms and not self.error


@dataclass(frozen=True)
class Healthy:
    """How often a healthy host was verified, and the alarms that there were."""

    runs: int = 0
    alarms: tuple[str, ...] = field(default=())


def score(fault: Fault, verified: Verified) -> Score:
    """Compare what was said with what had to be."""
    result = verified.results[fault.check]
    is_caught = result["verdict"] == fault.verdict
    is_named = is_caught and fault.cause in result["cause"] and fault.remedy in result["remedy"]
    meant = (fault.check, *fault.consequences)
    alarms = [name for name in verified.bad if not any(fnmatch(name, each) for each in meant)]
    said = f"{result['verdict']}: {result['summary']} | {result['cause']} | {result['remedy']}"
    return Score(fault, is_caught, is_named, tuple(alarms), "" if is_named else said)


def score_all(lab: Lab, host: str, faults: Sequence[Fault]) -> Iterator[Score]:
    """Make each fault, verify, mend it; then the host has to be healthy again."""
    hosts = {"": host}
    for fault in faults:
        try:
            if fault.model not in hosts:
                hosts[fault.model] = provisioned(lab, f"{HOST}-{len(hosts)}", fault.model)
            host = hosts[fault.model]
            with injected(lab.exec, host, fault):
                yield score(fault, lab.verify(host))
        except Exception as error:  # noqa: BLE001  (one fault that cannot be made spoils no other)
            yield Score(fault, False, False, error=str(error))


def verify_healthy(lab: Lab, host: str, runs: int) -> Healthy:
    """Verify a host that nothing is wrong with."""
    alarms: list[str] = []
    for number in range(1, runs + 1):
        verified = lab.verify(host)
        alarms += [f"run {number}: {name} {words}" for name, words in verified.bad.items()]
        if number % 20 == 0:
            say(f"healthy: {number} of {runs}, {len(alarms)} alarms")
    return Healthy(runs, tuple(alarms))


def page(scores: Sequence[Score], healthy: Healthy) -> str:
    """The table as Markdown."""
    right = sum(each.is_right for each in scores)
    head = HEAD.format(
        right=right, total=len(scores), runs=healthy.runs, alarms=len(healthy.alarms)
    )
    lines = [
        f"| `{s.fault.name}` | {s.fault.about} | `{s.fault.check}` | {MARKS[s.is_caught]} | "
        f"{MARKS[s.is_named]} | {', '.join(s.false_alarms) or 'none'} |"
        for s in scores
    ]
    return head + "\n".join(lines) + "\n"


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def told(each: Score, duration_s: float) -> str:
    mark = "ok  " if each.is_right else "BAD "
    line = f"{mark} {each.fault.name:<26} {each.fault.check:<22} {duration_s:4.1f} s"
    problems = [
        each.error,
        each.said,
        f"false alarms: {', '.join(each.false_alarms)}" if each.false_alarms else "",
    ]
    return "\n".join([line, *(f"     {problem}" for problem in problems if problem)])


@contextlib.contextmanager
def healthy_host() -> Iterator[tuple[Lab, str]]:
    """A provisioned host in a lab of its own."""
    with tempfile.TemporaryDirectory() as folder, own_lab():
        project = Path(folder)
        (project / "inventories").mkdir()
        os.environ["XDG_STATE_HOME"] = str(project / "state")
        os.environ["PYTHONPATH"] = str(PROJECT)
        lab = Lab(project)
        yield lab, provisioned(lab, HOST)


def provisioned(lab: Lab, host: str, model: str = "") -> str:
    """A host with two GPUs, of a model where that matters."""
    lab.up(host, "--gpus", "2", *(("--model", model) if model else ()))
    lab.ok("provision", host, "--yes")
    return host


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--healthy", type=int, default=200, help="verifications of a healthy host")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    parser.add_argument("--lab", type=Path, help="a project whose lab is up, with --host")
    parser.add_argument("--host", default=HOST)
    parser.add_argument("names", nargs="*", help="faults; all by default")
    asked = parser.parse_args()
    faults = [find(name) for name in asked.names] or list(all_faults())
    ground = contextlib.nullcontext((Lab(asked.lab), asked.host)) if asked.lab else healthy_host()
    scores: list[Score] = []
    with ground as (lab, host):
        began = time.monotonic()
        for each in score_all(lab, host, faults):
            say(told(each, time.monotonic() - began))
            scores.append(each)
            began = time.monotonic()
        healthy = verify_healthy(lab, host, asked.healthy)
    for alarm in healthy.alarms:
        say(f"BAD  {alarm}")
    right = sum(each.is_right for each in scores)
    say(
        f"{right} of {len(scores)} right; {healthy.runs} healthy runs, {len(healthy.alarms)} alarms"
    )
    if asked.write:
        PAGE.write_text(page(scores, healthy))
    return int(right < len(scores) or bool(healthy.alarms))


if __name__ == "__main__":
    sys.exit(main())
