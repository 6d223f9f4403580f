"""The keys that repositories are signed with, and signing with them.

A key is made at its first use and kept in two files of a folder of the
caller's (the secret one readable by its owner only). gpg never touches the
caller's own keyring: it works in a throw-away home.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gpuhost.errors import MirrorError
from gpuhost.programs import run

_REMEDY = "Run: apt-get install gnupg"
_GPG = ("gpg", "--batch", "--no-tty", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "")


@dataclass(frozen=True)
class SigningKey:
    """A repository's key: its 40-digit fingerprint and its two armoured files."""

    fingerprint: str
    public: Path
    secret: Path


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
    raise MirrorError(f"{public} holds no key.", f"Remove {public.parent} to have new keys made.")


def clear_sign(file: Path, output: Path, key: SigningKey) -> None:
    """Write ``output``: the text of ``file`` with its signature around it."""
    _sign(["--clearsign"], file, output, key)


def sign_detached(file: Path, output: Path, key: SigningKey) -> None:
    """Write ``output``: the armoured signature of ``file``, by itself."""
    _sign(["--armor", "--detach-sign"], file, output, key)


def _sign(how: list[str], file: Path, output: Path, key: SigningKey) -> None:
    output.unlink(missing_ok=True)
    with gpg_home(key.secret) as gpg:
        signer = [*gpg, "--local-user", key.fingerprint, "--digest-algo", "SHA256"]
        run([*signer, "--output", output, *how, file], purpose=f"Signing {file}", remedy=_REMEDY)


def _make_key(name: str, public: Path, secret: Path) -> None:
    purpose = f"Making the signing key {name}"
    with gpg_home() as gpg:
        run(
            # RSA, because RHEL 8's rpm knows nothing newer.
            [*gpg, "--quick-generate-key", f"{name} (gpuhost)", "rsa3072", "sign", "never"],
            purpose=purpose,
            remedy=_REMEDY,
        )
        secret.touch(mode=0o600)
        secret.write_text(run([*gpg, "--armor", "--export-secret-keys"], purpose=purpose))
        public.write_text(run([*gpg, "--armor", "--export"], purpose=purpose))


@contextmanager
def gpg_home(secret: Path | None = None) -> Iterator[tuple[str, ...]]:
    """The words that a command of gpg begins with, in a home that holds nothing but ``secret``."""
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
