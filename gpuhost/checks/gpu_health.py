"""What the checks of ``health`` and ``speed`` have in common: the GPUs that could be asked."""

from __future__ import annotations

from collections.abc import Iterable

from gpuhost.checks.facts import Facts
from gpuhost.checks.failure_words import explain
from gpuhost.checks.finding import Finding, not_applicable, undetermined
from gpuhost.checks.words import listed
from gpuhost.probe.schema import GpuHealth, NvmlFailure

_LOOK = "nvidia-smi -q; dmesg | grep -iE 'nvrm|xid'"


def asked(facts: Facts, expected: str, *fields: str) -> list[GpuHealth] | Finding:
    """Every GPU, where all of them answered for ``fields``; else what to say instead."""
    health = facts.health
    if health["failure"] is not None:
        return _unread("the GPUs could not be asked", _words(health["failure"]), expected)
    if not health["gpus"]:
        return not_applicable("there is no GPU to ask")
    lost = {gpu["index"]: why for gpu in health["gpus"] if (why := gpu["failures"].get("handle"))}
    if lost:
        return _unread("a GPU could not be asked", _told(lost.items()), expected)
    silent = [
        (gpu["index"], f"{field}: {gpu['failures'][field]}")
        for gpu in health["gpus"]
        for field in fields
        if field in gpu["failures"]
    ]
    if silent:
        return _unread("a GPU does not tell", _told(silent), expected)
    return health["gpus"]


def _words(failure: NvmlFailure) -> str:
    code = "" if failure["code"] is None else f" (NVML error {failure['code']})"
    return f"{failure['text'] or failure['name']}{code}"


def _told(words: Iterable[tuple[int, str]]) -> str:
    return "; ".join(f"GPU {index}: {why}" for index, why in words)


def _unread(summary: str, seen: str, expected: str) -> Finding:
    cause, remedy = explain(seen, _LOOK)
    return undetermined(summary, seen=seen, expected=expected, cause=cause, remedy=remedy)


def names(gpus: Iterable[GpuHealth]) -> str:
    """``GPU 0, GPU 2``."""
    return listed(f"GPU {gpu['index']}" for gpu in gpus)


def for_each(command: str, gpus: Iterable[GpuHealth]) -> str:
    """A command that takes an index, for each of some GPUs, to be pasted as one line."""
    return "; ".join(f"{command} {gpu['index']}" for gpu in gpus)
