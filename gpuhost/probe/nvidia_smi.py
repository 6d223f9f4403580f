"""Section ``nvidia_smi``: the tool that operators look at, as it answers them."""

from __future__ import annotations

from gpuhost.probe.context import Context
from gpuhost.probe.run import which
from gpuhost.probe.schema import NvidiaSmi


def collect(context: Context) -> NvidiaSmi:
    """Run the tool; where it is not installed, everything is None."""
    path = which("nvidia-smi")
    if path is None:
        return {"path": None, "list_gpus": None, "table": None, "query_xml": None}
    return {
        "path": path,
        "list_gpus": context.run([path, "-L"]),
        "table": context.run([path]),
        "query_xml": context.run([path, "-q", "-x"]),
    }
