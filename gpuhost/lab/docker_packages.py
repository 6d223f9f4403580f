"""Docker's packages for the lab: Debian's real binaries under upstream's names and layout.

Debian 13's docker.io, docker-cli, containerd, docker-buildx and docker-compose
also run on Debian 12 (they need its C library or an older one); only runc is
taken from the suite of each release. Two versions of every package are made, so that pins,
holds, upgrades and roll-backs can be rehearsed. The older one is the same
program with its version number changed in place, since Debian keeps only one.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from gpuhost.errors import LabError
from gpuhost.lab.commands import run
from gpuhost.lab.debian import ARCHITECTURE, Archive
from gpuhost.lab.releases import Release

BINARIES_SUITE = "trixie"

_ENGINE = "docker.io"
_SHARED_SOURCES = (_ENGINE, "docker-cli", "containerd", "docker-buildx", "docker-compose", "tini")
_SUITE_SOURCES = ("runc",)
_PLUGINS = "usr/libexec/docker/cli-plugins"
_UNITS = "usr/lib/systemd/system"

_GROUP = """\
if [ "$1" = configure ] && ! getent group docker >/dev/null; then
    groupadd --system docker
fi
"""

_POSTINST = """\
#!/bin/sh
set -e
{prepare}\
if [ "$1" = configure ]; then
    for unit in {units}; do
        deb-systemd-helper unmask "$unit" >/dev/null || true
        if deb-systemd-helper --quiet was-enabled "$unit"; then
            deb-systemd-helper enable "$unit" >/dev/null || true
        else
            deb-systemd-helper update-state "$unit" >/dev/null || true
        fi
    done
    if [ -d /run/systemd/system ]; then
        systemctl --system daemon-reload >/dev/null || true
        if [ -n "$2" ]; then action=restart; else action=start; fi
        deb-systemd-invoke "$action" {units} >/dev/null || true
    fi
fi
"""

_PRERM = """\
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    deb-systemd-invoke stop {units} >/dev/null || true
fi
"""

_POSTRM = """\
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload >/dev/null || true
fi
if [ "$1" = purge ] && [ -x /usr/bin/deb-systemd-helper ]; then
    deb-systemd-helper purge {units} >/dev/null || true
