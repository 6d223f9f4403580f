"""Section throughput: one container that measures, and what becomes of it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.probe import FakeEngine, FakePrograms, spec, tree, trials_asked

from gpuhost.probe import engine_api, inside, limits, throughput
from gpuhost.probe.context import Context
from gpuhost.probe.conversation import OUTPUT_LIMIT_BYTES
from gpuhost.probe.engine_api import ContainerSpec, RefusedError

IMAGE = "nvcr.io/nvidia/pytorch:test"
SAID = f'{{"torch": null}}\n\n{inside.MARK} exit 0\n'.encode()


def collect(monkeypatch: pytest.MonkeyPatch, base: Path, engine: FakeEngine) -> Any:
    monkeypatch.setattr(engine_api, "connect", lambda _timeout_s: engine)
    asked = spec(trials=trials_asked(ngc_image=IMAGE))
    return throughput.collect(Context(asked, tree(base, {}), FakePrograms()))


def test_the_output_is_kept_and_the_container_is_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = FakeEngine(lambda _spec: SAID, images=[IMAGE])
    found = collect(monkeypatch, tmp_path, engine)
    assert (found["outcome"], found["stdout"].strip()) == ("ran", '{"torch": null}')
    assert engine.containers == {}


def test_all_gpus_are_asked_for_and_the_container_carries_our_label(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[ContainerSpec] = []

    def look(asked: ContainerSpec) -> bytes:
        seen.append(asked)
        return SAID

    collect(monkeypatch, tmp_path, FakeEngine(look, images=[IMAGE]))
    assert seen[0].devices == engine_api.DeviceRequest("", ())
    assert "gpuhost.trial" in seen[0].labels


def test_a_container_that_never_ends_is_bounded_and_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(limits, "THROUGHPUT_S", 0.1)
    engine = FakeEngine(lambda _spec: b"", images=[IMAGE])
    assert collect(monkeypatch, tmp_path, engine)["outcome"] == "timeout"
    assert engine.containers == {}


def test_a_container_that_prints_without_end_is_given_up_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = FakeEngine(lambda _spec: b"y" * (OUTPUT_LIMIT_BYTES + 1), images=[IMAGE])
    found = collect(monkeypatch, tmp_path, engine)
    assert found["outcome"] == "error"
    assert "printed more than" in found["error"]
    assert engine.containers == {}


def test_a_refusal_is_kept_in_its_own_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(_spec: ContainerSpec) -> bytes:
        raise RefusedError("could not select device driver")

    found = collect(monkeypatch, tmp_path, FakeEngine(refuse, images=[IMAGE]))
    assert (found["outcome"], found["error"]) == ("refused", "could not select device driver")


def test_an_image_that_is_not_there_is_not_pulled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = collect(monkeypatch, tmp_path, FakeEngine(lambda _spec: SAID))
    assert found["outcome"] == "no image"


def test_gpus_that_somebody_uses_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = FakeEngine(lambda _spec: SAID, images=[IMAGE])
    monkeypatch.setattr(throughput, "gpu_users", lambda _root, _probe: ["4711 python3"])
    found = collect(monkeypatch, tmp_path, engine)
    assert (found["outcome"], found["error"]) == ("busy", "4711 python3")


def test_the_program_runs_without_pytorch_and_says_that_it_is_missing() -> None:
    # The watchdog's kill would reach this machine: it is only safe in a PID namespace.
    script = throughput.SCRIPT.replace("kill -s KILL -- -1", ":")
    assert script != throughput.SCRIPT
    shell = ["/bin/sh", "-c", script, "gpuhost", "0", throughput.program()]
    ended = subprocess.run(shell, input=b"\n", capture_output=True, check=False, timeout=60)
    assert inside.is_complete(ended.stdout, ended.stderr)
    assert b'"torch": null' in ended.stdout
    assert b"No module named 'torch'" in ended.stdout
