"""Which GPUs of a host a workload gets: what was asked, held against the host's evidence. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from gpuhost.checks.facts import Facts
from gpuhost.errors import UsageError
from gpuhost.probe.owner import LABEL as TRIAL_LABEL
from gpuhost.probe.schema import Nvml, RunningContainer
from gpuhost.workloads.render import ALL, NONE


def choose(host: str, nvml: Nvml, asked: str) -> tuple[str, ...]:
    """The UUIDs of the GPUs that ``asked`` names: all, none, or indexes and UUIDs with commas.

    Raises:
        UsageError: the host has no such GPU.
    """
    known = {str(gpu["index"]): str(gpu["uuid"]) for gpu in nvml["gpus"] if gpu["uuid"]}
    if asked == NONE:
        return ()
    if asked == ALL:
        chosen = tuple(known.values())
    else:
        chosen = tuple(dict.fromkeys(_one(host, known, word) for word in asked.split(",")))
    if not chosen:
        raise UsageError(f"{host} has no GPU.", "Use --gpus none, or: gpuhost verify " + host)
    return chosen


def _one(host: str, known: dict[str, str], word: str) -> str:
    word = word.strip()
    if word in known:
        return known[word]
    if word in known.values():
        return word
    there = ", ".join(f"{index} ({uuid})" for index, uuid in known.items())
    raise UsageError(f"{host} has no GPU {word!r}.", f"It has: {there or 'none'}")


def busy(facts: Facts, chosen: Sequence[str]) -> tuple[str, ...]:
    """Who uses the chosen GPUs, in words.

    Containers say which GPUs they asked for. Of other processes it is only known that they use
    one: they count where no container does.
    """
    containers = [
        container
        for container in facts.docker["running"]
        if container["gpus"] and TRIAL_LABEL not in container["labels"]
    ]
    if not containers and chosen:
        return tuple(f"process {user}" for user in facts.driver["gpu_users"])
    index_of = {str(gpu["uuid"]): str(gpu["index"]) for gpu in facts.nvml["gpus"]}
    names = {*chosen, *(index_of[uuid] for uuid in chosen)}
    return tuple(
        f"container {container['name']} ({container['image']}, GPUs {container['gpus']})"
        for container in containers
        if chosen and _overlaps(container, names)
    )


def _overlaps(container: RunningContainer, names: set[str]) -> bool:
    ids = {word.strip() for word in container["gpus"].split(",")}
    vague = any(word == ALL or word.startswith("any ") for word in ids)
    return vague or not names.isdisjoint(ids)
