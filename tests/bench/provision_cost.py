"""What provisioning costs: a conforming host, every role on it, a bare one, plain apt-get.

Run by `make bench`. Both sides of a ratio are measured in turns in one run on
this machine, the lab's hosts being twins. The proof at the end, which is the
same for all, is not part of the figures. Plain apt-get installs on its host
the very packages that gpuhost installed on the other, from the same
repositories, and reboots it as often; it makes nothing of the host beside
that, and has no plan. That ratio follows from what the packages weigh. It is
measured with the weight of a real driver, its modules compiled
(`support/real_weight.py`), and with the lab's own packages, which take seconds: there
a step more or less in the roles shows best.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support import real_weight
from support.ground import own_lab, silent
from support.lab import PROJECT, Lab

from gpuhost import lab as room
from gpuhost.errors import LabError
from gpuhost.lab import mirror, settings

OURS, TWIN = "cost-01", "cost-02"
GPUS = "2"
BRANCH = "550"
# A conforming host against every role, and against a bare one.
FULL_MOST, CONFORMING_MOST = 0.2, 0.1
# A bare host against plain apt-get: with a real driver's weight, and with the lab's packages.
REAL_MOST, LIGHT_MOST = 1.5, 4.0
BOOT_LIMIT_S = 60
INSTALL_LIMIT_S = 1800
# What a package manager needs to know, as the roles leave it.
CONFIGURATION = (
    "/etc/apt/sources.list.d",
    "/etc/apt/keyrings",
    "/etc/apt/preferences.d",
    "/etc/apt/apt.conf.d",
    "/etc/modprobe.d",
)
STAGE = re.compile(r"(plan|provision): done in (?:(?P<minutes>\d+) min )?(?P<seconds>[\d.]+) s")
PACKAGES = ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}=${Version}\n"]


@dataclass
class Ratio:
    """One thing measured against another, several times in one run."""

    name: str
    most: float
    ours: list[float] = field(default_factory=list)
    other: list[float] = field(default_factory=list)

    @property
    def values(self) -> list[float]:
        return [ours / other for ours, other in zip(self.ours, self.other, strict=True)]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        mark = "ok " if self.median <= self.most else "BAD"
        seconds = f"{statistics.median(self.ours):.1f} s / {statistics.median(self.other):.1f} s"
        spread = f"{min(self.values):.3f} to {max(self.values):.3f}"
        return (
            f"{mark} {self.name}: {seconds} = {self.median:.3f} ({spread}), at most {self.most:.2f}"
        )


def provision(lab: Lab, *options: str) -> float:
    """Seconds that planning and applying took."""
    ran = lab.ok("provision", OURS, "--yes", *options)
    stages = [m.groupdict(default="0") for m in STAGE.finditer(ran.stderr)]
    return sum(60 * int(each["minutes"]) + float(each["seconds"]) for each in stages)


def sh(lab: Lab, host: str, script: str, stdin: str | None = None) -> str:
    return lab.exec(host, ["sh", "-ec", script], stdin, INSTALL_LIMIT_S)


def conforming(lab: Lab, rounds: int) -> Ratio:
    """A host that is as it should be: one look, against every role."""
    found = Ratio("a conforming host against --full", FULL_MOST)
    for number in range(rounds):
        if number % 2:
            found.other.append(provision(lab, "--full"))
            found.ours.append(provision(lab))
        else:
            found.ours.append(provision(lab))
            found.other.append(provision(lab, "--full"))
    return found


def packages(lab: Lab, host: str) -> set[str]:
    lines = lab.exec(host, PACKAGES).splitlines()
    return {line.split()[1] for line in lines if line.startswith("installed ")}


def plain(lab: Lab, names: Sequence[str], configuration: str) -> float:
    """Seconds that apt-get and a reboot took on the twin, which knows the repositories."""
    began = time.monotonic()
    sh(lab, TWIN, "base64 -d | tar --extract --directory / --file -", configuration)
    sh(lab, TWIN, "apt-get --quiet update")
    install = ["apt-get", "--quiet", "--yes", "--no-install-recommends", "install", *names]
    sh(lab, TWIN, f"DEBIAN_FRONTEND=noninteractive {shlex.join(install)}")
    reboot(lab, TWIN)
    return time.monotonic() - began


def boot_id(lab: Lab, host: str) -> str:
    return lab.exec(host, ["cat", "/proc/sys/kernel/random/boot_id"]).strip()


def reboot(lab: Lab, host: str) -> None:
    """Reboot, and wait until the driver is loaded."""
    before = boot_id(lab, host)
    sh(lab, host, "systemctl --no-block reboot")
    give_up = time.monotonic() + BOOT_LIMIT_S
    while time.monotonic() < give_up:
        with contextlib.suppress(LabError):
            if boot_id(lab, host) != before:
                sh(
                    lab,
                    host,
                    "systemctl is-system-running --wait || true; modprobe nvidia; nvidia-smi -L",
                )
                return
        time.sleep(0.1)
    raise RuntimeError(f"{host} did not come back from its reboot")


@contextlib.contextmanager
def hosts(lab: Lab, *names: str) -> Iterator[None]:
    """Bare hosts, all alike."""
    for name in names:
        lab.up(name, "--gpus", GPUS)
    try:
        yield
    finally:
        room.down(list(names), silent)


def light() -> None:
    """The lab's packages as they are."""


