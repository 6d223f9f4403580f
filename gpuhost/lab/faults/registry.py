"""The register of faults: each area's file has its own, and nothing else has to be told."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from gpuhost.errors import UsageError
from gpuhost.suggest import did_you_mean

AREAS = (
    "hardware",
    "driver",
    "docker",
    "toolkit",
    "cdi",
    "images",
    "registry",
    "users",
    "disk",
    "clock",
    "network",
    "upkeep",
)
KERNEL = "/usr/lib/gpuhost-lab/kernel"
# Without it systemd refuses a service that was started a few times in ten seconds.
START_DOCKER = "systemctl reset-failed docker.service docker.socket; systemctl start docker.service"
RESTART_DOCKER = (
    "systemctl reset-failed docker.service docker.socket; systemctl restart docker.service"
)
REFRESH_CDI = (
    "systemctl reset-failed nvidia-cdi-refresh.service; "
    "systemctl restart nvidia-cdi-refresh.service"
)
# Everything that starts a container, or needs one to have run.
TRIALS = ("container.*", "partition.*")


@dataclass(frozen=True)
class Fault:
    """One thing that can go wrong.

    ``make`` and ``mend`` are shell scripts for root in the host; mending is
    harmless where nothing was made. ``check`` has to end in ``verdict`` with
    the words ``cause`` and ``remedy`` in its own. ``consequences`` are
    patterns of other checks that it may spoil: what is not among them and
    speaks up is a false alarm. ``model`` is what ``gpuhost lab up --model`` has
    to be given for a host that can have the fault; empty: every host can.
    """

    name: str
    area: str
    about: str
    make: str
    mend: str
    check: str
    cause: str
    remedy: str
    consequences: tuple[str, ...] = ()
    verdict: str = "FAIL"
    model: str = ""


def report(gpu: int, **values: str) -> tuple[str, str]:
    """Scripts that have a GPU report values to NVML, and its own again."""
    pairs = [f"{key}={value}" for key, value in values.items()]
    cleared = [f"{key}=" for key in values]
    return kernel("report", str(gpu), *pairs), kernel("report", str(gpu), *cleared)


def kernel(*words: str) -> str:
    """A script that tells the kernel player something."""
    return shlex.join([KERNEL, *words])


def moved_away(*paths: str) -> tuple[str, str]:
    """Scripts that move files aside, and back."""
    quoted = [shlex.quote(path) for path in paths]
    make = "; ".join(f"mv -f {path} {path}.fault" for path in quoted)
    mend = "; ".join(
        f"if [ -e {path}.fault ]; then mv -f {path}.fault {path}; fi" for path in quoted
    )
    return make, mend


def edited(path: str, change: str) -> tuple[str, str]:
    """Scripts that change a file after a copy of it was put aside, and put it back."""
    make = f"[ -e {path}.fault ] || cp -a {path} {path}.fault; {change}"
    return make, moved_away(path)[1]


@cache
def all_faults() -> tuple[Fault, ...]:
    """Every fault, by area."""
    # The areas' files use what is above.
    from gpuhost.lab.faults import boards, containers, driver, hardware, services  # noqa: PLC0415

    lists: Sequence[tuple[Fault, ...]] = (
        hardware.FAULTS,
        boards.FAULTS,
        driver.FAULTS,
        containers.FAULTS,
        services.FAULTS,
    )
    found = tuple(fault for faults in lists for fault in faults)
    if len({fault.name for fault in found}) != len(found):
        raise ValueError("two faults have one name")
    return tuple(sorted(found, key=lambda fault: AREAS.index(fault.area)))


def find(name: str) -> Fault:
    """The fault of a name; UsageError for one that there is not."""
    known = {fault.name: fault for fault in all_faults()}
    if name not in known:
        raise UsageError(
            f"There is no fault {name!r}.{did_you_mean(name, known)}",
            "List them with: gpuhost lab fault --list",
        )
    return known[name]
