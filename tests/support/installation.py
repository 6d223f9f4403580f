"""gpuhost installed in a lab host from a wheel, with what it needs of this environment."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from gpuhost.lab.inside import execute, recorded

PROJECT = Path(__file__).parents[2]
PLACE = Path("/opt/gpuhost")
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def install(host: str, scratch: Path) -> str:
    """Install gpuhost in the host, whose Python is this one's version; its interpreter's path."""
    execute(host, ["python3", "-m", "venv", "--without-pip", str(PLACE)])
    root = recorded(host).part("root") / PLACE.relative_to("/")
    packages = root / "lib" / f"python{PYTHON}" / "site-packages"
    for distribution in {d.name: d for d in _needed("gpuhost")}.values():
        if distribution.name != "gpuhost":
            _copy(distribution, packages, root / "bin")
    with zipfile.ZipFile(_wheel(scratch)) as archive:
        archive.extractall(packages)
    return str(PLACE / "bin" / "python")


def _needed(name: str) -> Iterator[metadata.Distribution]:
    """A distribution of this environment and all that it needs to run, some more than once."""
    waiting, seen = [name], set[str]()
    while waiting:
        found = metadata.distribution(waiting.pop())
        if found.name in seen:
            continue
        seen.add(found.name)
        yield found
        for text in found.requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting.append(needed.name)


def _copy(distribution: metadata.Distribution, packages: Path, programs: Path) -> None:
    for file in distribution.files or ():
        source = Path(str(file.locate()))
        if file.suffix == ".pyc" or not source.is_file():
            continue
        if file.parts[0] == "..":
            if "bin" in file.parts:
                _copy_program(source, programs / source.name)
            continue
        target = packages / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def _copy_program(source: Path, target: Path) -> None:
    first, _, rest = source.read_bytes().partition(b"\n")
    if first.startswith(b"#!") and b"python" in first:
        target.write_bytes(f"#!{PLACE}/bin/python\n".encode() + rest)
        target.chmod(0o755)


def _wheel(scratch: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", scratch, PROJECT],
        check=True,
        capture_output=True,
    )
    (built,) = scratch.glob("*.whl")
    return built