def real() -> None:
    """The lab's packages with a real driver's weight; after each `lab up`, which serves its own."""
    lab = settings.load()
    real_weight.add(
        lab.cache,
        mirror.folder(lab.state) / "cuda/debian12/x86_64",
        lab.state / "hosts" / OURS / "root/var/lib/dpkg/status",
        BRANCH,
        mirror.signing_keys(lab.cache).driver,
    )


def cold(lab: Lab, found: Ratio, rounds: int, weigh: Callable[[], None]) -> Ratio:
    """A bare host: from nothing to every role done, against what no installation can do without."""
    for number in range(1, rounds + 1):
        with hosts(lab, OURS, TWIN):
            weigh()
            bare = packages(lab, OURS)
            ours = provision(lab)
            names = sorted(packages(lab, OURS) - bare)
            listed = shlex.join(CONFIGURATION)
            configuration = sh(lab, OURS, f"tar --create --file - {listed} 2>/dev/null | base64")
            other = plain(lab, names, configuration)
        found.ours.append(ours)
        found.other.append(other)
        say(f"    round {number}: {ours:.1f} s, {other:.1f} s")
    return found


@contextlib.contextmanager
def a_lab() -> Iterator[Lab]:
    """A lab of this run's own."""
    with tempfile.TemporaryDirectory() as folder, own_lab():
        project = Path(folder)
        (project / "inventories").mkdir()
        os.environ["XDG_STATE_HOME"] = str(project / "state")
        os.environ["PYTHONPATH"] = str(PROJECT)
        yield Lab(project)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Measure, print, and say by the exit status whether the targets are met."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with a_lab() as lab:
        with hosts(lab, OURS):
            provision(lab)
            warm = conforming(lab, rounds)
            say(str(warm))
        # What fills caches does not count.
        cold(lab, Ratio("", LIGHT_MOST), 1, light)
        bare = cold(lab, Ratio("a bare host against plain apt-get", LIGHT_MOST), rounds, light)
        say(str(bare))
        on_top = [a - b for a, b in zip(bare.ours, bare.other, strict=True)]
        say(f"    on top of plain apt-get: {statistics.median(on_top):.1f} s")
        nightly = Ratio(
            "a conforming host against a bare one", CONFORMING_MOST, warm.ours, bare.ours
        )
        say(str(nightly))
        name = "a bare host against plain apt-get, a real driver's weight"
        heavy = cold(lab, Ratio(name, REAL_MOST), rounds, real)
        say(str(heavy))
    found = (warm, bare, nightly, heavy)
    return int(any(each.median > each.most for each in found))


if __name__ == "__main__":
    raise SystemExit(main())
