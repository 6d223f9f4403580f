"""The GPUs' health: what they and the kernel say of errors that they have had."""

from __future__ import annotations

from collections.abc import Sequence

from gpuhost.checks.facts import Facts
from gpuhost.checks.finding import Finding, failed, not_applicable, passed, warned
from gpuhost.checks.gpu_health import asked, for_each, names
from gpuhost.checks.registry import check
from gpuhost.checks.remedies import REBOOT, RESET_GPU
from gpuhost.checks.words import counted, listed
from gpuhost.parse.pci import bus_id
from gpuhost.parse.xid import Action, Xid, parse_xid
from gpuhost.probe.schema import GpuHealth

_NEEDS = ("health",)
_STOP_FIRST = "# stop what uses it first"

# NVML's numbers: NVML_GPU_RECOVERY_ACTION_… and NVML_COMPUTEMODE_….
_RECOVERY = {
    1: ("be reset", RESET_GPU),
    2: ("have the host rebooted", REBOOT),
    3: ("be drained of peer-to-peer work", "nvidia-smi -q -i"),
    4: ("be drained and reset", RESET_GPU),
    5: (
        "have its IMEX domain recovered",
        "systemctl restart nvidia-imex.service; nvidia-smi -q -i",
    ),
    6: ("have its bus reset", RESET_GPU),
    7: ("have the system rebooted", REBOOT),
}
_REBOOTS = (2, 7)
_DEFAULT, _PROHIBITED = 0, 2
_MODES = {1: "exclusive to a thread", _PROHIBITED: "prohibited", 3: "exclusive to a process"}

# A nightly verification sees each line of the log while it is this young.
RECENT_S = 25 * 3600
SHOWN_LINES = 6
_SEVERE = (Action.RESET, Action.REBOOT, Action.SUPPORT, Action.LINK)
_SWITCH = "nvidia-smi nvlink -s; systemctl status nvidia-fabricmanager.service"
_WHAT_TO_DO = {
    Action.RESET: f"{RESET_GPU} <index>  {_STOP_FIRST}; if it comes back: {REBOOT}, then support",
    Action.REBOOT: f"{REBOOT}  # if it comes back: power-cycle, reseat, then call support",
    Action.SUPPORT: f"{REBOOT}  # then call support: the card has to be exchanged",
    Action.LINK: "nvidia-smi nvlink -s; nvidia-smi nvlink -e  # then reset the GPU; else support",
    Action.RESTART_APPLICATION: "Restart the program that used the GPU; its results are lost.",
    Action.READ: "nvidia-smi -q | grep -A1 -i 'recovery action'  # and do what it says",
    Action.APPLICATION: "Look at the program that ran then; if it is sound: nvidia-bug-report.sh",
    Action.NONE: "Nothing has to be done.",
}


@check("health.ecc", "No GPU has uncorrected memory errors", needs=_NEEDS)
def ecc(facts: Facts) -> Finding:
    """An uncorrected error has ended or corrupted somebody's work, and the next may too.

    Stop what uses the GPU and reset it; where errors come back, have the card exchanged.
    """
    expected = "no uncorrected error since the driver was loaded; ECC as it was set"
    gpus = asked(facts, expected, "ecc", "ecc_uncorrected")
    if isinstance(gpus, Finding):
        return gpus
    able = [gpu for gpu in gpus if gpu["ecc_current"] is not None]
    if not able:
        return not_applicable("these GPUs have no ECC")
    ill = [gpu for gpu in able if gpu["ecc_uncorrected"]]
    waiting = [gpu for gpu in able if gpu["ecc_current"] != gpu["ecc_pending"]]
    on = [gpu for gpu in able if gpu["ecc_current"]]
    if ill:
        return failed(
            f"uncorrected memory errors on {names(ill)}",
            seen=listed(f"GPU {gpu['index']}: {gpu['ecc_uncorrected']}" for gpu in ill),
            expected=expected,
            cause="memory of the GPU gave wrong data since the driver was loaded",
            remedy=f"{for_each(RESET_GPU, ill)}  {_STOP_FIRST}; if it comes back: call support",
        )
    if waiting:
        return warned(
            f"ECC changes at the next reset on {names(waiting)}",
            seen=listed(
                f"GPU {gpu['index']}: {_on(gpu['ecc_current'])} now, {_on(gpu['ecc_pending'])} then"
                for gpu in waiting
            ),
            expected=expected,
            cause="somebody set it with nvidia-smi -e, and the GPU was not reset since",
            remedy=f"{for_each(RESET_GPU, waiting)}  {_STOP_FIRST}; or back: nvidia-smi -e 1",
        )
    if on and len(on) < len(able):
        off = [gpu for gpu in able if not gpu["ecc_current"]]
        return warned(
            f"ECC is off on {names(off)} only",
            seen=f"off: {names(off)}; on: {names(on)}",
            expected="the same on every GPU",
            cause="somebody switched it off on a part of them",
            remedy=f"{for_each('nvidia-smi -e 1 -i', off)}  # then reset them",
        )
    ever = sum(gpu["ecc_uncorrected_ever"] or 0 for gpu in able)
    past = f"; {ever} long ago" if ever else ""
    return passed(f"none on {counted(len(able), 'GPU')}{past}" if on else "ECC is off everywhere")


