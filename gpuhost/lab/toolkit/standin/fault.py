"""The switch that makes the stand-in misbehave, for drills and tests."""

from __future__ import annotations

import json
from pathlib import Path

SWITCH = Path("/etc/gpuhost-lab/toolkit.json")

LEAK_ONE = "leak-one"
SWAP = "swap"
IGNORE_NONE = "ignore-none"
ALL_FOR_BAD_INDEX = "all-for-bad-index"
STALE_CDI = "stale-cdi"


def switched_on(switch: Path = SWITCH) -> str:
    """The name of the fault that is switched on, "" if none is."""
    if not switch.exists():
        return ""
    return str(json.loads(switch.read_text(encoding="utf-8"))["misbehave"])
