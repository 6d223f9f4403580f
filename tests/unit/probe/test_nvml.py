"""NVML, through a library that stands for NVIDIA's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from gpuhost.probe.nvml import Reader, capability_minors, cuda_version


class FakeNvml:
    """pynvml's constants and errors, and two GPUs; ``broken`` maps functions to error codes."""

    def __init__(self, broken: dict[str, int] | None = None) -> None:
        self._broken = broken or {}

    def __dir__(self) -> list[str]:
        return dir(pynvml)

    def __getattr__(self, name: str) -> Any:
        if name in self._broken:
            return self._failing(self._broken[name])
        if name in ANSWERS:
            return lambda *_: ANSWERS[name]
        return getattr(pynvml, name)

    def _failing(self, code: int) -> Any:
        def fail(*_: Any) -> None:
            raise pynvml.NVMLError(code)

        return fail


ANSWERS: dict[str, Any] = {
    "nvmlInit": None,
    "nvmlSystemGetDriverVersion": "580.95.05",
    "nvmlSystemGetCudaDriverVersion_v2": 13000,
    "nvmlDeviceGetCount": 2,
    "nvmlDeviceGetHandleByIndex": object(),
    "nvmlDeviceGetUUID": b"GPU-1",
    "nvmlDeviceGetName": "NVIDIA H100",
    "nvmlDeviceGetPciInfo": SimpleNamespace(busId=b"00000000:17:00.0"),
    "nvmlDeviceGetMinorNumber": 0,
    "nvmlDeviceGetSerial": "123",
    "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=80, used=1),
    "nvmlDeviceGetCudaComputeCapability": (9, 0),
    "nvmlDeviceGetPersistenceMode": 1,
    "nvmlDeviceGetTemperature": 33,
    "nvmlDeviceGetMigMode": [0, 1],
    "nvmlDeviceGetGpuFabricInfo": None,
}


def test_a_gpu_is_described_in_full() -> None:
    found = Reader(FakeNvml()).read()
    assert found["failure"] is None
    assert (found["driver_version"], found["cuda_version"]) == ("580.95.05", "13.0")
    assert found["gpus"][1] == {
        "index": 1,
        "uuid": "GPU-1",
        "name": "NVIDIA H100",
        "bus_id": "00000000:17:00.0",
        "minor": 0,
        "serial": "123",
        "memory_total_bytes": 80,
        "memory_used_bytes": 1,
        "compute_capability": "9.0",
        "persistence_mode": True,
        "temperature_c": 33,
        "mig_current": False,
        "mig_pending": True,
        "mig_devices": [],
        "fabric": None,
        "failures": {},
    }


def test_mig_devices_are_described_with_the_nodes_of_their_rights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def device(_gpu: object, slot: int) -> str:
        if slot != 1:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return "part"

    for name, answer in {
        "nvmlDeviceGetMigMode": [1, 1],
        "nvmlDeviceGetMaxMigDeviceCount": 3,
        "nvmlDeviceGetGpuInstanceId": 5,
        "nvmlDeviceGetComputeInstanceId": 0,
    }.items():
        monkeypatch.setitem(ANSWERS, name, answer)
    library = FakeNvml()
    monkeypatch.setattr(library, "nvmlDeviceGetMigDeviceHandleByIndex", device, raising=False)
    minors = capability_minors("config 1\ngpu0/gi5/access 48\ngpu0/gi5/ci0/access 49\nnonsense\n")
    (found,) = Reader(library, minors).read()["gpus"][0]["mig_devices"]
    assert (found["index"], found["gpu_instance"], found["compute_instance"]) == (1, 5, 0)
    assert found["nodes"] == ["/dev/nvidia-caps/nvidia-cap48", "/dev/nvidia-caps/nvidia-cap49"]
    (unknown,) = Reader(library).read()["gpus"][0]["mig_devices"]
    assert unknown["nodes"] == []


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "NVML_ERROR_DRIVER_NOT_LOADED"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "NVML_ERROR_LIB_RM_VERSION_MISMATCH"),
        (pynvml.NVML_ERROR_UNKNOWN, "NVML_ERROR_UNKNOWN"),
    ],
)
def test_a_library_that_refuses_is_kept_with_its_code_and_words(code: int, name: str) -> None:
    found = Reader(FakeNvml({"nvmlInit": code})).read()
    assert found["failure"] == {"code": code, "name": name, "text": str(pynvml.NVMLError(code))}
    assert found["gpus"] == []


def test_a_host_without_the_library_says_so() -> None:
    found = Reader(FakeNvml({"nvmlInit": pynvml.NVML_ERROR_LIBRARY_NOT_FOUND})).read()
    assert found["failure"] is not None
    assert found["failure"]["text"] == "NVML Shared Library Not Found"


def test_what_a_gpu_does_not_support_is_none_and_no_failure() -> None:
    unsupported = {
        "nvmlDeviceGetMigMode": pynvml.NVML_ERROR_NOT_SUPPORTED,
        "nvmlDeviceGetSerial": pynvml.NVML_ERROR_NOT_SUPPORTED,
        "nvmlDeviceGetPersistenceMode": pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    }
    gpu = Reader(FakeNvml(unsupported)).read()["gpus"][0]
    assert gpu["failures"] == {}
    assert gpu["mig_current"] is None
    assert gpu["serial"] is None
    assert gpu["persistence_mode"] is None


def test_a_lost_gpu_is_listed_with_the_reason() -> None:
    lost = {"nvmlDeviceGetHandleByIndex": pynvml.NVML_ERROR_GPU_IS_LOST}
    gpu = Reader(FakeNvml(lost)).read()["gpus"][0]
    assert gpu["failures"] == {"handle": "GPU is lost"}
    assert gpu["uuid"] is None
    assert gpu["memory_total_bytes"] is None


def test_a_failure_of_one_field_leaves_the_others() -> None:
    broken = {"nvmlDeviceGetTemperature": pynvml.NVML_ERROR_UNKNOWN}
    gpu = Reader(FakeNvml(broken)).read()["gpus"][0]
    assert gpu["failures"] == {"temperature_c": "Unknown Error"}
    assert gpu["uuid"] == "GPU-1"


@pytest.mark.parametrize(("number", "text"), [(13020, "13.2"), (12000, "12.0"), (11040, "11.4")])
def test_cuda_versions_read_as_people_write_them(number: int, text: str) -> None:
    assert cuda_version(number) == text
