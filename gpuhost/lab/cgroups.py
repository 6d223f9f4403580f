"""Control groups of the lab's hosts.

All processes of a host live in one control group that the lab made, whatever
they fork and however they detach. That makes the group the surest record of
them: process ids are given out again, a group's members are its own.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from gpuhost.errors import LabError
from gpuhost.lab import mounts

MOUNT_REMEDY = (
    "Run: mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified"
)
_END_WITHIN_S = 10.0
_POLL_S = 0.02


def mount_point() -> Path:
    """Where the unified (version 2) cgroup hierarchy is mounted.

    Raises LabError where it is not.
    """
    for mount in mounts.table():
        if mount.kind == "cgroup2":
            return mount.point
    raise LabError("No version 2 cgroup hierarchy is mounted on this machine.", MOUNT_REMEDY)


def mirrored_mount_point() -> Path | None:
    """Where nspawn keeps a copy of its groups: systemd's version 1 hierarchy, if there is one."""
    for mount in mounts.table():
        if mount.kind == "cgroup" and "name=systemd" in mount.options:
            return mount.point
    return None


def everywhere(group: str) -> tuple[str, ...]:
    """The folders of a group, named relative to its hierarchy, in every hierarchy that has it."""
    hierarchies = (mount_point(), mirrored_mount_point())
    return tuple(str(top / group) for top in hierarchies if top)


def create(group: Path, *, below: Path) -> None:
    """Make a group, with every controller of the hierarchy ``below`` handed down to it."""
    for parent in reversed(group.relative_to(below).parents):
        folder = below / parent
        folder.mkdir(exist_ok=True)
        if folder != below:
            _hand_down_controllers(folder)
    group.mkdir(exist_ok=True)


def _hand_down_controllers(group: Path) -> None:
    available = (group / "cgroup.controllers").read_text().split()
    control = group / "cgroup.subtree_control"
    missing = set(available) - set(control.read_text().split())
    for controller in sorted(missing):
        # A controller that cannot be handed down is one that lab hosts do without.
        with contextlib.suppress(OSError):
            control.write_text(f"+{controller}")


def is_populated(group: Path) -> bool:
    """Whether a process is left in the group or below it."""
    try:
        events = (group / "cgroup.events").read_text()
    except FileNotFoundError:
        return False
    return "populated 1" in events


def processes(group: Path) -> Iterator[int]:
    """Ids of the processes in the group and below it."""
    for folder in _from_below(group):
        with contextlib.suppress(OSError):
            yield from map(int, (folder / "cgroup.procs").read_text().split())


def kill(group: Path) -> None:
    """End every process in the group and below it, and wait until they are gone."""
    switch = group / "cgroup.kill"
    if not switch.exists():
        return
    switch.write_text("1")
    deadline = time.monotonic() + _END_WITHIN_S
    while is_populated(group):
        if time.monotonic() > deadline:
            left = ", ".join(map(str, processes(group)))
            raise LabError(
                f"Processes of the lab could not be ended: {left}.",
                "They hang in the kernel; look at them with ps, and reboot if they stay.",
            )
        time.sleep(_POLL_S)


def remove(group: Path) -> None:
    """Remove an empty group and all below it."""
    for folder in _from_below(group):
        with contextlib.suppress(FileNotFoundError):
            folder.rmdir()


def _from_below(group: Path) -> Iterator[Path]:
    """The group and all below it, deepest first; groups may come and go meanwhile."""
    return (Path(folder) for folder, _, _ in os.walk(group, topdown=False))
