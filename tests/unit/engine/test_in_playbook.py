"""The proof without a gpuhost command: as AWX runs it, through ansible-runner's three parts."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.evidence import healthy_evidence

from gpuhost import ansible_env, in_playbook
from gpuhost.errors import DesiredStateError, UsageError
from gpuhost.model import Verdict

PROJECT = Path(__file__).parents[3]
IMAGE = PROJECT / "execution-environment"
RUNNER = [sys.executable, "-m", "ansible_runner"]


def test_the_question_is_what_the_suite_needs_to_know() -> None:
    archive, quick = in_playbook.question("gpu-01", {"docker_users_names": ["alice"]}, "quick")
    _, standard = in_playbook.question("gpu-01", {}, "standard")
    assert archive.is_file()
    assert quick["users"] == ["alice"]
    assert quick["trials"]
    assert standard["trials"]
    assert set(quick["trials"]["groups"]) < set(standard["trials"]["groups"])


def test_a_healthy_host_is_well_and_its_evidence_is_kept_to_be_judged_again(
    tmp_path: Path,
) -> None:
    judged = in_playbook.judge(
        "gpu-01", healthy_evidence(), {"gpuhost_gpu_count": 4}, "standard", tmp_path
    )
    assert judged.is_well
    assert judged.lines[0].startswith("✓ PASS  gpu-01")
    assert json.loads((tmp_path / "desired" / "gpu-01.json").read_text())["gpu_count"] == 4
    assert (tmp_path / "evidence" / "gpu-01.json").is_file()


def test_a_host_that_is_not_as_declared_is_not_well(tmp_path: Path) -> None:
    judged = in_playbook.judge(
        "gpu-01", healthy_evidence(), {"gpuhost_gpu_count": 8}, "standard", None
    )
    assert not judged.is_well
    assert judged.report.verdict is Verdict.FAIL
    assert "gpu.count" in "\n".join(judged.lines)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_suite_or_variable_is_told_before_the_host_is_asked() -> None:
    with pytest.raises(UsageError, match="no suite 'quik'"):
        in_playbook.question("gpu-01", {}, "quik")
    with pytest.raises(DesiredStateError, match="gpuhost_gpu_cuont"):
        in_playbook.question("gpu-01", {"gpuhost_gpu_cuont": 4}, "quick")


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A private data folder as AWX makes one: the project, an inventory, what goes beside them."""
    folder = tmp_path / "job"
    shutil.copytree(
        ansible_env.playbooks_dir(),
        folder / "project" / "playbooks",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    (folder / "inventory").mkdir()
    (folder / "inventory" / "hosts.yml").write_text(
        yaml.safe_dump(
            {
                "all": {
                    "hosts": {"here": {"gpuhost_gpu_count": 97}},
                    "vars": {
                        "ansible_connection": "local",
                        "ansible_become": False,
                        "ansible_python_interpreter": sys.executable,
                    },
                }
            }
        )
    )
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, str]:
    """The environment of an execution node, on which nobody is root for the probe's commands."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "id").write_text("#!/bin/sh\necho 1000\n")
    (tools / "id").chmod(0o755)
    return {
        **os.environ,
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PATH": os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(PROJECT),
    }


def transmit_work_and_process(job: Path, environment: dict[str, str], extra: str) -> str:
    """What the third part says; the second one works in a folder that is gone afterwards."""
    parts = (
        [*RUNNER, "transmit", str(job), "-p", "playbooks/verify.yml", "--cmdline", extra],
        [*RUNNER, "worker"],
        [*RUNNER, "process", str(job)],
    )
    stream = b""
    for part in parts:
        done = subprocess.run(
            part, input=stream, env=environment, cwd="/", capture_output=True, check=False
        )
        stream = done.stdout
    return stream.decode()


def results(job: Path, task: str) -> list[tuple[str, dict[str, Any]]]:
    """How a task ended on the hosts: the event and the result."""
    events = [json.loads(path.read_text()) for path in job.glob("artifacts/**/job_events/*.json")]
    return [
        (event["event"], event["event_data"]["res"])
        for event in events
        if event["event_data"].get("task") == task and "res" in event["event_data"]
    ]


def test_the_proof_runs_on_an_execution_node_and_its_evidence_comes_back(
    job: Path, elsewhere: dict[str, str]
) -> None:
    printed = transmit_work_and_process(job, elsewhere, "-e verify_suite=quick")
    ((event, judged),) = results(job, "Judge what was read")
    assert event == "runner_on_failed", printed
    assert judged["verdict"] in ("FAIL", "UNKNOWN")
    assert "97" in judged["msg"]
    (kept,) = job.glob("artifacts/**/gpuhost/evidence/here.json")
    assert (
        json.loads(kept.read_text())["sections"]["system"]["data"]["kernel"] == os.uname().release
    )
    again = subprocess.run(
        [sys.executable, "-m", "gpuhost", "verify", "--suite", "quick", "--from", str(kept)],
        env=elsewhere,
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.stdout.splitlines() == judged["report"]


def test_a_misspelt_variable_fails_the_host_with_the_words_that_gpuhost_has_for_it(
    job: Path, elsewhere: dict[str, str]
) -> None:
    transmit_work_and_process(job, elsewhere, "-e gpuhost_gpu_cuont=4")
    ((event, asked),) = results(job, "Say what the probe is to read")
    assert event == "runner_on_failed"
    assert "Did you mean 'gpuhost_gpu_count'" in asked["msg"]
    assert results(job, "Judge what was read") == []


def test_the_execution_environment_has_all_that_gpuhost_depends_on() -> None:
    declared = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]
    definition = yaml.safe_load((IMAGE / "execution-environment.yml").read_text())["dependencies"]
    listed = [
        line
        for line in (IMAGE / definition["python"]).read_text().splitlines()
        if not line.startswith("#")
    ]
    ansible = [definition[part]["package_pip"] for part in ("ansible_core", "ansible_runner")]
    assert sorted([*listed, *ansible]) == sorted(declared)
    assert (IMAGE / definition["system"]).is_file()


def test_the_page_about_awx_names_playbooks_that_exist() -> None:
    page = (PROJECT / "docs" / "awx.md").read_text()
    blocks = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    named = [
        task["awx.awx.job_template"]["playbook"]
        for block in blocks
        for task in yaml.safe_load(block)
        if "awx.awx.job_template" in task
    ]
    assert len(named) == 2
    assert [name for name in named if not (PROJECT / name).is_file()] == []
