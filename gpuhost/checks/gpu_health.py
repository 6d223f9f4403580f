"""What the checks of ``health`` and ``speed`` have in common: the GPUs that could be asked."""

from __future__ import annotations

from collections.abc import Iterable

from gpuhost.checks.facts import Facts
from gpuhost.checks.finding import Finding, not_applicable
from gpuhost.checks.gpu import nvml_failure_words, told, unanswered, unread
from gpuhost.checks.words import listed
from gpuhost.probe.schema import GpuHealth


def asked(facts: Facts, expected: str, *fields: str) -> list[GpuHealth] | Finding:
    """Every GPU, where all of them answered for ``fields``; else what to say instead."""
    health = facts.health
    if health["failure"] is not None:
        words = nvml_failure_words(health["failure"])
        return unread("NVML does not answer", words, expected)
    if not health["gpus"]:
        return not_applicable("there is no GPU to ask")
    if lost := unanswered(health["gpus"], expected):
        return lost
    silent = [
        (gpu["index"], f"{field}: {gpu['failures'][field]}")
        for gpu in health["gpus"]
        for field in fields
        if field in gpu["failures"]
    ]
    if silent:
        return unread("a GPU does not tell", told(silent), expected)
    return health["gpus"]


def names(gpus: Iterable[GpuHealth]) -> str:
    """``GPU 0, GPU 2``."""
    return listed(f"GPU {gpu['index']}" for gpu in gpus)


def for_each(command: str, gpus: Iterable[GpuHealth]) -> str:
    """A command that takes an index, for each of some GPUs, to be pasted as one line."""
    return "; ".join(f"{command} {gpu['index']}" for gpu in gpus)
