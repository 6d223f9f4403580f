"""What Tab offers: through click as the shells ask it, and once in a real bash."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import CompletionItem, ShellComplete

from gpuhost import cli
from gpuhost.checks import catalog
from gpuhost.commands.completion import SHELLS, VARIABLE
from gpuhost.errors import ExitCode
from gpuhost.history import open_history
from gpuhost.lab import faults

HOSTS = """\
gpu_hosts:
  children:
    training: {hosts: {gpu-01: , gpu-02: }}
    older: {hosts: {v100-01: }}
"""
HEAVY = ("ansible", "ansible_runner", "rich", "docker", "paramiko", "jinja2", "pynvml")


@pytest.fixture(autouse=True)
def project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A project with one inventory, which is the present folder."""
    for name in [name for name in os.environ if name.startswith("GPUHOST_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    inventory = tmp_path / "inventories" / "site" / "hosts.yml"
    inventory.parent.mkdir(parents=True)
    inventory.write_text(HOSTS)
    return tmp_path


def offered(line: str) -> list[CompletionItem]:
    """What is offered for the last word of a line, which is empty after a space."""
    words = shlex.split(line)[1:]
    incomplete = "" if line.endswith(" ") else words.pop()
    return ShellComplete(cli.cli, {}, "gpuhost", VARIABLE).get_completions(words, incomplete)


def values(line: str) -> list[str]:
    return [item.value for item in offered(line)]


@pytest.mark.parametrize("command", ["plan", "provision", "verify", "hosts", "nightly run"])
def test_hosts_are_completed_from_the_inventory_and_then_groups(command: str) -> None:
    found = offered(f"gpuhost {command} ")
    assert [item.value for item in found if not item.help] == ["gpu-01", "gpu-02", "v100-01"]
    assert [item.value for item in found if item.help == "group"] == [
        *("gpu_hosts", "training", "older")
    ]


def test_a_host_that_stands_there_already_is_not_offered_again() -> None:
    assert values("gpuhost verify gpu-01 g") == ["gpu-02", "gpu_hosts"]


def test_the_inventory_that_was_named_is_the_one_that_is_read(project: Path) -> None:
    (project / "other").write_text("[a]\nlone\n")
    assert values("gpuhost verify -i other l") == ["lone"]


def test_hosts_of_a_dynamic_inventory_are_those_that_were_verified_before(project: Path) -> None:
    (project / "inventories" / "site" / "hosts.yml").write_text("plugin: amazon.aws.aws_ec2\n")
    assert values("gpuhost verify ") == []
    with open_history(project / "state" / "gpuhost") as store:
        store._connection.execute("INSERT INTO host (name) VALUES ('cloud-7')")
    assert values("gpuhost verify c") == ["cloud-7"]
    assert values("gpuhost history ") == ["cloud-7"]


@pytest.mark.parametrize("damage", ["no inventories", "no yaml", "bad settings"])
def test_nothing_is_offered_and_nothing_said_where_the_project_is_broken(
    project: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if damage == "no inventories":
        shutil.rmtree(project / "inventories")
    elif damage == "no yaml":
        (project / "inventories" / "site" / "hosts.yml").write_text("a: [")
    else:
        (project / "gpuhost.toml").write_text("forkz = 3")
    assert values("gpuhost verify ") == []
    assert capsys.readouterr() == ("", "")


def test_completing_leaves_no_history_behind(project: Path) -> None:
    assert values("gpuhost status ") == []
    assert not (project / "state").exists()


def test_checks_faults_suites_and_runs_are_completed(project: Path) -> None:
    assert values("gpuhost checks explain ") == [info.name for info in catalog()]
    assert "partition.gpus" in values("gpuhost verify gpu-01 --check part")
    assert values("gpuhost lab fault lab-01 ") == [fault.name for fault in faults.all_faults()]
    assert values("gpuhost verify --suite ") == ["quick", "standard", "full", "workloads"]
    (project / "state/gpuhost/runs/20260101T000000Z-abcdef").mkdir(parents=True)
    assert values("gpuhost diff ") == ["20260101T000000Z-abcdef"]
    kinds = {item.value: item.type for item in offered("gpuhost verify --from ")}
    assert kinds == {"": "file", "latest": "plain", "20260101T000000Z-abcdef": "plain"}


def test_what_the_lab_can_simulate_is_completed() -> None:
    assert "H100" in values("gpuhost lab up --model ")
    assert values("gpuhost lab up --history nouv") == ["nouveau"]


@pytest.mark.parametrize("line", ["gpuhost verify ", "gpuhost verify x --check "])
def test_completing_loads_nothing_that_takes_long(line: str) -> None:
    script = (
        "import sys; from gpuhost import cli; from click.shell_completion import ShellComplete\n"
        f"shell = ShellComplete(cli.cli, {{}}, 'gpuhost', {VARIABLE!r})\n"
        f"assert shell.get_completions({shlex.split(line)[1:]}, '')\n"
        f"print(sorted(set(sys.modules) & set({HEAVY})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_a_script_that_asks_gpuhost(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["completion", shell]) is ExitCode.OK
    assert f"{VARIABLE}={shell}_complete" in capsys.readouterr().out


def test_the_script_completes_in_a_real_bash(project: Path, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "gpuhost"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m gpuhost "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(gpuhost completion bash)"\n'
        "COMP_WORDS=(gpuhost verify gpu-0); COMP_CWORD=2; _gpuhost_completion gpuhost\n"
        'printf "%s\\n" "${COMPREPLY[@]}"; complete -p gpuhost'
    )
    environment = {
        **os.environ,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(cli.__file__).parents[1]),
    }
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[:2] == ["gpu-01", "gpu-02"]
    assert "_gpuhost_completion gpuhost" in done.stdout
