"""What the GPUs tell the management library: the text at the end of libnvidia-ml's own file."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

from .hardware import Defects, Gpu, KernelError, State
from .mig import division, profile_section, sections

LIBRARIES = Path("/usr/lib")
MARK = b"\n#gpuhost-lab-library "
FABRIC_COMPLETED = 3


def show_libraries(state: State, gpus: list[Gpu]) -> None:
    """Write what the GPUs report to the end of every installed libnvidia-ml.

    Containers have those very files mounted, so it is written in place.
    """
    for path in installed_libraries():
        with path.open("r+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)  # the library itself writes too: nvidia-smi -pm
            content = stream.read()
            start = content.rfind(MARK)
            if start < 0:
                continue
            end = content.index(b"\n", start + 1) + 1
            state.persistence |= reported_persistence(content[end:].decode())
            new = library_text(state, gpus).encode()
            os.pwrite(stream.fileno(), new, end)
            os.ftruncate(stream.fileno(), end + len(new))


def installed_libraries() -> list[Path]:
    """The files of libnvidia-ml, whatever their version; not the links to them."""
    found = LIBRARIES.glob("*/libnvidia-ml.so.*.*")
    return sorted(path for path in found if not path.is_symlink())


def reported_persistence(text: str) -> dict[str, str]:
    """Persistence mode by UUID: nvidia-smi changes it in the library itself."""
    blocks = [block for block in text.split("\n[") if block.startswith("gpu]")]
    pairs = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in blocks]
    return {pair["uuid"]: pair["persistence"] for pair in pairs}


def library_text(state: State, gpus: list[Gpu]) -> str:
    """What the library says; nothing while the module is not loaded."""
    module = state.modules.get("nvidia")
    if module is None:
        return ""
    lines = [f"loaded={module.version}"]
    for gpu in gpus:
        values = {
            "minor": state.minors[gpu.uuid],
            "uuid": gpu.uuid,
            **gpu.nvml,
            "persistence": state.persistence.get(gpu.uuid, "0"),
            **_mig_mode(state, gpu),
            **_fabric(state, gpu),
            **state.reports.get(gpu.uuid, {}),
        }
        if values.pop("has_gsp", False):
            values["gsp"] = module.version
        lines += section("gpu", values)
    profiles: list[dict[str, Any]] = next((gpu.mig["profiles"] for gpu in gpus if gpu.mig), [])
    for profile in profiles:
        lines += section("profile", profile_section(profile))
    for gpu in gpus:
        for kind, about in sections(state, gpu):
            lines += section(kind, about)
    return "\n".join([*lines, "#end", ""])


def section(kind: str, values: dict[str, Any]) -> list[str]:
    """A section of the library's text."""
    return [f"[{kind}]", *(f"{key}={value}" for key, value in values.items())]


def _mig_mode(state: State, gpu: Gpu) -> dict[str, int]:
    made = division(state, gpu)
    return {"mig": int(made.current), "mig_pending": int(made.pending)} if gpu.mig else {}


def _fabric(state: State, gpu: Gpu) -> dict[str, int]:
    return {"fabric_state": FABRIC_COMPLETED} if state.fabric and "fabric_state" in gpu.nvml else {}


def plant_library(defects: Defects, version: str) -> None:
    """A copy of the library that calls itself ``version``, and the link that clients follow."""
    link = next(LIBRARIES.glob("*/libnvidia-ml.so.1"), None)
    if link is None:
        raise KernelError("kernel: no libnvidia-ml is installed")
    content = link.read_bytes()
    start = content.rfind(MARK) + len(MARK)
    words = content[start : content.index(b"\n", start)].split()
    planted = link.with_name(f"libnvidia-ml.so.{version}")
    planted.write_bytes(content[:start] + b" ".join([version.encode(), *words[1:]]) + b"\n")
    defects.library, defects.library_link = str(planted), str(link.readlink())
    relink(link, planted.name)


def remove_library(defects: Defects) -> None:
    """Undo :func:`plant_library`."""
    planted = Path(defects.library)
    relink(planted.with_name("libnvidia-ml.so.1"), defects.library_link)
    planted.unlink(missing_ok=True)
    defects.library = defects.library_link = ""


def relink(link: Path, target: str) -> None:
    """Point a link elsewhere in one step."""
    new = link.with_suffix(".new")
    new.symlink_to(target)
    new.replace(link)
