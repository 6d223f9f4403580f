"""What only a loaded driver tells: declared once it is there, before the proof."""

from __future__ import annotations

from dataclasses import replace

from gpuhost.collect import asking, collect
from gpuhost.onboard.entry import MODEL
from gpuhost.onboard.look import models
from gpuhost.onboard.spot import Spot
from gpuhost.settings import Settings
from gpuhost.targets import Targets
from gpuhost.ui import Ui


def declare_model(targets: Targets, spot: Spot, settings: Settings, ui: Ui) -> Targets:
    """Write the model of the host's GPUs into its entry, unless one is declared.

    Whatever stands in the way of reading it is for the proof to say.
    """
    if not targets.hosts or targets.desired[targets.names[0]].gpu_model:
        return targets
    (name,) = targets.names
    with ui.stage("learn", (name,)):
        collected = collect(targets, asking(("nvml",), ()), ui.listen, forks=settings.forks)
    evidence = collected.evidence.get(name)
    nvml = evidence["sections"]["nvml"]["data"] if evidence else None
    found = models(nvml) if nvml else ()
    if len(found) != 1:
        if found:
            ui.say(f"{name}: its GPUs are of several models, so none is declared")
        return targets
    spot.write((name,), MODEL, found[0])
    ui.say(f"{name}: {MODEL} is {found[0]}, and {spot.file} says so now")
    desired = replace(targets.desired[name], gpu_model=found[0])
    return replace(targets, desired={**targets.desired, name: desired})
