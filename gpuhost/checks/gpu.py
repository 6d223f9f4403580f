"""The GPUs: declared against found, and the PCI bus against the driver."""

from __future__ import annotations

import re
from collections.abc import Iterable

from gpuhost.checks.facts import Facts
from gpuhost.checks.failure_words import explain
from gpuhost.checks.finding import (
    Finding,
    failed,
    not_declared,
    passed,
    undetermined,
    warned,
)
from gpuhost.checks.registry import check
from gpuhost.checks.remedies import REBOOT
from gpuhost.checks.words import counted, listed
from gpuhost.parse.nvidia_smi import is_gpu_uuid
from gpuhost.parse.pci import bus_id, is_gpu
from gpuhost.probe.schema import GpuHealth, Nvml, NvmlFailure, NvmlGpu, PciDevice

_LOOK = "nvidia-smi -L; lspci -d 10de:; dmesg | grep -iE 'nvrm|xid'"


def nvml_words(nvml: Nvml) -> str:
    """Why NVML does not answer, in its own words; empty where it does."""
    return "" if nvml["failure"] is None else nvml_failure_words(nvml["failure"])


def nvml_failure_words(failure: NvmlFailure) -> str:
    """A failure of NVML's in its own words, with its number."""
    code = "" if failure["code"] is None else f" (NVML error {failure['code']})"
    return f"{failure['text'] or failure['name']}{code}"


def silence(nvml: Nvml, expected: str) -> Finding | None:
    """What to say where NVML does not answer: not at all, or not for a GPU."""
    words = nvml_words(nvml)
    if words:
        return unread("NVML does not answer", words, expected)
    return unanswered(nvml["gpus"], expected)


def unanswered(gpus: Iterable[NvmlGpu | GpuHealth], expected: str) -> Finding | None:
    """What to say where a GPU cannot be asked at all, such as one that is lost."""
    lost = [(gpu["index"], why) for gpu in gpus if (why := gpu["failures"].get("handle"))]
    return unread("a GPU could not be asked", told(lost), expected) if lost else None


def unread(summary: str, seen: str, expected: str) -> Finding:
    """What NVML did not tell, with the cause that its words speak of."""
    cause, remedy = explain(seen, _LOOK)
    return undetermined(summary, seen=seen, expected=expected, cause=cause, remedy=remedy)


def told(words: Iterable[tuple[int, str]]) -> str:
    """``GPU 0: GPU is lost; GPU 2: Unknown Error``."""
    return "; ".join(f"GPU {index}: {why}" for index, why in words)


def _shown(gpu: NvmlGpu) -> str:
    return f"GPU {gpu['index']} at {gpu['bus_id'] or 'an unknown address'}"


@check("gpu.present", "The host has an NVIDIA GPU", needs=("pci", "nvml"))
def present(facts: Facts) -> Finding:
    """Without a GPU nothing else about GPUs can be said, nor mended by software.

    Look for the card with lspci. If it is not there: power, seating, the BIOS, and on a virtual
    machine the pass-through of the device.
    """
    devices = [d for d in facts.pci["devices"] if is_gpu(d["class_code"])]
    if devices:
        return passed(f"{counted(len(devices), 'GPU')} on the PCI bus")
    if facts.nvml["gpus"]:
        return passed(f"{counted(len(facts.nvml['gpus']), 'GPU')}, as the driver shows")
    declared = facts.desired.gpu_count
    return failed(
        "there is no NVIDIA GPU",
        seen="no device of vendor 10de with class 0300 or 0302 on the PCI bus",
        expected=f"{counted(declared, 'GPU')}, as declared" if declared else "at least one GPU",
        cause="no GPU is installed, none is passed through to this machine, or all fell off the "
        "bus",
        remedy="lspci -nn -d 10de:  # then look at power, seating and the BIOS",
    )


