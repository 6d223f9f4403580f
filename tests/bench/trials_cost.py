"""What the whole partition proof costs: all trials of an 8-GPU host against one `docker run`.

Run by `make bench`. Both are timed on the same lab host, in pairs that change
their order; what has to hold is the median of the ratios.

Starting a container is work for a processor, a fifth of a second of it where
nothing is started inside and no GPU is asked for. A set of GPUs on a path is
only proven by a container of its own, so that the proof cannot take less than
as many empty containers, shared among the processors there are: no more than
that is allowed, neither in time nor, which the machine's other work does not
disturb, in processor time. Four times one `docker run` is what remains of it
where the processors are many; how many that takes is told.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from support.ground import own_lab
from support.lab import PROJECT, Lab

MOST_ON_MANY_CPUS = 4.0
GPUS = 8
HOST = "bench-01"
IMAGE = "nvidia/cuda:13.0.3-base-ubuntu24.04"
TIMED = (
    "import subprocess, time; began = time.monotonic(); "
    f"subprocess.run(['docker', 'run', '--rm', '--gpus', 'all', '{IMAGE}', 'nvidia-smi', '-L'], "
    "check=True, stdout=subprocess.DEVNULL); print(time.monotonic() - began)"
)
EMPTY = f"seq {{count}} | xargs -P4 -I@ docker run --rm --network none {IMAGE} true"
# How many empty containers are measured, four at a time as the trials are, and how much more of a
# processor than they a trial may take: it asks for GPUs, and nvidia-smi and NVML are asked inside.
EMPTIES, MOST_OVER_EMPTY = 24, 1.5
CHECKS = ("gpus", "runtime", "cdi", "pairs", "refusal", "user")


def one_run(lab: Lab, host: str) -> float:
    """Seconds of one `docker run … nvidia-smi -L`, timed in the host."""
    return float(lab.exec(host, ["python3", "-c", TIMED]))


def processor_s(lab: Lab, host: str) -> float:
    """Processor time that the host has used since it was booted."""
    text = lab.exec(host, ["cat", "/sys/fs/cgroup/cpu.stat"])
    return int(text.split()[1]) / 1e6


def empty_s(lab: Lab, host: str) -> float:
    """Processor time of one container in which nothing is started, and that asks for no GPU."""
    before = processor_s(lab, host)
    lab.exec(host, ["sh", "-c", EMPTY.format(count=EMPTIES)])
    return (processor_s(lab, host) - before) / EMPTIES


class Proof(NamedTuple):
    """All trials: their time as the probe took it in the host, processor time, and number."""

    seconds: float
    processor_s: float
    trials: int


def all_trials(lab: Lab, host: str) -> Proof:
    """The whole proof, on a host that has to pass it."""
    before = processor_s(lab, host)
    words = [word for check in CHECKS for word in ("--check", f"partition.{check}")]
    verified = lab.verify(host, *words, "--check", "container.cuda", "--check", "container.ngc")
    if verified.bad:
        raise SystemExit(f"the host is not well: {verified.bad}")
    evidence = json.loads(Path(verified.host["evidence_path"]).read_text())
    section = evidence["sections"]["containers"]
    used_s = processor_s(lab, host) - before
    return Proof(float(section["duration_s"]), used_s, len(section["data"]["trials"]))


class Round(NamedTuple):
    """One `docker run`, an empty one and the proof, measured after each other."""

    single_s: float
    empty_s: float
    proof: Proof

    @property
    def times(self) -> float:
        """How many times one `docker run` the proof takes."""
        return self.proof.seconds / self.single_s

    @property
    def over_empty(self) -> float:
        """How much more of a processor a trial takes than an empty container."""
        return self.proof.processor_s / self.proof.trials / self.empty_s

    @property
    def processors(self) -> float:
        """On how many processors the proof would take four times one run, were they all busy."""
        return self.proof.processor_s / (MOST_ON_MANY_CPUS * self.single_s)


def measured(lab: Lab, host: str, rounds: int) -> Iterator[Round]:
    """Each round; the order changes from round to round."""
    for number in range(rounds):
        if number % 2:
            proof = all_trials(lab, host)
            found = Round(one_run(lab, host), empty_s(lab, host), proof)
        else:
            single_s, empty = one_run(lab, host), empty_s(lab, host)
            found = Round(single_s, empty, all_trials(lab, host))
        proof = found.proof
        say(
            f"one docker run {found.single_s:5.2f} s   {proof.trials} trials "
            f"{proof.seconds:5.2f} s   {found.times:.1f}   processor time of a trial "
            f"{proof.processor_s / proof.trials:.3f} s, of an empty container {found.empty_s:.3f} s"
        )
        yield found


def most(count: int) -> float:
    """How many times one run all trials may take on this machine."""
    return max(MOST_ON_MANY_CPUS, count / (os.cpu_count() or 1))


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def host_of_the_bench() -> Iterator[tuple[Lab, str]]:
    """A provisioned host with eight GPUs in a lab of its own."""
    with tempfile.TemporaryDirectory() as folder, own_lab():
        (Path(folder) / "inventories").mkdir()
        os.environ["XDG_STATE_HOME"] = f"{folder}/state"
        os.environ["PYTHONPATH"] = str(PROJECT)
        lab = Lab(Path(folder))
        lab.up(HOST, "--gpus", str(GPUS))
        lab.ok("provision", HOST, "--yes")
        yield lab, HOST


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lab", type=Path, help="a project whose lab is up, with --host")
    parser.add_argument("--host", default=HOST)
    asked = parser.parse_args()
    ground = contextlib.nullcontext((Lab(asked.lab), asked.host)) if asked.lab else None
    with ground or host_of_the_bench() as (lab, host):
        # Images are pulled and caches filled before anything is compared.
        all_trials(lab, host)
        rounds = list(measured(lab, host, asked.rounds))
    limit = most(rounds[0].proof.trials)
    is_quick = judged("all trials / one docker run", [each.times for each in rounds], limit)
    is_lean = judged(
        "processor time of a trial / an empty container",
        [each.over_empty for each in rounds],
        MOST_OVER_EMPTY,
    )
    enough = statistics.median(each.processors for each in rounds)
    say(f"    {MOST_ON_MANY_CPUS:.0f} times one docker run would take {enough:.0f} processors")
    return int(not (is_quick and is_lean))


def judged(what: str, ratios: Sequence[float], limit: float) -> bool:
    """Tell the median and say whether it is within the limit."""
    median = statistics.median(ratios)
    mark = "ok " if median <= limit else "BAD"
    spread = f"{min(ratios):.1f} to {max(ratios):.1f}"
    say(f"{mark} {what}: {median:.1f} ({spread}), at most {limit:.1f}")
    return median <= limit


if __name__ == "__main__":
    sys.exit(main())
