"""Signed repositories for dnf out of folders of .rpm files.

Packages and ``repodata`` lie under one root; ``baseurl=URL``. The packages are
signed (``gpgcheck=1``), and so is the index (``repo_gpgcheck=1``): vendors do
the one or the other, so a mirror does both.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gpuhost.mirror.signing import SigningKey, gpg_home, sign_detached
from gpuhost.programs import run

_REMEDY = "Run: apt-get install rpm createrepo-c"


def sign_packages(packages: Sequence[Path], key: SigningKey) -> None:
    """Sign .rpm files in place, instead of whoever signed them before."""
    if not packages:
        return
    with gpg_home(key.secret) as gpg:
        home = gpg[gpg.index("--homedir") + 1]
        options = {"_gpg_name": key.fingerprint, "_gpg_path": home, "__gpg": "/usr/bin/gpg"}
        words = [w for name, value in options.items() for w in ("--define", f"{name} {value}")]
        run(
            ["rpmsign", *words, "--resign", *packages],
            purpose=f"Signing {packages[0].name} and others",
            remedy=_REMEDY,
        )


def check_packages(packages: Sequence[Path], key: Path) -> None:
    """Raise ProgramError unless the key has signed every one of these .rpm files."""
    with tempfile.TemporaryDirectory(prefix="gpuhost-rpm-") as database:
        rpmkeys = ["rpmkeys", "--dbpath", database]
        run([*rpmkeys, "--import", key], purpose=f"Reading {key}", remedy=_REMEDY)
        run(
            [*rpmkeys, "--define", "_pkgverify_level all", "--checksig", *packages],
            purpose=f"Verifying the signatures of {packages[0].name} and others",
            remedy="The packages are not what the repository's key vouches for: do not use them.",
        )


def publish(root: Path, key: SigningKey, modules: str = "") -> None:
    """Index and sign the .rpm files below ``root``.

    ``modules`` is the YAML of the repository's modules (streams), if it has any.
    """
    shutil.rmtree(root / "repodata", ignore_errors=True)
    root.mkdir(parents=True, exist_ok=True)
    run(
        ["createrepo_c", "--quiet", "--general-compress-type=gz", root],
        purpose=f"Indexing the packages in {root}",
        remedy=_REMEDY,
    )
    repodata = root / "repodata"
    if modules:
        file = root / "modules.yaml"
        file.write_text(modules)
        run(
            ["modifyrepo_c", "--mdtype=modules", file, repodata],
            purpose=f"Adding the modules of {root}",
            remedy=_REMEDY,
        )
        file.unlink()
    sign_detached(repodata / "repomd.xml", repodata / "repomd.xml.asc", key)
    shutil.copy(key.public, repodata / "repomd.xml.key")
