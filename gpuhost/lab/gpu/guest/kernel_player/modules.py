"""Loading and unloading modules: what kmod decides and what the kernel has to say to it."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from pathlib import Path

from .hardware import KernelError, Module, State, present_gpus
from .log import say
from .mig import modes_at_load

KMOD = "/usr/bin/kmod"  # modprobe, rmmod, modinfo … by its name in argv[0]
KERNEL = os.uname().release


def kmod(tool: str, *arguments: str) -> str:
    """What a kmod tool prints; KernelError with its own words where it fails."""
    done = subprocess.run(
        [tool, *arguments], executable=KMOD, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise KernelError(done.stderr.strip())
    return done.stdout


def is_blacklisted(module: str) -> bool:
    """Whether modprobe's configuration keeps a module from being loaded for its device."""
    pattern = rf"^(blacklist {module}|install {module} (/usr)?/bin/(true|false))\s*$"
    return re.search(pattern, kmod("modprobe", "--showconfig"), re.MULTILINE) is not None


def files_to_insert(module: str) -> list[Path]:
    """The module's file after those that it depends on, then its soft dependencies."""
    lines = kmod("modprobe", "--show-depends", module).splitlines()
    return [Path(line.split()[1]) for line in lines if line.startswith("insmod ")]


def read_module(path: Path) -> Module:
    """What a module's file says about itself."""
    lines = (line.partition(":") for line in kmod("modinfo", str(path)).splitlines())
    told = {name: text.strip() for name, _, text in lines}
    return Module(told["version"], told["license"], [d for d in told["depends"].split(",") if d])


def load(state: State, module: str) -> None:
    """Load a module and what it needs; KernelError as the kernel or modprobe would put it."""
    if module == "nouveau":
        state.modules["nouveau"] = Module()
        return
    for path in files_to_insert(module):
        name = path.name.partition(".")[0].replace("-", "_")
        if name not in state.modules:
            insert(state, name, read_module(path))


def insert(state: State, name: str, module: Module) -> None:
    """Let the kernel take a module in."""
    if name == "nvidia":
        if "nouveau" in state.modules or not any(gpu.takes(module) for gpu in present_gpus()):
            raise KernelError(f"modprobe: ERROR: could not insert '{name}': No such device")
        state.minors, state.reports, state.persistence = {}, {}, {}
        say(f"NVRM: loading NVIDIA UNIX Kernel Module  {module.version}")
        state.mig, state.fabric = modes_at_load(present_gpus()), False
    state.modules[name] = module


def unload(state: State, name: str, tool: str) -> None:
    """Unload a module; KernelError in the words of ``tool`` where it is in use."""
    holders = [other for other, module in state.modules.items() if name in module.depends]
    if holders or name == "nouveau" or open_nodes(name):
        if tool == "modprobe":
            raise KernelError(f"modprobe: FATAL: Module {name} is in use.")
        by = f" by: {' '.join(holders)}" if holders else ""
        raise KernelError(f"{tool}: ERROR: Module {name} is in use{by}")
    del state.modules[name]


def open_nodes(name: str) -> bool:
    """Whether any process holds a device node of a module open."""
    nodes = {
        "nvidia": re.compile(r"/dev/nvidia(\d+|ctl)"),
        "nvidia_uvm": re.compile(r"/dev/nvidia-uvm(-tools)?"),
        "nvidia_modeset": re.compile(r"/dev/nvidia-modeset"),
    }
    if name not in nodes:
        return False
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if nodes[name].fullmatch(str(descriptor.readlink())):
                return True
    return False
