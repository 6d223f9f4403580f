"""The health of GPUs, through a library that stands for NVIDIA's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from gpuhost.probe.health import HealthReader

LINKS = 4


class FakeNvml:
    """pynvml's constants and errors, and two GPUs; ``broken`` maps functions to error codes."""

    def __init__(self, broken: dict[str, int] | None = None, missing: tuple[str, ...] = ()) -> None:
        self._broken = broken or {}
        self._missing = missing

    def __dir__(self) -> list[str]:
        return dir(pynvml)

    def __getattr__(self, name: str) -> Any:  # noqa: PLR0911
        if name in self._missing:
            raise AttributeError(name)
        if name in self._broken:
            return self._failing(self._broken[name])
        if name == "nvmlDeviceGetTotalEccErrors":
            return lambda _handle, kind, counter: 10 * kind + counter
        if name == "nvmlDeviceGetTemperatureThreshold":
            return lambda _handle, which: {1: 89, 2: 95, 3: 85}[which]
        if name == "nvmlDeviceGetNvLinkState":
            return self._link
        if name == "nvmlDeviceGetFieldValues":
            return lambda _handle, ids: [field(2 if ids == [230] else 41)]
        if name in ANSWERS:
            return lambda *_: ANSWERS[name]
        return getattr(pynvml, name)

    def _failing(self, code: int) -> Any:
        def fail(*_: Any) -> None:
            raise pynvml.NVMLError(code)

        return fail

    def _link(self, _handle: Any, link: int) -> int:
        if link >= LINKS:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return int(link != 1)


def field(value: int, code: int = 0) -> SimpleNamespace:
    return SimpleNamespace(nvmlReturn=code, value=SimpleNamespace(uiVal=value))


ANSWERS: dict[str, Any] = {
    "nvmlInit": None,
    "nvmlDeviceGetCount": 2,
    "nvmlDeviceGetHandleByIndex": object(),
    "nvmlDeviceGetUUID": b"GPU-1",
    "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=7, memory=1),
    "nvmlDeviceGetEccMode": [1, 0],
    "nvmlDeviceGetRetiredPagesPendingStatus": 0,
    "nvmlDeviceGetRemappedRows": (1, 2, 1, 0),
    "nvmlDeviceGetCurrPcieLinkGeneration": 4,
    "nvmlDeviceGetMaxPcieLinkGeneration": 5,
    "nvmlDeviceGetCurrPcieLinkWidth": 8,
    "nvmlDeviceGetMaxPcieLinkWidth": 16,
    "nvmlDeviceGetCurrentClocksThrottleReasons": 0x48,
    "nvmlDeviceGetTemperature": 33,
    "nvmlDeviceGetMarginTemperature": 52,
    "nvmlDeviceGetPowerUsage": 54321,
    "nvmlDeviceGetEnforcedPowerLimit": 400000,
    "nvmlDeviceGetPowerManagementDefaultLimit": 400000,
    "nvmlDeviceGetComputeMode": 0,
    "nvmlDeviceValidateInforom": None,
}


def test_a_gpu_is_described_in_full() -> None:
    found = HealthReader(FakeNvml()).read_health()
    assert found["failure"] is None
    assert found["gpus"][1] == {
        "index": 1,
        "uuid": "GPU-1",
        "utilisation_percent": 7,
        "ecc_current": True,
        "ecc_pending": False,
        "ecc_uncorrected": 10,
        "ecc_uncorrected_ever": 11,
        "retired_pages_pending": False,
        "remapped_rows": {"corrected": 1, "uncorrected": 2, "pending": True, "failed": False},
        "pcie_generation": 4,
        "pcie_generation_max": 5,
        "pcie_width": 8,
        "pcie_width_max": 16,
        "clocks_event_reasons": 0x48,
        "temperature_c": 33,
        "temperature_max_c": 85,
        "temperature_slowdown_c": 89,
        "temperature_margin_c": 52,
        "memory_temperature_c": 41,
        "memory_temperature_max_c": 95,
        "power_w": 54.321,
        "power_limit_w": 400.0,
        "power_default_limit_w": 400.0,
        "compute_mode": 0,
        "recovery_action": 2,
        "inforom_valid": True,
        "nvlinks": [True, False, True, True],
        "failures": {},
    }


def test_a_corrupted_inforom_is_an_answer_and_no_failure() -> None:
    broken = {"nvmlDeviceValidateInforom": pynvml.NVML_ERROR_CORRUPTED_INFOROM}
    gpu = HealthReader(FakeNvml(broken)).read_health()["gpus"][0]
    assert gpu["inforom_valid"] is False
    assert gpu["failures"] == {}


def test_what_is_not_supported_is_none_and_no_failure() -> None:
    names = ("nvmlDeviceGetEccMode", "nvmlDeviceGetRemappedRows", "nvmlDeviceValidateInforom")
    broken = dict.fromkeys(names, pynvml.NVML_ERROR_NOT_SUPPORTED)
    gpu = HealthReader(FakeNvml(broken)).read_health()["gpus"][0]
    assert gpu["ecc_current"] is None
    assert gpu["remapped_rows"] is None
    assert gpu["inforom_valid"] is None
    assert gpu["failures"] == {}


def test_what_older_bindings_lack_is_none() -> None:
    missing = ("nvmlDeviceGetMarginTemperature", "NVML_FI_DEV_GET_GPU_RECOVERY_ACTION")
    gpu = HealthReader(FakeNvml(missing=missing)).read_health()["gpus"][0]
    assert gpu["temperature_margin_c"] is None
    assert gpu["recovery_action"] is None


@pytest.mark.parametrize(
    ("function", "key"),
    [("nvmlDeviceGetPowerUsage", "power"), ("nvmlDeviceValidateInforom", "inforom")],
)
def test_a_value_that_fails_is_kept_with_its_words(function: str, key: str) -> None:
    gpu = HealthReader(FakeNvml({function: pynvml.NVML_ERROR_UNKNOWN})).read_health()["gpus"][0]
    assert gpu["failures"] == {key: "Unknown Error"}


def test_a_lost_gpu_is_listed_with_the_reason() -> None:
    lost = {"nvmlDeviceGetHandleByIndex": pynvml.NVML_ERROR_GPU_IS_LOST}
    gpu = HealthReader(FakeNvml(lost)).read_health()["gpus"][0]
    assert gpu["failures"] == {"handle": "GPU is lost"}
    assert gpu["nvlinks"] == []


def test_a_library_that_refuses_is_kept_with_its_words() -> None:
    found = HealthReader(FakeNvml({"nvmlInit": pynvml.NVML_ERROR_DRIVER_NOT_LOADED})).read_health()
    assert found["failure"] is not None
    assert found["failure"]["text"] == "Driver Not Loaded"
