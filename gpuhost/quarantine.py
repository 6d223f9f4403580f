"""The hosts that work should be kept away from, as files for schedulers and for Prometheus."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from gpuhost.files import replace_text
from gpuhost.history.standing import Standing

FILE = "quarantine.txt"
# The same hosts, each with its inventory; schedulers need not know it.
ORIGINS = "quarantine.json"


def write(
    state_dir: Path, standings: Iterable[Standing], inventory: Path, members: Collection[str]
) -> Path:
    """Write the names of the quarantined hosts, one a line, in one step; returns the file.

    ``members`` are all hosts of ``inventory``, which those of ``standings``
    are of. A host without a standing here was not examined and stays, unless
    it was of this inventory and is so no longer. The file is there, and
    empty, where no host is in quarantine.
    """
    here = str(inventory.resolve())
    found = {each.host: each.quarantined for each in standings}
    before = {
        host: origin
        for host, origin in _origins(state_dir).items()
        if host not in found and (origin != here or host in members)
    }
    now = before | {host: here for host, quarantined in found.items() if quarantined}
    replace_text(state_dir / ORIGINS, json.dumps(now, indent=1, sort_keys=True) + "\n")
    path = state_dir / FILE
    replace_text(path, "".join(f"{host}\n" for host in sorted(now)))
    return path


def _origins(state_dir: Path) -> Mapping[str, str]:
    """The hosts in quarantine so far, and the inventory of each; "" where it is not known."""
    try:
        found = json.loads((state_dir / ORIGINS).read_text())
        return {str(host): str(origin) for host, origin in found.items()}
    except (OSError, ValueError, AttributeError):
        names = state_dir / FILE
        return dict.fromkeys(names.read_text().split(), "") if names.exists() else {}
