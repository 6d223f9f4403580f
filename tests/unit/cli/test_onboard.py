"""`gpuhost onboard` as it is typed: what has to be said, and what is asked."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import pytest

from gpuhost import cli
from gpuhost.commands import onboard
from gpuhost.commands.onboard import PASSWORD, Terminal
from gpuhost.errors import ExitCode, UsageError
from gpuhost.onboard.host_key import HostKey, HostKeyError, Place
from gpuhost.plan import Change, HostPlan

PLACE, KEY = Place("192.0.2.7"), HostKey("ssh-ed25519", "AAAA")
BEGIN = ["onboard", "gpu-07", "--address", "192.0.2.7", "--user", "ops"]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ([], "--yes"),
        (["--yes", "--ask-password"], "--install-key"),
        (["--yes", "--ask-password", "--key", "k", "--install-key", "k"], "exclude each other"),
    ],
)
def test_an_answer_that_will_be_missing_is_named_before_anything_is_done(
    more: list[str], named: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.run([*BEGIN, *more, "-i", str(tmp_path)]) is ExitCode.USAGE
    assert named in capsys.readouterr().err


def test_an_address_has_to_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["onboard", "gpu-07"]) is ExitCode.USAGE
    assert "--address" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--fingerprint", "MD5:00"], "no SHA256 fingerprint"),
        (["--key", "/no/such/key"], "There is no private key"),
        (["--install-key", "/no/such/key.pub"], "cannot be read"),
        (["--group", "racks"], "no such group"),
    ],
)
def test_what_was_typed_wrongly_is_said_before_the_host_is_asked(
    more: list[str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("gpu_hosts:\n  hosts:\n")
    assert cli.run([*BEGIN, "--yes", *more, "-i", str(inventory)]) is ExitCode.USAGE
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [inventory]


def test_a_key_is_shown_and_where_nobody_can_say_yes_the_flag_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(UsageError) as raised:
        Terminal("ops").trust(PLACE, KEY)
    assert raised.value.remedy.endswith(f"--fingerprint {KEY.fingerprint}")
    assert KEY.fingerprint in capsys.readouterr().err


@pytest.mark.usefixtures("terminal")
def test_a_key_is_trusted_by_a_yes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(click, "confirm", lambda *_, **__: True)
    Terminal("ops").trust(PLACE, KEY)
    monkeypatch.setattr(click, "confirm", lambda *_, **__: False)
    with pytest.raises(HostKeyError, match="was not trusted"):
        Terminal("ops").trust(PLACE, KEY)


def test_a_password_from_the_environment_is_taken_out_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(PASSWORD, "secret")
    person = Terminal("ops")
    assert PASSWORD not in os.environ
    assert person.password() == "secret"


def test_a_password_that_nobody_can_type_is_named_with_its_variable() -> None:
    with pytest.raises(UsageError) as raised:
        Terminal("ops").password()
    assert PASSWORD in raised.value.remedy


@pytest.mark.usefixtures("terminal")
def test_a_password_is_asked_for_once_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def prompt(_words: str, *, hide_input: bool, err: bool) -> str:
        del err
        asked.append(hide_input)
        return "secret"

    monkeypatch.setattr(click, "prompt", prompt)
    person = Terminal("ops")
    assert (person.password(), person.password()) == ("secret", "secret")
    assert asked == [True]


def test_nothing_is_asked_where_nothing_would_change(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(click, "confirm", lambda words, **_: asked.append(words))
    onboard._confirm([HostPlan("gpu-07")])
    onboard._confirm([HostPlan("gpu-07", (Change("docker", "install", "docker-ce"),), "nouveau")])
    assert asked == ["This will change and reboot gpu-07. Go on?"]
