"""Section ``nvml``: the GPUs as NVIDIA's management library describes them."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional

from gpuhost.probe.context import Context
from gpuhost.probe.schema import Fabric, MigDevice, Nvml, NvmlFailure, NvmlGpu

ERROR_PREFIX = "NVML_ERROR_"


MIG_MINORS = "/proc/driver/nvidia-caps/mig-minors"


def collect(context: Context) -> Nvml:
    """Read the section; a library that refuses is part of it, not an error."""
    # ctypes and 300 KB of bindings: only the process that reads NVML pays for them.
    import pynvml  # noqa: PLC0415

    return Reader(pynvml, capability_minors(context.root.read(MIG_MINORS) or "")).read()


def capability_minors(text: str) -> Dict[str, int]:
    """The minor number of the node of each right (gpu0/gi1/ci0/access), as the driver lists it."""
    rows = (line.split() for line in text.splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}  # noqa: PLR2004


class Reader:
    """Reads GPUs through ``library``, a module with pynvml's functions.

    ``minors`` are those of the capability nodes, by the name of the right.
    """

    def __init__(self, library: Any, minors: Optional[Dict[str, int]] = None) -> None:
        self._nvml = library
        self._minors = minors or {}

    def read(self) -> Nvml:
        """Everything of the section."""
        found: Nvml = {"failure": None, "driver_version": None, "cuda_version": None, "gpus": []}
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            found["failure"] = self._failure(error)
            return found
        try:
            found["driver_version"] = _text(self._nvml.nvmlSystemGetDriverVersion())
            found["cuda_version"] = cuda_version(self._nvml.nvmlSystemGetCudaDriverVersion_v2())
            count = self._nvml.nvmlDeviceGetCount()
        except self._nvml.NVMLError as error:
            found["failure"] = self._failure(error)
            return found
        found["gpus"] = [self._gpu(index) for index in range(count)]
        return found

    def _failure(self, error: Any) -> NvmlFailure:
        code = getattr(error, "value", None)
        names = (name for name in dir(self._nvml) if name.startswith(ERROR_PREFIX))
        name = next((n for n in names if getattr(self._nvml, n) == code), "")
        return {"code": code, "name": name, "text": str(error)}

    def _gpu(self, index: int) -> NvmlGpu:
        nvml = self._nvml
        failures: Dict[str, str] = {}
        handle = self._ask(failures, "handle", lambda: nvml.nvmlDeviceGetHandleByIndex(index))

        def ask(field: str, question: Callable[[Any], Any]) -> Any:
            if handle is None:
                return None
            return self._ask(failures, field, lambda: question(handle))

        memory = ask("memory", nvml.nvmlDeviceGetMemoryInfo)
        capability = ask("compute_capability", nvml.nvmlDeviceGetCudaComputeCapability)
        persistence = ask("persistence_mode", nvml.nvmlDeviceGetPersistenceMode)
        mig: List[Optional[int]] = ask("mig", nvml.nvmlDeviceGetMigMode) or [None, None]
        return {
            "index": index,
            "uuid": _text(ask("uuid", nvml.nvmlDeviceGetUUID)),
            "name": _text(ask("name", nvml.nvmlDeviceGetName)),
            "bus_id": ask("bus_id", lambda h: _text(nvml.nvmlDeviceGetPciInfo(h).busId)),
            "minor": ask("minor", nvml.nvmlDeviceGetMinorNumber),
            "serial": _text(ask("serial", nvml.nvmlDeviceGetSerial)),
            "memory_total_bytes": memory and int(memory.total),
            "memory_used_bytes": memory and int(memory.used),
            "compute_capability": capability and f"{capability[0]}.{capability[1]}",
            "persistence_mode": None if persistence is None else bool(persistence),
            "temperature_c": ask(
                "temperature_c",
                lambda h: nvml.nvmlDeviceGetTemperature(h, nvml.NVML_TEMPERATURE_GPU),
            ),
            "mig_current": None if mig[0] is None else bool(mig[0]),
            "mig_pending": None if mig[1] is None else bool(mig[1]),
            "mig_devices": (ask("mig_devices", self._mig_devices) or []) if mig[0] else [],
            "fabric": ask("fabric", self._fabric),
            "failures": failures,
        }

    def _mig_devices(self, gpu: Any) -> List[MigDevice]:
        nvml = self._nvml
        found: List[MigDevice] = []
        for slot in range(nvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
            try:
                device = nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, slot)
            except nvml.NVMLError as error:
                if getattr(error, "value", None) == nvml.NVML_ERROR_NOT_FOUND:
                    continue  # an empty slot
                raise
            instance = nvml.nvmlDeviceGetGpuInstanceId(device)
            compute = nvml.nvmlDeviceGetComputeInstanceId(device)
            place = f"gpu{nvml.nvmlDeviceGetMinorNumber(gpu)}/gi{instance}"
            found.append(
                {
                    "index": slot,
                    "uuid": _text(nvml.nvmlDeviceGetUUID(device)),
                    "name": _text(nvml.nvmlDeviceGetName(device)),
                    "gpu_instance": instance,
                    "compute_instance": compute,
                    "nodes": self._nodes(f"{place}/access", f"{place}/ci{compute}/access"),
                }
            )
        return found

    def _nodes(self, *rights: str) -> List[str]:
        if not all(right in self._minors for right in rights):
            return []
        return [f"/dev/nvidia-caps/nvidia-cap{self._minors[right]}" for right in rights]

    def _fabric(self, gpu: Any) -> Optional[Fabric]:
        import ctypes  # noqa: PLC0415 - pynvml has loaded it; see collect()

        info = self._nvml.c_nvmlGpuFabricInfo_t()
        self._nvml.nvmlDeviceGetGpuFabricInfo(gpu, ctypes.byref(info))
        if info.state == self._nvml.NVML_GPU_FABRIC_STATE_NOT_SUPPORTED:
            return None
        return {"state": int(info.state), "status": int(info.status)}

    def _ask(self, failures: Dict[str, str], field: str, question: Callable[[], Any]) -> Any:
        """One answer, or None; what is merely unsupported is not a failure."""
        unsupported = (
            self._nvml.NVML_ERROR_NOT_SUPPORTED,
            self._nvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        )
        try:
            return question()
        except self._nvml.NVMLError as error:
            if getattr(error, "value", None) not in unsupported:
                failures[field] = str(error)
            return None


def cuda_version(number: int) -> str:
    """NVML's 13020 as "13.2"."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _text(value: Any) -> Optional[str]:
    # Older releases of the bindings answer with bytes.
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None