@check("gpu.count", "As many GPUs are usable as are declared", needs=("nvml",))
def count(facts: Facts) -> Finding:
    """A GPU that fell off the bus leaves no error behind, only a smaller number.

    Look for Xid in the kernel log and for the device with lspci. If it is gone from the bus:
    reboot, then power-cycle, then reseat; after that it is a case for support.
    """
    declared, found = facts.desired.gpu_count, len(facts.nvml["gpus"])
    words = nvml_words(facts.nvml)
    if declared is None:
        return not_declared("gpuhost_gpu_count", words or counted(found, "GPU"))
    if words:
        cause, remedy = explain(words, _LOOK)
        return failed(
            f"none of {counted(declared, 'GPU')} is usable",
            seen=f"NVML: {words}",
            expected=counted(declared, "GPU"),
            cause=cause,
            remedy=remedy,
        )
    if found == declared:
        return passed(counted(found, "GPU"))
    few = found < declared
    return failed(
        f"{abs(declared - found)} GPU{'s are' if abs(declared - found) > 1 else ' is'} "
        f"{'missing' if few else 'more than declared'}",
        seen=f"{counted(found, 'GPU')}: {listed(_shown(gpu) for gpu in facts.nvml['gpus'])}",
        expected=counted(declared, "GPU"),
        cause="a GPU fell off the bus, lost power or was taken out"
        if few
        else "hardware was added, or the declaration is out of date",
        remedy=f"{_LOOK}; then {REBOOT}" if few else f"Declare gpuhost_gpu_count: {found}.",
    )


@check("gpu.model", "Every GPU is of the declared model", needs=("nvml",))
def model(facts: Facts) -> Finding:
    """A card exchanged in repair is not always the card that was bought.

    Correct gpuhost_gpu_model if the exchange was meant; otherwise have the card exchanged.
    """
    declared = facts.desired.gpu_model
    gpus = facts.nvml["gpus"]
    names = sorted({gpu["name"] or "unnamed" for gpu in gpus})
    if not declared:
        return not_declared("gpuhost_gpu_model", listed(names))
    if silent := silence(facts.nvml, declared):
        return silent
    if not gpus or any(not gpu["name"] for gpu in gpus):
        return _model_unknown(facts.nvml, declared)
    others = [gpu for gpu in gpus if not is_model(declared, gpu["name"] or "")]
    if not others:
        return passed(listed(names))
    return failed(
        f"{counted(len(others), 'GPU')} of another model",
        seen=listed(f"{_shown(gpu)} is {gpu['name']}" for gpu in others),
        expected=f"{declared} in every slot",
        cause="hardware was exchanged, or the declaration is out of date",
        remedy="Correct gpuhost_gpu_model in the inventory, or have the card exchanged.",
    )


def _model_unknown(nvml: Nvml, declared: str) -> Finding:
    unnamed = listed(f"{_shown(gpu)} tells no name" for gpu in nvml["gpus"] if not gpu["name"])
    return unread("the models could not be read", unnamed or "NVML shows no GPU", declared)


def is_model(declared: str, name: str) -> bool:
    """Whether a GPU's name is the declared model, by whole words: an A100 is no A10."""
    wanted, words = _tokens(declared), _tokens(name)
    starts = range(len(words) - len(wanted) + 1)
    return bool(wanted) and any(words[i : i + len(wanted)] == wanted for i in starts)


