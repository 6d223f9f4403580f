"""Logging in to a host whose key is known, and running commands there."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import paramiko
from paramiko.pkey import UnknownKeyType

from gpuhost.errors import UnreachableError, UsageError
from gpuhost.onboard import host_key
from gpuhost.onboard.host_key import HostKey, Place

COMMAND_S = 60.0
# The ones that OpenSSH tries by itself.
USUAL_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")


class LoginError(UnreachableError):
    """A host that did not let the user in."""


@dataclass(frozen=True)
class Credentials:
    """Who logs in and with what: a password, the key in a file, or whatever keys there are."""

    user: str
    key: Path | None = None
    password: str | None = None


@dataclass(frozen=True)
class Ran:
    """A command that ended on the host."""

    code: int
    stdout: str
    stderr: str

    @property
    def words(self) -> str:
        """What it said, on one line."""
        return " ".join((self.stderr.strip() or self.stdout.strip()).split())


class Session:
    """A login: ``run`` runs scripts of a POSIX shell, one after the other."""

    def __init__(self, transport: paramiko.Transport, place: Place) -> None:
        self._transport = transport
        self._place = place

    def run(self, script: str, stdin: str = "") -> Ran:
        """Run a script to its end.

        Raises:
            UnreachableError: the connection broke, or the script did not end in time.
        """
        try:
            with self._transport.open_session(timeout=COMMAND_S) as channel:
                channel.settimeout(COMMAND_S)
                # Whatever shell the user has, it hands the script to sh.
                channel.exec_command(f"sh -c {shlex.quote(script)}")
                channel.sendall(stdin.encode())
                channel.shutdown_write()
                stdout = channel.makefile("rb").read()
                stderr = channel.makefile_stderr("rb").read()
                code = channel.recv_exit_status()
        except (paramiko.SSHException, OSError, EOFError) as error:
            why = "a command did not end in time" if isinstance(error, TimeoutError) else error
            raise UnreachableError(
                f"The connection to {self._place} broke: {why or 'it was closed'}",
                "Run the same command again: it goes on from here.",
            ) from error
        return Ran(code, stdout.decode(errors="replace"), stderr.decode(errors="replace"))


@contextmanager
def login(place: Place, key: HostKey, who: Credentials) -> Iterator[Session]:
    """A login to the host, provided that it still shows ``key``.

    Raises:
        HostKeyError: it shows another key; nothing was sent.
        LoginError: it does not let the user in.
        UnreachableError: it cannot be reached.
        UsageError: the private key cannot be used.
    """
    with host_key.connected(place, (key.kind,)) as transport:
        host_key.expect(host_key.shown(transport), key.fingerprint, place)
        if who.password is not None:
            _by_password(transport, place, who.user, who.password)
        else:
            _by_key(transport, place, who)
        yield Session(transport, place)


def _by_password(transport: paramiko.Transport, place: Place, user: str, password: str) -> None:
    try:
        transport.auth_password(user, password)
    except paramiko.BadAuthenticationType as error:
        raise LoginError(
            f"{place} takes no passwords, only {' or '.join(error.allowed_types)}.",
            "Log in by key (--key FILE, or a key in the agent), or allow PasswordAuthentication "
            "in the host's sshd_config for this once.",
        ) from error
    except paramiko.AuthenticationException as error:
        raise LoginError(
            f"{place} did not let {user} in with this password.",
            "Check --user and the password, then run the same command again.",
        ) from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise _broken(place, error) from error


def _by_key(transport: paramiko.Transport, place: Place, who: Credentials) -> None:
    keys = [read_private(who.key)] if who.key else _keys_there_are()
    for key in keys:
        try:
            transport.auth_publickey(who.user, key)
        except paramiko.AuthenticationException:
            continue
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise _broken(place, error) from error
        return
    tried = f"with {who.key}" if who.key else f"with {len(keys)} keys" if keys else "without a key"
    raise LoginError(
        f"{place} did not let {who.user} in {tried}.",
        "Check --user; name a key that is allowed there (--key FILE), or log in by password "
        "once and install one: --ask-password --install-key FILE",
    )


def _broken(place: Place, error: Exception) -> UnreachableError:
    return UnreachableError(
        f"{place} hung up during the login: {error or 'without a word'}",
        "It may be barring this machine after wrong logins (fail2ban, MaxAuthTries): "
        "see journalctl -u ssh on the host.",
    )


def _keys_there_are() -> Sequence[paramiko.PKey]:
    """The agent's keys, then those that OpenSSH would look for."""
    found: list[paramiko.PKey] = list(paramiko.Agent().get_keys())
    for name in USUAL_KEYS:
        path = Path.home() / ".ssh" / name
        if path.is_file():
            try:
                found.append(read_private(path))
            except UsageError:
                continue  # protected by a passphrase: then it is for the agent
    return found


def read_private(path: Path) -> paramiko.PKey:
    """The private key in a file.

    Raises:
        UsageError: there is none that can be used without asking for a passphrase.
    """
    try:
        return paramiko.PKey.from_path(path)
    except FileNotFoundError as error:
        raise UsageError(f"There is no private key {path}.", "Correct --key.") from error
    except (paramiko.PasswordRequiredException, TypeError) as error:
        raise UsageError(
            f"The private key {path} is protected by a passphrase.",
            f"Put it into an agent (ssh-add {path}), and leave --key out.",
        ) from error
    except (paramiko.SSHException, UnknownKeyType, OSError, ValueError) as error:
        raise UsageError(
            f"The private key {path} cannot be used: {error}", "Name the private half with --key."
        ) from error
