"""A host's SSH key: read before anything is trusted, compared, and pinned beside the inventory."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import paramiko

from gpuhost.errors import InventoryError, UnreachableError, UsageError
from gpuhost.onboard import files

SSH_PORT = 22
CONNECT_S = 15.0
KNOWN_HOSTS = "known_hosts"
_FINGERPRINT = re.compile(r"(?:SHA256:)?(?P<digest>[A-Za-z0-9+/]{43})=?")
# What else a server may call a key of this kind when the two sides agree on one.
_SIGNATURES = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")}


class HostKeyError(UnreachableError):
    """A host that does not show the key that it should have."""


@dataclass(frozen=True)
class Place:
    """Where a host's SSH server listens."""

    address: str
    port: int = SSH_PORT

    @property
    def spec(self) -> str:
        """How known_hosts names it."""
        return self.address if self.port == SSH_PORT else f"[{self.address}]:{self.port}"

    def __str__(self) -> str:
        return self.address if self.port == SSH_PORT else f"{self.address} port {self.port}"


@dataclass(frozen=True)
class HostKey:
    """A public key as known_hosts has it."""

    kind: str
    material: str

    @property
    def fingerprint(self) -> str:
        """Its SHA256 fingerprint, as ssh-keygen -l prints it."""
        digest = hashlib.sha256(base64.b64decode(self.material)).digest()
        return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def read(place: Place, kinds: tuple[str, ...] = ()) -> HostKey:
    """The key that the host shows; one of ``kinds`` if there are any. Nobody logs in.

    Raises:
        UnreachableError: there is no SSH server, or none that this machine can talk to.
    """
    with connected(place, kinds) as transport:
        return shown(transport)


def shown(transport: paramiko.Transport) -> HostKey:
    """The key that the other side of a connection has."""
    key = transport.get_remote_server_key()
    return HostKey(key.get_name(), key.get_base64())


@contextmanager
def connected(place: Place, kinds: tuple[str, ...] = ()) -> Iterator[paramiko.Transport]:
    """A connection to the host whose key nobody has looked at yet.

    Raises:
        UnreachableError: there is no SSH server, or none that this machine can talk to.
    """
    transport = _transport(place)
    try:
        if kinds:
            wanted = [name for kind in kinds for name in _SIGNATURES.get(kind, (kind,))]
            options = transport.get_security_options()
            options.key_types = [name for name in wanted if name in options.key_types]
        try:
            transport.start_client(timeout=CONNECT_S)
            # Where the time was up, it comes back without a word.
            shown(transport)
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise UnreachableError(
                f"{place} does not talk SSH to this machine: {error or 'it hung up'}",
                "Is it an SSH server that listens there? On the host: systemctl status ssh",
            ) from error
        yield transport
    finally:
        transport.close()


def _transport(place: Place) -> paramiko.Transport:
    try:
        connection = socket.create_connection((place.address, place.port), timeout=CONNECT_S)
    except socket.gaierror as error:
        raise UnreachableError(
            f"Nothing is known of the name {place.address}: {error.strerror}.",
            "Correct --address, or DNS.",
        ) from error
    except ConnectionRefusedError as error:
        raise UnreachableError(
            f"{place} refused the connection.",
            "The machine is up, but no SSH server listens there: check --port, and on its "
            "console: systemctl status ssh",
        ) from error
    except OSError as error:
        words = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise UnreachableError(
            f"{place} cannot be reached: {words}.",
            "Is the host powered on, --address right, and no firewall in between?",
        ) from error
    return paramiko.Transport(connection)


def check_fingerprint(text: str) -> str:
    """A fingerprint as it was typed, in the form of :attr:`HostKey.fingerprint`.

    Raises:
        UsageError: it is none.
    """
    match = _FINGERPRINT.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"--fingerprint {text}: this is no SHA256 fingerprint.",
            "On the host's console: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
        )
    return f"SHA256:{match['digest']}"


def pinned(known_hosts: Path, place: Place) -> tuple[HostKey, ...]:
    """The keys that a known_hosts file has for the host.

    Raises:
        InventoryError: the file cannot be read.
    """
    found = paramiko.HostKeys()
    if known_hosts.exists():
        try:
            found.load(str(known_hosts))
        except (OSError, ValueError, paramiko.SSHException) as error:
            raise InventoryError(f"{known_hosts} cannot be read: {error}", "Correct it.") from error
    entry = found.lookup(place.spec)
    return tuple(HostKey(kind, entry[kind].get_base64()) for kind in entry) if entry else ()


def compare(key: HostKey, known: tuple[HostKey, ...], place: Place, known_hosts: Path) -> None:
    """Raise HostKeyError unless the key is one of those that are pinned."""
    if key in known:
        return
    raise HostKeyError(
        f"The host key of {place} has changed: it shows {key.fingerprint}, and "
        f"{known_hosts} has {', '.join(one.fingerprint for one in known)}.",
        "If the host was reinstalled, forget its old key with: "
        f"ssh-keygen -f {known_hosts} -R '{place.spec}'. "
        "If it was not, somebody may be in between: do not connect.",
    )


def expect(key: HostKey, fingerprint: str, place: Place) -> None:
    """Raise HostKeyError unless the key has this fingerprint."""
    if key.fingerprint != fingerprint:
        raise HostKeyError(
            f"{place} shows the key {key.fingerprint}, not {fingerprint}. Nothing was trusted.",
            f"See which it has, on its console: ssh-keygen -lf /etc/ssh/{_file_of(key)}. "
            "If it is not the one that is shown, somebody is in between: do not connect.",
        )


def _file_of(key: HostKey) -> str:
    kind = key.kind.removeprefix("ssh-").split("-")[0]
    return f"ssh_host_{kind}_key.pub"


def pin(known_hosts: Path, place: Place, key: HostKey) -> None:
    """Add the key to a known_hosts file, whose other lines stay as they are."""
    text = known_hosts.read_text() if known_hosts.exists() else ""
    if text and not text.endswith("\n"):
        text += "\n"
    files.replace(known_hosts, f"{text}{place.spec} {key.kind} {key.material}\n")
