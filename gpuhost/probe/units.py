"""systemd units as ``systemctl show`` describes them."""

from __future__ import annotations

from typing import List, Sequence

from gpuhost.probe.context import Context
from gpuhost.probe.schema import Unit

PROPERTIES = "LoadState,ActiveState,UnitFileState"


def show(context: Context, names: Sequence[str]) -> List[Unit]:
    """The states of the named units, in that order; none on a host without systemd."""
    answer = context.run(["systemctl", "show", "--property", PROPERTIES, "--", *names])
    return units(names, answer["stdout"])


def units(names: Sequence[str], text: str) -> List[Unit]:
    """The units in ``systemctl show``'s output: one block a unit, a blank line between."""
    found: List[Unit] = []
    blocks = [block for block in text.split("\n\n") if block.strip()]
    for position, block in enumerate(blocks[: len(names)]):
        values = dict(line.partition("=")[::2] for line in block.strip().splitlines())
        found.append(
            {
                "name": names[position],
                "load_state": values.get("LoadState", ""),
                "active_state": values.get("ActiveState", ""),
                "enabled_state": values.get("UnitFileState", ""),
            }
        )
    return found
