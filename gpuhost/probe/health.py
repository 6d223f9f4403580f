"""Section ``health``: how the GPUs are, as NVIDIA's management library tells.

A section of its own: should one of these questions hang, the GPUs are known all the same.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional

from gpuhost.probe.context import Context
from gpuhost.probe.nvml import Reader
from gpuhost.probe.schema import GpuHealth, Health, RemappedRows

MILLIWATTS = 1000.0


def collect(_context: Context) -> Health:
    """Read the section; a library that refuses is part of it, not an error."""
    # ctypes and 300 KB of bindings: only the process that reads NVML pays for them.
    import pynvml  # noqa: PLC0415

    return HealthReader(pynvml).read_health()


class HealthReader(Reader):
    """Reads the health of GPUs through ``library``, a module with pynvml's functions."""

    def read_health(self) -> Health:
        """Everything of the section."""
        found: Health = {"failure": None, "gpus": []}
        try:
            self._nvml.nvmlInit()
            count = self._nvml.nvmlDeviceGetCount()
        except self._nvml.NVMLError as error:
            found["failure"] = self._failure(error)
            return found
        found["gpus"] = [self._health(index) for index in range(count)]
        return found

    def _health(self, index: int) -> GpuHealth:
        nvml = self._nvml
        failures: Dict[str, str] = {}
        handle = self._ask(failures, "handle", lambda: nvml.nvmlDeviceGetHandleByIndex(index))

        def ask(field: str, function: str, *arguments: Any) -> Any:
            if handle is None:
                return None
            # Older bindings lack what newer libraries can tell.
            question = getattr(nvml, function, None)
            return question and self._ask(failures, field, lambda: question(handle, *arguments))

        ecc: List[Optional[int]] = ask("ecc", "nvmlDeviceGetEccMode") or [None, None]
        thresholds = "nvmlDeviceGetTemperatureThreshold"
        uuid = ask("uuid", "nvmlDeviceGetUUID")
        utilisation = ask("utilisation", "nvmlDeviceGetUtilizationRates")
        return {
            "index": index,
            "uuid": uuid.decode("ascii", "replace") if isinstance(uuid, bytes) else uuid,
            "utilisation_percent": utilisation and int(utilisation.gpu),
            "ecc_current": _flag(ecc[0]),
            "ecc_pending": _flag(ecc[1]),
            "ecc_uncorrected": self._ecc(ask, "ecc_uncorrected", nvml.NVML_VOLATILE_ECC),
            "ecc_uncorrected_ever": self._ecc(ask, "ecc_uncorrected_ever", nvml.NVML_AGGREGATE_ECC),
            "retired_pages_pending": _flag(
                ask("retired_pages_pending", "nvmlDeviceGetRetiredPagesPendingStatus")
            ),
            "remapped_rows": remapped_rows(ask("remapped_rows", "nvmlDeviceGetRemappedRows")),
            "pcie_generation": ask("pcie_generation", "nvmlDeviceGetCurrPcieLinkGeneration"),
            "pcie_generation_max": ask("pcie_generation_max", "nvmlDeviceGetMaxPcieLinkGeneration"),
            "pcie_width": ask("pcie_width", "nvmlDeviceGetCurrPcieLinkWidth"),
            "pcie_width_max": ask("pcie_width_max", "nvmlDeviceGetMaxPcieLinkWidth"),
            # By its older name, which every driver has.
            "clocks_event_reasons": ask(
                "clocks_event_reasons", "nvmlDeviceGetCurrentClocksThrottleReasons"
            ),
            "temperature_c": ask(
                "temperature", "nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU
            ),
            "temperature_max_c": ask(
                "temperature_max", thresholds, nvml.NVML_TEMPERATURE_THRESHOLD_GPU_MAX
            ),
            "temperature_slowdown_c": ask(
                "temperature_slowdown", thresholds, nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN
            ),
            "temperature_margin_c": ask("temperature_margin", "nvmlDeviceGetMarginTemperature"),
            "memory_temperature_c": self._field(
                ask, "memory_temperature", nvml.NVML_FI_DEV_MEMORY_TEMP
            ),
            "memory_temperature_max_c": ask(
                "memory_temperature_max", thresholds, nvml.NVML_TEMPERATURE_THRESHOLD_MEM_MAX
            ),
            "power_w": watts(ask("power", "nvmlDeviceGetPowerUsage")),
            "power_limit_w": watts(ask("power_limit", "nvmlDeviceGetEnforcedPowerLimit")),
            "power_default_limit_w": watts(
                ask("power_default_limit", "nvmlDeviceGetPowerManagementDefaultLimit")
            ),
            "compute_mode": ask("compute_mode", "nvmlDeviceGetComputeMode"),
            "recovery_action": self._field(
                ask, "recovery_action", getattr(nvml, "NVML_FI_DEV_GET_GPU_RECOVERY_ACTION", None)
            ),
            "inforom_valid": None if handle is None else self._inforom(handle, failures),
            "nvlinks": [] if handle is None else self._nvlinks(handle),
            "failures": failures,
        }

    def _ecc(self, ask: Callable[..., Any], field: str, counter: int) -> Optional[int]:
        kind = self._nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED
        found: Optional[int] = ask(field, "nvmlDeviceGetTotalEccErrors", kind, counter)
        return found

    def _field(self, ask: Callable[..., Any], field: str, number: Optional[int]) -> Optional[int]:
        """A value that has a number and no function."""
        if number is None:
            return None
        values = ask(field, "nvmlDeviceGetFieldValues", [number])
        if not values or values[0].nvmlReturn != self._nvml.NVML_SUCCESS:
            return None
        return int(values[0].value.uiVal)

    def _inforom(self, handle: Any, failures: Dict[str, str]) -> Optional[bool]:
        """Whether the checksum is right: the answer is an error or none."""
        answers: Dict[str, str] = {}

        def valid() -> bool:
            self._nvml.nvmlDeviceValidateInforom(handle)
            return True

        if self._ask(answers, "inforom", valid):
            return True
        corrupted = str(self._nvml.NVMLError(self._nvml.NVML_ERROR_CORRUPTED_INFOROM))
        if answers.get("inforom") == corrupted:
            return False
        failures.update(answers)
        return None

    def _nvlinks(self, handle: Any) -> List[bool]:
        """The state of each link: they are numbered without a gap, and the next one is refused."""
        links: List[bool] = []
        for link in range(self._nvml.NVML_NVLINK_MAX_LINKS):
            try:
                links.append(bool(self._nvml.nvmlDeviceGetNvLinkState(handle, link)))
            except self._nvml.NVMLError:
                break
        return links


def remapped_rows(answer: Any) -> Optional[RemappedRows]:
    """NVML's four numbers by their names."""
    if answer is None:
        return None
    corrected, uncorrected, pending, failed = answer
    return {
        "corrected": int(corrected),
        "uncorrected": int(uncorrected),
        "pending": bool(pending),
        "failed": bool(failed),
    }


def watts(milliwatts: Optional[int]) -> Optional[float]:
    """NVML's milliwatts."""
    return None if milliwatts is None else milliwatts / MILLIWATTS


def _flag(number: Optional[int]) -> Optional[bool]:
    return None if number is None else bool(number)
