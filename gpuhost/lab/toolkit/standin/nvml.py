"""The host's GPUs, asked from its libnvidia-ml through ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any, NamedTuple

SUCCESS = 0
LIBRARY = "libnvidia-ml.so.1"
TEXT_SIZE = 96

BRANDS = {
    0: "unknown", 1: "quadro", 2: "tesla", 3: "nvs", 4: "grid", 5: "geforce", 6: "titan",
    12: "quadrortx", 13: "nvidiartx", 14: "nvidia", 15: "geforcertx", 16: "titanrtx",
}  # fmt: skip


class NvmlError(Exception):
    """NVML could not be used; the text is NVML's own."""


class LibraryMissingError(NvmlError):
    """There is no libnvidia-ml on the host; the text is the dynamic loader's."""


class Instance(NamedTuple):
    """Which part of its GPU a MIG device is."""

    gpu: int
    compute: int


class Gpu(NamedTuple):
    """One GPU, or a MIG device: then ``instance`` is there, and most of the rest is its GPU's.

    ``bus_id`` has an eight-digit domain; what NVML does not know is None.
    """

    ordinal: str  # its NVML index; of a MIG device "0:1"
    uuid: str
    minor: int
    bus_id: str
    name: str
    brand: str | None
    architecture: str | None  # compute capability, "8.0"
    is_divided: bool = False
    instance: Instance | None = None


class System(NamedTuple):
    """What NVML says of the host.

    ``cuda_version``: "12.4", None where not supported. ``failures``: why a GPU can't be
    described, by its index; a GPU that fell off the bus is still counted. MIG devices follow
    the GPU that they are part of.
    """

    cuda_version: str | None
    gpus: tuple[Gpu, ...]
    failures: dict[int, str]


class _PciInfo(ctypes.Structure):
    _fields_ = (
        ("bus_id_legacy", ctypes.c_char * 16),
        ("domain", ctypes.c_uint),
        ("bus", ctypes.c_uint),
        ("device", ctypes.c_uint),
        ("device_id", ctypes.c_uint),
        ("subsystem_id", ctypes.c_uint),
        ("bus_id", ctypes.c_char * 32),
    )


class _Nvml:
    def __init__(self, library: Any) -> None:
        self.library = library

    def call(self, function: str, *arguments: Any) -> None:
        code = getattr(self.library, function)(*arguments)
        if code != SUCCESS:
            raise NvmlError(self.error_text(code))

    def error_text(self, code: int) -> str:
        describe = self.library.nvmlErrorString
        describe.restype = ctypes.c_char_p
        text = describe(code)
        return str(text.decode()) if text else "Unknown Error"

    def number(self, function: str, *arguments: Any) -> int:
        value = ctypes.c_uint()
        self.call(function, *arguments, ctypes.byref(value))
        return value.value

    def text(self, function: str, device: ctypes.c_void_p) -> str:
        value = ctypes.create_string_buffer(TEXT_SIZE)
        self.call(function, device, value, TEXT_SIZE)
        return value.value.decode()

    def optional(self, function: str, *arguments: Any) -> int | None:
        try:
            return self.number(function, *arguments)
        except (NvmlError, AttributeError):
            return None

    def architecture(self, device: ctypes.c_void_p) -> str | None:
        major, minor = ctypes.c_int(), ctypes.c_int()
        try:
            self.call(
                "nvmlDeviceGetCudaComputeCapability",
                device,
                ctypes.byref(major),
                ctypes.byref(minor),
            )
        except (NvmlError, AttributeError):
            return None
        return f"{major.value}.{minor.value}"

    def gpu(self, index: int) -> Gpu:
        device = ctypes.c_void_p()
        self.call("nvmlDeviceGetHandleByIndex_v2", index, ctypes.byref(device))
        pci = _PciInfo()
        self.call("nvmlDeviceGetPciInfo_v3", device, ctypes.byref(pci))
        brand = self.optional("nvmlDeviceGetBrand", device)
        return Gpu(
            ordinal=str(index),
            uuid=self.text("nvmlDeviceGetUUID", device),
            minor=self.number("nvmlDeviceGetMinorNumber", device),
            bus_id=pci.bus_id.decode(),
            name=self.text("nvmlDeviceGetName", device),
            brand=None if brand is None else BRANDS.get(brand),
            architecture=self.architecture(device),
            is_divided=bool(self.mig_mode(device)),
        )

    def mig_mode(self, device: ctypes.c_void_p) -> int:
        current, pending = ctypes.c_uint(), ctypes.c_uint()
        try:
            self.call("nvmlDeviceGetMigMode", device, ctypes.byref(current), ctypes.byref(pending))
        except (NvmlError, AttributeError):
            return 0
        return current.value

    def mig_devices(self, gpu: Gpu) -> Iterator[Gpu]:
        """The MIG devices of a divided GPU; slots without one are left out."""
        parent, device = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("nvmlDeviceGetHandleByIndex_v2", int(gpu.ordinal), ctypes.byref(parent))
        for slot in range(self.number("nvmlDeviceGetMaxMigDeviceCount", parent)):
            reference = ctypes.byref(device)
            try:
                self.call("nvmlDeviceGetMigDeviceHandleByIndex", parent, slot, reference)
            except NvmlError:
                continue
            yield gpu._replace(
                ordinal=f"{gpu.ordinal}:{slot}",
                uuid=self.text("nvmlDeviceGetUUID", device),
                name=self.text("nvmlDeviceGetName", device),
                is_divided=False,
                instance=Instance(
                    self.number("nvmlDeviceGetGpuInstanceId", device),
                    self.number("nvmlDeviceGetComputeInstanceId", device),
                ),
            )

    def cuda_version(self) -> str | None:
        number = self.optional("nvmlSystemGetCudaDriverVersion")
        return None if number is None else f"{number // 1000}.{number % 1000 // 10}"


def load() -> ctypes.CDLL:
    """The host's libnvidia-ml; LibraryMissingError with the loader's words if it has none."""
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise LibraryMissingError(str(error)) from error


def query(library: Any) -> System:
    """What a loaded libnvidia-ml says of this host; NvmlError with NVML's words if nothing."""
    nvml = _Nvml(library)
    nvml.call("nvmlInit_v2")
    try:
        count = nvml.number("nvmlDeviceGetCount_v2")
        gpus: list[Gpu] = []
        failures: dict[int, str] = {}
        for index in range(count):
            try:
                gpu = nvml.gpu(index)
                gpus += [gpu, *(nvml.mig_devices(gpu) if gpu.is_divided else ())]
            except NvmlError as error:
                failures[index] = str(error)
        return System(nvml.cuda_version(), tuple(gpus), failures)
    finally:
        nvml.call("nvmlShutdown")
