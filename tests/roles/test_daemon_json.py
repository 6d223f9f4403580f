"""The module daemon_json on real files."""

import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from support import roles

module = roles.library("daemon_json")

ACCEPTING = "#!/bin/sh\necho configuration OK\n"
REFUSING = """#!/bin/sh
echo "unable to configure the Docker daemon with file ${2#--config-file=}:" \
    "the following directives don't match any configuration option: nonsense" >&2
exit 1
"""
TOO_OLD = "#!/bin/sh\necho 'unknown flag: --validate' >&2\nexit 125\n"


class Host:
    """A folder with a daemon.json, and the programs that the module finds in PATH."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.path = folder / "docker" / "daemon.json"
        self.has("dockerd", ACCEPTING)
        self.has("systemctl", "#!/bin/sh\necho ActiveState=inactive\n")

    def has(self, program: str, script: str) -> None:
        (self.bin / program).write_text(script)
        (self.bin / program).chmod(0o755)

    def write(self, text: str) -> None:
        self.path.parent.mkdir(exist_ok=True)
        self.path.write_text(text)

    def runs_dockerd_since(self, seconds_ago: float) -> None:
        started = int((time.monotonic() - seconds_ago) * 1e6)
        self.has(
            "systemctl",
            f"#!/bin/sh\necho ActiveState=active\necho ExecMainStartTimestampMonotonic={started}\n",
        )

    def run(self, **parameters: Any) -> Any:
        return roles.run(module, path=str(self.path), **parameters)

    @property
    def content(self) -> Any:
        return json.loads(self.path.read_text())


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path)
    monkeypatch.setenv("PATH", f"{host.bin}{os.pathsep}{os.environ['PATH']}")
    return host


def test_a_missing_file_is_made_with_what_is_declared(host: Host) -> None:
    result = host.run(config={"debug": True})
    assert result["changed"]
    assert result["backup_file"] == ""
    assert host.content == {"debug": True}
    assert stat.S_IMODE(host.path.stat().st_mode) == 0o644


def test_a_file_that_says_so_already_is_left_byte_for_byte(host: Host) -> None:
    text = '{"b":1,   "debug":true}'
    host.write(text)
    result = host.run(config={"debug": True})
    assert not result["changed"]
    assert host.path.read_text() == text


def test_the_earlier_file_is_kept_and_can_be_put_back(host: Host) -> None:
    host.write('{"data-root": "/srv"}')
    merged = host.run(config={"debug": True})
    assert host.content == {"data-root": "/srv", "debug": True}
    assert Path(merged["backup_file"]).read_text() == '{"data-root": "/srv"}'
    restored = host.run(state="restored", backup_file=merged["backup_file"])
    assert restored["changed"]
    assert host.path.read_text() == '{"data-root": "/srv"}'


def test_putting_back_where_there_was_no_file_removes_it(host: Host) -> None:
    merged = host.run(config={"debug": True})
    host.run(state="restored", backup_file=merged["backup_file"])
    assert not host.path.exists()


def test_a_broken_file_is_refused_and_left(host: Host) -> None:
    host.write('{"a": 1,}')
    result = host.run(config={"debug": True})
    assert result["failed"]
    assert "not valid JSON" in result["msg"]
    assert str(host.path) in result["msg"]
    assert host.path.read_text() == '{"a": 1,}'


def test_a_file_that_is_not_utf_8_is_refused_and_left(host: Host) -> None:
    text = '{"labels": ["site=München"]}'.encode("latin-1")
    host.write("")
    host.path.write_bytes(text)
    result = host.run(config={"debug": True})
    assert result["failed"]
    assert "was left as it is because 'utf-8' codec can't decode" in result["msg"]
    assert host.path.read_bytes() == text


def test_what_dockerd_refuses_is_not_written_and_its_words_are_shown(host: Host) -> None:
    host.write('{"a": 1}')
    host.has("dockerd", REFUSING)
    result = host.run(config={"nonsense": True})
    assert result["failed"]
    assert f"with file {host.path}:" in result["msg"]
    assert "don't match any configuration option: nonsense" in result["msg"]
    assert host.path.read_text() == '{"a": 1}'
    assert [entry.name for entry in host.path.parent.iterdir()] == ["daemon.json"]


def test_a_dockerd_that_cannot_validate_is_not_asked_twice(host: Host) -> None:
    host.has("dockerd", TOO_OLD)
    assert host.run(config={"debug": True})["changed"]


def test_check_mode_shows_the_difference_and_writes_nothing(host: Host) -> None:
    host.write('{"a": 1}')
    result = host.run(check=True, config={"debug": True})
    assert result["changed"]
    assert '"debug": true' in result["diff"]["after"]
    assert host.path.read_text() == '{"a": 1}'


def test_a_dockerd_that_was_started_before_the_file_changed_has_to_be_restarted(host: Host) -> None:
    host.runs_dockerd_since(seconds_ago=100)
    result = host.run(config={"debug": True})
    assert str(host.path) in result["restart_reason"]
    # … and the next run knows it too, should this one end here.
    assert str(host.path) in host.run(config={"debug": True})["restart_reason"]


def test_a_dockerd_that_was_started_later_is_left_running(host: Host) -> None:
    host.write('{"debug": true}')
    host.runs_dockerd_since(seconds_ago=-1)
    assert host.run(config={"debug": True})["restart_reason"] == ""


def test_a_dockerd_older_than_the_toolkit_has_to_be_restarted(host: Host, tmp_path: Path) -> None:
    hook = tmp_path / "nvidia-container-runtime-hook"
    hook.touch()
    # dpkg gives a file the time of its package, which is long ago.
    os.utime(hook, (0, 0))
    host.runs_dockerd_since(seconds_ago=100)
    result = host.run(config={}, read_at_start=[str(hook), str(tmp_path / "absent")])
    assert not result["changed"]
    assert result["restart_reason"] == f"changed since dockerd started: {hook}"
