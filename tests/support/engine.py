"""Real processes for the engine's tests: one to interrupt, and an SSH server to connect to."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from socket import create_server

import paramiko
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_SUCCEEDED,
)

WAIT_S = 30.0


def until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds; fail if it does not come to."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def processes_with(words: str) -> list[int]:
    """The processes that have the words on their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if words.encode() in path.read_bytes().replace(b"\0", b" "):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


DRIVER = """
import signal, sys
from pathlib import Path
from gpuhost import engine
from gpuhost.errors import Interrupted
from gpuhost.events import HostStarted

class Terminated(BaseException): pass
def terminate(*_): raise Terminated
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, terminate)
handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
def listen(event):
    if isinstance(event, HostStarted):
        print("started", event.task, flush=True)
try:
    engine.run(sys.argv[1], Path(sys.argv[2]), sys.argv[3:], {}, listen)
    print("finished")
except Interrupted as error:
    print("interrupted:", error.message)
except Terminated:
    print("terminated")
assert handlers == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
"""


class _Session(paramiko.ServerInterface):
    """Lets one key in and runs commands in a shell."""

    def __init__(self, key: str) -> None:
        self._key = key

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        right = username == "ops" and key.get_base64() == self._key
        return AUTH_SUCCESSFUL if right else AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        del username
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        del kind, chanid
        return OPEN_SUCCEEDED

    def check_channel_pty_request(self, channel: paramiko.Channel, *details: object) -> bool:
        del channel, details
        return True

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=self._run, args=(channel, command), daemon=True).start()
        return True

    def _run(self, channel: paramiko.Channel, command: bytes) -> None:
        done = subprocess.run(
            ["sh", "-c", command.decode()],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        channel.sendall(done.stdout)
        channel.sendall_stderr(done.stderr)
        channel.send_exit_status(done.returncode)
        channel.close()


class SshServer:
    """An SSH server on a port of this machine, with a key of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = self._make_key("host")
        self.login = self._make_key("login")
        self._socket = create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _make_key(self, name: str) -> Path:
        path = self.folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
        return path

    def _serve(self) -> None:
        key = paramiko.Ed25519Key.from_private_key_file(str(self.key))
        allowed = self.login.with_suffix(".pub").read_text().split()[1]
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(key)
            # With an event it returns at once, and a client that hangs up is no error here.
            transport.start_server(event=threading.Event(), server=self.session(allowed))

    def session(self, allowed: str) -> paramiko.ServerInterface:
        """What one connection is let do; ``allowed`` is the material of the key that opens it."""
        return _Session(allowed)

    def known_hosts(self, public_key: Path) -> Path:
        """A known_hosts file that takes this server to have ``public_key``."""
        path = self.folder / "known_hosts"
        kind, key, *_ = public_key.read_text().split()
        path.write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n")
        return path

    def inventory(self, known_hosts: Path, hosts: Mapping[str, str]) -> Path:
        """An inventory of ``hosts``, each with settings of its own, that are all this server."""
        path = self.folder / "hosts.ini"
        lines = [f"{name} {settings}\n" for name, settings in hosts.items()]
        path.write_text(
            "".join(lines) + f"[all:vars]\nansible_host=127.0.0.1\nansible_port={self.port}\n"
            f"ansible_user=ops\nansible_ssh_private_key_file={self.login}\n"
            f"ansible_ssh_common_args=-F none -o UserKnownHostsFile={known_hosts}\n"
        )
        return path

    def close(self) -> None:
        """Take no more connections."""
        self._socket.close()
