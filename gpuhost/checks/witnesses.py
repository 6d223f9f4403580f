"""Two witnesses of the GPUs: NVML through Python, and nvidia-smi's XML. They have to agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gpuhost.checks.facts import Facts
from gpuhost.checks.finding import Finding, failed, passed, undetermined
from gpuhost.checks.gpu import silence
from gpuhost.checks.registry import check
from gpuhost.checks.remedies import VERIFY
from gpuhost.checks.words import counted, listed
from gpuhost.parse.errors import ParseError
from gpuhost.parse.nvidia_smi import XmlGpu, XmlLog, parse_xml
from gpuhost.parse.pci import bus_id
from gpuhost.parse.smi_health import parse_health
from gpuhost.probe.schema import GpuHealth, Health, Nvml, NvmlGpu

_SWITCHES = {True: "on", False: "off"}
_DRIVER = "the driver"
SHOWN = 8


class Statement(NamedTuple):
    """What both say of one thing; None where one of them does not tell."""

    where: str
    what: str
    by_smi: object
    by_nvml: object

    @property
    def is_comparable(self) -> bool:
        """Whether both tell something."""
        return self.by_smi is not None and self.by_nvml is not None

    @property
    def words(self) -> str:
        """``GPU 1: ECC: nvidia-smi on, NVML off``."""
        return f"{self.where}: {self.what}: nvidia-smi {_said(self.by_smi)}, NVML " + _said(
            self.by_nvml
        )


def _said(value: object) -> str:
    return _SWITCHES[value] if isinstance(value, bool) else str(value)


@check(
    "smi.agrees",
    "nvidia-smi and NVML tell the same of every GPU",
    needs=("nvidia_smi", "nvml", "health"),
)
def agrees(facts: Facts) -> Finding:
    """Both look at the same GPUs in ways of their own: where they differ, neither can be trusted.

    Find out which nvidia-smi answers (`type -a nvidia-smi`) and remove wrappers and copies of
    another release; then verify again.
    """
    expected = "the same versions, identities, modes, ECC and rows from both"
    if silent := silence(facts.nvml, expected):
        return silent
    command = facts.nvidia_smi["query_xml"]
    text = command["stdout"] if command else ""
    try:
        log, told = parse_xml(text), parse_health(text)
    except ParseError as error:
        return _nothing_to_compare(str(error), expected)
    statements = [
        each
        for each in (
            *_of_the_driver(log, facts.nvml),
            *_of_gpus(log, facts.nvml),
            *_of_health(told, facts.read("health")),
        )
        if each.is_comparable
    ]
    gpus = {each.where for each in statements} - {_DRIVER}
    if not gpus:
        return _nothing_to_compare("no GPU that both of them show", expected)
    apart = [each for each in statements if each.by_smi != each.by_nvml]
    if apart:
        shown = [each.words for each in apart[:SHOWN]]
        more = [f"and {len(apart) - SHOWN} more"] if len(apart) > SHOWN else []
        return failed(
            f"nvidia-smi and NVML differ about {listed(dict.fromkeys(e.what for e in apart))}",
            seen="\n".join([*shown, *more]),
            expected=expected,
            cause="another nvidia-smi answers than the driver's (a wrapper, a copy of another "
            "release), or the value changed while the host was read",
            remedy=f"type -a nvidia-smi; nvidia-smi -q  # then: {VERIFY}",
        )
    return passed(f"{len(statements)} statements about {counted(len(gpus), 'GPU')}")


def _nothing_to_compare(seen: str, expected: str) -> Finding:
    return undetermined(
        "nvidia-smi and NVML cannot be compared",
        seen=seen,
        expected=expected,
        cause="one of the two does not answer (smi.output and driver.nvml tell more)",
        remedy="nvidia-smi -q -x",
    )


def _of_the_driver(log: XmlLog, nvml: Nvml) -> Iterator[Statement]:
    yield Statement(_DRIVER, "its version", log.driver_version, nvml["driver_version"])
    yield Statement(_DRIVER, "CUDA", log.cuda_version, nvml["cuda_version"])


def _of_gpus(log: XmlLog, nvml: Nvml) -> Iterator[Statement]:
    shown = {gpu.bus_id: gpu for gpu in log.gpus}
    for gpu in nvml["gpus"]:
        if gpu["bus_id"] and (other := shown.get(bus_id(gpu["bus_id"]))):
            for what, by_smi, by_nvml in _identity(other, gpu):
                yield Statement(f"GPU {gpu['index']}", what, by_smi, by_nvml)


def _identity(smi: XmlGpu, nvml: NvmlGpu) -> Iterator[tuple[str, object, object]]:
    yield "the UUID", smi.uuid, nvml["uuid"]
    yield "the model", smi.name, nvml["name"]
    yield "the serial number", smi.serial, nvml["serial"]
    yield "the device node", smi.minor, nvml["minor"]
    yield "persistence mode", smi.persistence_mode, nvml["persistence_mode"]
    yield "MIG mode", smi.mig_mode, nvml["mig_current"]
    yield "MIG mode after a reset", smi.mig_pending, nvml["mig_pending"]


def _of_health(smi: Health, nvml: Health) -> Iterator[Statement]:
    told: Mapping[str | None, GpuHealth] = {gpu["uuid"]: gpu for gpu in smi["gpus"]}
    for gpu in nvml["gpus"]:
        if gpu["uuid"] and (other := told.get(gpu["uuid"])):
            for what, by_smi, by_nvml in _condition(other, gpu):
                yield Statement(f"GPU {gpu['index']}", what, by_smi, by_nvml)


def _condition(smi: GpuHealth, nvml: GpuHealth) -> Iterator[tuple[str, object, object]]:
    yield "ECC", smi["ecc_current"], nvml["ecc_current"]
    yield "ECC after a reset", smi["ecc_pending"], nvml["ecc_pending"]
    # How errors are counted differs with the driver, not whether there were any.
    yield "uncorrected errors", _some(smi["ecc_uncorrected"]), _some(nvml["ecc_uncorrected"])
    yield "pending pages", smi["retired_pages_pending"], nvml["retired_pages_pending"]
    yield "compute mode", smi["compute_mode"], nvml["compute_mode"]
    yield "recovery action", smi["recovery_action"], nvml["recovery_action"]
    rows, others = smi["remapped_rows"], nvml["remapped_rows"]
    if rows is not None and others is not None:
        yield "remapped rows", rows["uncorrected"], others["uncorrected"]
        yield "rows remapped for corrected errors", rows["corrected"], others["corrected"]
        yield "pending rows", rows["pending"], others["pending"]
        yield "rows that failed", rows["failed"], others["failed"]


def _some(count: int | None) -> str | None:
    if count is None:
        return None
    return "some" if count else "none"
