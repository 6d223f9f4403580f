"""The module ``workload``, with a docker that a test writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import roles

GPU = "GPU-03d91bdd-e1b1-e418-7862-000000000000"
OTHER = "GPU-03d91bdd-e1b1-e418-7862-000000000001"
CONFIG = """*" config "*) echo '{"services": {}}';;"""
SEES = f"GPU 0: NVIDIA A100 (UUID: {GPU})"


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Write what docker does: the patterns of a shell's case over its words."""

    def write(cases: str) -> None:
        program = tmp_path / "docker"
        program.write_text(f'#!/bin/sh\ncase "$*" in\n{cases}\n{CONFIG}\nesac\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return write


def ask(tmp_path: Path, state: str, **more: Any) -> Any:
    asked = {"state": state, "name": "training", "base": str(tmp_path / "base"), **more}
    return roles.run(roles.library("workload"), **asked)


def test_a_service_that_sees_its_gpu_is_started(
    tmp_path: Path, docker: Callable[[str], None]
) -> None:
    docker(f'*" run "*) echo "{SEES}";;')
    found = ask(tmp_path, "started", gpu_services=["main"], gpus=[GPU])
    assert found["changed"] is True
    assert found["workload"]["seen"] == {"main": [GPU]}


@pytest.mark.parametrize("gpus", [[OTHER], [GPU, OTHER]])
def test_a_service_that_sees_other_gpus_is_not_started(
    tmp_path: Path, docker: Callable[[str], None], gpus: list[str]
) -> None:
    docker(f'*" run "*) echo "{SEES}";;\n*" up "*) touch {tmp_path}/started;;')
    found = ask(tmp_path, "started", gpu_services=["main"], gpus=gpus)
    assert found["failed"] is True
    assert f"main sees {GPU}, and was to see" in found["msg"]
    assert not (tmp_path / "started").exists()


def test_one_that_runs_is_not_started_again(tmp_path: Path, docker: Callable[[str], None]) -> None:
    docker(f'*" --status running "*) echo 4711;;\n*" up "*) touch {tmp_path}/started;;')
    found = ask(tmp_path, "started")
    assert "it runs already" in found["msg"]
    assert not (tmp_path / "started").exists()


def test_a_build_that_fails_shows_its_last_lines(
    tmp_path: Path, docker: Callable[[str], None]
) -> None:
    docker('*" build") seq 1 100; echo "no space left on device" >&2; exit 1;;')
    found = ask(tmp_path, "finished")
    assert "its image could not be built" in found["msg"]
    assert found["msg"].endswith("no space left on device")
    assert "\n80\n" not in found["msg"]


def test_the_log_is_free_of_what_steers_a_terminal(
    tmp_path: Path, docker: Callable[[str], None]
) -> None:
    docker("*\" logs \"*) printf '\\033[2Kepoch 1\\n\\033[1;31mepoch 2\\033[0m\\n';;")
    assert ask(tmp_path, "logs")["workload"]["log"] == "epoch 1\nepoch 2\n"


def test_containers_are_listed_with_the_workload_that_they_are_of(
    tmp_path: Path, docker: Callable[[str], None]
) -> None:
    row = '{"Labels":"a=b,gpuhost.workload=training","Names":"n","Image":"i","Status":"Up"}'
    docker(f"*) printf '%s\\n' '{row}';;")
    (found,) = ask(tmp_path, "listed")["workload"]["containers"]
    assert (found["workload"], found["status"]) == ("training", "Up")


def test_removing_what_is_not_there_changes_nothing(
    tmp_path: Path, docker: Callable[[str], None]
) -> None:
    docker("*) :;;")
    assert ask(tmp_path, "absent")["changed"] is False


def test_in_check_mode_nothing_is_started(tmp_path: Path, docker: Callable[[str], None]) -> None:
    docker(f"*) touch {tmp_path}/asked;;")
    asked = {"state": "started", "name": "training", "base": str(tmp_path)}
    assert roles.run(roles.library("workload"), check=True, **asked)["changed"] is True
    assert not (tmp_path / "asked").exists()
