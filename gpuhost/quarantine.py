"""The hosts that work should be kept away from, as files for schedulers and for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gpuhost.history.standing import Standing

FILE = "quarantine.txt"


def write(state_dir: Path, standings: Iterable[Standing]) -> Path:
    """Write the names of the quarantined hosts, one a line, in one step; returns the file.

    The file is there, and empty, where no host is in quarantine.
    """
    path = state_dir / FILE
    names = sorted(found.host for found in standings if found.quarantined)
    fresh = path.with_name(f".{FILE}.new")
    fresh.write_text("".join(f"{name}\n" for name in names))
    fresh.replace(path)
    return path
