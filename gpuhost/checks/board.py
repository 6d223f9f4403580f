"""Divided GPUs, and the NVSwitches that join GPUs: what the board has to be told at each boot."""

from __future__ import annotations

import re
from collections.abc import Collection

from gpuhost.checks.facts import Facts
from gpuhost.checks.finding import (
    Finding,
    failed,
    not_applicable,
    not_declared,
    passed,
    undetermined,
    warned,
)
from gpuhost.checks.gpu import nvml_words, silence
from gpuhost.checks.registry import check
from gpuhost.checks.remedies import REBOOT
from gpuhost.checks.words import counted, listed
from gpuhost.parse.mig import division, expected, found
from gpuhost.parse.pci import is_nvswitch
from gpuhost.parse.versions import same
from gpuhost.probe.schema import Driver, Package

FABRIC_MANAGER = "nvidia-fabricmanager"
UNIT = f"{FABRIC_MANAGER}.service"
_PACKAGE = re.compile(r"nvidia-fabric-?manager(-\d+)?")
COMPLETED = 3
_STATES = {0: "not supported", 1: "not started", 2: "in progress", COMPLETED: "completed"}
_LOOK_AT_FABRIC = f"systemctl status {UNIT}; journalctl -u {UNIT} -b"


@check("gpu.mig_mode", "No change of MIG mode is waiting for a reset", needs=("nvml",))
def mig_mode(facts: Facts) -> Finding:
    """A pending mode becomes real at the next reset or reboot: the GPUs will be other ones then.

    Make the pending mode real now with a reset of the GPU or a reboot, or take it back.
    """
    gpus = [gpu for gpu in facts.nvml["gpus"] if gpu["mig_current"] is not None]
    if not gpus:
        silent = silence(facts.nvml, "the MIG mode of each GPU")
        return silent or not_applicable("no GPU here can be divided")
    waiting = [gpu for gpu in gpus if gpu["mig_pending"] != gpu["mig_current"]]
    if waiting:
        return failed(
            f"{counted(len(waiting), 'GPU')} will change MIG mode at the next reset",
            seen=listed(
                f"GPU {gpu['index']} is {_mode(gpu['mig_current'])}, "
                f"pending {_mode(gpu['mig_pending'])}"
                for gpu in waiting
            ),
            expected="the pending mode is the current one",
            cause="the mode was changed while something used the GPU, which an Ampere GPU puts off",
            remedy=f"Stop what uses the GPU, then: nvidia-smi --gpu-reset -i "
            f"{','.join(str(gpu['index']) for gpu in waiting)}  # or: {REBOOT}",
        )
    divided = [gpu for gpu in gpus if gpu["mig_current"]]
    devices = sum(len(gpu.get("mig_devices") or ()) for gpu in divided)
    if not divided:
        return passed(f"off on {counted(len(gpus), 'GPU')}")
    return passed(f"on for {counted(len(divided), 'GPU')}: {counted(devices, 'MIG device')}")


@check("gpu.mig", "The GPUs are divided as declared", needs=("nvml", "pci"))
def layout(facts: Facts) -> Finding:
    """No MIG device survives a reboot: without the service that makes them anew, jobs find none.

    Look at the journal of nvidia-mig-manager.service, and provision the host again: it applies
    the layout as soon as nothing uses the GPUs.
    """
    desired, gpus = facts.desired, facts.nvml["gpus"]
    shown = listed(f"GPU {gpu['index']} is {division(found(gpu))}" for gpu in gpus)
    if not desired.mig_layout:
        return not_declared("nvidia_mig_layout", shown or nvml_words(facts.nvml) or "no GPU")
    wanted = expected(desired.mig_config[desired.mig_layout], gpus, facts.pci["devices"])
    if not wanted:
        for_these = f"GPUs that the layout {desired.mig_layout} is for"
        return silence(facts.nvml, for_these) or undetermined(
            f"the layout {desired.mig_layout} speaks of no GPU that is here",
            seen=shown or "no GPU",
            expected=for_these,
            cause="devices and device-filter name other GPUs, or NVML shows none",
            remedy="nvidia-smi -L  # compare with nvidia_mig_config",
        )
    silent = [g for g in gpus if g["index"] in wanted and {"mig", "handle"} & g["failures"].keys()]
    if silent:
        return undetermined(
            f"whether {counted(len(silent), 'GPU')} is divided could not be read",
            seen=listed(f"GPU {g['index']}: {listed(g['failures'].values())}" for g in silent),
            expected=listed(f"GPU {g['index']} is {division(wanted[g['index']])}" for g in silent),
            cause="NVML does not answer for the GPU (driver.nvml tells more)",
            remedy="nvidia-smi --query-gpu=index,mig.mode.current --format=csv",
        )
    other = [g for g in gpus if g["index"] in wanted and found(g) != wanted[g["index"]]]
    if not other:
        return _unspoken_of(facts, wanted) or passed(f"{desired.mig_layout}: {shown}")
    return failed(
        f"{counted(len(other), 'GPU')} not divided as the layout {desired.mig_layout} says",
        seen=listed(f"GPU {gpu['index']} is {division(found(gpu))}" for gpu in other),
        expected=listed(f"GPU {g['index']} is {division(wanted[g['index']])}" for g in other),
        cause="nvidia-mig-manager.service failed at boot, or somebody divided the GPUs by hand",
        remedy="journalctl -u nvidia-mig-manager.service -b; then: systemctl restart "
        "nvidia-mig-manager.service nvidia-cdi-refresh.service  # while nothing uses the GPUs",
    )


