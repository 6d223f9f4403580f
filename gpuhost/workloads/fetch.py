"""``gpuhost workload fetch``: what a workload left on its host, brought here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuhost.settings import Settings
from gpuhost.targets import Targets
from gpuhost.ui import Ui
from gpuhost.workloads.definition import Definition
from gpuhost.workloads.render import render
from gpuhost.workloads.work import ask

PLAYBOOK = "outputs.yml"
# In a Compose file: the folder of the host in which the work leaves what is to be kept.
OUTPUTS_KEY = "x-gpuhost-outputs"
STEP = 1024


@dataclass(frozen=True)
class Outputs:
    """What a host has of a workload: files with their sizes, and which of them were brought."""

    folder: str
    files: tuple[tuple[str, int], ...]
    brought: tuple[str, ...]
    skipped: tuple[str, ...]

    @property
    def size(self) -> int:
        """All of it, in bytes."""
        return sum(size for _, size in self.files)


def fetch(
    targets: Targets,
    settings: Settings,
    ui: Ui,
    definition: Definition,
    values: Mapping[str, Any],
    *,
    dest: Path | None,
    overwrite: bool,
) -> Outputs:
    """Bring a workload's outputs from the one host of ``targets`` to ``dest``; None only looks.

    The Compose file on the host says where they are; ``values`` do where it is gone.

    Raises:
        WorkloadError: there are none, or files in ``dest`` differ, or they could not be brought.
    """
    folder = render(definition, values, ()).get(OUTPUTS_KEY, "")
    arguments = {
        "name": definition.name,
        "folder": str(folder).replace("$$", "$"),
        "dest": str(dest.absolute()) if dest else "",
        "overwrite": overwrite,
    }
    found = ask(targets, settings, ui, arguments, playbook=PLAYBOOK).found
    return Outputs(
        folder=found["folder"],
        files=tuple((name, size) for name, size in found["files"]),
        brought=tuple(found["brought"]),
        skipped=tuple(found["skipped"]),
    )


def readable(size: int) -> str:
    """A size for people."""
    amount, units = float(size), ["B", "KiB", "MiB", "GiB", "TiB"]
    while amount >= STEP and len(units) > 1:
        amount, units = amount / STEP, units[1:]
    return f"{amount:.0f} B" if units[0] == "B" else f"{amount:.1f} {units[0]}"
