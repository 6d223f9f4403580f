"""A registry's password is where docker keeps it, and nowhere else."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pexpect
import pytest
import yaml
from support.lab import Lab
from support.leaks import Watch, files_of_host_with, files_with, holds, journal_has
from support.target import Target

from gpuhost import lab as room
from gpuhost.lab.settings import load

CONFIG_JSON = "/root/.docker/config.json"
USER = "$oauthtoken"
# Only who is logged in gets it.
PRIVATE_IMAGE = "nvcr.io/nvstaging/pytorch:24.04-py3"
BY_VAULT, BY_PROMPT = "nvcr.io", "registry.lab"


def execute(host: str, argv: Sequence[str], stdin: str) -> str:
    return room.execute(host, argv, stdin=stdin, timeout_s=120)


def vaulted(folder: Path, variables: dict[str, object]) -> Path:
    """An encrypted file of variables in ``folder``; the file with its password."""
    password = folder.parent / "vault-password"
    password.write_text("open sesame")
    options: list[str | Path] = [
        "--vault-password-file",
        password,
        "--output",
        folder / "vault.yml",
    ]
    subprocess.run(
        ["ansible-vault", "encrypt", *options, "-"],
        input=yaml.safe_dump(variables),
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        text=True,
        check=True,
        capture_output=True,
    )
    return password


@pytest.fixture(scope="module")
def secret(provisioned: str) -> str:  # noqa: ARG001  (the registry must be up)
    """The password of the lab's registry."""
    return (load().cache / "ca" / "account.secret").read_text()


@pytest.fixture(scope="module")
def inventory(lab: Lab, tmp_path_factory: pytest.TempPathFactory, secret: str) -> Path:
    """The lab's inventory; one password is in a vault, the other nowhere."""
    folder = tmp_path_factory.mktemp("vaulted")
    variables = folder / "inventory" / "group_vars" / "all"
    variables.mkdir(parents=True)
    shutil.copy(lab.project / "inventories/lab/hosts.yml", folder / "inventory")
    vaulted(variables, {"ngc_api_key": secret}).rename(folder / "vault-password")
    declared = {
        "registry_login_registries": [
            {"registry": BY_VAULT, "username": USER, "password": "{{ ngc_api_key }}"},
            {"registry": BY_PROMPT, "username": USER},
        ],
        "gpuhost_ngc_image": PRIVATE_IMAGE,
    }
    (variables / "registries.yml").write_text(yaml.safe_dump(declared))
    return folder / "inventory"


@pytest.fixture(scope="module")
def watched(
    lab: Lab, provisioned: str, inventory: Path, secret: str
) -> Iterator[tuple[Watch, str, Path]]:
    """One provision and verify on a terminal: who watched it, what was shown, its tmp folder."""
    tmp = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))  # a short name: sockets will be in it
    environment = {
        **os.environ,
        "TMPDIR": str(tmp),
        "ANSIBLE_VAULT_PASSWORD_FILE": str(inventory.parent / "vault-password"),
    }
    with Watch(secret, tmp) as watch:
        words = ["-m", "gpuhost", "provision", provisioned, "--yes", "-i", str(inventory)]
        terminal = pexpect.spawn(
            sys.executable,
            words,
            cwd=str(lab.project),
            env=environment,
            encoding="utf-8",
            timeout=300,
            dimensions=(40, 120),
        )
        terminal.expect(f"Password of .{USER[1:]} at {BY_PROMPT}, for {provisioned}: ")
        terminal.sendline(secret)
        terminal.expect(pexpect.EOF)
        terminal.close()
    shown = str(terminal.before)
    assert terminal.exitstatus == 0, shown
    yield watch, shown, tmp
    shutil.rmtree(tmp)


def test_both_logins_are_there_for_root_alone(lab: Lab, provisioned: str, watched: object) -> None:
    del watched
    config = json.loads(lab.exec(provisioned, ["cat", CONFIG_JSON]))
    assert set(config["auths"]) == {BY_VAULT, BY_PROMPT}
    assert lab.exec(provisioned, ["stat", "-c", "%a %U", CONFIG_JSON]).split() == ["600", "root"]
    denied = lab.exec(provisioned, ["su", "alice", "-c", f"cat {CONFIG_JSON} 2>&1 || true"])
    assert "Permission denied" in denied


