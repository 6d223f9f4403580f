"""Which layouts of MIG devices GPUs can be divided into.

What a GPU offers is asked from NVML, which answers for GPUs that are not
divided yet as well; the rest is arithmetic: how many of a profile there can
be, and how many slices of computing and how much memory there is to share out.
"""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
PROFILES = range(32)
TEXT_SIZE = 96
INFO_VERSION = 2
# "1c.3g.20gb" is a part of "3g.20gb".
COMPUTE_PART = re.compile(r"^(\d+)c\.")

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Profile:
    """A kind of GPU instance: how many of them fit, and what each takes."""

    name: str
    most: int
    slices: int
    memory_mib: int


@dataclass(frozen=True)
class Gpu:
    """A GPU and the profiles that it offers, by name; none where it cannot be divided.

    ``device`` is device and vendor id together, as nvidia-mig-parted's filters have it.
    """

    index: int
    name: str
    device: str
    profiles: Mapping[str, Profile] = field(default_factory=dict)


def from_document(document: Mapping[str, Any]) -> Gpu:
    """The GPU that ``dataclasses.asdict`` made this of."""
    profiles = {name: Profile(**one) for name, one in document["profiles"].items()}
    return Gpu(document["index"], document["name"], document["device"], profiles)


class NvmlError(Exception):
    """NVML does not answer; the text says what it does."""


# ------------------------------------------------------------------------------ arithmetic


def problems(entries: Sequence[Entry], gpus: Sequence[Gpu]) -> list[str]:
    """Why ``gpus`` cannot be divided as ``entries`` say; none if they can."""
    found = list(_missing(entries, gpus))
    for gpu in gpus:
        matching = [entry for entry in entries if concerns(entry, gpu)]
        if len(matching) > 1:
            found.append(f"GPU {gpu.index}: {len(matching)} entries speak of it")
        for entry in matching[:1]:
            if entry["mig-enabled"]:
                found += [f"GPU {gpu.index}: {words}" for words in _unfit(entry, gpu)]
    return found


def concerns(entry: Entry, gpu: Gpu) -> bool:
    """Whether an entry speaks of a GPU."""
    filters = entry.get("device-filter") or []
    filters = [filters] if isinstance(filters, str) else filters
    if filters and gpu.device.lower() not in [wanted.lower() for wanted in filters]:
        return False
    return entry["devices"] == "all" or gpu.index in entry["devices"]


def _missing(entries: Sequence[Entry], gpus: Sequence[Gpu]) -> Iterator[str]:
    there = {gpu.index for gpu in gpus}
    for entry in entries:
        if entry["devices"] != "all":
            for index in sorted(set(entry["devices"]) - there):
                yield f"there is no GPU {index}"


def _unfit(entry: Entry, gpu: Gpu) -> Iterator[str]:
    if not gpu.profiles:
        yield f"{gpu.name} cannot be divided"
        return
    wanted: Mapping[str, int] = entry.get("mig-devices") or {}
    unknown = [name for name in wanted if COMPUTE_PART.sub("", name) not in gpu.profiles]
    if unknown:
        yield f"{gpu.name} has no {', '.join(unknown)}; it has {', '.join(sorted(gpu.profiles))}"
        return
    instances = _instances(wanted, gpu)
    for name, count in instances.items():
        if count > gpu.profiles[name].most:
            yield f"{count} of {name} are wanted, and {gpu.profiles[name].most} fit"
    yield from _shares(instances, gpu)


def _instances(wanted: Mapping[str, int], gpu: Gpu) -> dict[str, int]:
    """How many GPU instances of each profile are needed: parts of one share it."""
    needed: dict[str, float] = {}
    for name, count in wanted.items():
        part, base = COMPUTE_PART.match(name), COMPUTE_PART.sub("", name)
        share = int(part[1]) / gpu.profiles[base].slices if part else 1
        needed[base] = needed.get(base, 0) + count * share
    return {name: math.ceil(amount) for name, amount in needed.items()}


def _shares(instances: Mapping[str, int], gpu: Gpu) -> Iterator[str]:
    profiles = gpu.profiles.values()
    slices = sum(count * gpu.profiles[name].slices for name, count in instances.items())
    memory = sum(count * gpu.profiles[name].memory_mib for name, count in instances.items())
    most_slices = max(profile.slices for profile in profiles)
    most_memory = max(profile.memory_mib for profile in profiles)
    if slices > most_slices:
        yield f"the profiles take {slices} slices of {most_slices}"
    elif memory > most_memory:
        yield f"the profiles take {memory} MiB of {most_memory}"


# ---------------------------------------------------------------------------- asking NVML


class _PciInfo(ctypes.Structure):
    _fields_ = (
        ("legacy", ctypes.c_char * 16),
        *((name, ctypes.c_uint) for name in ("domain", "bus", "device", "id", "subsystem")),
        ("bus_id", ctypes.c_char * 32),
    )


class _ProfileInfo(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_uint) for name in ("version", "id", "p2p", "slices", "most")),
        *((name, ctypes.c_uint) for name in ("multiprocessors", "copy", "decoder", "encoder")),
        *((name, ctypes.c_uint) for name in ("jpeg", "ofa")),
        ("memory_mib", ctypes.c_ulonglong),
        ("name", ctypes.c_char * 96),
    )


def read(library: Any = None) -> list[Gpu]:
    """The host's GPUs; raises NvmlError where the driver does not answer."""
    try:
        nvml = library or ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise NvmlError(str(error)) from error
    _call(nvml, "nvmlInit_v2")
    count = ctypes.c_uint()
    _call(nvml, "nvmlDeviceGetCount_v2", ctypes.byref(count))
    gpus = [_gpu(nvml, index) for index in range(count.value)]
    _call(nvml, "nvmlShutdown")
    return gpus


def _call(nvml: Any, name: str, *arguments: Any) -> None:
    code = getattr(nvml, name)(*arguments)
    if code:
        raise NvmlError(f"{name}: NVML error {code}")


def _gpu(nvml: Any, index: int) -> Gpu:
    handle, pci = ctypes.c_void_p(), _PciInfo()
    name = ctypes.create_string_buffer(TEXT_SIZE)
    _call(nvml, "nvmlDeviceGetHandleByIndex_v2", index, ctypes.byref(handle))
    _call(nvml, "nvmlDeviceGetName", handle, name, TEXT_SIZE)
    _call(nvml, "nvmlDeviceGetPciInfo_v3", handle, ctypes.byref(pci))
    profiles = {profile.name: profile for profile in _profiles(nvml, handle)}
    return Gpu(index, name.value.decode(), f"{pci.id:#010x}", profiles)


def _profiles(nvml: Any, handle: Any) -> Iterator[Profile]:
    mode, pending = ctypes.c_uint(), ctypes.c_uint()
    if nvml.nvmlDeviceGetMigMode(handle, ctypes.byref(mode), ctypes.byref(pending)):
        return
    for number in PROFILES:
        info = _ProfileInfo(version=ctypes.sizeof(_ProfileInfo) | INFO_VERSION << 24)
        if nvml.nvmlDeviceGetGpuInstanceProfileInfoV(handle, number, ctypes.byref(info)) == 0:
            name = info.name.decode()
            name = name[len("MIG ") :] if name.startswith("MIG ") else name
            yield Profile(name, info.most, info.slices, info.memory_mib)
