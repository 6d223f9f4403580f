"""Compiling what the simulated driver is made of; gcc and binutils are all it takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from gpuhost.errors import LabError
from gpuhost.lab.commands import run

NATIVE = Path(__file__).parent / "native"
# The C library of the oldest images that are still run; see native/nvml.h.
NEWEST_GLIBC = (2, 17)
LIBRARY_MARK = "\n#gpuhost-lab-library "

_REMEDY = "Run: apt-get install gcc libc6-dev binutils"
_FLAGS = ("-std=c11", "-D_DEFAULT_SOURCE", "-O2", "-Wall", "-Wextra")
# Both would bring in newer symbols of the C library, depending on the distribution's defaults.
_PORTABLE = ("-fno-stack-protector", "-U_FORTIFY_SOURCE")
_SHARED = ("-shared", "-fPIC", "-fvisibility=hidden", "-Wl,-z,noexecstack")
_VERSION = re.compile(r"@+GLIBC_(\d+)\.(\d+)")


def management_library(out: Path) -> Path:
    """libnvidia-ml, still without a version of its own (:func:`stamp_library`)."""
    library = _link(
        ["nvml.c", "nvml_mig.c", "nvml_text.c"], out, [*_SHARED, _soname("libnvidia-ml.so.1")]
    )
    check_portable(library)
    return library


def stamp_library(library: Path, out: Path, version: str, cuda: int) -> Path:
    """A copy of the management library that is of a driver version.

    ``cuda`` is the CUDA version that comes with it, as NVML gives it (12040 for 12.4).
    """
    out.write_bytes(library.read_bytes() + f"{LIBRARY_MARK}{version} {cuda}\n".encode())
    return out


def cuda_library(out: Path) -> Path:
    """libcuda, which finds no device to compute on."""
    library = _link(["cuda.c"], out, [*_SHARED, _soname("libcuda.so.1")])
    check_portable(library)
    return library


def empty_library(out: Path, soname: str) -> Path:
    """A library that is there to be mounted into containers, and has nothing in it."""
    return _link([], out, [*_SHARED, "-nostdlib", _soname(soname), "-x", "c", "/dev/null"])


def persistence_daemon(out: Path, library: Path) -> Path:
    """nvidia-persistenced, linked to the management library."""
    return _link(["persistenced.c"], out, [library])


def kernel_module(
    out: Path, *, version: str, licence: str, exports: str, needs: str, depends: str
) -> Path:
    """A file that kmod takes for the kernel module of the file's name.

    ``exports`` and ``needs`` are symbols (``needs`` may be empty), ``depends``
    the name of the module that has the one that it needs, or nothing.
    """
    texts = {
        "NAME": out.stem.replace("-", "_"),
        "VERSION": version,
        "LICENSE": licence,
        "EXPORTS": exports,
        "DEPENDS": depends,
    }
    defined = [f'-D{name}="{text}"' for name, text in texts.items()]
    needed = [f"-DNEEDS={needs}"] if needs else []
    return _link(["module.c"], out, ["-c", *defined, *needed])


def _soname(name: str) -> str:
    return f"-Wl,-soname,{name}"


def _link(sources: Sequence[str], out: Path, options: Sequence[str | Path]) -> Path:
    out.parent.mkdir(parents=True, exist_ok=True)
    run(
        ["gcc", *_FLAGS, *_PORTABLE, "-o", out, *(NATIVE / name for name in sources), *options],
        purpose=f"Compiling {out.name}",
        remedy=_REMEDY,
    )
    return out


def check_portable(binary: Path) -> None:
    """LabError if a binary needs a newer C library than old container images have."""
    listing = run(["nm", "-D", binary], purpose=f"Reading {binary.name}", remedy=_REMEDY)
    newer = sorted(
        line.split()[-1]
        for line in listing.splitlines()
        for match in _VERSION.finditer(line)
        if (int(match[1]), int(match[2])) > NEWEST_GLIBC
    )
    if newer:
        raise LabError(
            f"{binary.name} would not load in older images: it needs {', '.join(newer)}.",
            "Compile it with a compiler that does not replace these functions.",
        )