def _on(flag: bool | None) -> str:
    return "on" if flag else "off"


@check("health.rows", "No memory row waits for a repair or cannot be repaired", needs=_NEEDS)
def rows(facts: Facts) -> Finding:
    """A GPU replaces bad memory rows by spare ones, at its next reset, until there are none.

    Reset the GPU to have a pending row replaced; where that failed, call support for another card.
    """
    expected = "no row pending, none that could not be remapped"
    gpus = asked(facts, expected, "remapped_rows", "retired_pages_pending")
    if isinstance(gpus, Finding):
        return gpus
    able = [g for g in gpus if g["remapped_rows"] or g["retired_pages_pending"] is not None]
    if not able:
        return not_applicable("these GPUs do not repair their memory")
    worn = [gpu for gpu in able if gpu["remapped_rows"] and gpu["remapped_rows"]["failed"]]
    waiting = [gpu for gpu in able if _is_pending(gpu)]
    if worn:
        return failed(
            f"memory of {names(worn)} cannot be repaired any more",
            seen=f"row remapping failed: {names(worn)}",
            expected=expected,
            cause="the spare rows of a memory bank are used up",
            remedy="nvidia-smi -q -d ROW_REMAPPER  # take it out of service and call support",
        )
    if waiting:
        return failed(
            f"memory of {names(waiting)} waits for its repair",
            seen=f"pending: {names(waiting)}",
            expected=expected,
            cause="a memory row or page went bad and is in use until the GPU is reset",
            remedy=f"{for_each(RESET_GPU, waiting)}  {_STOP_FIRST}",
        )
    repaired = sum(_repaired(gpu) for gpu in able)
    return passed(
        f"none on {counted(len(able), 'GPU')}; {counted(repaired, 'row')} remapped so far"
    )


def _is_pending(gpu: GpuHealth) -> bool:
    remapped = gpu["remapped_rows"]
    return bool(gpu["retired_pages_pending"] or (remapped and remapped["pending"]))


def _repaired(gpu: GpuHealth) -> int:
    remapped = gpu["remapped_rows"]
    return remapped["corrected"] + remapped["uncorrected"] if remapped else 0


@check("health.inforom", "Every GPU's infoROM is intact", needs=_NEEDS)
def inforom(facts: Facts) -> Finding:
    """It keeps the card's settings and error counts: without it neither can be trusted.

    Reset the GPU; an infoROM that stays corrupted can only be mended by the card's vendor.
    """
    expected = "a right checksum"
    gpus = asked(facts, expected, "inforom")
    if isinstance(gpus, Finding):
        return gpus
    able = [gpu for gpu in gpus if gpu["inforom_valid"] is not None]
    ill = [gpu for gpu in able if not gpu["inforom_valid"]]
    if not able:
        return not_applicable("these GPUs do not check their infoROM")
    if ill:
        return failed(
            f"the infoROM of {names(ill)} is corrupted",
            seen=f"wrong checksum: {names(ill)}",
            expected=expected,
            cause="the card lost power while it wrote, or its flash memory is worn out",
            remedy=f"{REBOOT}  # power-cycle; if it stays: nvidia-bug-report.sh and call support",
        )
    return passed(f"intact on {counted(len(able), 'GPU')}")


@check("health.recovery", "No GPU asks to be recovered", needs=_NEEDS)
def recovery(facts: Facts) -> Finding:
    """Newer drivers say themselves what a GPU needs after an error.

    Do what the driver asks for, a reset or a reboot, after what uses the GPU was stopped.
    """
    expected = "recovery action: none"
    gpus = asked(facts, expected, "recovery_action")
    if isinstance(gpus, Finding):
        return gpus
    able = [gpu for gpu in gpus if gpu["recovery_action"] is not None]
    asking = [gpu for gpu in able if gpu["recovery_action"]]
    if not able:
        return not_applicable("this driver does not tell what a GPU needs")
    if not asking:
        return passed(f"nothing asked by {counted(len(able), 'GPU')}")
    # The higher number is not always the stronger, but a reboot mends all of them.
    worst = next((g for g in asking if g["recovery_action"] in _REBOOTS), asking[0])
    number = worst["recovery_action"] or 0
    wish, command = _RECOVERY.get(number, ("be recovered", "nvidia-smi -q -i"))
    remedy = REBOOT if number in _REBOOTS else f"{for_each(command, asking)}  {_STOP_FIRST}"
    return failed(
        f"{names(asking)} has to {wish}",
        seen=listed(f"GPU {gpu['index']}: recovery action {_wish(gpu)}" for gpu in asking),
        expected=expected,
        cause="an error left the GPU in a state that it cannot leave by itself (see health.xid)",
        remedy=remedy,
    )


