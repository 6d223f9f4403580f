"""What a lab host sees of its GPUs and of the loaded modules: sysfs, procfs and /dev."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .hardware import (
    OPEN_LICENSE,
    RUN,
    STATE,
    Gpu,
    Module,
    State,
    Switch,
    driven_gpus,
    is_ours,
    present_gpus,
    present_switches,
    write_json,
)
from .library import show_libraries
from .mig import capabilities, minors_text

PCI_DEVICES = Path("/sys/bus/pci/devices")
SYS_MODULE = Path("/sys/module")
PROC_DRIVER = Path("/proc/driver")
DEV = Path("/dev")

NVIDIA_VENDOR = 0x10DE
GRAPHICS_MAJOR, UVM_MAJOR, CAPABILITIES_MAJOR = 195, 510, 509
CONTROL_MINOR, MODESET_MINOR = 255, 254
CAPABILITY_MODE, CONFIGURATION_MODE = 0o444, 0o400
CHARACTER_DEVICE = 0o20000
LINK_SPEED = {
    1: "2.5 GT/s PCIe",
    2: "5.0 GT/s PCIe",
    3: "8.0 GT/s PCIe",
    4: "16.0 GT/s PCIe",
    5: "32.0 GT/s PCIe",
    6: "64.0 GT/s PCIe",
}


def mount(*arguments: str) -> None:
    """Mount something, as the program of that name does."""
    subprocess.run(["mount", *arguments], check=True)


def mount_views() -> None:
    """Cover the machine's own kernel interfaces with ones that can be written."""
    RUN.mkdir(parents=True, exist_ok=True)
    if not os.path.ismount(PCI_DEVICES):
        cover_pci_devices()
    if not os.path.ismount(SYS_MODULE):
        cover_modules()
    if not os.path.ismount(PROC_DRIVER):
        mount("-t", "tmpfs", "-o", "mode=555,size=1m", "tmpfs", str(PROC_DRIVER))


def cover_pci_devices() -> None:
    """Lay a copy over the list of PCI devices; real GPUs of the machine are not in it."""
    copy = RUN / "pci"
    copy.mkdir(exist_ok=True)
    for entry in PCI_DEVICES.iterdir():
        if (entry / "vendor").read_text().strip() != f"{NVIDIA_VENDOR:#06x}":
            (copy / entry.name).symlink_to(entry.readlink())
    mount("--bind", str(copy), str(PCI_DEVICES))


def cover_modules() -> None:
    """Lay an overlay over the machine's loaded modules; its GPU drivers are not to be seen."""
    machine, upper, work = RUN / "sysfs", RUN / "module", RUN / "module.work"
    for folder in (machine, upper, work):
        folder.mkdir(exist_ok=True)
    if not SYS_MODULE.exists():  # systemd-nspawn gives a host only part of sysfs
        mount("-o", "remount,rw", str(SYS_MODULE.parent))
        SYS_MODULE.mkdir()
        mount("-o", "remount,ro", str(SYS_MODULE.parent))
    mount("-t", "sysfs", "-o", "ro", "sysfs", str(machine))
    for folder in (machine / "module").iterdir():
        if is_ours(folder.name):  # an overlay's way to say that something is not there
            os.mknod(upper / folder.name, CHARACTER_DEVICE, os.makedev(0, 0))
    layers = f"lowerdir={machine / 'module'},upperdir={upper},workdir={work}"
    mount("-t", "overlay", "overlay", "-o", layers, str(SYS_MODULE))
    subprocess.run(["umount", machine], check=True)


def show(state: State) -> None:
    """Make sysfs, procfs, /dev and the management library agree with the state."""
    gpus = driven_gpus(state)
    taken = {gpu.uuid for gpu in gpus}
    for gpu in gpus:
        free = (n for n in range(GRAPHICS_MAJOR) if n not in state.minors.values())
        state.minors.setdefault(gpu.uuid, next(free))
    show_pci(state, taken)
    show_modules(state)
    show_proc(state, gpus)
    show_nodes(state, gpus)
    show_libraries(state, gpus)
    write_json(STATE, asdict(state))