def test_the_proof_pulled_an_image_that_only_an_account_gets(
    lab: Lab, provisioned: str, watched: object
) -> None:
    del watched
    assert PRIVATE_IMAGE in lab.exec(
        provisioned, ["docker", "images", "--format", "{{.Repository}}:{{.Tag}}"]
    )


def test_no_command_line_environment_or_temporary_file_had_the_password(
    watched: tuple[Watch, str, Path],
) -> None:
    watch, _, _ = watched
    assert watch.leaks == set()
    # It looked often enough to see the command that the password goes into.
    assert any("--password-stdin" in command for command in watch.commands)
    assert any("ansible-playbook" in command for command in watch.commands)


def test_nothing_that_was_shown_or_kept_on_the_controller_has_it(
    lab: Lab, inventory: Path, watched: tuple[Watch, str, Path], secret: str
) -> None:
    _, shown, tmp = watched
    assert not holds(shown.encode(), secret)
    for folder in (lab.project, inventory.parent, tmp):
        assert files_with(folder, secret) == []


def test_on_the_host_only_dockers_own_file_has_it(
    provisioned: str, watched: object, secret: str
) -> None:
    del watched
    assert files_of_host_with(execute, provisioned, secret) == {CONFIG_JSON}
    assert not journal_has(execute, provisioned, secret)


def test_the_search_finds_what_is_planted(lab: Lab, provisioned: str, tmp_path: Path) -> None:
    planted = base64.b16encode(os.urandom(16)).decode()
    encoded = base64.b64encode(f"{USER}:{planted}".encode()).decode()
    lab.exec(provisioned, ["tee", "/var/tmp/planted"], stdin=encoded)
    lab.exec(provisioned, ["logger", "--", f"password={planted}"])
    lab.exec(provisioned, ["journalctl", "--sync"])
    try:
        assert files_of_host_with(execute, provisioned, planted) >= {"/var/tmp/planted"}
        assert journal_has(execute, provisioned, planted)
        with Watch(planted, tmp_path) as watch:
            lab.exec(provisioned, ["env", f"KEY={planted}", "sleep", "0.3"])
            lab.exec(provisioned, ["sh", "-c", "sleep 0.3; :", planted])
            (tmp_path / "file").write_text(encoded)
            wanted = {"command line", "environment of", str(tmp_path / "file")}
            give_up = time.monotonic() + 5
            while not watch.kinds >= wanted and time.monotonic() < give_up:
                time.sleep(0.05)
        assert watch.kinds >= wanted
    finally:
        lab.exec(provisioned, ["rm", "/var/tmp/planted"])


def test_a_wrong_password_is_told_with_its_registry_and_stores_nothing(
    lab: Lab, provisioned: str, watched: object
) -> None:
    del watched
    before = lab.exec(provisioned, ["cat", CONFIG_JSON])
    wrong = {"registry": BY_VAULT, "username": USER, "password": "wrong-password"}
    play = Target(lab, provisioned).provision(
        "-t", "registry_login", registry_login_registries=[wrong]
    )
    assert not play.is_good
    assert f"{BY_VAULT} did not let {USER} in" in play.output
    assert "incorrect username or password" in play.output
    assert "wrong-password" not in play.output
    after = json.loads(lab.exec(provisioned, ["cat", CONFIG_JSON]))
    assert after["auths"][BY_VAULT] == json.loads(before)["auths"][BY_VAULT]


def test_logins_that_are_no_longer_declared_go_and_a_second_run_changes_nothing(
    lab: Lab, provisioned: str, watched: object
) -> None:
    del watched
    target = Target(lab, provisioned)
    assert target.good("-t", "registry_login").changed == 1
    assert json.loads(lab.exec(provisioned, ["cat", CONFIG_JSON])).get("auths", {}) == {}
    assert target.good("-t", "registry_login").changed == 0