def _wish(gpu: GpuHealth) -> str:
    number = gpu["recovery_action"] or 0
    return f"{number} ({_RECOVERY[number][0]})" if number in _RECOVERY else str(number)


@check("health.compute_mode", "Every GPU may be computed on, by any number", needs=_NEEDS)
def compute_mode(facts: Facts) -> Finding:
    """A GPU in another mode refuses CUDA to the second program, or to all.

    Set the mode back with `nvidia-smi -c DEFAULT`, unless the site wants it so.
    """
    expected = "compute mode Default on every GPU"
    gpus = asked(facts, expected, "compute_mode")
    if isinstance(gpus, Finding):
        return gpus
    others = [gpu for gpu in gpus if gpu["compute_mode"] not in (None, _DEFAULT)]
    if not others:
        return passed("default")
    seen = listed(
        f"GPU {gpu['index']}: {_MODES.get(gpu['compute_mode'] or 0, gpu['compute_mode'])}"
        for gpu in others
    )
    remedy = for_each("nvidia-smi -c DEFAULT -i", others)
    cause = "somebody set it with nvidia-smi -c; it lasts until the driver is loaded again"
    if any(gpu["compute_mode"] == _PROHIBITED for gpu in others):
        summary = f"computing is prohibited on {names(others)}"
        return failed(summary, seen=seen, expected=expected, cause=cause, remedy=remedy)
    summary = f"{names(others)} takes one program at a time"
    return warned(summary, seen=seen, expected=expected, cause=cause, remedy=remedy)


@check("health.xid", "The kernel has no new Xid in its log", needs=("kernel_log", "pci"))
def xid(facts: Facts) -> Finding:
    """An Xid is how the driver reports that a GPU failed; each number asks for something else.

    The finding says for each number what to do, from restarting a program to exchanging a card.
    """
    log = facts.kernel_log
    found = [(line["time"], parse_xid(line["text"])) for line in log["lines"]]
    errors = [(when, error) for when, error in found if error is not None]
    recent = [e for when, e in errors if when is None or log["now"] - when <= RECENT_S]
    past = len(errors) - len(recent)
    older = f"; {past} older since the boot" if past else ""
    severe = [error for error in recent if _is_severe(error)]
    noted = [error for error in recent if not _is_severe(error) and _action(error) != Action.NONE]
    addresses = [bus_id(device["address"]) for device in facts.pci["devices"]]
    if severe:
        return failed(
            f"Xid {_numbers(severe)} in the kernel's log",
            seen=_shown([*severe, *noted], addresses),
            expected="no Xid since the last verification",
            cause=_meanings(severe),
            remedy=_remedies(severe),
        )
    if noted:
        return warned(
            f"Xid {_numbers(noted)} in the kernel's log",
            seen=_shown(noted, addresses),
            expected="no Xid since the last verification",
            cause=_meanings(noted),
            remedy=_remedies(noted),
        )
    harmless = f"; {len(recent)} that are harmless" if recent else ""
    return passed(f"none in the last {RECENT_S // 3600} hours ({log['source']}){harmless}{older}")


def _action(error: Xid) -> Action:
    if error.is_switch:
        return Action.LINK if error.is_fatal else Action.NONE
    return error.known.action if error.known else Action.APPLICATION


def _is_severe(error: Xid) -> bool:
    return _action(error) in _SEVERE


def _numbers(errors: Sequence[Xid]) -> str:
    return listed(dict.fromkeys(error.number for error in errors))


def _shown(errors: Sequence[Xid], addresses: Sequence[str]) -> str:
    lines = list(dict.fromkeys(error.text for error in errors))
    shown = lines[:SHOWN_LINES]
    if len(lines) > SHOWN_LINES:
        shown.append(f"and {len(lines) - SHOWN_LINES} more")
    elsewhere = {e.device for e in errors if not e.is_switch and e.device not in addresses}
    if elsewhere:
        shown.append(f"not on the PCI bus any more: {listed(sorted(elsewhere))}")
    return "\n".join(shown)


def _meanings(errors: Sequence[Xid]) -> str:
    return "; ".join(dict.fromkeys(_meaning(error) for error in errors))


def _meaning(error: Xid) -> str:
    if error.is_switch:
        return f"SXid {error.number}: an NVSwitch reports a fatal error"
    if error.known is None:
        return f"Xid {error.number}: not one that gpuhost knows; NVIDIA's Xid catalogue has it"
    return f"Xid {error.number}: {error.known.meaning}"


def _remedies(errors: Sequence[Xid]) -> str:
    done = {_action(error): error for error in errors}
    ordered = [action for action in (*_SEVERE, *_WHAT_TO_DO) if action in done]
    words = dict.fromkeys(
        _SWITCH if done[action].is_switch else _WHAT_TO_DO[action] for action in ordered
    )
    return "\n".join(words)
