"""Whose key is trusted, and when."""

from __future__ import annotations

import socket
import subprocess
import threading
from pathlib import Path

import pytest
from support.login_host import LoginHost, free_port

from gpuhost.errors import ExitCode, InventoryError, UnreachableError, UsageError
from gpuhost.onboard import host_key
from gpuhost.onboard.host_key import HostKey, HostKeyError, Place


def test_a_key_has_the_fingerprint_that_openssh_prints(server: LoginHost, place: Place) -> None:
    printed = subprocess.run(
        ["ssh-keygen", "-lf", server.key], capture_output=True, text=True, check=True
    ).stdout
    assert host_key.read(place).fingerprint == printed.split()[1]


@pytest.mark.parametrize("wrong", ["", "MD5:aa:bb", "SHA256:short", "x" * 44])
def test_what_is_no_fingerprint_is_a_usage_error(wrong: str) -> None:
    with pytest.raises(UsageError, match="--fingerprint"):
        host_key.check_fingerprint(wrong)


def test_a_fingerprint_may_lack_its_prefix(place: Place) -> None:
    fingerprint = host_key.read(place).fingerprint
    assert host_key.check_fingerprint(fingerprint.removeprefix("SHA256:")) == fingerprint


def test_a_host_with_another_fingerprint_is_not_trusted(place: Place) -> None:
    key = host_key.read(place)
    other = f"SHA256:{'A' * 43}"
    with pytest.raises(HostKeyError, match="Nothing was trusted") as raised:
        host_key.expect(key, other, place)
    assert raised.value.exit_code is ExitCode.UNREACHABLE
    assert key.fingerprint in raised.value.message
    host_key.expect(key, key.fingerprint, place)


def test_a_pinned_key_is_one_that_openssh_accepts(
    server: LoginHost, place: Place, tmp_path: Path
) -> None:
    known_hosts = tmp_path / "a folder" / "known_hosts"
    known_hosts.parent.mkdir()
    known_hosts.write_text("# ours\nother.example ssh-ed25519 AAAA")
    key = host_key.read(place)
    host_key.pin(known_hosts, place, key)
    server.authorize()
    assert known_hosts.read_text().startswith("# ours\nother.example ssh-ed25519 AAAA\n[127.")
    options: list[str | Path] = [
        "-F",
        "none",
        "-i",
        server.login,
        "-o",
        f'UserKnownHostsFile="{known_hosts}"',
    ]
    strict = ["-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-p", str(place.port)]
    done = subprocess.run(
        ["ssh", *options, *strict, "ops@127.0.0.1", "true"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_pinned_key_is_found_again_and_a_changed_one_is_refused(
    place: Place, tmp_path: Path
) -> None:
    known_hosts = tmp_path / "known_hosts"
    assert host_key.pinned(known_hosts, place) == ()
    key = host_key.read(place)
    host_key.pin(known_hosts, place, key)
    assert host_key.pinned(known_hosts, place) == (key,)
    assert host_key.pinned(known_hosts, Place("127.0.0.1")) == ()
    host_key.compare(key, (key,), place, known_hosts)
    with pytest.raises(HostKeyError, match="has changed") as raised:
        host_key.compare(HostKey(key.kind, "AAAA"), (key,), place, known_hosts)
    assert f"ssh-keygen -f {known_hosts} -R '[127.0.0.1]:{place.port}'" in raised.value.remedy


def test_a_known_hosts_file_that_cannot_be_read_is_said(place: Place, tmp_path: Path) -> None:
    known_hosts = tmp_path / "known_hosts"
    known_hosts.mkdir()
    with pytest.raises(InventoryError, match="cannot be read"):
        host_key.pinned(known_hosts, place)


def test_a_host_that_refuses_is_told_from_a_name_that_is_not_known() -> None:
    with pytest.raises(UnreachableError, match="refused the connection") as refused:
        host_key.read(Place("127.0.0.1", free_port()))
    assert "--port" in refused.value.remedy
    with pytest.raises(UnreachableError, match="Nothing is known of the name"):
        host_key.read(Place("no-such-host.invalid"))


def test_a_host_that_does_not_answer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_key, "CONNECT_S", 0.2)
    # It takes the connection and never says a word.
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(UnreachableError, match="does not talk SSH"),
    ):
        host_key.read(Place("127.0.0.1", silent.getsockname()[1]))


def test_a_server_that_is_no_ssh_server_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_key, "CONNECT_S", 5.0)
    with socket.create_server(("127.0.0.1", 0)) as web:

        def answer() -> None:
            connection, _ = web.accept()
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(UnreachableError, match="does not talk SSH"):
            host_key.read(Place("127.0.0.1", web.getsockname()[1]))
