"""Section ``upkeep``: what happens to the host while nobody looks.

Whether its clock is kept right, which packages an upgrade would replace, and
which kernel the next boot loads, with or without the NVIDIA driver.
"""

from __future__ import annotations

import re
from typing import List, Optional, Sequence, Tuple

from gpuhost.probe import unattended, units
from gpuhost.probe.context import Context
from gpuhost.probe.driver import MODULES
from gpuhost.probe.run import which
from gpuhost.probe.schema import Clock, Command, NextBoot, Upgrade, Upgrades, Upkeep
from gpuhost.probe.system import kernels_installed
from gpuhost.probe.unattended import WATCHED

CLOCK_UNITS = (
    "systemd-timesyncd.service",
    "chrony.service",
    "chronyd.service",
    "ntpsec.service",
    "ntpd.service",
)
APT_SIMULATION = ("apt-get", "-s", "-q", "-o", "APT::Get::Show-User-Simulation-Note=no")
_APT_LINE = re.compile(r"Inst (?P<name>\S+) \[(?P<installed>[^\]]+)\] \((?P<candidate>\S+)")
DNF_UPDATES_AVAILABLE = 100
DNF_COLUMNS = 3


def collect(context: Context) -> Upkeep:
    """Read the section; what one part cannot tell is said in that part."""
    return {
        "clock": clock(context),
        "upgrades": upgrades(context),
        "next_boot": next_boot(context),
    }


def clock(context: Context) -> Clock:
    """Whether the kernel takes its clock for right, and who keeps it so."""
    answer = context.run(["timedatectl", "show"])
    found = re.search(r"^NTPSynchronized=(yes|no)$", answer["stdout"], re.M)
    installed = [u for u in units.show(context, CLOCK_UNITS) if u["load_state"] == "loaded"]
    return {
        "synchronised": found.group(1) == "yes" if found else None,
        "error": None if found else _words(answer),
        "units": installed,
    }


def _words(answer: Command) -> str:
    return answer["error"] or answer["stderr"].strip() or f"it exits {answer['rc']}"


def upgrades(context: Context) -> Upgrades:
    """The watched packages that the next upgrade would replace, from what the host has heard."""
    if which("apt-get"):
        return _apt(context)
    if which("dnf"):
        return _dnf(context)
    return _unread("neither apt-get nor dnf is there")


def _unread(why: str) -> Upgrades:
    return {"pending": None, "error": why, "automatic": False, "exposed": []}


def _apt(context: Context) -> Upgrades:
    answer = context.run([*APT_SIMULATION, "dist-upgrade"])
    if answer["rc"] != 0:
        return _unread(_words(answer))
    configuration = context.run(["apt-config", "dump"])["stdout"]
    automatic = unattended.is_unattended(configuration)
    pending = apt_upgrades(answer["stdout"])
    waiting = [upgrade["name"] for upgrade in pending]
    exposed = unattended.apt_exposed(context, configuration, waiting) if automatic else []
    return {"pending": pending, "error": None, "automatic": automatic, "exposed": exposed}


def apt_upgrades(text: str) -> List[Upgrade]:
    """The watched packages that a simulated upgrade installs anew."""
    found = (_APT_LINE.match(line) for line in text.splitlines())
    return [
        {"name": m["name"], "installed": m["installed"], "candidate": m["candidate"]}
        for m in found
        if m and WATCHED.search(m["name"])
    ]


def _dnf(context: Context) -> Upgrades:
    automatic = unattended.dnf_automatic(context)
    # From the cache: a verification does not wait for mirrors.
    kind = ["--security"] if automatic.installs and automatic.security_only else []
    answer = context.run(["dnf", "-q", "-C", "--setopt=exit_on_lock=1", *kind, "check-update"])
    if answer["rc"] not in (0, DNF_UPDATES_AVAILABLE):
        return _unread(_words(answer))
    pending = dnf_upgrades(answer["stdout"])
    waiting = [upgrade["name"] for upgrade in pending]
    return {
        "pending": pending,
        "error": None,
        "automatic": automatic.installs,
        "exposed": unattended.dnf_exposed(context, automatic, waiting)
        if automatic.installs
        else [],
    }


def dnf_upgrades(text: str) -> List[Upgrade]:
    """The watched packages of ``dnf check-update``; it does not tell what is installed."""
    found: List[Upgrade] = []
    for line in text.splitlines():
        columns = line.split()
        if len(columns) == DNF_COLUMNS and WATCHED.search(columns[0]):
            name = columns[0].rpartition(".")[0]
            found.append({"name": name, "installed": "", "candidate": columns[1]})
    return found


def next_boot(context: Context) -> NextBoot:
    """The kernel that a boot loader takes if nobody chooses, and the module built for it."""
    kernel = _default_kernel(context) or newest(kernels_installed(context.root))
    if kernel is None:
        return {"kernel": None, "module_version": None}
    answers = (context.run(["modinfo", "-k", kernel, "-F", "version", name]) for name in MODULES)
    versions = (answer["stdout"].strip() for answer in answers if answer["rc"] == 0)
    return {"kernel": kernel, "module_version": next((v for v in versions if v), None)}


def _default_kernel(context: Context) -> Optional[str]:
    """Red Hat's tool knows; elsewhere the newest kernel is the default."""
    if which("grubby") is None:
        return None
    path = context.run(["grubby", "--default-kernel"])["stdout"].strip()
    return path.rpartition("/vmlinuz-")[2] or None


def newest(kernels: Sequence[str]) -> Optional[str]:
    """The highest version, number by number."""

    def key(name: str) -> List[Tuple[int, str]]:
        parts = re.findall(r"\d+|[a-z]+", name)
        return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]

    return max(kernels, key=key, default=None)
