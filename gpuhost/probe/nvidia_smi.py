"""Section ``nvidia_smi``: the tool that operators look at, as it answers them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from gpuhost.probe.context import Context
from gpuhost.probe.run import which
from gpuhost.probe.schema import NvidiaSmi

QUESTIONS = (("-L",), (), ("-q", "-x"))


def collect(context: Context) -> NvidiaSmi:
    """Run the tool; where it is not installed, everything is None."""
    path = which("nvidia-smi")
    if path is None:
        return {"path": None, "list_gpus": None, "table": None, "query_xml": None}
    # At the same time: where a GPU hangs each takes its whole limit, together the section's.
    with ThreadPoolExecutor(len(QUESTIONS)) as pool:
        list_gpus, table, query_xml = pool.map(context.run, ([path, *q] for q in QUESTIONS))
    return {"path": path, "list_gpus": list_gpus, "table": table, "query_xml": query_xml}
