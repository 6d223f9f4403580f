"""nvidia-container-cli: puts the driver and GPUs into a container that is about to start."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from . import device_cgroup, fault, mounts, nvml
from .host import DeviceNode, DriverFiles, DriverMissingError, Host, discover
from .requirements import RequirementError, check
from .selection import ALL, NONE, Selection, UnknownDeviceError

UTILITY = "utility"
COMPUTE = "compute"
VIDEO = "video"
DISPLAY = "display"
CAPABILITIES = ("compute", "utility", "video", "graphics", "display", "compat32", "ngx")

UTILITY_FILES = (
    "nvidia-smi",
    "nvidia-debugdump",
    "nvidia-persistenced",
    "libnvidia-ml.so",
    "libnvidia-cfg.so",
    "libnvidia-nscq.so",
)
COMPUTE_FILES = (
    "nvidia-cuda-mps-control",
    "nvidia-cuda-mps-server",
    "libcuda.so",
    "libcudadebugger.so",
    "libnvidia-opencl.so",
    "libnvidia-gpucomp.so",
    "libnvidia-ptxjitcompiler.so",
    "libnvidia-fatbinaryloader.so",
    "libnvidia-allocator.so",
    "libnvidia-compiler.so",
    "libnvidia-pkcs11",
    "libnvidia-nvvm.so",
    "libnvidia-tileiras.so",
)
VIDEO_FILES = (
    "libvdpau_nvidia.so",
    "libnvidia-encode.so",
    "libnvidia-opticalflow.so",
    "libnvcuvid.so",
)
GRAPHICS = frozenset({"graphics", DISPLAY, "ngx"})

FILE_FLAGS = mounts.MS_RDONLY | mounts.MS_NODEV | mounts.MS_NOSUID
SOCKET_FLAGS = mounts.MS_NODEV | mounts.MS_NOSUID | mounts.MS_NOEXEC
DEVICE_FLAGS = mounts.MS_RDONLY | mounts.MS_NOSUID | mounts.MS_NOEXEC
PROC_DRIVER = "/proc/driver"
PROC_FILES = ("params", "version", "registry")

USAGE = "Usage: nvidia-container-cli [-V] [--load-kmods] {configure|info|list} [OPTION...]\n"


class CliError(Exception):
    """Why a command failed, as "stage error: reason" in upstream's words."""


class Request(NamedTuple):
    """A parsed ``configure`` command line; ``device`` None asks for no GPU."""

    pid: int
    rootfs: Path
    device: str | None
    capabilities: frozenset[str]
    requirements: tuple[str, ...]
    ldconfig: str
    uses_cgroups: bool


# ---------------------------------------------------------------------------- what to inject


def wanted_capability(name: str) -> frozenset[str]:
    """The capabilities of which each brings the file of that name."""
    for capability, files in (
        (UTILITY, UTILITY_FILES),
        (COMPUTE, COMPUTE_FILES),
        (VIDEO, VIDEO_FILES),
    ):
        if name.startswith(files):
            return frozenset({capability})
    return GRAPHICS


def _is_wanted(path: str, capabilities: frozenset[str]) -> bool:
    return bool(wanted_capability(path.rpartition("/")[2]) & capabilities)


def wanted_control_nodes(
    nodes: Sequence[DeviceNode], capabilities: frozenset[str]
) -> tuple[DeviceNode, ...]:
    """Control devices for these capabilities: UVM is for compute, modeset for display."""
    return tuple(
        node
        for node in nodes
        if node.path == "/dev/nvidiactl"
        or ("uvm" in node.path and COMPUTE in capabilities)
        or ("modeset" in node.path and DISPLAY in capabilities)
    )


def select(host: Host, device: str | None, active_fault: str) -> tuple[nvml.Gpu, ...]:
    """The GPUs of a ``--device`` option."""
    if not host.gpus:
        return ()
    names = [name for name in (device or NONE).split(",") if name]
    try:
        return Selection(host.gpus, active_fault).select(names)
    except UnknownDeviceError as error:
        raise CliError(f"device error: {error}: unknown device") from error


