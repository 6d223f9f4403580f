"""What training-git does in its container, with real repositories of git's."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gpuhost.workloads.definition import LIBRARY

START = LIBRARY / "training-git" / "context" / "start.py"
pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    argv = ["git", "-C", str(folder), *identity, *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


class Workplace:
    """A repository, and the program of the image, which has cloned it."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.origin = tmp_path / "origin"
        self.origin.mkdir()
        git(self.origin, "init", "--quiet", "--initial-branch", "main")
        self.first = self.commit("first")
        git(self.origin, "tag", "v1")
        git(self.origin, "branch", "other")
        found = importlib.util.spec_from_file_location("start", START)
        assert found is not None
        assert found.loader is not None
        self.start: Any = importlib.util.module_from_spec(found)
        found.loader.exec_module(self.start)
        monkeypatch.setattr(self.start, "REPOSITORY", tmp_path / "clone")
        monkeypatch.setattr(self.start.os, "execv", self._execv)
        monkeypatch.chdir(tmp_path)
        self.ran: list[str] = []
        self._patch = monkeypatch
        self.main("--clone", f"file://{self.origin}")

    def _execv(self, _program: str, argv: list[str]) -> None:
        self.ran = [Path("said").read_text(), *argv]

    def commit(self, said: str) -> str:
        (self.origin / "said").write_text(said)
        (self.origin / "train.py").touch()
        git(self.origin, "add", "--all")
        git(self.origin, "commit", "--quiet", "--message", said)
        return git(self.origin, "rev-parse", "HEAD")

    def main(self, *arguments: str) -> None:
        self._patch.setattr(sys, "argv", ["start.py", *arguments])
        self.start.main()


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    return Workplace(tmp_path, monkeypatch)


def test_it_is_pulled_before_it_is_run(workplace: Workplace) -> None:
    workplace.commit("second")
    workplace.main("HEAD", "train.py", "--epochs", "3 4")
    assert workplace.ran == ["second", sys.executable, "-u", "train.py", "--epochs", "3 4"]


def test_a_branch_a_tag_and_a_commit_are_checked_out(
    workplace: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    second = workplace.commit("second")
    for ref in ("other", "v1", workplace.first, workplace.first[:8]):
        workplace.main(ref, "train.py")
        assert workplace.ran[0] == "first"
        assert f"checked out {workplace.first} first" in capsys.readouterr().out
    workplace.main("main", "train.py")
    assert f"checked out {second} second" in capsys.readouterr().out


def test_a_branch_that_was_rewritten_is_taken_as_it_is_now(workplace: Workplace) -> None:
    git(workplace.origin, "checkout", "--quiet", "--orphan", "new")
    workplace.commit("anew")
    git(workplace.origin, "branch", "--force", "other", "new")
    git(workplace.origin, "tag", "--force", "v1", "new")
    for ref in ("other", "v1"):
        workplace.main(ref, "train.py")
        assert workplace.ran[0] == "anew"


@pytest.mark.parametrize("ref", ["nowhere", "f" * 40, "--help", "abcd"])
def test_what_the_repository_has_not_is_said_with_its_branches(
    workplace: Workplace, ref: str
) -> None:
    with pytest.raises(SystemExit, match="has no branch, tag or commit") as error:
        workplace.main(ref, "train.py")
    assert "main" in str(error.value)
    assert "other" in str(error.value)


def test_a_script_that_is_not_there_is_said(workplace: Workplace) -> None:
    with pytest.raises(SystemExit, match=r"v1 has no file 'no\.py'"):
        workplace.main("v1", "no.py")


def test_a_repository_that_is_gone_is_said_with_gits_words(workplace: Workplace) -> None:
    shutil.rmtree(workplace.origin)
    with pytest.raises(SystemExit, match=r"cannot be pulled\.\n.*does not (exist|appear)"):
        workplace.main("HEAD", "train.py")


def test_a_password_in_the_url_is_refused(workplace: Workplace) -> None:
    with pytest.raises(SystemExit, match="would stay in the image"):
        workplace.main("--clone", "https://user:secret@nowhere.invalid/x.git")


def test_git_is_given_credentials_and_never_changes_them(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "credentials"
    kept.write_text("https://ann:secret@nowhere.invalid\n")
    helper = workplace.start.HELPER.replace("/run/secrets/git", str(kept))
    monkeypatch.setattr(workplace.start, "HELPER", helper)
    for verb, password in (("fill", ""), ("approve", "other"), ("reject", "secret")):
        asked = "protocol=https\nhost=nowhere.invalid\n"
        asked += f"username=ann\npassword={password}\n" if password else ""
        argv = ["git", "-c", f"credential.helper={helper}", "credential", verb]
        environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
        done = subprocess.run(
            argv, input=f"{asked}\n", capture_output=True, text=True, check=True, env=environment
        )
        if verb == "fill":
            assert "password=secret" in done.stdout
    assert kept.read_text() == "https://ann:secret@nowhere.invalid\n"
