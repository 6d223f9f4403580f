"""Multi-instance GPUs: what the driver does when the management library asks it to divide one."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .hardware import MIG_MODES, Gpu, KernelError, State, driven_gpus, read_json, write_json

# Return codes of NVML.
INVALID_ARGUMENT, NOT_SUPPORTED, NOT_FOUND, IN_USE = 2, 3, 6, 19
INSUFFICIENT_RESOURCES = 23

CAPABILITIES_OF_GPU = 135  # 15 GPU instances, each with 8 compute instances
CAPABILITIES_OF_INSTANCE = 9
FIRST_CAPABILITY = 3
_UUIDS = uuid.UUID("6b0d5a46-1f42-4e3e-a40c-50f0d3f3a2c5")
# By the number of memory slices, so that no two instances that fit together have the same id.
_FIRST_ID = {8: 0, 4: 1, 2: 3, 1: 7}
_COMPUTE_SLICES = (1, 2, 3, 4, 7)  # by NVML's number of the profile


class MigError(Exception):
    """What the driver answers instead of doing what was asked; the text is NVML's return code."""


@dataclass
class Compute:
    """A compute instance: ``profile`` is NVML's number of it."""

    id: int
    profile: int
    start: int

    @property
    def slices(self) -> int:
        """How much of its GPU instance it has."""
        return _COMPUTE_SLICES[self.profile]


@dataclass
class Instance:
    """A GPU instance; ``profile`` is the id that nvidia-smi shows."""

    id: int
    profile: int
    start: int
    size: int
    slices: int
    computes: list[Compute] = field(default_factory=list)


@dataclass
class Division:
    """What is made of one GPU."""

    current: bool = False
    pending: bool = False
    instances: list[Instance] = field(default_factory=list)


def division(state: State, gpu: Gpu) -> Division:
    """How a GPU is divided."""
    found = state.mig.get(gpu.uuid) or {"current": False, "pending": False, "instances": []}
    instances = [
        Instance(**{**entry, "computes": [Compute(**each) for each in entry["computes"]]})
        for entry in found["instances"]
    ]
    return Division(found["current"], found["pending"], instances)


def modes_at_load(gpus: Sequence[Gpu]) -> dict[str, dict[str, Any]]:
    """What a freshly loaded driver finds: no instances, and the mode where the GPU keeps it."""
    kept = read_json(MIG_MODES)
    return {
        gpu.uuid: {"current": True, "pending": True, "instances": []}
        for gpu in gpus
        if gpu.mig and gpu.mig["mode_outlasts_boots"] and kept.get(gpu.uuid)
    }


# ------------------------------------------------------------------------------ capabilities


def capability(minor: int, instance: int, compute: int | None = None) -> int:
    """The minor number of the node that stands for the right to use an instance."""
    own = 0 if compute is None else compute + 1
    of_instance = instance * CAPABILITIES_OF_INSTANCE
    return FIRST_CAPABILITY + minor * CAPABILITIES_OF_GPU + of_instance + own


def capabilities(state: State, gpus: Sequence[Gpu]) -> dict[str, int]:
    """All capabilities that there are, by their place in /proc/driver/nvidia/capabilities."""
    found = {"mig/config": 1, "mig/monitor": 2} if any(gpu.mig for gpu in gpus) else {}
    for gpu in gpus:
        minor = state.minors[gpu.uuid]
        for instance in division(state, gpu).instances:
            place = f"gpu{minor}/mig/gi{instance.id}"
            found[f"{place}/access"] = capability(minor, instance.id)
            for compute in instance.computes:
                number = capability(minor, instance.id, compute.id)
                found[f"{place}/ci{compute.id}/access"] = number
    return found


