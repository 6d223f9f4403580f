"""What the whole partition proof costs: all trials of an 8-GPU host against one `docker run`.

Run by `make bench`. Both are timed on the same lab host, in pairs that change
their order; what has to hold is the median of the ratios. Starting a container is
work for a processor: 71 trials cannot take less than one `docker run` each, shared
among the processors there are, and no more is allowed. Where those are many, four
times one is.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

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
CHECKS = ("gpus", "runtime", "cdi", "pairs", "refusal", "user")


def one_run(lab: Lab, host: str) -> float:
    """Seconds of one `docker run … nvidia-smi -L`, timed in the host."""
    return float(lab.exec(host, ["python3", "-c", TIMED]))


def all_trials(lab: Lab, host: str) -> tuple[float, int]:
    """Seconds of all trials, as the probe timed them in the host, and how many they were."""
    words = [word for check in CHECKS for word in ("--check", f"partition.{check}")]
    verified = lab.verify(host, *words, "--check", "container.cuda", "--check", "container.ngc")
    if verified.bad:
        raise SystemExit(f"the host is not well: {verified.bad}")
    evidence = json.loads(Path(verified.host["evidence_path"]).read_text())
    section = evidence["sections"]["containers"]
    return float(section["duration_s"]), len(section["data"]["trials"])


def pairs(lab: Lab, host: str, rounds: int) -> Iterator[tuple[float, int]]:
    """The ratio and number of trials of each round; the order changes from round to round."""
    for number in range(rounds):
        if number % 2:
            (proof, count), single = all_trials(lab, host), one_run(lab, host)
        else:
            single = one_run(lab, host)
            proof, count = all_trials(lab, host)
        times = proof / single
        say(f"one docker run {single:5.2f} s   {count} trials {proof:5.2f} s   {times:.1f}")
        yield times, count


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
        found = list(pairs(lab, host, asked.rounds))
    ratios, limit = sorted(times for times, _ in found), most(found[0][1])
    median = statistics.median(ratios)
    mark = "ok " if median <= limit else "BAD"
    spread = f"{ratios[0]:.1f} to {ratios[-1]:.1f}"
    say(f"{mark} all trials / one docker run: {median:.1f} ({spread}), at most {limit:.1f}")
    return int(median > limit)


if __name__ == "__main__":
    sys.exit(main())