def show_pci(state: State, taken: set[str]) -> None:
    """The GPUs in /sys/bus/pci/devices, beside the machine's own devices."""
    gpus, switches = present_gpus(), present_switches()
    addresses = {gpu.pci for gpu in gpus} | {switch.pci for switch in switches}
    for entry in PCI_DEVICES.iterdir():
        if entry.is_symlink():
            if entry.name in addresses:  # the machine has something else at that address
                entry.unlink()
        elif entry.name not in addresses:
            shutil.rmtree(entry)
    for gpu in gpus:
        driver = "nvidia" if gpu.uuid in taken else ""
        if not driver and "nouveau" in state.modules:
            driver = "nouveau"
        told = gpu.nvml | state.reports.get(gpu.uuid, {})
        write_pci_device(PCI_DEVICES / gpu.pci, gpu, driver, told)
    for switch in switches:
        write_switch(PCI_DEVICES / switch.pci, switch, "nvidia" in state.modules)


def write_switch(folder: Path, switch: Switch, is_driven: bool) -> None:
    """An NVSwitch's attributes: a bridge of NVIDIA's that is no GPU."""
    folder.mkdir(exist_ok=True)
    texts = {
        "vendor": f"{NVIDIA_VENDOR:#06x}",
        "device": f"{switch.device_id:#06x}",
        "subsystem_vendor": f"{NVIDIA_VENDOR:#06x}",
        "subsystem_device": f"{switch.device_id:#06x}",
        "class": "0x068000",
        "revision": "0xa1",
        "irq": "0",
        "numa_node": "-1",
        "resource": "\n".join(["0x0000000000000000 " * 2 + "0x0000000000000000"] * 13),
    }
    for name, text in texts.items():
        (folder / name).write_text(text + "\n")
    ids = (NVIDIA_VENDOR, switch.device_id)
    configuration = struct.pack("<HHHHBBBB32xHH16x", *ids, 6, 16, 0xA1, 0, 0x80, 6, *ids)
    (folder / "config").write_bytes(configuration)
    bind(folder, "nvidia-nvswitch" if is_driven else "")


def write_pci_device(folder: Path, gpu: Gpu, driver: str, told: dict[str, Any]) -> None:
    """One device's attributes, as far as lspci and everyone else reads them."""
    folder.mkdir(exist_ok=True)
    texts = {
        "vendor": f"{NVIDIA_VENDOR:#06x}",
        "device": f"{gpu.device_id:#06x}",
        "subsystem_vendor": f"{NVIDIA_VENDOR:#06x}",
        "subsystem_device": f"{gpu.subsystem_id:#06x}",
        "class": "0x030200",
        "revision": "0xa1",
        "irq": "0",
        "numa_node": "-1",
        "resource": "\n".join(["0x0000000000000000 " * 2 + "0x0000000000000000"] * 13),
        "current_link_speed": LINK_SPEED[int(told["pcie_gen"])],
        "max_link_speed": LINK_SPEED[gpu.nvml["pcie_gen_max"]],
        "current_link_width": str(told["pcie_width"]),
        "max_link_width": str(gpu.nvml["pcie_width_max"]),
        "modalias": f"pci:v{NVIDIA_VENDOR:08X}d{gpu.device_id:08X}"
        f"sv{NVIDIA_VENDOR:08X}sd{gpu.subsystem_id:08X}bc03sc02i00",
    }
    for name, text in texts.items():
        (folder / name).write_text(text + "\n")
    ids = (NVIDIA_VENDOR, gpu.device_id)
    tail = (NVIDIA_VENDOR, gpu.subsystem_id)
    configuration = struct.pack("<HHHHBBBB32xHH16x", *ids, 6, 16, 0xA1, 0, 2, 3, *tail)
    (folder / "config").write_bytes(configuration)
    bind(folder, driver)


def bind(folder: Path, driver: str) -> None:
    """Say which driver a device has."""
    link = folder / "driver"
    link.unlink(missing_ok=True)
    if driver:
        target = RUN / "drivers" / driver
        target.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)


def show_modules(state: State) -> None:
    """The loaded modules in /sys/module."""
    for folder in SYS_MODULE.iterdir():
        if is_ours(folder.name) and folder.name not in state.modules:
            shutil.rmtree(folder)
    for name, module in state.modules.items():
        folder = SYS_MODULE / name
        folder.mkdir(exist_ok=True)
        users = sum(name in other.depends for other in state.modules.values())
        (folder / "refcnt").write_text(f"{users}\n")
        (folder / "initstate").write_text("live\n")
        if module.version:
            (folder / "version").write_text(module.version + "\n")


