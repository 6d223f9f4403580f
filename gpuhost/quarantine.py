"""The hosts that work should be kept away from, as files for schedulers and for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gpuhost.history.standing import Standing

FILE = "quarantine.txt"


def write(state_dir: Path, standings: Iterable[Standing]) -> Path:
    """Write the names of the quarantined hosts, one a line, in one step; returns the file.

    A host that is in it and has no standing here was not examined, and stays.
    The file is there, and empty, where no host is in quarantine.
    """
    path = state_dir / FILE
    standing = {found.host: found.quarantined for found in standings}
    before = path.read_text().split() if path.exists() else []
    names = sorted({name for name in [*before, *standing] if standing.get(name, True)})
    fresh = path.with_name(f".{FILE}.new")
    fresh.write_text("".join(f"{name}\n" for name in names))
    fresh.replace(path)
    return path
