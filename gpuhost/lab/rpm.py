"""Making a .rpm out of a description and a folder of files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gpuhost.lab.commands import run

_REMEDY = "Run: apt-get install rpm"
# What rpmbuild would do to binaries that are ready made, and the fastest compression.
_DEFINES = {
    "debug_package": "%{nil}",
    "__os_install_post": "%{nil}",
    "_build_id_links": "none",
    "_binary_payload": "w1.zstdio",
    "_dbpath": "/nonexistent",
}


@dataclass(frozen=True)
class Rpm:
    """A package. ``relations`` are tags (Requires, Provides …) with one value or several.

    ``scripts`` go by the name of their section (post, preun …), ``configs`` are
    paths of files that keep what was changed in them.
    """

    name: str
    version: str
    release: str
    summary: str
    epoch: str = ""
    architecture: str = "x86_64"
    relations: Mapping[str, Sequence[str]] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)
    configs: Sequence[str] = ()


def pack(rpm: Rpm, tree: Path, scratch: Path, out: Path) -> Path:
    """Build a package of the files in ``tree`` into the folder ``out``."""
    top = scratch / f"{rpm.name}-{rpm.version}.rpmbuild"
    top.mkdir(parents=True)
    spec = top / "package.spec"
    spec.write_text(_spec(rpm, tree))
    defines = {**_DEFINES, "_topdir": str(top), "_rpmdir": str(out), "_rpmfilename": _FILE_NAME}
    words = [w for name, value in defines.items() for w in ("--define", f"{name} {value}")]
    run(
        ["rpmbuild", "--quiet", "--nodeps", "--target", rpm.architecture, *words, "-bb", spec],
        purpose=f"Packing {rpm.name}",
        remedy=_REMEDY,
    )
    return out / f"{rpm.name}-{rpm.version}-{rpm.release}.{rpm.architecture}.rpm"


_FILE_NAME = "%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm"


def _spec(rpm: Rpm, tree: Path) -> str:
    lines = [
        f"Name: {rpm.name}",
        f"Version: {rpm.version}",
        f"Release: {rpm.release}",
        *([f"Epoch: {rpm.epoch}"] if rpm.epoch else []),
        f"Summary: {rpm.summary}",
        "License: see the files",
        # What the programs need is Debian's, and not in this package manager's books.
        "AutoReqProv: no",
        *(f"{tag}: {value}" for tag, values in rpm.relations.items() for value in values),
        "%description",
        "Made by gpuhost for its rehearsal lab.",
        "%install",
        f'cp -a "{tree}/." "%{{buildroot}}/"',
        *(line for name, text in rpm.scripts.items() for line in (f"%{name}", text.rstrip())),
        "%files",
        *_files(rpm, tree),
    ]
    return "\n".join(lines) + "\n"


def _files(rpm: Rpm, tree: Path) -> list[str]:
    """The files, each with its folders left to whoever has them."""
    found = []
    for path in sorted(tree.rglob("*")):
        if path.is_symlink() or not path.is_dir():
            name = f"/{path.relative_to(tree)}"
            prefix = "%config(noreplace) " if name in rpm.configs else ""
            found.append(f'{prefix}"{name}"')
    return found
