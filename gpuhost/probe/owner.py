"""Which run a container belongs to, and whether that run still lives."""

from __future__ import annotations

import os
import time
from typing import Any, Mapping, Optional

from gpuhost.probe.root import Root

LABEL = "gpuhost.trial"
MAX_AGE_S = 4 * 3600


def run_id(root: Root, pid: Optional[int] = None) -> str:
    """This process, by a name that no later process can have: pid and start in clock ticks."""
    number = os.getpid() if pid is None else pid
    return f"{number}-{_started(root, number)}"


def is_orphan(container: Mapping[str, Any], root: Root) -> bool:
    """Whether a container of ours, from /containers/json, has outlived its run."""
    name = (container.get("Labels") or {}).get(LABEL, "")
    pid, _, started = name.partition("-")
    alive = pid.isdecimal() and _started(root, int(pid)) == started
    return not alive or time.time() - container.get("Created", 0) > MAX_AGE_S


def _started(root: Root, pid: int) -> Optional[str]:
    """When the process started, or None if there is none."""
    # The command's name, in brackets, may hold anything; after it come fields 3 and on.
    _, _, fields = (root.read(f"/proc/{pid}/stat") or "").rpartition(")")
    return fields.split()[19] if fields else None
