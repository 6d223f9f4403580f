"""The whole probe, in process and as a program."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.probe import evidence_of, spec, trials_asked

from gpuhost import role_modules
from gpuhost.probe import main
from gpuhost.probe.main import SpecError, check, collect, read_spec
from gpuhost.probe.schema import SECTIONS, Spec

READ_ONLY = [name for name in SECTIONS if name != "containers"]
QUICK = ["system", "pci", "users"]


def start(asked: Spec, **options: Any) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "gpuhost.probe"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(main.__file__).parents[2],
        **{"stdout": subprocess.PIPE, **options},
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(asked).encode())
    process.stdin.close()
    process.stdin = None
    return process


def test_every_section_of_this_machine_can_be_read() -> None:
    role_modules.load("host_state")  # on a host, the archive has the roles' code
    asked = spec(sections=READ_ONLY, command_timeout_s=20.0, section_timeout_s=60.0)
    evidence = collect(asked)
    assert list(evidence["sections"]) == READ_ONLY
    errors = {name: section["error"] for name, section in evidence["sections"].items()}
    assert errors == dict.fromkeys(READ_ONLY)
    assert evidence["spec"] == asked
    assert evidence["probe"]["uid"] == os.getuid()
    assert json.loads(json.dumps(evidence)) == evidence


def test_only_the_sections_asked_for_are_read() -> None:
    assert list(collect(spec(sections=["users", "system"]))["sections"]) == ["system", "users"]


def test_a_section_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("gpuhost.probe.pci.collect", broken)
    found = collect(spec(sections=QUICK))["sections"]
    assert found["pci"]["data"] is None
    assert "PermissionError: [Errno 13] Permission denied" in str(found["pci"]["error"])
    assert found["system"]["error"] is None
    data: Any = found["system"]["data"]
    assert data["kernel"]


def test_a_section_that_hangs_costs_its_limit_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuhost.probe.nvml.collect", lambda _: time.sleep(600))
    began = time.monotonic()
    found = collect(spec(sections=["nvml", "system"], section_timeout_s=0.3))["sections"]
    assert found["nvml"]["error"] == "gave no answer within 0.3 s"
    assert found["system"]["error"] is None
    assert time.monotonic() - began < 10


def test_trials_are_planned_from_what_nvml_found(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = {"index": 0, "uuid": "GPU-1", "bus_id": "0000:17:00.0", "mig_current": None}
    monkeypatch.setattr("gpuhost.probe.nvml.collect", lambda _: {"gpus": [gpu]})
    monkeypatch.setattr("gpuhost.probe.docker.collect", lambda _: {})
    monkeypatch.setattr(
        "gpuhost.probe.containers.collect", lambda _, planned: [trial.id for trial in planned]
    )
    found = collect(spec(sections=["containers"], trials=trials_asked(paths=["gpus"])))
    assert list(found["sections"]) == ["nvml", "docker", "containers"]
    data: Any = found["sections"]["containers"]["data"]
    assert "gpus/index/0" in data


def test_trials_go_on_without_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Any) -> None:
        raise RuntimeError("no bindings")

    monkeypatch.setattr("gpuhost.probe.nvml.collect", broken)
    monkeypatch.setattr("gpuhost.probe.docker.collect", lambda _: {})
    monkeypatch.setattr(
        "gpuhost.probe.containers.collect", lambda _, planned: [trial.id for trial in planned]
    )
    found = collect(spec(sections=["containers"], trials=trials_asked(paths=["gpus"])))
    assert found["sections"]["containers"]["data"] == ["gpus/all"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 99}, "spec version 99"),
        ({"sections": ["gpu"]}, "there is no section gpu"),
    ],
)
def test_a_spec_of_another_kind_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        check(spec(**change))


def test_a_spec_that_lacks_something_is_refused_by_its_name() -> None:
    partial: Any = spec()
    del partial["users"], partial["command_timeout_s"]
    with pytest.raises(SpecError, match="the spec has no command_timeout_s, users"):
        check(partial)


def test_the_spec_comes_by_standard_input_or_as_an_argument(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = json.dumps(spec()).encode()
    assert read_spec([base64.b64encode(text).decode()]) == spec()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text)))
    assert read_spec([]) == spec()


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"3"])
def test_a_spec_that_is_no_object_is_refused(text: bytes) -> None:
    with pytest.raises(SpecError):
        read_spec([base64.b64encode(text or b" ").decode()])


def test_as_a_program_it_prints_one_line_of_json() -> None:
    out, err = start(spec(sections=QUICK)).communicate(timeout=30)
    assert err == b""
    assert out.count(b"\n") == 1
    assert list(evidence_of(out.decode())["sections"]) == QUICK


def test_as_a_program_it_refuses_a_bad_spec_with_exit_status_2() -> None:
    process = start(spec(sections=["gpu"]))
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert err == b"gpuhost-probe: there is no section gpu\n"


def test_nobody_listening_is_no_reason_to_die() -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    process = start(spec(sections=QUICK), stdout=write_fd)
    os.close(write_fd)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert err == b""


def test_closed_standard_streams_are_not_mixed_up_with_pipes() -> None:
    script = f'exec "{sys.executable}" -m gpuhost.probe "$1" >&- 2>&- <&-'
    argument = base64.b64encode(json.dumps(spec(sections=QUICK)).encode()).decode()
    folder = Path(main.__file__).parents[2]
    done = subprocess.run(["/bin/sh", "-c", script, "sh", argument], cwd=folder, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_with_everything_it_started(
    number: signal.Signals, tmp_path: Path
) -> None:
    module = tmp_path / "stuck.py"
    module.write_text(
        "import sys, time, pathlib\n"
        "from gpuhost.probe import main, pci\n"
        "def collect(_):\n"
        f"    pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(__import__('os').getpid()))\n"
        "    time.sleep(600)\n"
        "pci.collect = collect\n"
        "sys.exit(main.main())\n"
    )
    process = subprocess.Popen(
        [sys.executable, module],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(main.__file__).parents[2])},
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(spec(sections=["pci"], section_timeout_s=60.0)).encode())
    process.stdin.close()
    process.stdin = None
    deadline = time.monotonic() + 20
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 143
    assert err.decode() == f"gpuhost-probe: ended by {number.name}\n"
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists()