def check_requirements(host: Host, gpus: Sequence[nvml.Gpu], requirements: Sequence[str]) -> None:
    """Hold the image's requirements against the driver and each selected GPU."""
    facts: dict[str, str | None] = {"cuda": host.cuda_version, "driver": host.files.version}
    subjects: list[dict[str, str | None]] = [
        {**facts, "brand": gpu.brand, "arch": gpu.architecture} for gpu in gpus
    ]
    for subject in subjects or [{**facts, "brand": None, "arch": None}]:
        for expression in requirements:
            try:
                check(expression, subject)
            except RequirementError as error:
                raise CliError(f"requirement error: {error}") from error


# -------------------------------------------------------------------------------- configure


def _find_host() -> Host:
    try:
        host = discover()
    except nvml.LibraryMissingError as error:
        reason = f"load library failed: {error}"
    except nvml.NvmlError as error:
        reason = f"nvml error: {error}"
    except DriverMissingError as error:
        reason = f"load library failed: {error}"
    else:
        for text in host.failures.values():
            raise CliError(f"detection error: nvml error: {text.lower()}")
        return host
    raise CliError(f"initialization error: {reason.lower()}")


def configure(request: Request) -> None:
    """Put driver and GPUs into the container and open its device cgroup to them."""
    host = _find_host()
    gpus = select(host, request.device, fault.switched_on())
    check_requirements(host, gpus, request.requirements)
    control_nodes = wanted_control_nodes(host.control_nodes, request.capabilities)
    nodes = (*control_nodes, *host.nodes_of(gpus))
    if request.uses_cgroups:
        try:
            device_cgroup.open_devices(
                request.pid, [device_cgroup.Device(node.major, node.minor) for node in nodes]
            )
        except device_cgroup.CgroupError as error:
            raise CliError(f"mount error: failed to add device rules: {error}") from error
    try:
        mounts.enter_namespace(request.pid)
        folder = _mount_files(host.files, request)
        for node in nodes:
            mounts.bind(node.path, request.rootfs, node.path, DEVICE_FLAGS)
        _mount_procfs(gpus, request.rootfs)
    except (mounts.MountError, OSError) as error:
        raise CliError(f"mount error: {error}") from error
    _update_ldcache(request, folder)


def _mount_files(files: DriverFiles, request: Request) -> str:
    """Mount the driver's files; returns the container's folder for libraries."""
    rootfs, capabilities = request.rootfs, request.capabilities
    is_debian = (rootfs / "etc/debian_version").exists()
    folder = "/usr/lib/x86_64-linux-gnu" if is_debian else "/usr/lib64"
    for path in files.binaries:
        if _is_wanted(path, capabilities):
            mounts.bind(path, rootfs, f"/usr/bin/{path.rpartition('/')[2]}", FILE_FLAGS)
    for library in files.libraries:
        if _is_wanted(library.path, capabilities):
            name = library.path.rpartition("/")[2]
            mounts.bind(library.path, rootfs, f"{folder}/{name}", FILE_FLAGS)
    for path in files.firmware:
        mounts.bind(path, rootfs, path, FILE_FLAGS)
    for path in files.sockets:
        if UTILITY in capabilities:
            mounts.bind(path, rootfs, path, SOCKET_FLAGS)
    if COMPUTE in capabilities and files.cuda_library:
        _link(mounts.resolve(rootfs, folder) / "libcuda.so", "libcuda.so.1")
    return folder


def _link(path: Path, target: str) -> None:
    if path.is_symlink():
        path.unlink()
    if not path.exists():
        path.symlink_to(target)


def _mount_procfs(gpus: Sequence[nvml.Gpu], rootfs: Path) -> None:
    """Show the container the driver's procfs, with its own GPUs only.

    Upstream mounts over /proc/driver/nvidia, which the container's procfs, being the kernel's
    own, does not have here: the simulated driver is shown one level above.
    """
    source = Path(PROC_DRIVER) / "nvidia"
    if not source.is_dir():
        return
    target = mounts.temporary(rootfs, PROC_DRIVER, 0) / "nvidia"
    target.mkdir()
    for name in PROC_FILES:
        if (source / name).exists():
            text = (source / name).read_text(encoding="utf-8")
            (target / name).write_text(text.replace("ModifyDeviceFiles: 1", "ModifyDeviceFiles: 0"))
    for bus_id in dict.fromkeys(gpu.bus_id.lower() for gpu in gpus):
        for name in (bus_id, bus_id[4:]):
            folder = source / "gpus" / name
            if folder.is_dir():
                path = f"{PROC_DRIVER}/nvidia/gpus/{name}"
                mounts.bind(str(folder), rootfs, path, DEVICE_FLAGS | mounts.MS_NODEV)


