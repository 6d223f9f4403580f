"""Making a .deb out of a description and files."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gpuhost.lab.commands import run

MAINTAINER = "gpuhost lab <lab@localhost>"


@dataclass(frozen=True)
class Entry:
    """A file that a package installs: a copy of ``source``, or ``text``.

    ``changes`` is for a file that the host itself rewrites: its checksum is
    left out of the package, or ``dpkg --verify`` would complain.
    """

    source: Path | None = None
    text: str = ""
    mode: int = 0o644
    changes: bool = False


@dataclass(frozen=True)
class Package:
    """A binary package.

    ``fields`` are control fields besides the usual ones (Depends, Conflicts …),
    ``files`` go by their path without the leading slash, ``links`` by theirs to
    their target, ``scripts`` by name (postinst, prerm, triggers).
    """

    name: str
    version: str
    description: str
    architecture: str = "amd64"
    fields: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Entry] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)


def pack(package: Package, scratch: Path, out: Path) -> Path:
    """Build a package into the folder ``out``; ``scratch`` is for the files on their way."""
    tree = scratch / f"{package.name}_{package.version}"
    for path, entry in package.files.items():
        _place(tree / path, entry)
    for path, target in package.links.items():
        link = tree / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    _write_control(package, tree)
    deb = out / f"{package.name}_{package.version}_{package.architecture}.deb"
    # zstd at its fastest: these packages travel over a bridge inside one machine.
    how = ["-Zzstd", "-z1", "--root-owner-group"]
    run(["dpkg-deb", *how, "--build", tree, deb], purpose=f"Packing {deb.name}")
    return deb


def _place(target: Path, entry: Entry) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if entry.source:
        shutil.copyfile(entry.source, target)
    else:
        target.write_text(entry.text)
    target.chmod(entry.mode)


def _write_control(package: Package, tree: Path) -> None:
    folder = tree / "DEBIAN"
    folder.mkdir(parents=True)
    fields = {
        "Package": package.name,
        "Version": package.version,
        "Architecture": package.architecture,
        "Maintainer": MAINTAINER,
        **package.fields,
        "Description": f"{package.description}\n Made by gpuhost lab for simulated GPUs.",
    }
    control = "".join(f"{name}: {value}\n" for name, value in fields.items())
    (folder / "control").write_text(control)
    sums = [
        f"{hashlib.md5((tree / path).read_bytes(), usedforsecurity=False).hexdigest()}  {path}\n"
        for path, entry in package.files.items()
        if not entry.changes
    ]
    (folder / "md5sums").write_text("".join(sums))
    for name, text in package.scripts.items():
        script = folder / name
        script.write_text(text)
        script.chmod(0o755 if text.startswith("#!") else 0o644)
