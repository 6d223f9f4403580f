"""What the host has of the driver: its files, its device nodes and its GPUs."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from . import elf, nvml

LIBRARY_DIRS = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu/nvidia/current",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
)
BINARY_DIRS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
BINARIES = (
    "nvidia-smi",
    "nvidia-debugdump",
    "nvidia-persistenced",
    "nvidia-cuda-mps-control",
    "nvidia-cuda-mps-server",
    "nvidia-imex",
    "nvidia-imex-ctl",
)
FIRMWARE_DIR = "/lib/firmware/nvidia"
SOCKETS = (
    "/run/nvidia-persistenced/socket",
    "/run/nvidia-fabricmanager/socket",
    "/tmp/nvidia-mps",  # noqa: S108 - where CUDA's MPS daemon listens
)
MIG_MINORS = "/proc/driver/nvidia-caps/mig-minors"
CONTROL_NODES = (
    "/dev/nvidia-modeset",
    "/dev/nvidia-uvm",
    "/dev/nvidia-uvm-tools",
    "/dev/nvidiactl",
)


class DriverMissingError(Exception):
    """The driver's libraries are not on the host."""


class Library(NamedTuple):
    """A driver library by its full name (``….so.550.163.01``)."""

    path: str
    soname: str | None


class DriverFiles(NamedTuple):
    """The driver's files, each list sorted; paths are the host's."""

    version: str
    libraries: tuple[Library, ...]
    binaries: tuple[str, ...]
    firmware: tuple[str, ...]
    sockets: tuple[str, ...]

    @property
    def library_dirs(self) -> tuple[str, ...]:
        """The folders that the libraries are in."""
        return tuple(sorted({os.path.dirname(lib.path) for lib in self.libraries}))  # noqa: PTH120

    @property
    def cuda_library(self) -> str | None:
        """The path of libcuda, None if the driver has none."""
        named = (lib.path for lib in self.libraries if "/libcuda.so." in lib.path)
        return next(named, None)


class DeviceNode(NamedTuple):
    """A character device; ``mode`` are the permission bits."""

    path: str
    major: int
    minor: int
    mode: int


class Host(NamedTuple):
    """All that a container can be given."""

    files: DriverFiles
    gpus: tuple[nvml.Gpu, ...]
    cuda_version: str | None
    control_nodes: tuple[DeviceNode, ...]
    gpu_nodes: dict[str, tuple[DeviceNode, ...]]  # by UUID, a MIG device's capabilities included
    failures: dict[int, str]  # NVML's words, by index of a GPU that it can't describe

    def nodes_of(self, gpus: Iterable[nvml.Gpu]) -> list[DeviceNode]:
        """The nodes of some GPUs, each once: MIG devices of one GPU have its node in common."""
        return list(dict.fromkeys(node for gpu in gpus for node in self.gpu_nodes[gpu.uuid]))


def _inside(root: Path, path: str) -> Path:
    return root / path.lstrip("/")


def management_library(root: Path) -> Path:
    """The file that libnvidia-ml.so.1 stands for; DriverMissingError if there is none."""
    for folder in LIBRARY_DIRS:
        link = _inside(root, folder) / nvml.LIBRARY
        if link.exists():
            return link.resolve()
    raise DriverMissingError(f"{nvml.LIBRARY} not found")


def driver_files(root: Path) -> DriverFiles:
    """The driver's files below ``root``; DriverMissingError without libnvidia-ml."""
    version = management_library(root).name.split(".so.", 1)[1]
    return DriverFiles(
        version=version,
        libraries=_libraries(root, version),
        binaries=_binaries(root),
        firmware=_firmware(root, version),
        sockets=tuple(path for path in SOCKETS if _inside(root, path).exists()),
    )


def _libraries(root: Path, version: str) -> tuple[Library, ...]:
    return tuple(
        Library(f"{folder}/{path.name}", elf.soname(path))
        for folder in LIBRARY_DIRS
        for path in sorted(_inside(root, folder).glob(f"lib*.so.{version}"))
    )


def _binaries(root: Path) -> tuple[str, ...]:
    found = []
    for name in sorted(BINARIES):
        paths = (f"{folder}/{name}" for folder in BINARY_DIRS)
        found += [path for path in paths if _inside(root, path).is_file()][:1]
    return tuple(found)


def _firmware(root: Path, version: str) -> tuple[str, ...]:
    folder = f"{FIRMWARE_DIR}/{version}"
    return tuple(f"{folder}/{path.name}" for path in sorted(_inside(root, folder).glob("gsp*.bin")))


def device_node(path: str) -> DeviceNode | None:
    """The character device at ``path``, None if there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - called for every node at every start
    except OSError:
        return None
    if not stat.S_ISCHR(status.st_mode):
        return None
    return DeviceNode(
        path, os.major(status.st_rdev), os.minor(status.st_rdev), stat.S_IMODE(status.st_mode)
    )


def capability_minors(root: Path) -> dict[str, int]:
    """The minor number of the node that stands for a right, by its name (gpu0/gi1/ci0/access)."""
    try:
        text = _inside(root, MIG_MINORS).read_text(encoding="utf-8")
    except OSError:
        return {}
    return {name: int(minor) for name, minor in map(str.split, text.splitlines())}


def node_paths(gpu: nvml.Gpu, minors: dict[str, int]) -> list[str]:
    """The nodes that a container needs for a GPU, or a MIG device."""
    paths = [f"/dev/nvidia{gpu.minor}"]
    if gpu.instance is not None:
        place = f"gpu{gpu.minor}/gi{gpu.instance.gpu}"
        names = (f"{place}/access", f"{place}/ci{gpu.instance.compute}/access")
        paths += [f"/dev/nvidia-caps/nvidia-cap{minors[name]}" for name in names]
    return paths


def _nodes(paths: Iterable[str]) -> tuple[DeviceNode, ...]:
    return tuple(node for node in map(device_node, paths) if node is not None)


def discover() -> Host:
    """This host. NvmlError or DriverMissingError where it has no working driver."""
    system = nvml.query(nvml.load())
    minors = capability_minors(Path("/"))
    gpu_nodes = {gpu.uuid: _nodes(node_paths(gpu, minors)) for gpu in system.gpus}
    return Host(
        files=driver_files(Path("/")),
        gpus=system.gpus,
        cuda_version=system.cuda_version,
        control_nodes=_nodes(CONTROL_NODES),
        gpu_nodes={uuid: nodes for uuid, nodes in gpu_nodes.items() if nodes},
        failures=system.failures,
    )
