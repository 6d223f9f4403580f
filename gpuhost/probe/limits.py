"""How long things may take: every part of the probe ends, and so does the whole."""

from __future__ import annotations

import math
import os

from gpuhost.probe import trials
from gpuhost.probe.schema import SECTIONS, Spec, Trials

# From SIGTERM to SIGKILL: of an ordinary section, and of the one that has containers to remove.
SECTION_GRACE_S = 2.0
CLEAN_S = 15.0
# For a container to end once it has been let go.
CLOSE_S = 5.0
ENGINE_CALLS_BEFORE_TRIALS = 8
# Of the synthetic training, with loading the framework; and of the section around it.
THROUGHPUT_S = 300.0
# Trials at the same time that any host can take, however few its CPUs.
LEAST_PARALLEL = 4


def parallel(asked: Trials) -> int:
    """How many trials run at the same time on this host: no more than asked, nor than CPUs."""
    return max(1, min(asked["parallel"], max(LEAST_PARALLEL, os.cpu_count() or 1)))


def containers_s(spec: Spec, planned: int) -> float:
    """The limit of section ``containers`` with so many trials, cleaning up not counted.

    Each may use its whole time limit, in as many lines as any host has; the two
    of a pair are opened one after the other.
    """
    asked = spec["trials"]
    if asked is None:
        return spec["section_timeout_s"]
    pulls_s = asked["pull_timeout_s"] if asked["pull"] else 0.0
    one_s = asked["trial_timeout_s"] + CLOSE_S
    engine_s = ENGINE_CALLS_BEFORE_TRIALS * spec["command_timeout_s"]
    lines = max(1, min(asked["parallel"], LEAST_PARALLEL))
    return engine_s + pulls_s + one_s * (math.ceil(planned / lines) + 2)


def throughput_s(spec: Spec) -> float:
    """The limit of section ``throughput``."""
    return THROUGHPUT_S + ENGINE_CALLS_BEFORE_TRIALS * spec["command_timeout_s"]


def probe_s(spec: Spec, gpu_count: int) -> float:
    """The time after which the probe has ended for certain on a host with so many GPUs."""
    gpus = [trials.Gpu(index, f"GPU-{index}", None) for index in range(gpu_count)]
    planned = trials.plan(gpus, gpu_count, spec["trials"]) if spec["trials"] else []
    sections_s = spec["section_timeout_s"] + len(SECTIONS) * (SECTION_GRACE_S + 1)
    after_s = throughput_s(spec) if "throughput" in (spec["sections"] or SECTIONS) else 0.0
    return sections_s + containers_s(spec, len(planned)) + CLEAN_S + after_s + 1