def _unspoken_of(facts: Facts, wanted: Collection[int]) -> Finding | None:
    """GPUs that are divided though the layout says nothing of them; None where there is none."""
    layout, gpus = facts.desired.mig_layout, facts.nvml["gpus"]
    more = [gpu for gpu in gpus if gpu["index"] not in wanted and gpu["mig_current"]]
    if not more:
        return None
    return warned(
        f"{counted(len(more), 'GPU')} divided that the layout {layout} does not speak of",
        seen=listed(f"GPU {gpu['index']} is {division(found(gpu))}" for gpu in more),
        expected=f"only GPU {listed(sorted(wanted))} divided",
        cause="somebody divided it by hand; its MIG devices are gone after the next reboot",
        remedy=f"Declare it in nvidia_mig_config, or: nvidia-smi -mig 0 -i "
        f"{','.join(str(gpu['index']) for gpu in more)}",
    )


def _mode(is_on: bool | None) -> str:
    return "unknown" if is_on is None else "on" if is_on else "off"


@check("gpu.fabric", "The GPUs have joined their NVSwitches", needs=("nvml", "pci", "driver"))
def fabric(facts: Facts) -> Finding:
    """On an NVSwitch board CUDA does not start on a GPU that is not in the fabric (error 802).

    Start the fabric manager, and read its journal where a GPU stays outside the fabric.
    """
    told = [(gpu["index"], gpu.get("fabric")) for gpu in facts.nvml["gpus"]]
    joined = [(index, found) for index, found in told if found]
    switches = _switches(facts)
    if not joined:
        if switches and (silent := silence(facts.nvml, "state completed on every GPU")):
            return silent
        return not_applicable(
            "these GPUs' driver does not tell of the fabric" if switches else "there is no NVSwitch"
        )
    bad = [
        f"GPU {index}: {_STATES.get(found['state'], found['state'])}"
        + (f", status {found['status']}" if found["status"] else "")
        for index, found in joined
        if found["state"] != COMPLETED or found["status"]
    ]
    if not bad:
        return passed(f"completed on {counted(len(joined), 'GPU')}")
    active = _unit_is_active(facts)
    return failed(
        f"{counted(len(bad), 'GPU')} not in the fabric: CUDA cannot start there",
        seen=listed(bad),
        expected="state completed, status success",
        cause="the fabric manager runs, and could not set the switches up"
        if active
        else f"{UNIT} does not run",
        remedy=_LOOK_AT_FABRIC if active else f"systemctl enable --now {UNIT}",
    )


def _switches(facts: Facts) -> int:
    return sum(is_nvswitch(device["class_code"]) for device in facts.pci["devices"])


def fabric_manager_package(driver: Driver) -> Package | None:
    """The package of the fabric manager, whose name may end with the branch."""
    return next((p for p in driver["packages"] if _PACKAGE.fullmatch(p["name"])), None)


def _unit_is_active(facts: Facts) -> bool:
    return any(
        unit["name"] == UNIT and unit["active_state"] == "active" for unit in facts.driver["units"]
    )


@check(
    "driver.fabric_manager",
    "The fabric manager runs, at exactly the driver's version",
    needs=("driver", "pci"),
)
def fabric_manager(facts: Facts) -> Finding:
    """NVSwitches do nothing until it has set them up, and it refuses any other driver version.

    Install nvidia-fabricmanager at the driver's exact version, then enable and start it.
    """
    switches = _switches(facts)
    if not switches:
        return not_applicable("there is no NVSwitch")
    driver = facts.driver["loaded_version"] or facts.driver["on_disk_version"]
    package = fabric_manager_package(facts.driver)
    if package is None or driver is None:
        return failed(
            "the fabric manager is not installed" if package is None else "there is no driver",
            seen=f"{counted(switches, 'NVSwitch chip')}, no package {FABRIC_MANAGER}"
            if package is None
            else "no version of the driver",
            expected=f"{FABRIC_MANAGER} at the driver's version",
            cause="the board needs it, and the driver does not bring it",
            remedy=f"apt-get install {FABRIC_MANAGER}={driver or '<driver version>'}-*",
        )
    if not same(driver, package["version"]):
        return failed(
            "the fabric manager is of another version than the driver",
            seen=f"{package['name']} {package['version']}, driver {driver}",
            expected=f"{FABRIC_MANAGER} {driver}",
            cause="one of the two was upgraded without the other",
            remedy=f"apt-get install {FABRIC_MANAGER}={driver}-*  # then: systemctl restart {UNIT}",
        )
    if not _unit_is_active(facts):
        return failed(
            "the fabric manager does not run",
            seen=f"{UNIT} is not active",
            expected=f"{UNIT} active",
            cause="it is not enabled, or it failed",
            remedy=f"systemctl enable --now {UNIT}; {_LOOK_AT_FABRIC}",
        )
    return passed(f"{package['version']}, for {counted(switches, 'NVSwitch chip')}")