fi
"""


@dataclass(frozen=True)
class Recipe:
    """How one upstream package is made.

    ``files`` maps a path in the package to a Debian package and the path
    there; ``texts`` are files written as given. ``versioned_by`` is the
    Debian package whose version it carries, after ``epoch``.
    """

    name: str
    versioned_by: str
    summary: str
    epoch: str = ""
    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    relations: Mapping[str, str] = field(default_factory=dict)
    units: Sequence[str] = ()
    prepare: str = ""


RECIPES = (
    Recipe(
        "docker-ce",
        _ENGINE,
        "Docker: the open-source application container engine",
        epoch="5:",
        files={
            "usr/bin/dockerd": (_ENGINE, "usr/sbin/dockerd"),
            "usr/bin/docker-proxy": (_ENGINE, "usr/sbin/docker-proxy"),
            "usr/bin/docker-init": ("tini", "usr/bin/tini-static"),
            f"{_UNITS}/docker.service": (_ENGINE, f"{_UNITS}/docker.service"),
            f"{_UNITS}/docker.socket": (_ENGINE, f"{_UNITS}/docker.socket"),
        },
        relations={
            "Depends": "containerd.io (>= 1.6.24), docker-ce-cli, iptables, "
            "libseccomp2 (>= 2.3.0), libc6 (>= 2.34), libsystemd0, passwd",
            "Recommends": "docker-ce-rootless-extras, ca-certificates, procps, xz-utils",
            "Conflicts": "docker (<< 1.5~), docker.io",
            "Replaces": "docker (<< 1.5~), docker.io",
        },
        units=("docker.service", "docker.socket"),
        prepare=_GROUP,
    ),
    Recipe(
        "docker-ce-cli",
        "docker-cli",
        "Docker CLI: the open-source application container engine",
        epoch="5:",
        files={"usr/bin/docker": ("docker-cli", "usr/bin/docker")},
        relations={
            "Depends": "libc6 (>= 2.34)",
            "Recommends": "docker-buildx-plugin, docker-compose-plugin",
            "Conflicts": "docker (<< 1.5~), docker-cli",
            "Replaces": "docker (<< 1.5~), docker-cli",
        },
    ),
    Recipe(
        "containerd.io",
        "containerd",
        "An open and reliable container runtime",
        files={
            "usr/bin/containerd": ("containerd", "usr/bin/containerd"),
            "usr/bin/containerd-shim-runc-v2": ("containerd", "usr/bin/containerd-shim-runc-v2"),
            "usr/bin/ctr": ("containerd", "usr/bin/ctr"),
            "usr/bin/runc": ("runc", "usr/sbin/runc"),
            f"{_UNITS}/containerd.service": ("containerd", f"{_UNITS}/containerd.service"),
        },
        texts={"etc/containerd/config.toml": 'disabled_plugins = ["cri"]\n'},
        relations={
            "Depends": "libc6 (>= 2.34), libseccomp2 (>= 2.5.0)",
            "Provides": "containerd, runc",
            "Conflicts": "containerd, runc",
            "Replaces": "containerd, runc",
        },
        units=("containerd.service",),
    ),
    Recipe(
        "docker-buildx-plugin",
        "docker-buildx",
        "Docker Buildx plugin extends build capabilities with BuildKit",
        files={f"{_PLUGINS}/docker-buildx": ("docker-buildx", f"{_PLUGINS}/docker-buildx")},
        relations={"Depends": "libc6 (>= 2.34)", "Conflicts": "docker-buildx"},
    ),
    Recipe(
        "docker-compose-plugin",
        "docker-compose",
        "Docker Compose (V2) plugin for the Docker CLI",
        files={f"{_PLUGINS}/docker-compose": ("docker-compose", f"{_PLUGINS}/docker-compose")},
        relations={"Depends": "libc6 (>= 2.34)", "Conflicts": "docker-compose (>= 2)"},
    ),
    Recipe(
        "docker-ce-rootless-extras",
        _ENGINE,
        "Rootless support for Docker",
        epoch="5:",
        files={
            f"usr/bin/{script}": (_ENGINE, f"usr/share/docker.io/contrib/{script}")
            for script in ("dockerd-rootless.sh", "dockerd-rootless-setuptool.sh")
        },
        relations={"Depends": "docker-ce"},
    ),
)


def build(cache: Path, out: Path, release: Release) -> list[Path]:
    """Make both versions of Docker's packages for a release in ``out``; about 10 s on two cores.

    Returns the .deb files.
    """
    system = release.system
    suffix = f"~{system.vendor}.{release.number}~{system.codename}"
    sources = Archive(cache, BINARIES_SUITE).download(_SHARED_SOURCES)
    sources += Archive(cache, release.suite).download(_SUITE_SOURCES)
    scratch = out / ".scratch"
    versions = {path.name.split("_")[0]: upstream_version(path) for path in sources}

    def unpack(source: Path) -> None:
        folder = scratch / source.name.split("_")[0]
        folder.mkdir(parents=True)
        run(["dpkg-deb", "--extract", source, folder], purpose=f"Unpacking {source.name}")

    def make(recipe: Recipe, current: str, version: str) -> Path:
        package_version = f"{recipe.epoch}{version}-1{suffix}"
        folder = scratch / f"{recipe.name}-{version}"
        _lay_out(recipe, scratch, folder)
        if version != current:
            _restamp(folder, current, version)
        _write_control(recipe, package_version, folder / "DEBIAN")
        return _pack(folder, out, recipe.name, package_version)

    jobs = [
        (recipe, current, version)
        for recipe in RECIPES
        for current in [versions[recipe.versioned_by]]
        for version in (current, previous_version(current))
    ]
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(unpack, sources))
            return list(pool.map(lambda job: make(*job), jobs))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def upstream_version(deb: Path) -> str:
    """Upstream's version number of a Debian package file: ``26.1.5`` of ``…_26.1.5+dfsg1-9_…``."""
    found = re.match(r"[^_]+_(?:\d+%3a)?(\d+(?:\.\d+)*)", deb.name)
    if not found:
        raise LabError(f"{deb.name} carries no version number.", "This is a fault of gpuhost.")
    return found[1]


