"""What makes a healthy GPU slow: its links, its clocks, heat and power."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from gpuhost.checks.facts import Facts
from gpuhost.checks.finding import Finding, failed, not_applicable, passed, warned
from gpuhost.checks.gpu_health import asked, names
from gpuhost.checks.registry import check
from gpuhost.checks.words import counted, listed
from gpuhost.probe.schema import GpuHealth

_NEEDS = ("health",)
# A link rests at a lower generation while the GPU does: only one that works tells anything.
BUSY_PERCENT = 10

# Bits of nvmlClocksEventReasons. Idle, set clocks, the power cap, sync boost and the display
# slow a GPU down as well, and are no sign of trouble.
_HARDWARE = {
    0x08: "hardware slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
_SOFTWARE_THERMAL = 0x20

NEAR_C = 5
# Where neither a threshold nor a margin is told: no data-center GPU may be warmer.
HOTTEST_C = 90


@check("speed.pcie", "Every GPU has all its PCIe lanes at full speed", needs=_NEEDS)
def pcie(facts: Facts) -> Finding:
    """A card that is not seated well works, at half the speed or less.

    Reseat the card or its riser, and compare the slot's width with the board's manual.
    """
    expected = "as many lanes as GPU and slot have, under load at the highest generation"
    gpus = asked(facts, expected, "pcie_width", "pcie_width_max", "pcie_generation")
    if isinstance(gpus, Finding):
        return gpus
    able = [gpu for gpu in gpus if gpu["pcie_width"] and gpu["pcie_width_max"]]
    if not able:
        return not_applicable("these GPUs do not tell their PCIe link")
    narrow = [g for g in able if (g["pcie_width"] or 0) < (g["pcie_width_max"] or 0)]
    slow = [g for g in able if _is_slow(g)]
    seen = listed(
        f"GPU {g['index']}: ×{g['pcie_width']} of ×{g['pcie_width_max']}, "
        f"generation {g['pcie_generation']} of {g['pcie_generation_max']}"
        for g in able
        if g in narrow or g in slow
    )
    remedy = "lspci -vv -d 10de: | grep -E '^[0-9a-f]|LnkSta:'  # then reseat card and riser"
    cause = (
        "the card or its riser is not seated well, dirty or damaged, or the BIOS splits the slot"
    )
    if narrow:
        summary = f"{names(narrow)} has fewer PCIe lanes than it could"
        return failed(summary, seen=seen, expected=expected, cause=cause, remedy=remedy)
    if slow:
        summary = f"the PCIe link of {names(slow)} is slow under load"
        return warned(summary, seen=seen, expected=expected, cause=cause, remedy=remedy)
    widths = Counter(f"×{gpu['pcie_width']}" for gpu in able)
    return passed(listed(f"{counted(n, 'GPU')} {width}" for width, n in widths.items()))


def _is_slow(gpu: GpuHealth) -> bool:
    current, most = gpu["pcie_generation"], gpu["pcie_generation_max"]
    return bool(current and most and current < most and _is_busy(gpu))


def _is_busy(gpu: GpuHealth) -> bool:
    return (gpu["utilisation_percent"] or 0) >= BUSY_PERCENT


@check("speed.nvlink", "Every GPU's NVLinks are up", needs=(*_NEEDS, "nvml"))
def nvlink(facts: Facts) -> Finding:
    """A link that is down halves the speed of everything that spans GPUs, without an error.

    How many links a board uses differs, so GPUs of one model are compared.
    """
    expected = "as many links up as on the other GPUs of its model"
    gpus = asked(facts, expected, "nvlinks")
    if isinstance(gpus, Finding):
        return gpus
    able = [gpu for gpu in gpus if gpu["nvlinks"]]
    if not any(any(gpu["nvlinks"]) for gpu in able):
        return not_applicable("no NVLink is in use")
    models = {gpu["index"]: gpu["name"] for gpu in facts.nvml["gpus"]}
    most: Counter[str | None] = Counter()
    for gpu in able:
        model = models.get(gpu["index"])
        most[model] = max(most[model], sum(gpu["nvlinks"]))
    lame = [gpu for gpu in able if sum(gpu["nvlinks"]) < most[models.get(gpu["index"])]]
    if lame:
        return failed(
            f"NVLinks of {names(lame)} are down",
            seen="; ".join(
                f"GPU {gpu['index']}: {_down(gpu)}; {sum(gpu['nvlinks'])} of "
                f"{most[models.get(gpu['index'])]} up"
                for gpu in lame
            ),
            expected=expected,
            cause="a bridge, a cable or a switch is broken or not seated well, or training failed",
            remedy="nvidia-smi nvlink -s; nvidia-smi topo -m  # reset the GPUs; then call support",
        )
    links = Counter(sum(gpu["nvlinks"]) for gpu in able)
    return passed(listed(f"{count} up on {counted(n, 'GPU')}" for count, n in links.items()))


def _down(gpu: GpuHealth) -> str:
    return "down: " + listed(f"link {i}" for i, is_up in enumerate(gpu["nvlinks"]) if not is_up)


@check("speed.clocks", "Nothing slows a GPU down", needs=_NEEDS)
def clocks(facts: Facts) -> Finding:
    """A GPU that is too hot or gets too little power protects itself by becoming slow.

    Look at fans, airflow and power cables first; the finding names the reason that the GPU gives.
    """
    expected = "no slowdown by hardware or heat"
    gpus = asked(facts, expected, "clocks_event_reasons")
    if isinstance(gpus, Finding):
        return gpus
    able = [gpu for gpu in gpus if gpu["clocks_event_reasons"] is not None]
    if not able:
        return not_applicable("these GPUs do not tell what slows them down")
    hard = [gpu for gpu in able if any(_has(gpu, bit) for bit in _HARDWARE)]
    warm = [gpu for gpu in able if _has(gpu, _SOFTWARE_THERMAL)]
    remedy = "nvidia-smi -q -d PERFORMANCE,TEMPERATURE,POWER  # look at fans, air and power supply"
    if hard:
        return failed(
            f"{names(hard)} is slowed down by its hardware",
            seen=listed(f"GPU {gpu['index']}: {_reasons(gpu)}" for gpu in hard),
            expected=expected,
            cause="it is too hot, or its power supply asks it to draw less",
            remedy=remedy,
        )
    if warm:
        return warned(
            f"{names(warm)} is slowed down by the driver for its heat",
            seen=listed(f"GPU {gpu['index']}: software thermal slowdown" for gpu in warm),
            expected=expected,
            cause="it is near the temperature up to which it may work",
            remedy=remedy,
        )
    return passed(f"{counted(len(able), 'GPU')} as fast as set")


def _has(gpu: GpuHealth, bit: int) -> bool:
    return bool((gpu["clocks_event_reasons"] or 0) & bit)


def _reasons(gpu: GpuHealth) -> str:
    return " and ".join(words for bit, words in _HARDWARE.items() if _has(gpu, bit))


@check("speed.temperature", "No GPU is too hot", needs=_NEEDS)
def temperature(facts: Facts) -> Finding:
    """Heat makes a GPU slow first, then switches it off.

    Look at fans, filters and the room's temperature before the GPU is used again.
    """
    expected = f"more than {NEAR_C} °C below what the GPU may have"
    gpus = asked(facts, expected, "temperature", "temperature_margin", "memory_temperature")
    if isinstance(gpus, Finding):
        return gpus
    left = {gpu["index"]: margin for gpu in gpus if (margin := _margin(gpu)) is not None}
    if not left:
        return not_applicable("these GPUs do not tell their temperature")
    hot = [gpu for gpu in gpus if left.get(gpu["index"], NEAR_C + 1) <= NEAR_C]
    if not hot:
        warmest = max(gpu["temperature_c"] or 0 for gpu in gpus)
        return passed(f"{warmest} °C at most")
    is_over = any(left[gpu["index"]] <= 0 for gpu in hot)
    summary = f"{names(hot)} is {'too' if is_over else 'nearly too'} hot"
    seen = listed(_degrees(gpu, left[gpu["index"]]) for gpu in hot)
    cause = "a fan, the flow of air or the room's cooling fails, or dust lies in the way"
    remedy = "nvidia-smi -q -d TEMPERATURE; ipmitool sdr type Fan  # look at fans and filters"
    say = failed if is_over else warned
    return say(summary, seen=seen, expected=expected, cause=cause, remedy=remedy)


def _margin(gpu: GpuHealth) -> int | None:
    """Degrees left to the first limit of any of its sensors."""
    return min(_margins(gpu), default=None)


def _margins(gpu: GpuHealth) -> Iterable[int]:
    now, memory = gpu["temperature_c"], gpu["memory_temperature_c"]
    limits = [gpu["temperature_max_c"], gpu["temperature_slowdown_c"]]
    known = [limit for limit in limits if limit]
    if gpu["temperature_margin_c"] is not None:
        yield gpu["temperature_margin_c"]
    elif now is not None:
        yield min(known, default=HOTTEST_C) - now
    if memory and gpu["memory_temperature_max_c"]:
        yield gpu["memory_temperature_max_c"] - memory


def _degrees(gpu: GpuHealth, margin: int) -> str:
    memory = gpu["memory_temperature_c"]
    shown = f"GPU {gpu['index']}: {gpu['temperature_c']} °C"
    return f"{shown}{f', memory {memory} °C' if memory else ''}, {margin} °C left"


@check("speed.power", "Every GPU tells its power, and may use what it is made for", needs=_NEEDS)
def power(facts: Facts) -> Finding:
    """A power reading that fails is a sign of a failing card; a lower limit makes it slow.

    Set the limit back with `nvidia-smi -pl`; where no power can be read, reboot, then call support.
    """
    expected = "a reading from every GPU, and the same limit on all of a model"
    unread = {
        g["index"]: g["failures"]["power"] for g in facts.health["gpus"] if "power" in g["failures"]
    }
    gpus = asked(facts, expected, "power_limit")
    if isinstance(gpus, Finding):
        return gpus
    if unread:
        seen = "; ".join(f"GPU {index}: {why}" for index, why in unread.items())
        return failed(
            f"the power of {listed(f'GPU {index}' for index in unread)} cannot be read",
            seen=seen,
            expected=expected,
            cause="the card's power sensor or controller does not answer",
            remedy="nvidia-smi -q -d POWER; dmesg | grep -iE 'nvrm|xid'  # then power-cycle it",
        )
    able = [gpu for gpu in gpus if gpu["power_limit_w"] and gpu["power_default_limit_w"]]
    capped = [g for g in able if (g["power_limit_w"] or 0) < (g["power_default_limit_w"] or 0)]
    if not able:
        return not_applicable("these GPUs do not tell their power limit")
    if capped and len(capped) < len(able):
        return warned(
            f"{names(capped)} may use less power than the others",
            seen=listed(
                f"GPU {g['index']}: {g['power_limit_w']:.0f} of {g['power_default_limit_w']:.0f} W"
                for g in capped
            ),
            expected=expected,
            cause="somebody set a lower limit (nvidia-smi -pl), or the power supply forces one",
            remedy="; ".join(
                f"nvidia-smi -i {g['index']} -pl {g['power_default_limit_w']:.0f}" for g in capped
            ),
        )
    drawn = sum(gpu["power_w"] or 0 for gpu in gpus)
    limit = f"{able[0]['power_limit_w']:.0f} W each"
    return passed(f"{drawn:.0f} W now; limit {limit}{', lower than made for' if capped else ''}")
