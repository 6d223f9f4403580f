"""Whether a CDI specification describes the host that it is on. No I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence

# The right to use an instance of a divided GPU.
CAPABILITY = re.compile(r"/dev/nvidia-caps/nvidia-cap\d+")


def staleness(text: str | None, driver_version: str | None, device_nodes: Sequence[str]) -> str:
    """Why the specification ``text`` does not describe the host; empty if it does.

    ``text`` is ``None`` if there is no specification.
    """
    if text is None:
        return "there is none"
    if driver_version and not _names(text, f".so.{driver_version}"):
        return f"it was not made for driver {driver_version}"
    missing = [node for node in device_nodes if not _names(text, node)]
    if missing:
        return f"it lacks {', '.join(missing)}"
    gone = sorted(set(CAPABILITY.findall(text)) - set(device_nodes))
    return f"it has {', '.join(gone)}, which is gone" if gone else ""


def _names(text: str, file: str) -> bool:
    return re.search(rf"{re.escape(file)}(?![\w.])", text) is not None
