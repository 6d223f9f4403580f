"""What makes a bare root file system one particular host: written before its first boot."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpuhost.lab import keys
from gpuhost.lab.base import OPERATOR, write
from gpuhost.lab.commands import run
from gpuhost.lab.settings import PREFIX_LENGTH
from gpuhost.lab.state import HostRecord

CA_NAME = "gpuhost-lab"

# The name sorts before systemd's own 80-container-host0.network, which would win otherwise.
_NETWORK = """\
[Match]
Name=host0

[Network]
Address={address}/{prefix}
LinkLocalAddressing=no
"""

_HOSTS = """\
127.0.0.1 localhost
127.0.1.1 {name}
::1 localhost ip6-localhost ip6-loopback
{servers}
"""


# Of each setting sshd takes the first, and this file's name sorts before the base's.
_SSHD_AS_INSTALLED = """\
PasswordAuthentication yes
AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/lab-keys/%u
"""


@dataclass(frozen=True)
class Servers:
    """What a host knows of the lab's servers.

    ``names`` resolve to ``address``; ``ca`` is the certificate (PEM) that they
    are proven by; ``package_sources`` are the files, by path, that say where the
    host's own packages come from.
    """

    address: str
    names: Sequence[str]
    ca: Path
    package_sources: Mapping[str, str]


def furnish(record: HostRecord, servers: Servers, operator_key: Path) -> None:
    """Give the host's mounted root its name, address, keys, package source and trust."""
    root = record.part("root")
    for name, text in _identity(record, servers).items():
        write(root / name, text)
    _install_host_key(record, root)
    if record.listed:
        _let_in(root, operator_key)
    else:
        _let_in_as_installed(record, root, operator_key)
    for name, text in servers.package_sources.items():
        write(root / name, text)
    trust(root, servers.ca)


def _identity(record: HostRecord, servers: Servers) -> dict[str, str]:
    names = f"{servers.address} {' '.join(servers.names)}"
    return {
        "etc/hostname": f"{record.name}\n",
        "etc/hosts": _HOSTS.format(name=record.name, servers=names),
        "etc/machine-id": f"{uuid.uuid4().hex}\n",
        "etc/systemd/network/10-lab.network": _NETWORK.format(
            address=record.address, prefix=PREFIX_LENGTH
        ),
    }


def _install_host_key(record: HostRecord, root: Path) -> None:
    private = keys.host_key(record)
    for source, mode in ((private, 0o600), (keys.public_half(private), 0o644)):
        write(root / "etc" / "ssh" / source.name, source.read_text(), mode)


def _let_in(root: Path, operator_key: Path) -> None:
    """Let the operator in by key, as on a host that is in the inventory."""
    home = root / "home" / OPERATOR
    owner = home.stat()
    authorized = home / ".ssh" / "authorized_keys"
    write(authorized, keys.public_half(operator_key).read_text(), 0o600)
    authorized.parent.chmod(0o700)
    for path in (authorized.parent, authorized):
        os.chown(path, owner.st_uid, owner.st_gid)


def _let_in_as_installed(record: HostRecord, root: Path, operator_key: Path) -> None:
    """Let the operator in by password, as an installer leaves a host.

    The lab's own key is no user's: it opens the host as its console would.
    """
    write(root / "etc/ssh/sshd_config.d/00-gpuhost-lab-password.conf", _SSHD_AS_INSTALLED)
    write(root / "etc/ssh/lab-keys" / OPERATOR, keys.public_half(operator_key).read_text())
    run(
        ["chroot", root, "chpasswd"],
        purpose=f"Setting the password of {OPERATOR} on {record.name}",
        stdin=f"{OPERATOR}:{keys.password(record)}\n",
    )


def trust(root: Path, ca: Path) -> None:
    """Have the root's programs trust a certificate authority.

    This does by hand what update-ca-certificates would take a second for; a
    later run of that program comes to the same.
    """
    source = root / "usr/local/share/ca-certificates" / f"{CA_NAME}.crt"
    write(source, ca.read_text())
    certificates = root / "etc" / "ssl" / "certs"
    bundle = certificates / "ca-certificates.crt"
    write(bundle, bundle.read_text() + ca.read_text())
    subject = run(
        ["openssl", "x509", "-noout", "-subject_hash", "-in", ca],
        purpose="Reading the lab's certificate authority",
    ).strip()
    for link, target in (
        (f"{CA_NAME}.pem", f"/usr/local/share/ca-certificates/{CA_NAME}.crt"),
        (f"{subject}.0", f"{CA_NAME}.pem"),
    ):
        (certificates / link).unlink(missing_ok=True)
        (certificates / link).symlink_to(target)


def make_folders(record: HostRecord) -> None:
    """Make the folders that the host's file systems lie in."""
    Path(record.folder).mkdir(parents=True, exist_ok=True, mode=0o700)
    for part in ("root", "upper", "work", "docker", "containerd"):
        record.part(part).mkdir(exist_ok=True)
    # An overlay's root has the mode of its upper folder.
    shutil.copymode(record.base, record.part("upper"))
