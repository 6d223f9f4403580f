"""The lab's driver with the weight of a real one.

The lab's packages of the driver are small, and have nothing to compile. Here
they come to need packages that carry what Debian's real driver, the headers of
its kernel and the compiler have in theirs: the same files in the same
archives, under names of their own and without their scripts, save that the
driver's modules are compiled, as dkms does it. So apt, dpkg and the compiler
have as much to do as on a real host. The modules come out for a kernel that
the lab does not run: nothing loads them.
"""

from __future__ import annotations

import re
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

from gpuhost.lab.debian import Archive
from gpuhost.lab.gpu.deb import MAINTAINER
from gpuhost.lab.keyed import ensure_built, key_of, locked
from gpuhost.mirror import debrepo
from gpuhost.mirror.debrepo import Release
from gpuhost.mirror.signing import SigningKey
from gpuhost.programs import run

SUITE = "bookworm"
COMPONENTS = ("main", "contrib", "non-free", "non-free-firmware")
MODULES = "nvidia-kernel-dkms"
# What has much in it, and nothing where the lab's driver has its own.
DRIVER = ("firmware-nvidia-gsp", MODULES)
# What dkms compiles with, and for.
BUILD = ("linux-headers-amd64", "make")
META = "nvidia-driver-cuda"
_CONTROL = """\
Package: {name}
Version: 1
Architecture: amd64
Maintainer: {maintainer}
{depends}Description: what {deb} weighs
"""
_COMPILE = """\
#!/bin/sh -e
cd /usr/src/nvidia-current-*
kernel=$(basename /lib/modules/*-amd64)
make -j"$(nproc)" modules KERNEL_UNAME="$kernel"
test -s nvidia.ko
"""


def add(cache: Path, repository: Path, installed: Path, branch: str, key: SigningKey) -> None:
    """Have the driver of a branch in a lab's repository weigh what a real one weighs.

    ``repository`` is the link to the lab's own; what it leads to is left as it
    is. ``installed`` is the dpkg status file of a bare host.
    """
    archive = Archive(cache, SUITE, COMPONENTS)
    build = sorted(archive.collect(BUILD, installed))
    driver = sorted(archive.download(DRIVER))
    light = repository.resolve()
    names = [f"{deb.name} {deb.stat().st_size}" for deb in (*build, *driver)]
    made_from = key_of(str(light), Path(__file__), branch, key.fingerprint, *names)
    heavy = cache / "parts" / f"real-weight-{made_from[:12]}"

    def make(scratch: Path) -> Path:
        shutil.copytree(light, scratch, dirs_exist_ok=True)
        packed = scratch / "packing"
        tools = [_ballast(deb, packed, scratch) for deb in build]
        weights = [_ballast(deb, packed, scratch, needs=tools) for deb in driver]
        for meta in scratch.glob(f"{META}_{branch}.*.deb"):
            _made_to_need(meta, weights, packed)
        shutil.rmtree(packed)
        debrepo.publish_flat(scratch, Release("NVIDIA", "NVIDIA CUDA"), key)
        return scratch

    with locked(cache, "real-weight"):
        ensure_built(heavy, made_from, make)
    repository.unlink()
    repository.symlink_to(heavy)


def _ballast(deb: Path, scratch: Path, out: Path, needs: Sequence[str] = ()) -> str:
    """A package with the very archive of files that another has; returns its name."""
    package = deb.name.partition("_")[0]
    name = f"ballast-of-{package}"
    folder = scratch / name
    folder.mkdir(parents=True)
    run(["ar", "x", "--output", folder, deb], purpose=f"Unpacking {deb.name}")
    (data,) = folder.glob("data.tar*")
    depends = f"Depends: {', '.join(needs)}\n" if needs else ""
    control = _CONTROL.format(name=name, maintainer=MAINTAINER, depends=depends, deb=deb.name)
    scripts = {"postinst": _COMPILE} if package == MODULES else {}
    described = _described(folder, {"control": control, **scripts})
    made = out / f"{name}_1_amd64.deb"
    # In this order, or dpkg-deb does not take it for a package.
    run(["ar", "rcD", made, folder / "debian-binary", described, data], purpose=f"Packing {made}")
    shutil.rmtree(folder)
    return name


def _described(folder: Path, texts: dict[str, str]) -> Path:
    described = folder / "control.tar.gz"
    with tarfile.open(described, "w:gz") as tar:
        for name, text in texts.items():
            file = folder / name
            file.write_text(text)
            file.chmod(0o755 if text.startswith("#!") else 0o644)
            tar.add(file, f"./{name}")
    return described


def _made_to_need(deb: Path, names: Sequence[str], scratch: Path) -> None:
    tree = scratch / deb.stem
    run(["dpkg-deb", "--raw-extract", deb, tree], purpose=f"Unpacking {deb.name}")
    control = tree / "DEBIAN" / "control"
    needed = ", ".join(names)
    control.write_text(
        re.sub(r"^Depends: ", f"Depends: {needed}, ", control.read_text(), count=1, flags=re.M)
    )
    deb.unlink()  # it may be a hard link to the one in the lab's own repository
    run(["dpkg-deb", "--root-owner-group", "--build", tree, deb], purpose=f"Packing {deb.name}")
