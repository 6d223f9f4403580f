"""The commands of /usr/lib/gpuhost-lab/kernel."""

from __future__ import annotations

import contextlib
import fcntl
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from .hardware import (
    DEFECTS,
    HARDWARE,
    RUN,
    Defects,
    Gpu,
    KernelError,
    State,
    present_gpus,
    read_json,
    read_state,
    write_json,
)
from .library import plant_library, remove_library
from .log import CLOCK_IS_LOOSE, LOG, forget, say
from .mig import answer
from .modules import KERNEL, is_blacklisted, kmod, load
from .views import mount_views, show


@contextlib.contextmanager
def changing_state() -> Iterator[State]:
    """The state, to be changed by one program at a time and shown afterwards."""
    RUN.mkdir(parents=True, exist_ok=True)
    with (RUN / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = read_state()
        try:
            yield state
        finally:
            show(state)  # also what was done before something failed


def prepare_module_folder(folder: Path) -> None:
    """What the package of the running kernel would have installed, for depmod and modprobe."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        (folder / name).touch()
    if not (folder / "modules.dep.bin").exists():
        kmod("depmod", folder.name)


def boot() -> None:
    """Find the GPUs, then load for them what udev would load."""
    forget()
    say(f"Linux version {KERNEL}")
    mount_views()
    prepare_module_folder(Path("/lib/modules") / KERNEL)
    show(State())  # the libraries still have what they said before
    with changing_state() as state:
        if not present_gpus():
            return
        if not is_blacklisted("nouveau"):
            load(state, "nouveau")
        try:
            load(state, "nvidia")
        except KernelError as error:
            sys.stderr.write(f"{error}\n")


def refresh() -> None:
    """Show the state again."""
    with changing_state():
        pass


def status() -> None:
    """Print what is there and what is loaded."""
    document = {
        "gpus": [{"index": gpu.index, "pci": gpu.pci, "uuid": gpu.uuid} for gpu in present_gpus()],
        **asdict(read_state()),
        **read_json(DEFECTS),
    }
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def find_gpu(index: str) -> Gpu:
    """A GPU by its place in gpus.json, on the bus or not."""
    gpus = {str(entry["index"]): Gpu(**entry) for entry in read_json(HARDWARE).get("gpus", [])}
    if index not in gpus:
        raise KernelError(f"kernel: this host has no GPU {index}: {', '.join(gpus) or 'none'}")
    return gpus[index]


def pull(index: str) -> None:
    """Take a GPU off the bus, for good."""
    gpu = find_gpu(index)
    with changing_state():
        defects = Defects(**read_json(DEFECTS))
        defects.pulled = sorted({*defects.pulled, gpu.index})
        write_json(DEFECTS, asdict(defects))


def plug(index: str) -> None:
    """Put a GPU back on the bus."""
    gpu = find_gpu(index)
    with changing_state():
        defects = Defects(**read_json(DEFECTS))
        defects.pulled = [pulled for pulled in defects.pulled if pulled != gpu.index]
        write_json(DEFECTS, asdict(defects))


def report(index: str, *pairs: str) -> None:
    """Change what a GPU reports; an empty text ends that."""
    gpu = find_gpu(index)
    with changing_state() as state:
        if any(not pair.endswith("=") for pair in pairs):
            require_driver(state)
        new = dict(pair.partition("=")[::2] for pair in pairs)
        merged = state.reports.get(gpu.uuid, {}) | new
        state.reports[gpu.uuid] = {key: text for key, text in merged.items() if text}


def require_driver(state: State) -> None:
    """KernelError where no NVIDIA module is loaded: nothing could go wrong with it."""
    if "nvidia" not in state.modules:
        raise KernelError("kernel: no NVIDIA module is loaded")


def log(*text: str) -> None:
    """Let the kernel log a line; without one, forget what it logged of its GPUs."""
    if text:
        say(" ".join(text))
        return
    LOG.unlink(missing_ok=True)
    say(f"Linux version {KERNEL}")


def clock(state: str) -> None:
    """Have the clock kept right by somebody ("kept") or by nobody ("loose")."""
    if state == "loose":
        CLOCK_IS_LOOSE.touch()
    else:
        CLOCK_IS_LOOSE.unlink(missing_ok=True)


def loaded(version: str = "") -> None:
    """Pretend that a version of the NVIDIA modules is loaded; without one, that on disk."""
    with changing_state() as state:
        if version:
            require_driver(state)
        for name, module in state.modules.items():
            if name.startswith("nvidia"):
                module.version = version or kmod("modinfo", "-F", "version", name).strip()


def library(version: str = "") -> None:
    """Install libnvidia-ml in another version beside the real one; without one, remove it."""
    with changing_state():
        defects = Defects(**read_json(DEFECTS))
        if defects.library:
            remove_library(defects)
        if version:
            plant_library(defects, version)
        write_json(DEFECTS, asdict(defects))


def mig(request: str, *arguments: str) -> None:
    """Divide GPUs, as the management library asks; prints the driver's answer."""
    with changing_state() as state:
        said = answer(state, request, *arguments)
    sys.stdout.write(said + "\n")


def fabric(word: str) -> None:
    """Have the NVSwitches set up, as a fabric manager does, or not."""
    with changing_state() as state:
        require_driver(state)
        state.fabric = word == "up"


COMMANDS: dict[str, Callable[..., None]] = {
    "boot": boot,
    "refresh": refresh,
    "status": status,
    "pull": pull,
    "plug": plug,
    "report": report,
    "log": log,
    "clock": clock,
    "loaded": loaded,
    "library": library,
    "mig": mig,
    "fabric": fabric,
}
