"""Signed apt repositories out of folders of .deb files.

Two layouts, as vendors use them:

* flat: packages and index side by side; ``deb [signed-by=…] URL/ /``. NVIDIA's
  CUDA and container-toolkit repositories are made so.
* dists: ``dists/<codename>/<component>/binary-<arch>/Packages`` with a pool of
  packages elsewhere under the same root; ``deb [signed-by=…] URL codename
  component``. Docker's and Debian's repositories are made so.

Each repository is signed with a key that is made at its first use and kept in
two files of a folder of the caller's (the secret one readable by its owner
only). gpg never touches the caller's own keyring: it works in a throw-away home.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gpuhost.errors import LabError
from gpuhost.lab.commands import run

_REMEDY = "Run: apt-get install apt-utils gnupg"
_GPG = ("gpg", "--batch", "--no-tty", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "")


@dataclass(frozen=True)
class SigningKey:
    """A repository's key: its 40-digit fingerprint and its two armoured files."""

    fingerprint: str
    public: Path
    secret: Path


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


def signing_key(folder: Path, name: str) -> SigningKey:
    """The key called ``name`` in ``folder``, made there at its first use."""
    public, secret = folder / f"{name}.asc", folder / f"{name}.secret.asc"
    if not (public.exists() and secret.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        _make_key(name, public, secret)
    return SigningKey(fingerprint_of(public), public, secret)


def fingerprint_of(public: Path) -> str:
    """The fingerprint of the primary key in an armoured key file."""
    listing = run(
        [*_GPG, "--show-keys", "--with-colons", public],
        purpose=f"Reading the key {public}",
        remedy=_REMEDY,
    )
    for line in listing.splitlines():
        record, *fields = line.split(":")
        if record == "fpr":
            return fields[8]
    raise LabError(f"{public} holds no key.", f"Remove {public.parent} to have new keys made.")


def place(packages: Iterable[Path], folder: Path) -> None:
    """Put package files into a folder, as hard links where the file system allows it."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in packages:
        target = folder / package.name
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
    for stale in ("Release", "Release.gpg", "InRelease"):
        (folder / stale).unlink(missing_ok=True)
    text = run(
        ["apt-ftparchive", *options, "release", "."],
        purpose=f"Describing the repository {folder}",
        remedy=_REMEDY,
        cwd=folder,
    )
    (folder / "Release").write_text(text)
    with _home(key.secret) as gpg:
        signer = [*gpg, "--local-user", key.fingerprint, "--digest-algo", "SHA256"]
        sign = {"InRelease": ["--clearsign"], "Release.gpg": ["--armor", "--detach-sign"]}
        for name, how in sign.items():
            run(
                [*signer, "--output", folder / name, *how, folder / "Release"],
                purpose=f"Signing the repository {folder}",
                remedy=_REMEDY,
            )


def _make_key(name: str, public: Path, secret: Path) -> None:
    purpose = f"Making the signing key {name}"
    with _home() as gpg:
        run(
            [*gpg, "--quick-generate-key", f"{name} (gpuhost)", "ed25519", "sign", "never"],
            purpose=purpose,
            remedy=_REMEDY,
        )
        secret.touch(mode=0o600)
        secret.write_text(run([*gpg, "--armor", "--export-secret-keys"], purpose=purpose))
        public.write_text(run([*gpg, "--armor", "--export"], purpose=purpose))


@contextmanager
def _home(secret: Path | None = None) -> Iterator[tuple[str, ...]]:
    # A short path of its own: gpg's agent listens on a socket in it, and those are limited
    # to 108 characters.
    with tempfile.TemporaryDirectory(prefix="gpuhost-gpg-") as home:
        gpg = (*_GPG, "--homedir", home)
        try:
            if secret:
                run([*gpg, "--import", secret], purpose=f"Reading {secret}", remedy=_REMEDY)
            yield gpg
        finally:
            run(
                ["gpgconf", "--homedir", home, "--kill", "all"],
                purpose="Ending gpg's agent",
                remedy=_REMEDY,
            )