def _tokens(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


@check("gpu.uuids", "The GPUs are the declared ones", needs=("nvml",))
def uuids(facts: Facts) -> Finding:
    """The same number of GPUs may still be other GPUs: UUIDs tell a swap.

    Correct gpuhost_gpu_uuids if the exchange was meant. Otherwise find out who changed the
    hardware before jobs are pinned to the wrong card.
    """
    gpus = facts.nvml["gpus"]
    found = [gpu["uuid"] for gpu in gpus if gpu["uuid"] and is_gpu_uuid(gpu["uuid"])]
    declared = facts.desired.gpu_uuids
    words = nvml_words(facts.nvml)
    if not declared:
        return not_declared("gpuhost_gpu_uuids", words or listed(found))
    missing = _without(declared, found)
    extra = _without(found, declared)
    if missing:
        return _uuids_missing(missing, extra, words, listed(declared))
    if len(found) != len(gpus) or len(set(found)) != len(found):
        return undetermined(
            "a GPU has no UUID of its own",
            seen=listed(f"{_shown(gpu)}: {gpu['uuid'] or 'no UUID'}" for gpu in gpus),
            expected=listed(declared),
            cause="NVML could not read the UUID of a GPU, or gives one twice",
            remedy=_LOOK,
        )
    if extra:
        return warned(
            f"{counted(len(extra), 'GPU')} more than declared",
            seen=f"not declared: {listed(extra)}",
            expected=listed(declared),
            cause="hardware was added, or the declaration is out of date",
            remedy="Add the UUIDs to gpuhost_gpu_uuids in the inventory.",
        )
    return passed(f"all {len(found)} as declared")


def _uuids_missing(missing: list[str], extra: list[str], words: str, expected: str) -> Finding:
    if words:
        cause, remedy = explain(words, _LOOK)
        summary, seen = "the declared GPUs are not usable", f"NVML: {words}"
    elif extra:
        cause = "GPUs were swapped: the hardware is not what was declared"
        remedy = "If the exchange was meant, correct gpuhost_gpu_uuids in the inventory."
        summary = f"hardware changed: {counted(min(len(missing), len(extra)), 'GPU')} swapped"
        seen = f"{listed(extra)} instead of {listed(missing)}"
    else:
        cause = "a GPU fell off the bus, lost power or was taken out"
        remedy = f"{_LOOK}; then {REBOOT}"
        summary = f"{counted(len(missing), 'declared GPU')} missing"
        seen = f"missing: {listed(missing)}"
    return failed(summary, seen=seen, expected=expected, cause=cause, remedy=remedy)


def _without(some: Iterable[str], others: Iterable[str]) -> list[str]:
    known = {uuid.lower() for uuid in others}
    return [uuid for uuid in some if uuid.lower() not in known]


@check("gpu.on_bus", "Every GPU on the PCI bus is usable, and the reverse", needs=("pci", "nvml"))
def on_bus(facts: Facts) -> Finding:
    """The bus and the driver are two witnesses: where they differ, a GPU is ill or lost.

    On the bus and not in the driver: look for nouveau or vfio-pci holding it, and at the kernel
    log. In the driver and not on the bus: reboot, then power-cycle and reseat.
    """
    devices = {bus_id(d["address"]): d for d in facts.pci["devices"] if is_gpu(d["class_code"])}
    gpus = facts.nvml["gpus"]
    addresses = {bus_id(gpu["bus_id"]): gpu for gpu in gpus if gpu["bus_id"]}
    if lost := unanswered(gpus, f"the addresses {listed(devices)}"):
        return lost
    if len(addresses) != len(gpus):
        return undetermined(
            "a GPU tells no PCI address of its own",
            seen=listed(_shown(gpu) for gpu in gpus),
            expected=f"the addresses {listed(devices)}",
            cause="NVML could not read the address of a GPU, or gives one twice",
            remedy=_LOOK,
        )
    silent = [device for address, device in devices.items() if address not in addresses]
    gone = [gpu for address, gpu in addresses.items() if address not in devices]
    if not devices and not gpus:
        return present(facts)
    if gone:
        return _gone(gone, devices)
    if silent:
        return _silent(silent, facts.nvml)
    return passed(f"{counted(len(devices), 'GPU')} on the bus, all usable")


def _gone(gone: list[NvmlGpu], devices: dict[str, PciDevice]) -> Finding:
    return failed(
        f"{counted(len(gone), 'GPU')} lost: gone from the PCI bus",
        seen=listed(_shown(gpu) for gpu in gone),
        expected=f"a device on the bus for each; there are {listed(devices) or 'none'}",
        cause="the GPU fell off the bus while the driver held it",
        remedy=f"{REBOOT}  # if it does not come back: power-cycle, reseat, then call support",
    )


def _silent(silent: list[PciDevice], nvml: Nvml) -> Finding:
    words = nvml_words(nvml)
    drivers = {device["driver"] for device in silent}
    if words:
        cause, remedy = explain(words, _LOOK)
    elif "vfio-pci" in drivers:
        cause = "the device is reserved for a virtual machine (vfio-pci)"
        remedy = "Release it: driverctl unset-override <address>  # or the vfio-pci.ids option"
    elif "nouveau" in drivers:
        cause = "nouveau holds the device"
        remedy = f"Blacklist nouveau, rebuild the initramfs, then: {REBOOT}"
    else:
        cause = "the driver does not support the device, or could not start it"
        remedy = _LOOK
    bound = (f"{d['address']} ({d['device']}, driver {d['driver'] or 'none'})" for d in silent)
    return failed(
        f"{counted(len(silent), 'GPU')} on the bus that the driver does not show",
        seen=listed(bound) + (f"; NVML: {words}" if words else ""),
        expected="every GPU of the bus in NVML",
        cause=cause,
        remedy=remedy,
    )
