"""``gpuhost docker``: the command line that reaches a host's docker."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuhost import cli
from gpuhost.errors import ExitCode, UsageError
from gpuhost.remote_docker import SCRIPT, command

HOST = {
    "ansible_user": "operator",
    "ansible_port": 2222,
    "ansible_ssh_private_key_file": "/keys/id",
    "ansible_ssh_common_args": "-o ProxyJump=bastion -o 'UserKnownHostsFile=/a b'",
}
INVENTORY = "gpu:\n  hosts:\n    a: {ansible_host: 10.0.0.1, ansible_user: op}\n    b:\n"
words = st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8")))


def test_it_logs_in_as_ansible_would() -> None:
    argv = command("10.0.0.1", HOST, ["ps", "-a"], terminal=False)
    assert argv[:-1] == [
        *["ssh", "-o", "ProxyJump=bastion", "-o", "UserKnownHostsFile=/a b"],
        *["-p", "2222", "-l", "operator", "-i", "/keys/id", "-T", "10.0.0.1"],
    ]


def test_a_terminal_here_is_one_there() -> None:
    assert "-t" in command("10.0.0.1", {}, ["exec", "-it", "x", "bash"], terminal=True)


@given(words)
def test_every_argument_reaches_docker_as_it_is(arguments: list[str]) -> None:
    (*_, remote) = command("host", {}, arguments, terminal=False)
    assert shlex.split(remote) == ["sh", "-c", SCRIPT, "docker", *arguments]


def test_the_login_shell_keeps_quotes_newlines_and_dollars(tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\nfor word; do printf "<%s>" "$word"; done\n')
    docker.chmod(0o755)
    (tmp_path / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
    (tmp_path / "sudo").chmod(0o755)
    (*_, remote) = command("host", {}, ["a b", "$HOME", "'", 'x"\n;y'], terminal=False)
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    said = subprocess.run(
        ["sh", "-c", remote], env=path, capture_output=True, text=True, check=True
    ).stdout
    assert said == "<a b><$HOME><'><x\"\n;y>"


def test_this_machine_needs_no_ssh() -> None:
    argv = command("here", {"ansible_connection": "local"}, ["ps"], terminal=True)
    assert argv == ["sh", "-c", SCRIPT, "docker", "ps"]


def test_other_connections_are_refused() -> None:
    with pytest.raises(UsageError, match="winrm"):
        command("here", {"ansible_connection": "winrm"}, ["ps"], terminal=True)


def run(*arguments: str, inventory: Path) -> ExitCode:
    return cli.run(["docker", "-i", str(inventory), *arguments])


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    path = tmp_path / "hosts.yml"
    path.write_text(INVENTORY)
    return path


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The programs that would have taken gpuhost's place."""
    programs: list[list[str]] = []
    monkeypatch.setattr("os.execvp", lambda _program, argv: programs.append(argv))
    return programs


@pytest.mark.parametrize("dashes", [("--",), ()])
def test_what_follows_the_host_is_dockers(
    inventory: Path, started: list[list[str]], dashes: tuple[str, ...]
) -> None:
    run("a", *dashes, "run", "--rm", "-i", "--json", "x", "--", "y", inventory=inventory)
    ((*ssh, remote),) = started
    assert ssh == ["ssh", "-l", "op", "-T", "10.0.0.1"]
    assert shlex.split(remote)[4:] == ["run", "--rm", "-i", "--json", "x", "--", "y"]


def test_a_group_and_an_empty_command_are_refused(
    inventory: Path, started: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("gpu", "--", "ps", inventory=inventory) == ExitCode.USAGE
    assert "gpu is 2 hosts: a, b" in capsys.readouterr().err
    assert run("a", "--", inventory=inventory) == ExitCode.USAGE
    assert started == []


def test_a_variable_that_cannot_be_resolved_is_told(
    inventory: Path, started: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    inventory.write_text("gpu: {hosts: {a: {ansible_user: '{{ nobody_knows }}'}}}\n")
    assert run("a", "--", "ps", inventory=inventory) == ExitCode.USAGE
    assert "ansible_user cannot be resolved" in capsys.readouterr().err
    assert started == []
