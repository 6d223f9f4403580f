"""SSH keys of the lab: made here before a host boots, so that none is ever trusted on sight."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path

from gpuhost.lab.commands import run
from gpuhost.lab.state import HostRecord

HOST_KEY = "ssh_host_ed25519_key"


def operator_key(state: Path) -> Path:
    """The private key that opens every host to the operator."""
    return _ensure(state / "keys" / "ops", comment="ops@gpuhost-lab")


def host_key(record: HostRecord) -> Path:
    """The private key that proves a host to be that host."""
    return _ensure(record.part(HOST_KEY), comment=f"root@{record.name}")


def password(record: HostRecord) -> str:
    """The operator's password on a host that was left as an installer leaves it."""
    path = record.part("password")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(4))
    return path.read_text()


def public_half(key: Path) -> Path:
    """The public file that belongs to a private key."""
    return key.with_name(f"{key.name}.pub")


def known_hosts(records: Iterable[HostRecord]) -> str:
    """A ``known_hosts`` file that names each host by its name and its address."""
    return "".join(
        f"{record.name},{record.address} {_public(host_key(record))}\n" for record in records
    )


def strict_options(known_hosts: Path) -> list[str]:
    """Options with which ssh connects to a host only if its key is in this file."""
    return [
        "-o",
        f'UserKnownHostsFile="{known_hosts}"',
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        "IdentitiesOnly=yes",
    ]


def _public(key: Path) -> str:
    kind, material, *_ = public_half(key).read_text().split()
    return f"{kind} {material}"


def _ensure(key: Path, comment: str) -> Path:
    if not public_half(key).exists():
        key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        key.unlink(missing_ok=True)
        run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", key],
            purpose=f"Making the SSH key {key}",
        )
    return key
