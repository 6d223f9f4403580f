"""The mount table of this machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

TABLE = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """One mount: where, which file system type, and the file system's own options."""

    point: Path
    kind: str
    options: tuple[str, ...]


def table() -> tuple[Mount, ...]:
    """All mounts, in the order in which they were made."""
    return parse(TABLE.read_text())


def parse(mountinfo: str) -> tuple[Mount, ...]:
    """Mounts from the text of ``/proc/PID/mountinfo`` (see proc(5))."""
    return tuple(_mount(line) for line in mountinfo.splitlines())


def _mount(line: str) -> Mount:
    place, _, file_system = line.partition(" - ")
    kind, _, options = file_system.split(" ", 2)
    point = _ESCAPED.sub(lambda match: chr(int(match[1], 8)), place.split(" ")[4])
    return Mount(Path(point), kind, tuple(options.split(",")))


def below(folder: Path) -> tuple[Path, ...]:
    """Mount points at or below a folder, in the order in which they were made."""
    return tuple(mount.point for mount in table() if mount.point.is_relative_to(folder))
