"""GPUs that are to be divided in another way."""

from __future__ import annotations

from collections.abc import Iterator

from gpuhost.parse.mig import division, expected, found
from gpuhost.plan.host import Host
from gpuhost.plan.model import Change

LABEL = "mig"


def layout(host: Host) -> Iterator[Change]:
    """Every GPU whose division is not the declared one."""
    desired = host.facts.desired
    if not desired.mig_layout:
        return
    entries = desired.mig_config[desired.mig_layout]
    gpus = host.facts.nvml["gpus"]
    if not gpus:
        yield Change(LABEL, "divide", "the GPUs", after=f"layout {desired.mig_layout}")
    wanted = expected(entries, gpus, host.facts.pci["devices"])
    for gpu in gpus:
        if gpu["index"] in wanted and found(gpu) != wanted[gpu["index"]]:
            before, after = division(found(gpu)), division(wanted[gpu["index"]])
            yield Change(LABEL, "divide", f"GPU {gpu['index']}", before, after)
