"""The command line by itself: help, usage errors, exit codes, confirmation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import click
import pytest
from support.evidence import healthy_desired

from gpuhost import cli
from gpuhost.commands import plan as plan_command
from gpuhost.commands import provision
from gpuhost.declared import Blocker
from gpuhost.errors import ExitCode, InventoryError, UsageError
from gpuhost.inventory import Host
from gpuhost.model import HostReport
from gpuhost.plan import Change, HostPlan, Run
from gpuhost.plan.model import NEVER_RAN
from gpuhost.provision import Planned
from gpuhost.rollout import Strategy
from gpuhost.targets import Targets

HEAVY = ("ansible_runner", "ansible", "rich", "docker", "paramiko", "jinja2", "yaml", "pynvml")


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


ALL = list(commands(cli.cli))


def planned(*plans: HostPlan, failures: tuple[HostReport, ...] = ()) -> Planned:
    return Planned({p.host: p for p in plans}, {f.host: f for f in failures})


def install(reboot: str = "", host: str = "gpu-01") -> HostPlan:
    return HostPlan(host, (Change("docker", "install", "docker-ce", after="5:29.1"),), reboot)


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Targets:
    """One host that every command resolves to, without an inventory."""
    found = Targets(tmp_path, (Host("gpu-01", "192.0.2.1"),), {"gpu-01": healthy_desired()})
    monkeypatch.setattr("gpuhost.targets.resolve", lambda *_: found)
    return found


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_teaches_its_use(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*path, "--help"]) is ExitCode.OK
    printed = capsys.readouterr().out
    assert "Usage: gpuhost" in printed
    assert len(printed.splitlines()) > 4


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; from gpuhost import cli; cli.run(['--help']);"
        f"print(sorted(set(sys.modules) & set({HEAVY})), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [["verify"], ["verify", "--no-such-option", "gpu-01"], ["no-such-command"], ["lab", "down"]],
    ids=" ".join,
)
def test_a_command_line_that_makes_no_sense_exits_2(arguments: list[str]) -> None:
    assert cli.run(arguments) is ExitCode.USAGE


def test_an_unknown_check_is_an_error_with_a_suggestion_before_any_host_is_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.run(["verify", "gpu-01", "--check", "gpu.cuont"]) is ExitCode.USAGE
    assert "Did you mean 'gpu.count'" in capsys.readouterr().err


def test_an_error_is_explained_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise InventoryError("There is no host gpu-1.", "Its hosts: gpu-01.")

    monkeypatch.setattr("gpuhost.targets.resolve", refuse)
    assert cli.run(["verify", "gpu-1"]) is ExitCode.USAGE
    assert capsys.readouterr().err == "error: There is no host gpu-1.\n  Its hosts: gpu-01.\n"


def test_a_bug_is_said_to_be_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gpuhost.targets.resolve", lambda *_: 1 / 0)
    assert cli.run(["verify", "gpu-01"]) is ExitCode.BUG
    printed = capsys.readouterr().err
    assert "ZeroDivisionError" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["mirror", "build", "m", "--os", "debian12", "--url", "mirror"], "'mirror' is no URL"),
        (["mirror", "build", "m", "--variables", "{broken}"], "is no YAML: "),
        (["mirror", "build", "m", "--variables", "{binary}"], "is no YAML: "),
        (["lab", "down", "nobody"], "The lab has no host 'nobody'"),
        (["lab", "ssh", "nobody"], "The lab has no host 'nobody'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_an_operator_gets_wrong_is_told_and_exits_2(
    arguments: list[str],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPUHOST_LAB_STATE", str(tmp_path))
    files = {"broken": tmp_path / "broken.yml", "binary": tmp_path / "binary.yml"}
    files["broken"].write_text("{")
    files["binary"].write_bytes(b"\xff\xfe")
    words = [word.format_map({k: str(v) for k, v in files.items()}) for word in arguments]
    if "--variables" in words:
        words += ["--os", "debian12", "--url", "http://mirror.example.com"]
    assert cli.run(words) is ExitCode.USAGE
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("buffering", [{}, {"PYTHONUNBUFFERED": "1"}])
def test_output_that_cannot_be_written_is_no_bug(buffering: dict[str, str]) -> None:
    others = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "gpuhost", "checks", "list"],
            env=others | buffering,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == ExitCode.SETUP
    assert done.stderr.startswith("error: Output could not be written: No space left on device.")


def test_a_place_that_cannot_be_written_to_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["workload", "render", "training", "--to", "/proc/nope"]) is ExitCode.SETUP
    printed = capsys.readouterr().err
    assert printed.startswith("error: /proc/nope on this machine: No such file or directory.")


@pytest.mark.parametrize(
    ("raised", "code"),
    [(KeyboardInterrupt, ExitCode.INTERRUPTED), (cli.Terminated, ExitCode.TERMINATED)],
)
def test_an_interruption_has_its_own_exit_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    raised: type[BaseException],
    code: ExitCode,
) -> None:
    def interrupt(*_: object) -> None:
        raise raised

    monkeypatch.setattr("gpuhost.targets.resolve", interrupt)
    assert cli.run(["verify", "gpu-01"]) is code
    assert "The same command" not in capsys.readouterr().err
    assert cli.run(["provision", "gpu-01", "--yes"]) is code
    told = capsys.readouterr().err.splitlines()
    assert told[-1] == "  The same command goes on from there: gpuhost provision gpu-01 --yes"


def test_the_plan_is_shown_and_nothing_is_asked(
    targets: Targets, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del targets
    made = planned(install("nouveau is loaded"))
    monkeypatch.setattr("gpuhost.provision.make_plans", lambda *_: made)
    assert cli.run(["plan", "gpu-01"]) is ExitCode.OK
    assert capsys.readouterr().out == (
        "gpu-01 would change:\n"
        "  docker   install   docker-ce  5:29.1\n"
        "  reboot   yes, because nouveau is loaded\n"
    )


def test_the_plan_as_json_has_every_change(
    targets: Targets, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del targets
    monkeypatch.setattr("gpuhost.provision.make_plans", lambda *_: planned(install()))
    assert cli.run(["plan", "gpu-01", "--json"]) is ExitCode.OK
    (host,) = json.loads(capsys.readouterr().out)["hosts"]
    assert host["changes"] == [
        {
            "component": "docker",
            "action": "install",
            "subject": "docker-ce",
            "before": "",
            "after": "5:29.1",
            "note": "",
            "diff": "",
            "what": "install docker-ce 5:29.1",
        }
    ]


def test_how_files_change_is_shown_when_asked_for_once_for_all_hosts_alike(
    targets: Targets, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del targets
    change = Change(
        "docker", "write", "/etc/x", diff="--- /dev/null\n+++ /etc/x\n@@ -0,0 +1 @@\n+a"
    )
    other = replace(change, subject="/etc/y", diff="--- /etc/y\n+++ /etc/y")
    plans = [HostPlan(name, (change, other)) for name in ("gpu-01", "gpu-02")]
    monkeypatch.setattr("gpuhost.provision.make_plans", lambda *_: planned(*plans))
    assert cli.run(["plan", "gpu-01"]) is ExitCode.OK
    assert "+++" not in capsys.readouterr().out
    assert cli.run(["plan", "gpu-01", "--diff"]) is ExitCode.OK
    printed = capsys.readouterr().out
    assert printed.endswith(f"\ngpu-01, gpu-02\n{change.diff}\n{other.diff}\n")


def test_a_role_that_runs_without_a_known_change_is_told_with_its_reason(
    targets: Targets, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del targets
    found = HostPlan("gpu-01", runs=(Run("docker_ce", "a file of it was edited"),))
    monkeypatch.setattr("gpuhost.provision.make_plans", lambda *_: planned(found))
    assert cli.run(["plan", "gpu-01"]) is ExitCode.OK
    assert capsys.readouterr().out == (
        "gpu-01: nothing to change that can be told from here\n"
        "  docker   looks for itself, because a file of it was edited\n"
    )


def test_what_is_done_alike_is_one_line_and_the_usual_reasons_go_without_saying(
    targets: Targets, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del targets
    names = ("docker-ce", "docker-ce-cli", "containerd.io")
    found = HostPlan(
        "gpu-01",
        (
            *(Change("docker", "install", name, after="newest in http://m") for name in names),
            Change("users", "add", "alice to the docker group", note="which is root"),
        ),
        runs=(
            Run("docker_ce", "the plan has changes of it"),
            Run("docker_users", NEVER_RAN),
            Run("registry_login", NEVER_RAN),
        ),
    )
    monkeypatch.setattr("gpuhost.provision.make_plans", lambda *_: planned(found))
    cli.run(["plan", "gpu-01"])
    assert capsys.readouterr().out == (
        "gpu-01 would change:\n"
        "  docker   install   docker-ce, docker-ce-cli, containerd.io  newest in http://m\n"
        "  users    add       alice to the docker group  (which is root)\n"
        "  logins   looks for itself\n"
        "  reboot   no\n"
    )


def test_what_provisioning_would_stop_for_is_shown_with_its_remedy_and_fails(
    targets: Targets, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del targets
    blocker = Blocker("no-gpu", "there is none", "nothing to drive", "seat it", "it: true")
    found = replace(install(), blockers=(blocker,))
    monkeypatch.setattr("gpuhost.provision.make_plans", lambda *_: planned(found))
    assert cli.run(["plan", "gpu-01"]) is ExitCode.FAILED
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].startswith("gpu-01: provisioning would stop before it changes anything")
    assert lines[4:] == [
        "  no-gpu: there is none",
        "    why     nothing to drive",
        "    remedy  seat it",
        "    or set  it: true",
    ]


def test_a_host_where_provisioning_would_stop_needs_no_confirmation() -> None:
    blocker = Blocker("no-gpu", "there is none", "nothing to drive", "seat it")
    provision._confirm([replace(install("nouveau"), blockers=(blocker,))], Strategy())


def test_a_host_that_could_not_be_planned_shows_in_the_exit_code(
    targets: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    del targets
    gone = HostReport("gpu-01", error="no route to host", error_code=ExitCode.UNREACHABLE)
    monkeypatch.setattr("gpuhost.provision.make_plans", lambda *_: planned(failures=(gone,)))
    assert cli.run(["plan", "gpu-01"]) is ExitCode.UNREACHABLE


def test_a_reboot_is_not_made_unasked_where_nobody_can_be_asked(
    targets: Targets, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del targets
    monkeypatch.setattr("gpuhost.provision.make_plans", lambda *_: planned(install("nouveau")))
    monkeypatch.setattr("gpuhost.provision.provision", lambda *_: pytest.fail("went on"))
    assert cli.run(["provision", "gpu-01"]) is ExitCode.USAGE
    assert "reboot gpu-01" in capsys.readouterr().err


def test_one_host_without_a_reboot_needs_no_confirmation() -> None:
    provision._confirm([install()], Strategy())


def test_several_hosts_need_a_confirmation() -> None:
    with pytest.raises(UsageError, match="change 2 hosts"):
        provision._confirm([install(), install(host="gpu-02")], Strategy())


def test_the_confirmation_says_in_how_many_batches_and_who_is_first() -> None:
    plans = [install(host=f"gpu-{number:02}") for number in range(5)]
    with pytest.raises(UsageError, match="change 5 hosts in 3 batches, gpu-00 first,"):
        provision._confirm(plans, Strategy(serial=("2",), canary=True))


def test_hosts_with_the_same_plan_are_shown_together(
    targets: Targets, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del targets
    made = planned(*(install(host=f"gpu-{number:02}") for number in range(40)))
    monkeypatch.setattr("gpuhost.provision.make_plans", lambda *_: made)
    cli.run(["plan", "gpu-01"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("gpu-00, gpu-01")
    assert lines[0].endswith("… (40 in all) would change:")
    assert len(lines) == 3


def test_a_check_is_explained_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["checks", "explain", "partition.gpus"]) is ExitCode.OK
    printed = capsys.readouterr().out
    for words in ("Why it matters", "What to do", "What it looks at", "standard, full", "nvml"):
        assert words in printed


def test_a_check_that_does_not_exist_is_not_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["checks", "explain", "gpu.cuont"]) is ExitCode.USAGE
    assert "gpu.count" in capsys.readouterr().err


def test_the_checks_are_listed_by_area_with_their_suite(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.run(["checks", "list"]) is ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "host"
    assert any(line.split()[:2] == ["partition.gpus", "standard"] for line in lines)


def test_a_suite_and_single_checks_exclude_each_other(targets: Targets) -> None:
    arguments = ["verify", *targets.names, "--suite", "quick", "--check", "gpu.count"]
    assert cli.run(arguments) is ExitCode.USAGE


def test_on_a_terminal_long_lines_of_a_plan_break_below_what_was_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    terminal = Mock(isatty=lambda: True)
    line = f"  docker   install   {', '.join(f'package-{number}' for number in range(6))}"
    first, *rest = plan_command._wrapped(line, terminal).splitlines()
    assert first == "  docker   install   package-0, package-1, package-2,"
    assert rest == [" " * 21 + "package-3, package-4, package-5"]
    assert plan_command._wrapped(line, Mock(isatty=lambda: False)) == line
