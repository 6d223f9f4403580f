"""Which GPUs of a host a workload gets: what was asked, held against the host's evidence. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from gpuhost.checks.facts import Facts
from gpuhost.errors import UsageError
from gpuhost.probe.owner import LABEL as TRIAL_LABEL
from gpuhost.probe.schema import Nvml, RunningContainer
from gpuhost.workloads.render import ALL, LABEL, NONE, VERIFY_PREFIX


def devices(nvml: Nvml) -> dict[str, str]:
    """What can be asked for, name and UUID: GPUs by index, of a divided one its devices by G:M."""
    found: dict[str, str] = {}
    for gpu in nvml["gpus"]:
        if not gpu["mig_current"]:
            found[str(gpu["index"])] = str(gpu["uuid"] or "")
        for device in gpu["mig_devices"]:
            found[f"{gpu['index']}:{device['index']}"] = str(device["uuid"] or "")
    return {name: uuid for name, uuid in found.items() if uuid}


def choose(host: str, nvml: Nvml, asked: str) -> tuple[str, ...]:
    """The UUIDs of what ``asked`` names: all, none, or names and UUIDs with commas.

    Raises:
        UsageError: the host has no such GPU.
    """
    known = devices(nvml)
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
    there = ", ".join(f"{name} ({uuid})" for name, uuid in known.items())
    parts = [name for name in known if name.startswith(f"{word}:")]
    if parts:
        raise UsageError(
            f"GPU {word} of {host} is divided, and containers get its parts.",
            f"Choose from: {there}",
        )
    raise UsageError(f"{host} has no GPU {word!r}.", f"It has: {there or 'none'}")


def busy(facts: Facts, chosen: Sequence[str]) -> tuple[str, ...]:
    """Who uses the chosen GPUs, in words.

    Containers say which GPUs they asked for. Of other processes it is only known that they use
    one: they count where no container does.
    """
    containers = [
        container
        for container in facts.docker["running"]
        if container["gpus"] and not _is_passing(container)
    ]
    if not containers and chosen:
        return tuple(f"process {user}" for user in facts.driver["gpu_users"])
    names = {name for uuid in chosen for name in _names(facts.nvml, uuid)}
    return tuple(
        f"container {container['name']} ({container['image']}, GPUs {container['gpus']})"
        for container in containers
        if chosen and _overlaps(container, names)
    )


def _is_passing(container: RunningContainer) -> bool:
    """Whether it is of a verification: one that was killed is cleaned up by the next."""
    labels = container["labels"]
    return TRIAL_LABEL in labels or labels.get(LABEL, "").startswith(VERIFY_PREFIX)


def _names(nvml: Nvml, uuid: str) -> set[str]:
    """By what names a container may have asked for a device, or for all of the GPU it is of."""
    name = next((name for name, one in devices(nvml).items() if one == uuid), uuid)
    index = name.partition(":")[0]
    whole = {str(gpu["uuid"]) for gpu in nvml["gpus"] if str(gpu["index"]) == index}
    return {uuid, name, index, *whole}


def _overlaps(container: RunningContainer, names: set[str]) -> bool:
    ids = {word.strip() for word in container["gpus"].split(",")}
    vague = any(word == ALL or word.startswith("any ") for word in ids)
    return vague or not names.isdisjoint(ids)
