"""NVML through ctypes, with a library that answers as the real one."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from gpuhost.lab.toolkit.standin import nvml

NOT_SUPPORTED, DRIVER_NOT_LOADED, GPU_IS_LOST = 3, 9, 15
TEXTS = {
    NOT_SUPPORTED: b"Not Supported",
    DRIVER_NOT_LOADED: b"Driver Not Loaded",
    GPU_IS_LOST: b"GPU is lost",
}


class Function:
    """A function of a loaded library: callable, with a result type to set."""

    def __init__(self, body: Any) -> None:
        self.body = body
        self.restype: Any = None

    def __call__(self, *arguments: Any) -> Any:
        return self.body(*arguments)


def out(reference: Any) -> Any:
    return reference._obj


class Library:
    """Two GPUs; what a test leaves out is not in this library."""

    def __init__(
        self, init_code: int = 0, without: tuple[str, ...] = (), lost: int | None = None
    ) -> None:
        self.open = 0
        self.lost = lost
        self.init_code = init_code
        self.without = without

    def __getattr__(self, name: str) -> Function:
        if name in self.without or not hasattr(type(self), f"do_{name}"):
            raise AttributeError(name)
        return Function(getattr(self, f"do_{name}"))

    def do_nvmlInit_v2(self) -> int:  # noqa: N802
        self.open += not self.init_code
        return self.init_code

    def do_nvmlShutdown(self) -> int:  # noqa: N802
        self.open -= 1
        return 0

    def do_nvmlErrorString(self, code: int) -> bytes | None:  # noqa: N802
        return TEXTS.get(code)

    def do_nvmlDeviceGetCount_v2(self, count: Any) -> int:  # noqa: N802
        out(count).value = 2
        return 0

    def do_nvmlDeviceGetHandleByIndex_v2(self, index: int, handle: Any) -> int:  # noqa: N802
        out(handle).value = 100 + index
        return GPU_IS_LOST if index == self.lost else 0

    def do_nvmlDeviceGetUUID(self, handle: Any, text: Any, _size: int) -> int:  # noqa: N802
        text.value = f"GPU-{handle.value - 100}".encode()
        return 0

    def do_nvmlDeviceGetName(self, _handle: Any, text: Any, _size: int) -> int:  # noqa: N802
        text.value = b"NVIDIA A100"
        return 0

    def do_nvmlDeviceGetMinorNumber(self, handle: Any, minor: Any) -> int:  # noqa: N802
        out(minor).value = 1 - (handle.value - 100)
        return 0

    def do_nvmlDeviceGetPciInfo_v3(self, _handle: Any, info: Any) -> int:  # noqa: N802
        out(info).bus_id = b"00000000:17:00.0"
        return 0

    def do_nvmlDeviceGetBrand(self, _handle: Any, brand: Any) -> int:  # noqa: N802
        out(brand).value = 2
        return 0

    def do_nvmlDeviceGetCudaComputeCapability(  # noqa: N802
        self, _handle: Any, major: Any, minor: Any
    ) -> int:
        out(major).value, out(minor).value = 8, 6
        return 0

    def do_nvmlSystemGetCudaDriverVersion(self, version: Any) -> int:  # noqa: N802
        out(version).value = 12040
        return 0


def test_gpus_are_described_in_their_order() -> None:
    library = Library()

    system = nvml.query(library)

    assert system.cuda_version == "12.4"
    assert [(gpu.ordinal, gpu.uuid, gpu.minor) for gpu in system.gpus] == [
        ("0", "GPU-0", 1),
        ("1", "GPU-1", 0),
    ]
    assert system.gpus[0].bus_id == "00000000:17:00.0"
    assert system.gpus[0].brand == "tesla"
    assert system.gpus[0].architecture == "8.6"
    assert library.open == 0


def test_what_a_library_cannot_tell_is_none() -> None:
    without = (
        "nvmlDeviceGetBrand",
        "nvmlDeviceGetCudaComputeCapability",
        "nvmlSystemGetCudaDriverVersion",
    )

    system = nvml.query(Library(without=without))

    assert system.cuda_version is None
    assert system.gpus[0].brand is None
    assert system.gpus[0].architecture is None


def test_a_lost_gpu_is_told_and_the_others_keep_their_index() -> None:
    system = nvml.query(Library(lost=0))

    assert system.failures == {0: "GPU is lost"}
    assert [gpu.ordinal for gpu in system.gpus] == ["1"]


@pytest.mark.parametrize(
    ("code", "text"), [(DRIVER_NOT_LOADED, "Driver Not Loaded"), (999, "Unknown Error")]
)
def test_a_failure_has_nvmls_words(code: int, text: str) -> None:
    with pytest.raises(nvml.NvmlError, match=f"^{text}$"):
        nvml.query(Library(init_code=code))


def test_a_host_without_the_library_is_told_by_the_loaders_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nvml, "LIBRARY", "libnvidia-none.so.1")

    with pytest.raises(nvml.LibraryMissingError, match=r"libnvidia-none.so.1: cannot open"):
        nvml.load()


def test_the_structure_of_pci_info_is_nvmls() -> None:
    assert ctypes.sizeof(nvml._PciInfo) == 68
    assert nvml._PciInfo.bus_id.offset == 36
