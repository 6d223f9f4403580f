"""Stamps: notes on a host about the roles that came to their end there, one file a role.

They say which variables a host was made with, if only by a hash: they are root's alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.ledger_store import save_bytes

FOLDER = Path("/var/lib/gpuhost/stamps")


def take_away(roles: Iterable[str]) -> None:
    """Forget that ``roles`` came to their end."""
    for role in roles:
        (FOLDER / f"{role}.json").unlink(missing_ok=True)


def leave(stamps: Mapping[str, Mapping[str, Any]], watched: Sequence[str]) -> None:
    """Leave a stamp for each role, with the state of the files at ``watched`` in it."""
    files = states(watched) if stamps else {}
    for role, stamp in stamps.items():
        save_bytes(FOLDER / f"{role}.json", json.dumps({**stamp, "files": files}).encode())


def states(watched: Sequence[str]) -> dict[str, str]:
    """Mode and hash of every file that is, or is in a folder, of ``watched``."""
    places = [Path(place) for place in watched]
    paths = [path for place in places for path in ([place] if place.is_file() else place.glob("*"))]
    return {
        str(path): f"{path.stat().st_mode & 0o7777:04o} "
        + hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if path.is_file()
    }