def previous_version(version: str) -> str:
    """The nearest older version that is written with as many digits: ``26.1.4`` for ``26.1.5``."""
    numbers = version.split(".")
    for place in reversed(range(len(numbers))):
        older = str(int(numbers[place]) - 1)
        if older != "-1" and len(older) == len(numbers[place]):
            return ".".join([*numbers[:place], older, *numbers[place + 1 :]])
    raise LabError(f"There is no older version than {version}.", "This is a fault of gpuhost.")


def restamp(content: bytes, current: str, version: str) -> bytes:
    """A program's bytes with its version number replaced by one of the same length."""
    if len(current) != len(version):
        raise ValueError(f"{version} is not as long as {current}")
    stamp = re.compile(rb"(?<![\w.])" + re.escape(current.encode()) + rb"(?=[+~-])")
    return stamp.sub(version.encode(), content)


def _lay_out(recipe: Recipe, sources: Path, folder: Path) -> None:
    for path, (package, source) in recipe.files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        # Copied: of a hard link, tar would say that it "changed as we read it" when another
        # package links the same file.
        shutil.copy2(sources / package / source, target)
    for path, text in recipe.texts.items():
        _write(folder / path, text)
    service = folder / _UNITS / "docker.service"
    if service.exists():
        text = service.read_text()
        text = re.sub(r"^EnvironmentFile=.*\n", "", text, flags=re.MULTILINE)
        text = text.replace("/usr/sbin/dockerd", "/usr/bin/dockerd").replace(" $DOCKER_OPTS", "")
        _write(service, text)


def _restamp(folder: Path, current: str, version: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o111:
            path.write_bytes(restamp(path.read_bytes(), current, version))


def _write_control(recipe: Recipe, version: str, folder: Path) -> None:
    fields = {
        "Package": recipe.name,
        "Version": version,
        "Architecture": ARCHITECTURE,
        "Maintainer": "gpuhost rehearsal lab <root@localhost>",
        "Section": "admin",
        "Priority": "optional",
        **recipe.relations,
        "Description": f"{recipe.summary}\n Debian's binaries, repacked for gpuhost's lab.",
    }
    _write(folder / "control", "".join(f"{name}: {value}\n" for name, value in fields.items()))
    conffiles = [path for path in recipe.texts if path.startswith("etc/")]
    if conffiles:
        _write(folder / "conffiles", "".join(f"/{path}\n" for path in conffiles))
    if not recipe.units:
        return
    words = {"units": " ".join(recipe.units), "prepare": recipe.prepare}
    scripts = {"postinst": _POSTINST, "prerm": _PRERM, "postrm": _POSTRM}
    for name, template in scripts.items():
        _write(folder / name, template.format(**words))
        (folder / name).chmod(0o755)


def _pack(folder: Path, out: Path, name: str, version: str) -> Path:
    deb = out / f"{name}_{version.partition(':')[2] or version}_{ARCHITECTURE}.deb"
    # zstd at its fastest: the default compression takes twenty times as long.
    how = ["-Zzstd", "-z1", "--root-owner-group"]
    run(["dpkg-deb", *how, "--build", folder, deb], purpose=f"Packing {deb.name}")
    return deb


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
