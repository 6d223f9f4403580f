"""Signed apt repositories out of folders of .deb files.

Two layouts, as vendors use them:

* flat: packages and index side by side; ``deb [signed-by=…] URL/ /``. NVIDIA's
  CUDA and container-toolkit repositories are made so.
* dists: ``dists/<codename>/<component>/binary-<arch>/Packages`` with a pool of
  packages elsewhere under the same root; ``deb [signed-by=…] URL codename
  component``. Docker's and Debian's repositories are made so.
"""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gpuhost.mirror.signing import SigningKey, clear_sign, sign_detached
from gpuhost.programs import run

_REMEDY = "Run: apt-get install apt-utils"


@dataclass(frozen=True)
class Release:
    """What a repository says about itself in its Release file.

    ``codename`` and ``component`` name folders in the dists layout; a flat
    repository has neither unless it wants to be pinned by codename.
    """

    origin: str
    label: str
    codename: str = ""
    component: str = ""
    architecture: str = "amd64"


def place(packages: Iterable[Path], folder: Path) -> None:
    """Put package files into a folder, as hard links where the file system allows it."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in packages:
        target = folder / package.name
        target.unlink(missing_ok=True)
        try:
            os.link(package, target)
        except OSError:
            shutil.copy2(package, target)


def publish_flat(root: Path, release: Release, key: SigningKey) -> None:
    """Index and sign the .deb files that lie in ``root``, all versions of them."""
    _write_index(root, Path(), root)
    _write_release(root, release, key)


def publish_dists(root: Path, pool: Path, release: Release, key: SigningKey) -> None:
    """Index and sign the .deb files below ``root/pool`` under the release's codename.

    ``pool`` is relative to ``root``.
    """
    dist = root / "dists" / release.codename
    index = dist / release.component / f"binary-{release.architecture}"
    index.mkdir(parents=True, exist_ok=True)
    _write_index(root, pool, index)
    _write_release(dist, release, key)


def _write_index(root: Path, packages: Path, folder: Path) -> None:
    options = ["MD5", "SHA1", "SHA512"]
    listing = run(
        [
            "apt-ftparchive",
            *(word for name in options for word in ("-o", f"APT::FTPArchive::{name}=false")),
            "packages",
            packages,
        ],
        purpose=f"Indexing the packages in {root / packages}",
        remedy=_REMEDY,
        cwd=root,
    )
    text = listing.replace("\nFilename: ./", "\nFilename: ")
    (folder / "Packages").write_text(text)
    with gzip.GzipFile(folder / "Packages.gz", "wb", compresslevel=6, mtime=0) as stream:
        stream.write(text.encode())


def _write_release(folder: Path, release: Release, key: SigningKey) -> None:
    fields = {
        "Origin": release.origin,
        "Label": release.label,
        "Suite": release.codename,
        "Codename": release.codename,
        "Components": release.component,
        "Architectures": release.architecture,
    }
    options = [
        word
        for name, value in fields.items()
        if value
        for word in ("-o", f"APT::FTPArchive::Release::{name}={value}")
    ]
    # Before the description, or they would be described in it.
    for stale in ("Release", "Release.gpg", "InRelease"):
        (folder / stale).unlink(missing_ok=True)
    text = run(
        ["apt-ftparchive", *options, "release", "."],
        purpose=f"Describing the repository {folder}",
        remedy=_REMEDY,
        cwd=folder,
    )
    (folder / "Release").write_text(text)
    clear_sign(folder / "Release", folder / "InRelease", key)
    sign_detached(folder / "Release", folder / "Release.gpg", key)