def _update_ldcache(request: Request, folder: str) -> None:
    """Run the host's ldconfig within the container's root."""
    program = request.ldconfig.lstrip("@")
    if os.access(f"{program}.real", os.X_OK):
        program += ".real"
    argv = [program, "-r", str(request.rootfs), "-f", "/etc/ld.so.conf", "-C", "/etc/ld.so.cache"]
    if not (request.rootfs / "etc/ld.so.cache").exists():
        argv.append("-N")
    quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
    child = os.posix_spawn(program, [*argv, folder], {}, file_actions=quiet)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise CliError(f"ldcache error: process {program} failed with error code: {status}")


# ----------------------------------------------------------------------------- info and list


def _info(_arguments: list[str]) -> None:
    host = _find_host()
    rows = [("NVRM version", host.files.version), ("CUDA version", host.cuda_version or "")]
    for gpu in host.gpus:
        rows += [
            ("", ""),
            ("Device Index", gpu.ordinal),
            ("Device Minor", str(gpu.minor)),
            ("Model", gpu.name),
            ("Brand", gpu.brand or "unknown"),
            ("GPU UUID", gpu.uuid),
            ("Bus Location", gpu.bus_id),
            ("Architecture", gpu.architecture or ""),
        ]
    for title, value in rows:
        sys.stdout.write(f"{title + ':':<15} {value}\n" if title else "\n")


def _list(_arguments: list[str]) -> None:
    host = _find_host()
    paths = [node.path for node in host.control_nodes]
    paths += [node.path for node in host.nodes_of(host.gpus)]
    files = host.files
    paths += [*files.binaries, *(library.path for library in files.libraries), *files.sockets]
    sys.stdout.write("".join(f"{path}\n" for path in paths))


# ------------------------------------------------------------------------------ command line


def parse_configure(arguments: Sequence[str]) -> Request:
    """The request of a ``configure`` command line; CliError if it makes none."""
    values: dict[str, list[str]] = {}
    rootfs: list[str] = []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name.startswith("--"):
            values.setdefault(name[2:], []).append(value)
        else:
            rootfs.append(argument)
    if len(rootfs) != 1 or not rootfs[0].startswith("/") or rootfs[0] == "/":
        raise CliError("input error: invalid rootfs directory")
    if not values.get("pid", [""])[0].isdigit():
        raise CliError("input error: invalid process id")
    devices = ",".join(values.get("device", []))
    return Request(
        pid=int(values["pid"][0]),
        rootfs=Path(rootfs[0]),
        device=ALL if ALL in devices.split(",") else devices or None,
        capabilities=frozenset(CAPABILITIES) & frozenset(values),
        requirements=tuple(values.get("require", [])),
        ldconfig=values.get("ldconfig", ["@/sbin/ldconfig"])[0],
        uses_cgroups="no-cgroups" not in values,
    )


def _configure(arguments: list[str]) -> None:
    configure(parse_configure(arguments))


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "configure": _configure,
    "info": _info,
    "list": _list,
}


def main(version: str, argv: list[str]) -> int:
    """Serve one command line; the exit code is 1 if the command failed."""
    words = argv[1:]
    if "-V" in words or "--version" in words:
        sys.stdout.write(f"cli-version: {version}\nlib-version: {version}\n")
        return 0
    while words and words[0].startswith("-"):
        words.pop(0)
    if not words or words[0] not in COMMANDS:
        sys.stderr.write(USAGE)
        return 1
    try:
        COMMANDS[words[0]](words[1:])
    except CliError as error:
        sys.stderr.write(f"nvidia-container-cli: {error}\n")
        return 1
    return 0
