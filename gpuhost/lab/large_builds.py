"""Building the lab's large images, out of Debian's packages and PyPI's."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gpuhost.lab import images
from gpuhost.lab.commands import run
from gpuhost.lab.debian import Archive
from gpuhost.lab.images import BASE_PACKAGES, PYTHON_PACKAGES, SUITE, Layer
from gpuhost.lab.keyed import ensure_built, key_of
from gpuhost.lab.large_images import LARGE_IMAGES, PYTHON_FOLDER, LargeImage

EVERYBODY = 0o777

Progress = Callable[[str], None]


def ensure(cache: Path, name: str, progress: Progress) -> None:
    """Add the image to what :func:`images.ensure` made.

    A registry that serves the folder has it from then on. One to three minutes
    on two cores, once.
    """
    large, storage = LARGE_IMAGES[name], images.ensure(cache, progress)

    def build(scratch: Path) -> Path:
        progress(f"Building the lab's large image {name}")
        layout = scratch / "layout"
        layout.mkdir()
        layers = [*images.layers(cache, scratch), _layer(cache, scratch, large)]
        images.write_images(layout, [large.image], layers)
        images.publish([large.image], layout, storage, scratch)
        shutil.rmtree(layout)
        return scratch

    # Where the files lie on this machine is of no matter.
    words = repr((replace(large, files={}), sorted(large.files)))
    key = key_of(images.key(), Path(__file__), words, *large.files.values())
    ensure_built(storage.parent / f"large-{name}", key, build)


def _layer(cache: Path, scratch: Path, large: LargeImage) -> Layer:
    """What the image has on top of the base system and Python."""
    root = scratch / "large"
    archive = Archive(cache, SUITE)
    below = {deb.name for deb in archive.collect((*BASE_PACKAGES, *PYTHON_PACKAGES))}
    for deb in archive.collect((*BASE_PACKAGES, *large.packages)):
        if deb.name not in below:
            images.unpack(deb, root)
    _link_alternatives(root)
    images.thin_out(root)
    _install(cache, root, large)
    for place, file in large.files.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, root / place)
    for place, target in large.links.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).unlink(missing_ok=True)
        (root / place).symlink_to(target)
    for place in large.writable:
        (root / place).mkdir(parents=True, exist_ok=True)
        (root / place).chmod(EVERYBODY)
    return images.layer(scratch / "layout", root)


def _link_alternatives(root: Path) -> None:
    """What update-alternatives would do, had the packages been configured."""
    libraries = root / "usr/lib/x86_64-linux-gnu"
    for library in ("libblas.so.3", "liblapack.so.3", "libopenblas.so.0"):
        for provider in sorted(libraries.glob(f"openblas-*/{library}")):
            (libraries / library).symlink_to(provider.relative_to(libraries))


def _install(cache: Path, root: Path, large: LargeImage) -> None:
    """PyPI's packages, for the Python of the image."""
    if not large.wheels:
        return
    wheels = cache / "wheels"
    wheels.mkdir(exist_ok=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    target = ["--no-deps", "--python-version", "3.13", "--only-binary", ":all:"]
    run(
        [*pip, "download", *target, "--dest", str(wheels), *large.wheels],
        purpose=f"Downloading {', '.join(large.wheels)}",
        remedy="Check this machine's pip and network: pip download torchserve",
    )
    source = ["--no-index", "--find-links", str(wheels), "--no-compile"]
    run(
        [*pip, "install", *target, *source, "--target", str(root / PYTHON_FOLDER), *large.wheels],
        purpose=f"Installing {', '.join(large.wheels)}",
    )
    place_programs(root)


def place_programs(root: Path) -> None:
    """The packages' commands, run by the image's Python and not by the one that installed them."""
    programs = root / "usr/local/bin"
    programs.mkdir(parents=True, exist_ok=True)
    for script in sorted((root / PYTHON_FOLDER / "bin").glob("*")):
        _, _, rest = script.read_text().partition("\n")
        (programs / script.name).write_text(f"#!/usr/bin/python3\n{rest}")
        (programs / script.name).chmod(0o755)
    shutil.rmtree(root / PYTHON_FOLDER / "bin", ignore_errors=True)
