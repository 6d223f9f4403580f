"""The signing keys of package repositories, told by their fingerprints; changes nothing."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from .openpgp_armour import ArmourError, dearmour, enarmour, is_armoured
from .texts import differs_in_mode

FOLDERS = ("/etc/apt/keyrings", "/etc/pki/rpm-gpg")
MODE = 0o644


class KeyRefusedError(Exception):
    """A key that must not be installed; the message says why."""


def normalized(fingerprint: str) -> str:
    """A fingerprint without spaces and ``0x``, in capitals."""
    return fingerprint.replace(" ", "").upper().replace("0X", "", 1)


def primary_fingerprints(listing: str) -> list[str]:
    """Fingerprints of the primary keys in the output of ``gpg --show-keys --with-colons``."""
    found = []
    in_primary_key = False
    for line in listing.splitlines():
        fields = line.split(":")
        if fields[0] in ("pub", "sub"):
            in_primary_key = fields[0] == "pub"
        elif fields[0] == "fpr" and in_primary_key:
            found.append(fields[9])
            in_primary_key = False
    return found


def has_expired(listing: str) -> bool:
    """Whether a primary key in such an output has expired."""
    return any(line.startswith("pub:e:") for line in listing.splitlines())


def fingerprints(key: bytes) -> list[str]:
    """Fingerprints of the primary keys in ``key`` (bytes), none of which has expired."""
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            ["gpg", "--homedir", home, "--batch", "--with-colons", "--show-keys"],
            input=dearmour(key),
            capture_output=True,
            check=False,
        )
    listing = done.stdout.decode(errors="replace")
    found = primary_fingerprints(listing)
    if not found:
        words = done.stderr.decode(errors="replace").strip()
        raise KeyRefusedError(f"it holds no OpenPGP public key ({words or 'gpg found none'})")
    if has_expired(listing):
        raise KeyRefusedError(f"it has expired ({' and '.join(found)})")
    return found


def check(key: bytes, expected: str) -> None:
    """Raise :class:`KeyRefusedError` unless ``expected`` is the only primary key in ``key``."""
    try:
        found = fingerprints(key)
    except ArmourError as error:
        raise KeyRefusedError(str(error)) from error
    if not expected:
        raise KeyRefusedError(
            f"no fingerprint is declared for it. It has {' and '.join(found)}: compare that with "
            "what the publisher says and declare it"
        )
    if set(found) != {expected}:
        raise KeyRefusedError(
            f"its fingerprint is {' and '.join(found)}, and {expected} was expected"
        )


def as_installed(key: bytes, dest: str) -> bytes:
    """``key`` in the form that the name of ``dest`` asks for."""
    return dearmour(key) if Path(dest).suffix == ".gpg" else enarmour(key)


def look(path: Path) -> dict[str, Any]:
    """A key file as it is: its fingerprints, and what is wrong with it (empty if nothing)."""
    found = {"path": str(path), "fingerprints": [], "problem": ""}
    key = path.read_bytes()
    try:
        found["fingerprints"] = sorted(set(fingerprints(key)))
    except (KeyRefusedError, ArmourError) as error:
        found["problem"] = str(error)
    if differs_in_mode(path, MODE):
        found["problem"] = "its mode is not that of a file for everybody to read"
    elif is_armoured(key) != (path.suffix != ".gpg"):
        found["problem"] = "it is not in the form that its name promises"
    return found


def installed() -> list[dict[str, Any]]:
    """Every key file in the folders that repositories take theirs from."""
    paths = [path for folder in FOLDERS for path in sorted(Path(folder).glob("*"))]
    return [look(path) for path in paths if path.is_file()]


def is_installed(dest: str, expected: str) -> bool:
    """Whether ``dest`` holds the expected key, in the right form and readable."""
    path = Path(dest)
    if not path.is_file():
        return False
    found = look(path)
    return not found["problem"] and found["fingerprints"] == [expected]
