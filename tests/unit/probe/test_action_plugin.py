"""The action plugin, by itself and run by Ansible on this machine."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.probe import spec

from gpuhost import probe_archive

PLAYBOOKS = Path(probe_archive.__file__).parents[1] / "playbooks"
PLUGIN = PLAYBOOKS / "action_plugins" / "gpuhost_probe.py"
NOISE = st.text(st.characters(exclude_characters="{"), max_size=80)
DOCUMENT = {"schema_version": 1, "probe": {}, "sections": {"pci": {"data": "}{"}}}


def load() -> ModuleType:
    found = importlib.util.spec_from_file_location("gpuhost_probe", PLUGIN)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


plugin = load()


@given(NOISE, NOISE)
def test_evidence_is_found_whatever_is_printed_around_it(before: str, after: str) -> None:
    text = before + json.dumps(DOCUMENT) + "\n" + after
    assert plugin.find_evidence(text) == DOCUMENT


def test_evidence_that_was_cut_is_no_evidence() -> None:
    whole = json.dumps(DOCUMENT)
    assert plugin.find_evidence(whole[:-1]) is None
    assert plugin.find_evidence(whole[:-1] + "\n" + whole) == DOCUMENT
    assert plugin.find_evidence("sudo: a password is required") is None


def test_a_probe_that_fails_is_a_failure_with_what_it_printed() -> None:
    result = plugin.outcome({"rc": 1, "stdout": "", "stderr": "sudo: a password is required\n"})
    assert result["failed"]
    assert result["msg"] == (
        "The probe gave no Evidence (exit status 1): sudo: a password is required"
    )


def test_a_host_without_python_says_what_to_install() -> None:
    result = plugin.outcome({"rc": plugin.NO_PYTHON, "stdout": "", "stderr": ""})
    assert "no Python 3.9 or later on the host" in result["msg"]


class TestCommand:
    """The remote commands, run by a real shell in a home of their own."""

    @pytest.fixture
    def home(self, tmp_path: Path) -> Path:
        tools = tmp_path / "bin"
        tools.mkdir()
        # As anybody but root, everything goes into the home.
        (tools / "id").write_text("#!/bin/sh\necho 1000\n")
        (tools / "id").chmod(0o755)
        return tmp_path

    def sh(self, home: Path, command: str) -> subprocess.CompletedProcess[str]:
        path = f"{home / 'bin'}:/usr/bin:/bin"
        return subprocess.run(
            ["/bin/sh", "-c", command],
            env={"HOME": str(home), "PATH": path},
            input="",
            capture_output=True,
            text=True,
            check=False,
        )

    def install(self, home: Path, text: str, name: str = "gpuhost-probe-1.pyz") -> Path:
        source = home / "an archive"
        source.write_text(text)
        done = self.sh(home, plugin.install_command(str(source), name))
        assert (done.returncode, done.stderr) == (0, "")
        return home / ".cache" / "gpuhost" / name

    def test_an_archive_that_is_not_there_is_told_by_its_status(self, home: Path) -> None:
        done = self.sh(home, plugin.probe_command("gpuhost-probe-1.pyz", sys.executable, b""))
        assert done.returncode == plugin.NOT_SHIPPED

    def test_a_shipped_archive_is_run(self, home: Path) -> None:
        archive = self.install(home, "import sys; print(sys.argv[1:], sys.flags.isolated)")
        assert archive.stat().st_mode & 0o777 == 0o644
        done = self.sh(home, plugin.probe_command(archive.name, sys.executable, b"{}"))
        assert done.stdout == f"['{base64.b64encode(b'{}').decode()}'] 1\n"
        assert self.sh(home, plugin.probe_command(archive.name, sys.executable, None)).stdout == (
            "[] 1\n"
        )

    def test_a_python_is_looked_for_where_none_is_named(self, home: Path) -> None:
        archive = self.install(home, "print('ran')")
        assert self.sh(home, plugin.probe_command(archive.name, None, None)).stdout == "ran\n"

    def test_a_named_python_that_is_not_there_is_told_by_its_status(self, home: Path) -> None:
        archive = self.install(home, "print('ran')")
        done = self.sh(home, plugin.probe_command(archive.name, "/opt/my python", None))
        assert done.returncode == plugin.NO_PYTHON

    def test_old_archives_go_and_those_of_today_stay(self, home: Path) -> None:
        old = self.install(home, "old", "gpuhost-probe-old.pyz")
        unpacked = old.with_name("gpuhost-probe-old-py3.11")
        unpacked.mkdir()
        (unpacked / "x.py").touch()
        stranger = old.with_name("something-else")
        stranger.touch()
        for path in (old, unpacked, stranger):
            os.utime(path, (0, 0))
        today = self.install(home, "today", "gpuhost-probe-today.pyz")
        new = self.install(home, "new", "gpuhost-probe-new.pyz")
        left = sorted(path.name for path in new.parent.iterdir())
        assert left == sorted([stranger.name, today.name, new.name])

    def test_an_archive_that_cannot_be_put_in_place_is_a_failure(self, home: Path) -> None:
        (home / ".cache").write_text("a file")
        done = self.sh(home, plugin.install_command("/etc/hostname", "gpuhost-probe-1.pyz"))
        assert done.returncode == 1


class TestAnsible:
    @pytest.fixture
    def run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "controller"))
        archive = probe_archive.build()
        inventory = tmp_path / "hosts.yml"
        inventory.write_text("all: {hosts: {here: {ansible_connection: local}}}\n")
        variables = {
            "ansible_become": False,
            "ansible_python_interpreter": sys.executable,
            "gpuhost_probe_archive": str(archive),
            "gpuhost_probe_specs": {"here": spec(sections=["system", "pci", "driver", "users"])},
        }
        (tmp_path / "vars.json").write_text(json.dumps(variables))
        # For the commands on the "host": nobody is root, so that this home is used.
        tools = tmp_path / "bin"
        tools.mkdir()
        (tools / "id").write_text("#!/bin/sh\necho 1000\n")
        (tools / "id").chmod(0o755)
        environment = {
            **os.environ,
            "HOME": str(tmp_path),
            "XDG_CACHE_HOME": str(tmp_path / "host"),
            "PATH": f"{tools}:{os.environ['PATH']}",
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "ANSIBLE_LOCAL_TEMP": str(tmp_path / "local"),
        }

        def play(*options: str) -> tuple[int, str]:
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "ansible", "playbook"),
                    *("-i", str(inventory), "-e", f"@{tmp_path / 'vars.json'}"),
                    *(str(PLAYBOOKS / "probe.yml"), *options),
                ],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            return done.returncode, done.stdout + done.stderr

        return play

    def test_the_archive_is_shipped_once_and_then_run_by_one_command(
        self, run: Any, tmp_path: Path
    ) -> None:
        rc, first = run("-vvv")
        assert rc == 0, first
        assert first.count(" PUT ") == 1
        assert list((tmp_path / "host" / "gpuhost").glob("gpuhost-probe-*.pyz"))
        rc, second = run("-vvv")
        assert rc == 0, second
        assert second.count(" PUT ") == 0
        assert second.count(" EXEC ") == 1
        assert '"evidence": {' in second
        assert f'"kernel": "{os.uname().release}"' in second

    def test_a_probe_that_cannot_run_fails_the_task_with_its_words(
        self, run: Any, tmp_path: Path
    ) -> None:
        variables = json.loads((tmp_path / "vars.json").read_text())
        variables["gpuhost_probe_specs"]["here"]["sections"] = ["gpu"]
        (tmp_path / "vars.json").write_text(json.dumps(variables))
        rc, output = run()
        assert rc == 2
        assert "gpuhost-probe: there is no section gpu" in output