def show_proc(state: State, gpus: list[Gpu]) -> None:
    """/proc/driver/nvidia, while the module is loaded."""
    folder = PROC_DRIVER / "nvidia"
    for name in ("nvidia", "nvidia-caps", "nvidia-nvswitch"):
        shutil.rmtree(PROC_DRIVER / name, ignore_errors=True)
    module = state.modules.get("nvidia")
    if module is None:
        return
    (folder / "gpus").mkdir(parents=True)
    (folder / "version").write_text(version_text(module))
    (folder / "params").write_text("DeviceFileUID: 0\nDeviceFileGID: 0\nDeviceFileMode: 438\n")
    for gpu in gpus:
        about = folder / "gpus" / gpu.pci
        about.mkdir()
        (about / "information").write_text(
            f"Model: \t\t {gpu.nvml['name']}\nIRQ:   \t\t 0\nGPU UUID: \t {gpu.uuid}\n"
            f"Video BIOS: \t {gpu.nvml['vbios']}\nBus Type: \t PCIe\nDMA Size: \t 52 bits\n"
            f"DMA Mask: \t 0xfffffffffffff\nBus Location: \t {gpu.pci}\n"
            f"Device Minor: \t {state.minors[gpu.uuid]}\nGPU Excluded:\t No\n"
        )
    for place, minor in capabilities(state, gpus).items():
        path = folder / "capabilities" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = CAPABILITY_MODE if place.endswith("access") else CONFIGURATION_MODE
        path.write_text(f"DeviceFileMinor: {minor}\nDeviceFileMode: {mode}\nDeviceFileModify: 1\n")
    caps = PROC_DRIVER / "nvidia-caps"
    caps.mkdir(exist_ok=True)
    (caps / "mig-minors").write_text(minors_text([gpu for gpu in gpus if gpu.mig]))
    show_switches()


def show_switches() -> None:
    """/proc/driver/nvidia-nvswitch, where there are any."""
    switches = present_switches()
    if switches:
        devices = PROC_DRIVER / "nvidia-nvswitch" / "devices"
        devices.mkdir(parents=True, exist_ok=True)
        for switch in switches:
            (devices / switch.pci).write_text(f"BIOS Version: {switch.pci[5:7]}.LAB.00.00\n")


def version_text(module: Module) -> str:
    """The text of /proc/driver/nvidia/version."""
    if module.license == OPEN_LICENSE:
        kind = f"Open Kernel Module for x86_64  {module.version}  Release Build  (gpuhost-lab)"
    else:
        kind = f"x86_64 Kernel Module  {module.version}"
    return (
        f"NVRM version: NVIDIA UNIX {kind}  Thu Jan  1 00:00:00 UTC 1970\n"
        "GCC version:  gcc version 12.2.0 (gpuhost-lab)\n"
    )


def show_nodes(state: State, gpus: list[Gpu]) -> None:
    """The device nodes of the loaded modules, open to everyone as the driver makes them."""
    wanted: dict[str, tuple[int, int]] = {}
    if "nvidia" in state.modules:
        wanted["nvidiactl"] = (GRAPHICS_MAJOR, CONTROL_MINOR)
    for gpu in gpus:
        minor = state.minors[gpu.uuid]
        wanted[f"nvidia{minor}"] = (GRAPHICS_MAJOR, minor)
    if "nvidia_modeset" in state.modules:
        wanted["nvidia-modeset"] = (GRAPHICS_MAJOR, MODESET_MINOR)
    if "nvidia_uvm" in state.modules:
        wanted["nvidia-uvm"] = (UVM_MAJOR, 0)
        wanted["nvidia-uvm-tools"] = (UVM_MAJOR, 1)
    for node in DEV.glob("nvidia*"):
        if node.is_char_device() and node.name not in wanted:
            node.unlink()
    for name, number in wanted.items():
        node = DEV / name
        if not node.exists():
            os.mknod(node, CHARACTER_DEVICE, os.makedev(*number))
            node.chmod(0o666)
    show_capability_nodes(state, gpus)


def show_capability_nodes(state: State, gpus: list[Gpu]) -> None:
    """The nodes that stand for the right to use an instance of a GPU."""
    places = capabilities(state, gpus)
    wanted = {f"nvidia-cap{minor}": (place, minor) for place, minor in places.items()}
    folder = DEV / "nvidia-caps"
    if wanted:
        folder.mkdir(exist_ok=True)
    for node in folder.glob("nvidia-cap*"):
        if node.name not in wanted:
            node.unlink()
    if folder.is_dir() and not wanted:
        folder.rmdir()
    for name, (place, minor) in wanted.items():
        node = folder / name
        if not node.exists():
            os.mknod(node, CHARACTER_DEVICE, os.makedev(CAPABILITIES_MAJOR, minor))
            node.chmod(CAPABILITY_MODE if place.endswith("access") else CONFIGURATION_MODE)
