"""A host to log in to, played in this process: its home, its password and its programs are ours."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from socket import create_server

import paramiko
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL, OPEN_SUCCEEDED
from support.engine import SshServer

# What a script of ours may need; whatever else a test's host has, the test puts there.
PROGRAMS = ("sh", "cat", "cut", "grep", "mkdir", "tail", "id", "mktemp", "rm", "install")


class _Login(paramiko.ServerInterface):
    """Lets in who has the password or a key of authorized_keys; runs commands in the home."""

    def __init__(self, host: LoginHost) -> None:
        self._host = host

    def get_allowed_auths(self, username: str) -> str:
        del username
        return "publickey,password" if self._host.password else "publickey"

    def check_auth_password(self, username: str, password: str) -> int:
        right = username == "ops" and password == self._host.password
        return AUTH_SUCCESSFUL if right else AUTH_FAILED

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        path = self._host.authorized_keys
        allowed = path.read_text() if path.exists() else ""
        right = username == "ops" and key.get_base64() in allowed
        return AUTH_SUCCESSFUL if right else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        del kind, chanid
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=self._run, args=(channel, command), daemon=True).start()
        return True

    def _run(self, channel: paramiko.Channel, command: bytes) -> None:
        done = subprocess.run(
            ["/bin/sh", "-c", command.decode()],
            input=channel.makefile("rb").read(),
            env={"HOME": str(self._host.home), "PATH": str(self._host.programs)},
            cwd=self._host.home,
            capture_output=True,
            check=False,
        )
        channel.sendall(done.stdout)
        channel.sendall_stderr(done.stderr)
        channel.send_exit_status(done.returncode)
        channel.close()


class LoginHost(SshServer):
    """An SSH server whose user ops has a home and programs in a folder of the test."""

    def __init__(self, folder: Path) -> None:
        self.password = "open sesame"
        self.home = folder / "home"
        self.home.mkdir()
        self.programs = folder / "programs"
        self.programs.mkdir()
        for name in PROGRAMS:
            path = next(p for p in (Path("/bin"), Path("/usr/bin")) if (p / name).exists())
            (self.programs / name).symlink_to(path / name)
        super().__init__(folder)

    @property
    def authorized_keys(self) -> Path:
        return self.home / ".ssh" / "authorized_keys"

    def session(self, allowed: str) -> paramiko.ServerInterface:
        del allowed
        return _Login(self)

    def program(self, name: str, script: str) -> None:
        """Give the host a program, in place of the one it has."""
        path = self.programs / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def authorize(self) -> None:
        """Let the login key in."""
        self.authorized_keys.parent.mkdir(mode=0o700)
        self.authorized_keys.write_text(self.login.with_suffix(".pub").read_text())


def free_port() -> int:
    """A port on which nothing listens."""
    with create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
