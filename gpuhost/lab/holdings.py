"""Giving back what the lab took from the machine, by its record and nothing else."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from pathlib import Path

from gpuhost.errors import LabError
from gpuhost.lab import cgroups, mounts
from gpuhost.lab.commands import run
from gpuhost.lab.state import Holdings, boot_id

LINKS = Path("/sys/class/net")
_GONE_WITHIN_S = 5.0
_POLL_S = 0.02


def release(held: Holdings) -> None:
    """End, unmount and remove everything on the record; what is gone already is passed over.

    Groups, links and rules of an earlier boot are gone with it: their names
    may be somebody else's by now, so they are left alone.
    """
    of_this_boot = held.boot_id == boot_id()
    groups = [Path(group) for group in held.cgroups] if of_this_boot else []
    for group in groups:
        cgroups.kill(group)
    unmount(held)
    if of_this_boot:
        for link in held.links:
            _remove_link(link)
        for rule in held.rules:
            _remove_rule(rule)
    for group in groups:
        cgroups.remove(group)
    for folder in held.folders:
        _remove_folder(Path(folder))


def unmount(held: Holdings) -> None:
    """Unmount what is still mounted of the record, last mount first."""
    for mount in reversed(held.mounts):
        if Path(mount).is_mount():
            run(["umount", mount], purpose=f"Unmounting {mount}", remedy=f"See: fuser -vm {mount}")


def _remove_link(name: str) -> None:
    # A host's link goes with its network namespace, some moments after its last process.
    deadline = time.monotonic() + _GONE_WITHIN_S
    while (LINKS / name).exists():
        subprocess.run(["ip", "link", "delete", name], capture_output=True, check=False)
        if time.monotonic() > deadline:
            raise LabError(
                f"The network link {name} of the lab could not be removed.",
                f"Try: ip link delete {name}",
            )
        time.sleep(_POLL_S)


def has_rule(rule: tuple[str, ...]) -> bool:
    """Whether the packet filter has this rule."""
    check = subprocess.run(["iptables", "--wait", "-C", *rule], capture_output=True, check=False)
    return check.returncode == 0


def _remove_rule(rule: tuple[str, ...]) -> None:
    if has_rule(rule):
        run(["iptables", "--wait", "-D", *rule], purpose="Removing a packet filter rule of the lab")


def _remove_folder(folder: Path) -> None:
    mounted = mounts.below(folder)
    if mounted:
        raise LabError(
            f"{folder} is not removed: {', '.join(map(str, mounted))} is still mounted in it.",
            f"Run: umount {mounted[-1]}",
        )
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
