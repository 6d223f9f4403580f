"""From what a host told of a workload to results of checks and figures. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import median
from typing import Any

from gpuhost.checks.failure_words import recognise
from gpuhost.model import CheckResult, Verdict
from gpuhost.workloads.definition import JOB, Definition
from gpuhost.workloads.probes import STARTS, Measure, Probe

AREA = "workload"
SEEN_CHARACTERS = 2000
LOG_LINES = 12
# What a program says that computed on the CPU instead.
NOT_EXERCISED = re.compile(r"^CUDA not exercised\b.*", re.MULTILINE)
# So many earlier figures make what is usual.
FEWEST = 3


@dataclass(frozen=True)
class Judged:
    """Results of a workload, and its figures by name."""

    results: tuple[CheckResult, ...]
    measures: Mapping[str, float]


def judge(
    host: str,
    definition: Definition,
    told: Mapping[str, Any],
    earlier: Mapping[str, Sequence[float]],
) -> Judged:
    """The results of a workload that was started.

    ``told`` is what the module workload_proof says of it, ``earlier`` are the figures of
    earlier runs by their names, newest first.
    """
    name = definition.name
    figures = dict(_figures(definition, told["log"]))
    results = [_starts(host, definition, told), *_probes(host, definition, told)]
    for measure in definition.measures:
        full = f"{AREA}.{name}.{measure.slug}"
        value = figures.get(full)
        if value is None:
            results.append(_untold(full, measure, told))
        else:
            results.append(_measured(host, full, measure, value, earlier.get(full, ())))
    if told.get("left"):
        results.append(_left(host, name, told["left"]))
    return Judged(tuple(results), figures)


def not_proven(definition: Definition, verdict: Verdict, why: str, remedy: str) -> Judged:
    """The result of a workload that was not started; SKIP or UNKNOWN, and why."""
    result = CheckResult(
        f"{AREA}.{definition.name}.{STARTS}",
        verdict,
        why,
        seen=why,
        expected=f"{definition.name} runs",
        cause=why,
        remedy=remedy,
    )
    return Judged((result,), {})


def _starts(host: str, definition: Definition, told: Mapping[str, Any]) -> CheckResult:
    full = f"{AREA}.{definition.name}.{STARTS}"
    if not told["problem"]:
        ended = "ran to its end" if definition.kind == JOB else "started"
        return CheckResult(full, Verdict.PASS, f"{ended} in {told['duration_s']:.0f} s")
    words = told["words"] or _tail(told["log"])
    known = recognise(words)
    return CheckResult(
        full,
        Verdict.FAIL,
        told["problem"],
        seen="\n".join(filter(None, [told["problem"], words]))[:SEEN_CHARACTERS],
        expected=f"{definition.name} is built, sees exactly the GPUs that it was given, and works",
        cause=known.cause if known else (words.splitlines() or [told["problem"]])[-1],
        remedy=known.remedy if known else _again(host, definition),
    )


def _probes(host: str, definition: Definition, told: Mapping[str, Any]) -> Iterator[CheckResult]:
    found = {one["name"]: one for one in told["probes"]}
    for probe in definition.probes:
        full = f"{AREA}.{definition.name}.{probe.slug}"
        if probe.name not in found:
            yield CheckResult(full, Verdict.SKIP, f"not asked: {told['problem']}")
        elif not found[probe.name]["wrong"]:
            yield CheckResult(full, Verdict.PASS, probe.name)
        else:
            yield _wrong(host, definition, probe, found[probe.name], told)


def _wrong(
    host: str,
    definition: Definition,
    probe: Probe,
    found: Mapping[str, Any],
    told: Mapping[str, Any],
) -> CheckResult:
    full = f"{AREA}.{definition.name}.{probe.slug}"
    words = "; ".join(found["wrong"])
    seen = "\n".join(filter(None, [found["seen"], _tail(told["log"])]))
    return CheckResult(
        full,
        Verdict.FAIL,
        f"not so: {probe.name} ({words})",
        seen=seen[:SEEN_CHARACTERS] or words,
        expected=probe.name,
        cause=words,
        remedy=_again(host, definition),
    )


def _figures(definition: Definition, log: str) -> Iterator[tuple[str, float]]:
    """What was measured: the last line of the log that tells it counts."""
    for measure in definition.measures:
        matches = (re.search(measure.log, line.strip()) for line in log.splitlines())
        told = [match[1] for match in matches if match]
        try:
            figure = float(told[-1])
        except (IndexError, ValueError):
            continue
        if isfinite(figure):
            yield f"{AREA}.{definition.name}.{measure.slug}", figure


def _measured(
    host: str,
    full: str,
    measure: Measure,
    value: float,
    earlier: Sequence[float],
) -> CheckResult:
    shown = f"{value:g} {measure.unit}".strip()
    if len(earlier) < FEWEST:
        return CheckResult(full, Verdict.PASS, f"{shown} (what is usual is not known yet)")
    usual = median(earlier)
    factor = 1 - measure.tolerance if measure.better == "higher" else 1 + measure.tolerance
    limit = usual * factor
    is_worse = value < limit if measure.better == "higher" else value > limit
    if not is_worse:
        return CheckResult(full, Verdict.PASS, f"{shown}, usually {usual:g}")
    bound = "or more" if measure.better == "higher" else "or less"
    return CheckResult(
        full,
        Verdict.FAIL,
        f"{shown}, usually {usual:g}",
        seen=f"{shown}; the last {len(earlier)} times: {', '.join(f'{one:g}' for one in earlier)}",
        expected=f"{limit:g} {bound}".strip(),
        cause="a GPU is slower than it was, or something else is at work on the host",
        remedy=f"See what slows it down: gpuhost verify {host}",
    )


def _untold(full: str, measure: Measure, told: Mapping[str, Any]) -> CheckResult:
    not_exercised = NOT_EXERCISED.search(told["log"])
    if not_exercised:
        return CheckResult(full, Verdict.SKIP, not_exercised[0])
    if told["problem"]:
        return CheckResult(full, Verdict.SKIP, f"not measured: {told['problem']}")
    return CheckResult(
        full,
        Verdict.UNKNOWN,
        "the log does not tell it",
        seen=_tail(told["log"]),
        expected=f"a line like {measure.log}",
        cause="the program prints its figures in another way, or not at all",
        remedy="Correct the pattern in workload.yaml, or the program.",
    )


def _left(host: str, name: str, words: str) -> CheckResult:
    return CheckResult(
        f"{AREA}.{name}.removed",
        Verdict.FAIL,
        "what was started could not be removed",
        seen=words[:SEEN_CHARACTERS],
        expected="nothing of it is left",
        cause="dockerd does not answer, or a container cannot be ended",
        remedy=f"gpuhost docker {host} -- ps --all --filter label=gpuhost.workload",
    )


def _again(host: str, definition: Definition) -> str:
    return f"Try it by itself: gpuhost workload verify {host} {definition.name}"


def _tail(log: str) -> str:
    return "\n".join(log.strip().splitlines()[-LOG_LINES:])
