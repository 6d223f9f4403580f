"""Logging in, and what is prepared on the host before Ansible comes."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.login_host import LoginHost

from gpuhost.errors import ExitCode, UsageError
from gpuhost.onboard import access, host_key
from gpuhost.onboard.access import UnfitError
from gpuhost.onboard.host_key import HostKey, HostKeyError, Place
from gpuhost.onboard.login import Credentials, LoginError, Session, login, read_private


@pytest.fixture
def key(place: Place) -> HostKey:
    return host_key.read(place)


@pytest.fixture
def session(server: LoginHost, place: Place, key: HostKey) -> Iterator[Session]:
    with login(place, key, Credentials("ops", password=server.password)) as session:
        yield session


def test_a_password_opens_the_host_and_a_wrong_one_does_not(
    server: LoginHost, place: Place, key: HostKey
) -> None:
    with login(place, key, Credentials("ops", password=server.password)) as session:
        assert session.run("cat; echo bad >&2; exit 3", "it's in").stdout == "it's in"
        assert session.run("echo bad >&2; exit 3").words == "bad"
    with (
        pytest.raises(LoginError, match="did not let ops in with this password") as raised,
        login(place, key, Credentials("ops", password="wrong")),
    ):
        pass
    assert raised.value.exit_code is ExitCode.UNREACHABLE
    assert "wrong" not in raised.value.message


def test_a_host_that_takes_no_passwords_says_what_it_takes(
    server: LoginHost, place: Place, key: HostKey
) -> None:
    server.password = ""
    with (
        pytest.raises(LoginError, match="takes no passwords, only publickey"),
        login(place, key, Credentials("ops", password="x")),
    ):
        pass


def test_a_key_opens_the_host_once_it_is_authorised(
    server: LoginHost, place: Place, key: HostKey
) -> None:
    who = Credentials("ops", key=server.login)
    with pytest.raises(LoginError, match="did not let ops in with /"), login(place, key, who):
        pass
    server.authorize()
    with login(place, key, who) as session:
        assert session.run("echo in").stdout == "in\n"


def test_without_a_key_named_those_in_the_home_folder_are_tried(
    server: LoginHost, place: Place, key: HostKey, tmp_path: Path
) -> None:
    with pytest.raises(LoginError, match="without a key"), login(place, key, Credentials("ops")):
        pass
    server.authorize()
    folder = tmp_path / "nobody" / ".ssh"
    folder.mkdir(parents=True)
    (folder / "id_ed25519").write_text(server.login.read_text())
    with login(place, key, Credentials("ops")) as session:
        assert session.run("true").code == 0


def test_a_host_with_another_key_gets_no_password(server: LoginHost, place: Place) -> None:
    other = HostKey("ssh-ed25519", "AAAA")
    with (
        pytest.raises(HostKeyError),
        login(place, other, Credentials("ops", password=server.password)),
    ):
        pass


def test_private_keys_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    path = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", path], check=True)
    (tmp_path / "words").write_text("no key")
    for name, words in (
        ("missing", "There is no private key"),
        ("locked", "protected by a passphrase"),
        ("words", "cannot be used"),
        ("locked.pub", "cannot be used"),
    ):
        with pytest.raises(UsageError, match=words):
            read_private(tmp_path / name)


# ------------------------------------------------------------------ the key


def public(server: LoginHost) -> str:
    return access.read_public(server.login)


def test_a_key_is_installed_once(server: LoginHost, session: Session) -> None:
    assert access.install_key(session, public(server))
    assert not access.install_key(session, public(server))
    assert server.authorized_keys.read_text() == f"{public(server)}\n"
    assert stat.S_IMODE(server.authorized_keys.stat().st_mode) == 0o600
    assert stat.S_IMODE(server.authorized_keys.parent.stat().st_mode) == 0o700


def test_keys_that_are_there_stay_and_so_does_the_mode(server: LoginHost, session: Session) -> None:
    kind, material, *_ = public(server).split()
    before = f"# {kind} {material} was taken away\nssh-rsa AAAA somebody"
    server.authorized_keys.parent.mkdir(mode=0o755)
    server.authorized_keys.write_text(before)
    server.authorized_keys.chmod(0o640)
    assert access.install_key(session, public(server))
    assert server.authorized_keys.read_text() == f"{before}\n{public(server)}\n"
    assert stat.S_IMODE(server.authorized_keys.stat().st_mode) == 0o640


def test_a_key_with_options_is_there_already(server: LoginHost, session: Session) -> None:
    server.authorized_keys.parent.mkdir()
    server.authorized_keys.write_text(f'from="192.0.2.*" {public(server)}\n')
    assert not access.install_key(session, public(server))


def test_a_home_that_cannot_be_written_is_said(server: LoginHost, session: Session) -> None:
    server.authorized_keys.parent.write_text("a file, and no folder")
    with pytest.raises(UnfitError, match="could not be installed"):
        access.install_key(session, public(server))


def test_only_public_keys_can_be_installed(server: LoginHost, tmp_path: Path) -> None:
    assert public(server) == access.read_public(server.login.with_suffix(".pub"))
    (tmp_path / "private.pub").write_text(server.login.read_text())
    (tmp_path / "other.pub").write_text("ssh-rsa AAAAC3NzaC1lZDI1NTE5 of another kind")
    for name in ("missing", "private.pub", "other.pub"):
        with pytest.raises(UsageError, match="--install-key"):
            access.read_public(tmp_path / name)


# ------------------------------------------------------------------ sudo and Python


def not_root(server: LoginHost) -> None:
    server.program("id", "echo 1000")


def test_root_needs_no_sudo(server: LoginHost, session: Session) -> None:
    server.program("id", "echo 0")
    assert access.has_sudo(session, "root")


def test_sudo_is_told_from_sudo_that_asks_and_from_none(
    server: LoginHost, session: Session
) -> None:
    not_root(server)
    with pytest.raises(UnfitError, match="There is no sudo"):
        access.has_sudo(session, "ops")
    server.program("sudo", "exit 1")
    assert not access.has_sudo(session, "ops")
    server.program("sudo", 'echo "a banner"; [ "$1" = -n ] && shift; exec "$@"')
    server.program("true", ":")
    assert access.has_sudo(session, "ops")


def test_a_sudo_that_refuses_the_password_is_said(server: LoginHost, session: Session) -> None:
    server.program("sudo", 'read -r word; echo "sudo: 1 incorrect password attempt" >&2; exit 1')
    with pytest.raises(UnfitError, match="1 incorrect password attempt"):
        access.allow_sudo(session, "ops", "secret")


def test_the_file_that_allows_sudo_has_a_name_that_sudo_reads() -> None:
    assert access.sudoers("jane.doe~") == "/etc/sudoers.d/gpuhost-jane_doe_"


def test_the_first_python_that_is_new_enough_counts(session: Session) -> None:
    assert tuple(map(int, access.python_version(session).split("."))) >= (3, 9)


@pytest.mark.parametrize(
    ("versions", "words"),
    [({}, "There is no Python"), ({"python3": "3.6.8"}, "is 3.6.8, and 3.9 is needed")],
)
def test_a_python_that_is_missing_or_old_is_said(
    server: LoginHost,
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    versions: dict[str, str],
    words: str,
) -> None:
    monkeypatch.setattr(access, "_PYTHON", access._PYTHON.replace("/usr/bin/python3 ", ""))
    for name, version in versions.items():
        server.program(name, f"echo {version}")
    with pytest.raises(UnfitError, match=words) as raised:
        access.python_version(session)
    assert raised.value.exit_code is ExitCode.FAILED
    assert "apt-get install python3" in raised.value.remedy