def minors_text(gpus: Sequence[Gpu]) -> str:
    """The text of /proc/driver/nvidia-caps/mig-minors: every capability that there could be."""
    lines = ["config 1", "monitor 2"]
    for gpu in range(len(gpus)):
        for instance in range(CAPABILITIES_OF_GPU // CAPABILITIES_OF_INSTANCE):
            lines.append(f"gpu{gpu}/gi{instance}/access {capability(gpu, instance)}")
            lines += [
                f"gpu{gpu}/gi{instance}/ci{compute}/access {capability(gpu, instance, compute)}"
                for compute in range(CAPABILITIES_OF_INSTANCE - 1)
            ]
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------- what the library is told


def sections(state: State, gpu: Gpu) -> Iterator[tuple[str, dict[str, Any]]]:
    """The instances and MIG devices of a GPU, as sections of the library's text."""
    if not gpu.mig:
        return
    profiles = {profile["id"]: profile for profile in gpu.mig["profiles"]}
    minor = state.minors[gpu.uuid]
    for instance in division(state, gpu).instances:
        profile = profiles[instance.profile]
        yield (
            "instance",
            {
                "parent": gpu.uuid,
                "gi": instance.id,
                "profile": instance.profile,
                "start": instance.start,
                "size": instance.size,
            },
        )
        for compute in instance.computes:
            yield "device", _device(gpu, minor, instance, compute, profile)


def _device(
    gpu: Gpu, minor: int, instance: Instance, compute: Compute, profile: dict[str, Any]
) -> dict[str, Any]:
    part = "" if compute.slices == instance.slices else f"{compute.slices}c."
    place = f"{gpu.uuid}/{instance.profile}/{instance.start}/{compute.id}"
    memory = profile["memory_mib"] * 1024 * 1024
    return {
        "parent": gpu.uuid,
        "gi": instance.id,
        "ci": compute.id,
        "ci_profile": compute.profile,
        "start": compute.start,
        "uuid": f"MIG-{uuid.uuid5(_UUIDS, place)}",
        "name": f"{gpu.nvml['name']} MIG {part}{profile['name']}",
        "gi_node": capability(minor, instance.id),
        "ci_node": capability(minor, instance.id, compute.id),
        "gi_slices": instance.slices,
        "ci_slices": compute.slices,
        "multiprocessors": profile["multiprocessors"] * compute.slices // instance.slices,
        "copy_engines": profile["copy_engines"],
        "decoders": profile["decoders"],
        "memory_mib": profile["memory_mib"],
        "memory_total": memory,
        "memory_reserved": 0,
        "memory_used": 0,
        "bar1_total": memory,
    }


def profile_section(profile: dict[str, Any]) -> dict[str, Any]:
    """A kind of GPU instance, as a section of the library's text."""
    return {**profile, "starts": ",".join(map(str, profile["starts"]))}


# ---------------------------------------------------------------------------- what can be asked


def find_gpu(state: State, name: str) -> Gpu:
    """The GPU of a UUID that can be divided."""
    for gpu in driven_gpus(state):
        if gpu.uuid == name:
            if gpu.mig:
                return gpu
            raise MigError(NOT_SUPPORTED)
    raise MigError(NOT_FOUND)


def set_mode(state: State, name: str, wanted: str) -> int:
    """Divide a GPU or not; the answer is 0, or IN_USE where that has to wait for a reset."""
    gpu = find_gpu(state, name)
    made = division(state, gpu)
    mode = wanted == "1"
    if not mode and made.instances:
        raise MigError(IN_USE)
    outlasts = gpu.mig is not None and gpu.mig["mode_outlasts_boots"]
    if outlasts:
        write_json(MIG_MODES, {**read_json(MIG_MODES), gpu.uuid: mode})
    made.pending = mode
    waits = is_held_open(state.minors[gpu.uuid])
    if not waits:
        made.current = mode
    elif not outlasts:
        raise MigError(IN_USE)
    _keep(state, gpu, made)
    return IN_USE if waits else 0


def reset(state: State, name: str) -> int:
    """Reset a GPU: what was pending becomes so, and instances are gone."""
    gpu = find_gpu(state, name)
    if is_held_open(state.minors[gpu.uuid]):
        raise MigError(IN_USE)
    made = division(state, gpu)
    _keep(state, gpu, Division(made.pending, made.pending))
    return 0


def is_held_open(minor: int) -> bool:
    """Whether a process other than the persistence daemon holds a GPU's node open."""
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if str(descriptor.readlink()) == f"/dev/nvidia{minor}":
                name = (descriptor.parents[1] / "comm").read_text()
                if not name.startswith("nvidia-persiste"):
                    return True
    return False


def create_instance(state: State, name: str, profile_id: str, start: str = "") -> int:
    """Make a GPU instance, at ``start`` or where there is room; the answer is its id."""
    gpu = find_gpu(state, name)
    made = division(state, gpu)
    profiles = {str(profile["id"]): profile for profile in (gpu.mig or {})["profiles"]}
    if not made.current:
        raise MigError(NOT_SUPPORTED)
    if profile_id not in profiles:
        raise MigError(INVALID_ARGUMENT)
    profile = profiles[profile_id]
    starts = [s for s in profile["starts"] if not start or s == int(start)]
    place: int | None = next((s for s in free_starts(made, profile) if s in starts), None)
    if place is None:
        raise MigError(INSUFFICIENT_RESOURCES)
    size = int(profile["size"])
    number = _FIRST_ID[size] + place // size
    made.instances.append(Instance(number, profile["id"], place, size, profile["slices"]))
    _keep(state, gpu, made)
    return number


def free_starts(made: Division, profile: dict[str, Any]) -> list[int]:
    """Where another instance of a profile would fit."""
    same = sum(other.profile == profile["id"] for other in made.instances)
    slices = sum(other.slices for other in made.instances) + profile["slices"]
    if same >= profile["most"] or slices > max(_COMPUTE_SLICES):
        return []
    taken = {s for o in made.instances for s in range(o.start, o.start + o.size)}
    return [s for s in profile["starts"] if not taken & set(range(s, s + profile["size"]))]


def destroy_instance(state: State, name: str, instance: str) -> int:
    """Remove a GPU instance that has no compute instance any more."""
    gpu = find_gpu(state, name)
    made = division(state, gpu)
    found = _instance(made, instance)
    if found.computes:
        raise MigError(IN_USE)
    made.instances.remove(found)
    _keep(state, gpu, made)
    return 0


def create_compute(state: State, name: str, instance: str, profile: str) -> int:
    """Make a compute instance in a GPU instance; the answer is its id."""
    gpu = find_gpu(state, name)
    made = division(state, gpu)
    found = _instance(made, instance)
    if not profile.isdigit() or int(profile) >= len(_COMPUTE_SLICES):
        raise MigError(INVALID_ARGUMENT)
    slices = _COMPUTE_SLICES[int(profile)]
    taken = {s for c in found.computes for s in range(c.start, c.start + c.slices)}
    starts = range(found.slices - slices + 1)
    start = next((s for s in starts if not taken & set(range(s, s + slices))), None)
    if start is None:
        raise MigError(INSUFFICIENT_RESOURCES)
    number = next(n for n in range(max(_COMPUTE_SLICES)) if n not in {c.id for c in found.computes})
    found.computes.append(Compute(number, int(profile), start))
    _keep(state, gpu, made)
    return number


def destroy_compute(state: State, name: str, instance: str, compute: str) -> int:
    """Remove a compute instance."""
    gpu = find_gpu(state, name)
    made = division(state, gpu)
    found = _instance(made, instance)
    if not any(str(each.id) == compute for each in found.computes):
        raise MigError(NOT_FOUND)
    if is_held_open(state.minors[gpu.uuid]):
        raise MigError(IN_USE)
    found.computes = [each for each in found.computes if str(each.id) != compute]
    _keep(state, gpu, made)
    return 0


def _instance(made: Division, number: str) -> Instance:
    for instance in made.instances:
        if str(instance.id) == number:
            return instance
    raise MigError(NOT_FOUND)


def _keep(state: State, gpu: Gpu, made: Division) -> None:
    instances = [
        {**vars(instance), "computes": [vars(compute) for compute in instance.computes]}
        for instance in made.instances
    ]
    state.mig[gpu.uuid] = {
        "current": made.current,
        "pending": made.pending,
        "instances": instances,
    }


REQUESTS: dict[str, Callable[..., int]] = {
    "mode": set_mode,
    "reset": reset,
    "create-instance": create_instance,
    "destroy-instance": destroy_instance,
    "create-compute": create_compute,
    "destroy-compute": destroy_compute,
}


def answer(state: State, request: str, *arguments: str) -> str:
    """Serve one request; "ok NUMBER", or "error CODE" with NVML's return code."""
    if request not in REQUESTS:
        raise KernelError(f"kernel: there is no request {request!r}: {', '.join(REQUESTS)}")
    try:
        return f"ok {REQUESTS[request](state, *arguments)}"
    except MigError as error:
        return f"error {error}"
