"""apt-get, asked for what the module ansible.builtin.apt is elsewhere, in fewer steps."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

LISTS = Path("/var/lib/apt/lists")
OLD_S = 86400
# For a repository that does not answer at once; the lock of the lists, which apt does not wait for.
ATTEMPTS = 3
PAUSE_S = 2
LOCKED = "Could not get lock"
UNMET = "The following packages have unmet dependencies"
DPKG_FAILED = "dpkg: error processing"
# What befalls the packages that need one that failed.
LEFT_UNCONFIGURED = " dependency problems - leaving unconfigured"
# What dpkg says of each package on its way, as distinct from what went wrong.
PROGRESS = (
    "(Reading database",
    "Selecting previously",
    "Preparing to unpack",
    "Unpacking ",
    "Setting up ",
    "Processing triggers",
    "dpkg-deb: error: paste subprocess was killed",
)
HALF_INSTALLED = """\
Packages are half installed now:
{}
When that is mended: apt-get --fix-broken install"""
LAST_LINES = 15
GONE = ("not-installed", "config-files")
ENVIRONMENT = {
    "DEBIAN_FRONTEND": "noninteractive",
    "DEBIAN_PRIORITY": "critical",
    "APT_LISTCHANGES_FRONTEND": "none",
    "LC_ALL": "C",
}
QUIET = ("apt-get", "--quiet", "--yes")
INSTALL = (
    "--no-install-recommends",
    "--allow-downgrades",
    "--allow-change-held-packages",
    "--option=Dpkg::Options::=--force-confdef",
    "--option=Dpkg::Options::=--force-confold",
)


def is_old() -> bool:
    """Whether apt has read no lists for a day."""
    return not LISTS.is_dir() or time.time() - LISTS.stat().st_mtime > OLD_S


def installed(module: Any) -> dict[str, str]:
    """Version of each package of which something is installed, by name."""
    fields = "${db:Status-Status} ${Package} ${Version}\n"
    _, listed, _ = module.run_command(["dpkg-query", "-W", "-f", fields], check_rc=True)
    rows = [line.split(" ") for line in listed.splitlines()]
    return {name: version for status, name, version in rows if status not in GONE}


def to_install(packages: Mapping[str, str], present: Mapping[str, str]) -> dict[str, str]:
    """Those of ``packages`` (name → pattern, empty: any) that are not there at such a version."""
    return {
        name: pattern
        for name, pattern in packages.items()
        if name not in present or (pattern and not fnmatchcase(present[name], pattern))
    }


def update(module: Any, patience_s: float) -> None:
    """Read the lists of all repositories; fails the module where one cannot be had."""
    argv = [*QUIET, "--option=APT::Update::Error-Mode=any", "update"]
    give_up, failures = time.monotonic() + patience_s, 0
    while True:
        status, out, err = module.run_command(argv, environ_update=ENVIRONMENT)
        if status == 0:
            # apt leaves the folder alone where it finds nothing new.
            os.utime(LISTS)
            return
        failures += LOCKED not in err
        if failures == ATTEMPTS or time.monotonic() > give_up:
            module.fail_json(msg=f"apt cannot read its repositories: {words(out, err)}")
        time.sleep(PAUSE_S)


class InstallationError(Exception):
    """Packages could not be installed.

    ``half_installed`` where it was not apt that refused, but dpkg that failed.
    """

    def __init__(self, words: str, *, half_installed: bool) -> None:
        super().__init__(words)
        self.half_installed = half_installed


def install(module: Any, packages: Mapping[str, str], patience_s: float) -> None:
    """Install ``packages`` (name → pattern) in one transaction.

    Raises:
        InstallationError: apt refuses to, and nothing was done; or dpkg failed.
    """
    specs = [f"{name}={pattern}" if pattern else name for name, pattern in packages.items()]
    lock = f"--option=DPkg::Lock::Timeout={patience_s:.0f}"
    status, out, err = module.run_command(
        [*QUIET, *INSTALL, lock, "install", *specs], environ_update=ENVIRONMENT
    )
    if status == 0:
        return
    said, half_installed = words(out, err), DPKG_FAILED in out
    refused = f"apt-get could not install {', '.join(specs)}: {said}"
    raise InstallationError(
        HALF_INSTALLED.format(said) if half_installed else refused, half_installed=half_installed
    )


def words(out: str, err: str) -> str:
    """What apt-get said of its failure."""
    errors = "\n".join(line for line in err.splitlines() if not line.startswith("W:"))
    if UNMET in out:
        return f"{out[out.index(UNMET) :].strip()}\n{errors}"
    if DPKG_FAILED in out:
        return "\n".join(dpkg_errors(out.splitlines()))
    return errors or out.strip()


def dpkg_errors(lines: Sequence[str]) -> list[str]:
    """What went wrong of what dpkg printed; a package's own script speaks before its failure."""
    first = next(number for number, line in enumerate(lines) if line.startswith(DPKG_FAILED))
    before = takewhile(lambda line: not line.startswith(PROGRESS), reversed(lines[:first]))
    spoken = list(islice(before, LAST_LINES))[::-1]
    errors = [
        [line, *takewhile(lambda more: more.startswith(" "), lines[number + 1 :])]
        for number, line in enumerate(lines)
        if line.startswith(DPKG_FAILED)
    ]
    causes = [each for each in errors if LEFT_UNCONFIGURED not in each]
    return [*spoken, *(line for each in causes or errors for line in each)]
