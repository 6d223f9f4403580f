"""The module registry_login, with a docker that knows one account."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support import roles

module = roles.library("registry_login")

# Stores as docker does; what it was called with is kept beside it.
DOCKER = """\
#!/usr/bin/python3
import base64, json, pathlib, sys
folder = pathlib.Path(sys.argv[2])
with (folder / "argv").open("a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
path = folder / "config.json"
config = json.loads(path.read_text()) if path.exists() else {}
auths = config.setdefault("auths", {})
registry = sys.argv[-1]
key = "https://index.docker.io/v1/" if registry == "docker.io" else registry
if sys.argv[3] == "logout":
    auths.pop(key, None)
else:
    password = sys.stdin.read()
    if not password.startswith("right"):
        print(f"Error response from daemon: unauthorized: incorrect password {password}",
              file=sys.stderr)
        sys.exit(1)
    user = sys.argv[5]
    auths[key] = {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}
path.write_text(json.dumps(config))
"""
NGC = {"registry": "nvcr.io", "username": "$oauthtoken", "password": "right-1"}
HUB = {"registry": "docker.io", "username": "ops", "password": "right-2"}
Log = Callable[..., Mapping[str, Any]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "docker"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def log_in(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Log:
    """Runs the module with these logins declared."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(DOCKER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")

    def run(*registries: Mapping[str, str], **options: Any) -> Mapping[str, Any]:
        return roles.run(
            module,
            registries=[dict(one) for one in registries],
            config_dir=str(folder),
            record=str(tmp_path / "state" / "logins.json"),
            **options,
        )

    return run


def auths(folder: Path) -> dict[str, str]:
    config = json.loads((folder / "config.json").read_text())
    return {name: base64.b64decode(one["auth"]).decode() for name, one in config["auths"].items()}


def test_a_login_is_stored_for_root_alone_and_a_second_run_changes_nothing(
    log_in: Log, folder: Path
) -> None:
    first = log_in(NGC, HUB)
    assert first["changed"]
    assert first["logged_in"] == ["nvcr.io", "docker.io"]
    assert auths(folder) == {
        "nvcr.io": "$oauthtoken:right-1",
        "https://index.docker.io/v1/": "ops:right-2",
    }
    assert stat.S_IMODE((folder / "config.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not log_in(NGC, HUB)["changed"]


def test_a_password_is_never_on_a_command_line_in_a_result_or_in_the_record(
    log_in: Log, folder: Path, tmp_path: Path
) -> None:
    result = log_in(NGC)
    record = (tmp_path / "state" / "logins.json").read_text()
    assert json.loads(record) == {"nvcr.io": "$oauthtoken"}
    for text in ((folder / "argv").read_text(), json.dumps(result), record):
        assert "right-1" not in text


def test_a_wrong_password_is_a_problem_that_names_the_registry_and_hides_the_password(
    log_in: Log,
) -> None:
    result = log_in(NGC | {"password": "wrong-1"})
    (problem,) = result["problems"]
    assert problem.startswith("nvcr.io did not let $oauthtoken in: Error response from daemon")
    assert "wrong-1" not in json.dumps(result)
    assert not result["changed"]


def test_a_password_that_was_typed_in_is_used_where_none_is_declared(
    log_in: Log, folder: Path
) -> None:
    log_in(NGC | {"password": ""}, asked={"$oauthtoken@nvcr.io": "right-3"})
    assert auths(folder) == {"nvcr.io": "$oauthtoken:right-3"}


def test_without_any_password_a_stored_login_stays_and_a_missing_one_is_a_problem(
    log_in: Log, folder: Path
) -> None:
    without = NGC | {"password": ""}
    assert "There is no password for $oauthtoken at nvcr.io" in log_in(without)["problems"][0]
    log_in(NGC)
    assert log_in(without)["problems"] == []
    assert auths(folder) == {"nvcr.io": "$oauthtoken:right-1"}


def test_another_password_replaces_the_stored_one(log_in: Log, folder: Path) -> None:
    log_in(NGC)
    assert log_in(NGC | {"password": "right-9"})["logged_in"] == ["nvcr.io"]
    assert auths(folder) == {"nvcr.io": "$oauthtoken:right-9"}


def test_a_login_that_is_no_longer_declared_goes_but_only_if_it_is_ours(
    log_in: Log, folder: Path
) -> None:
    foreign = {"auths": {"theirs:5000": {"auth": base64.b64encode(b"a:b").decode()}}}
    (folder / "config.json").write_text(json.dumps(foreign))
    log_in(NGC, HUB)
    result = log_in(HUB)
    assert result["logged_out"] == ["nvcr.io"]
    assert set(auths(folder)) == {"theirs:5000", "https://index.docker.io/v1/"}
    assert not log_in(HUB)["changed"]


def test_a_login_that_somebody_made_anew_under_another_name_stays(
    log_in: Log, folder: Path
) -> None:
    log_in(NGC)
    config = {"auths": {"nvcr.io": {"auth": base64.b64encode(b"somebody:x").decode()}}}
    (folder / "config.json").write_text(json.dumps(config))
    assert log_in()["logged_out"] == []
    assert auths(folder) == {"nvcr.io": "somebody:x"}


def test_check_mode_foresees_and_does_nothing(log_in: Log, folder: Path) -> None:
    assert log_in(NGC, check=True)["changed"]
    assert not (folder / "config.json").exists()
    log_in(NGC)
    assert not log_in(NGC, check=True)["changed"]


def test_a_file_that_others_could_read_is_closed(log_in: Log, folder: Path) -> None:
    log_in(NGC)
    (folder / "config.json").chmod(0o644)
    assert log_in(NGC)["changed"]
    assert stat.S_IMODE((folder / "config.json").stat().st_mode) == 0o600
