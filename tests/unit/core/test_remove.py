"""Removing gpuhost from hosts: what is shown, asked and done on which."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.evidence import healthy_desired, healthy_evidence

from gpuhost import cli
from gpuhost.checks.facts import Facts
from gpuhost.errors import ExitCode
from gpuhost.inventory import Host
from gpuhost.model import HostReport
from gpuhost.outcome import HostOutcome, Outcome
from gpuhost.remove import HostRemoval, Planned, removal_of, users_of
from gpuhost.targets import Targets

TOLD: dict[str, Any] = {
    "nothing": False,
    "purge": ["docker-ce"],
    "put_back": {"docker.io": "20.10"},
    "delete_files": ["/etc/apt/sources.list.d/docker.sources"],
    "restore_files": [],
    "merged_files": ["/etc/docker/daemon.json"],
    "members": {"docker": ["alice"], "video": []},
    "needed_by": [],
    "never_ours": [],
    "keys": [],
    "division": [],
    "reboot": True,
    "logins": False,
}


def removal(**more: Any) -> HostRemoval:
    return removal_of("gpu-01", {**TOLD, **more}, ())


def test_only_hosts_with_something_to_take_back_that_nobody_needs_are_ready() -> None:
    planned = Planned(
        {
            "fine": removal(),
            "bare": removal_of("bare", {"nothing": True}, ()),
            "needed": removal(needed_by=["portainer"]),
            "damaged": removal(never_ours=["libc6"]),
            "busy": removal_of("busy", TOLD, ("container training",)),
        }
    )
    assert planned.ready(include_busy=False) == ("fine",)
    assert planned.ready(include_busy=True) == ("fine", "busy")


def test_a_workload_that_runs_without_gpus_is_not_ended_unasked() -> None:
    server: dict[str, Any] = {
        "id": "1",
        "name": "gpuhost-mlflow-server-1",
        "image": "mlflow:3",
        "labels": {"gpuhost.workload": "mlflow"},
        "gpus": "",
    }
    evidence = healthy_evidence()
    running = [server, {**server, "name": "web", "labels": {}}]
    evidence["sections"]["docker"]["data"]["running"] = running  # type: ignore[index]
    assert users_of(Facts(evidence, healthy_desired())) == (
        "container gpuhost-mlflow-server-1 (mlflow:3)",
    )


NAMES = ("gpu-01", "gpu-02", "gpu-03")
LEFT = "podman 4.3 could not be put back"


class Fleet:
    """Three hosts with something to take back; what is done on which is pretended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        hosts = tuple(Host(name, "192.0.2.1") for name in NAMES)
        self.targets = Targets(folder, hosts, dict.fromkeys(NAMES, healthy_desired()))
        self.planned = Planned({name: replace(removal(), host=name) for name in NAMES})
        self.left = {"gpu-01": [LEFT]}
        self.broken: set[str] = set()
        self.ran: list[tuple[str, ...]] = []

    def work(self, _playbook: str, asked: Targets, *_: object) -> Outcome:
        self.ran.append(asked.names)
        return Outcome({name: self._outcome(name) for name in asked.names})

    def _outcome(self, name: str) -> HostOutcome:
        if name in self.broken:
            return HostOutcome(name, ok=False, failed=True, message="dpkg was interrupted")
        return HostOutcome(name, ok=True, results={"left": self.left.get(name, [])})


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fleet:
    fleet = Fleet(tmp_path)
    monkeypatch.setenv("GPUHOST_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(
        "gpuhost.targets.resolve", lambda _settings, names, _limit: fleet.targets.only(names)
    )
    monkeypatch.setattr(
        "gpuhost.remove.make_plans",
        lambda asked, *_: replace(
            fleet.planned, removals={n: fleet.planned.removals[n] for n in asked.names}
        ),
    )
    monkeypatch.setattr("gpuhost.locks.run_locked", fleet.work)
    return fleet


def test_what_would_be_done_is_shown_and_nothing_done_where_nobody_can_be_asked(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["remove", "gpu-01"]) is ExitCode.USAGE
    printed = capsys.readouterr().err
    for words in ("docker-ce", "docker.io 20.10", "alice out of docker", "/var/lib/docker"):
        assert words in printed
    assert fleet.ran == []


@pytest.mark.parametrize(("answer", "ran"), [("remove\n", [("gpu-01",)]), ("yes\n", [])])
def test_the_word_has_to_be_typed(
    fleet: Fleet,
    answer: str,
    ran: list[tuple[str, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _prompt: answer.strip())
    cli.run(["remove", "gpu-01"])
    assert fleet.ran == ran


def test_what_stays_otherwise_is_told(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["remove", "gpu-01", "--yes"]) is ExitCode.OK
    assert fleet.ran == [("gpu-01",)]
    assert capsys.readouterr().out == (
        f"gpu-01: is as it was before gpuhost, except for:\n  {LEFT}\n"
    )


def test_a_host_that_is_left_alone_shows_in_the_exit_code_and_as_json(
    fleet: Fleet,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gone = HostReport("gpu-02", error="no route", error_code=ExitCode.UNREACHABLE)
    fleet.planned = Planned({"gpu-01": removal(needed_by=["portainer"])}, {"gpu-02": gone})
    assert cli.run(["remove", "gpu-01", "--yes", "--json"]) is ExitCode.UNREACHABLE
    document = json.loads(capsys.readouterr().out)
    assert document["hosts"][0]["problem"].startswith("portainer would be removed too")
    assert document["hosts"][0]["removed"] is False
    assert document["failures"][0]["error"] == "no route"
    assert fleet.ran == []


def test_a_fleet_is_gone_through_in_batches_and_spared_where_the_canary_fails(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.broken = {"gpu-01"}
    assert cli.run(["remove", *NAMES, "--yes", "--canary"]) is ExitCode.FAILED
    assert fleet.ran == [("gpu-01",)]
    printed = capsys.readouterr().out
    assert "gpu-01: " in printed
    assert "dpkg was interrupted" in printed
    assert "gpu-02: not attempted: the canary gpu-01 failed" in printed


def test_a_removal_is_in_the_history_with_every_host(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = HostReport("gpu-03", error="no route", error_code=ExitCode.UNREACHABLE)
    fleet.planned = replace(fleet.planned, failures={"gpu-03": gone})
    assert cli.run(["remove", "gpu-01", "gpu-02", "--yes"]) is ExitCode.UNREACHABLE
    capsys.readouterr()
    assert cli.run(["history", "--json"]) is ExitCode.OK
    (run,) = json.loads(capsys.readouterr().out)
    assert run["command"] == "remove"
    assert run["exit_code"] == ExitCode.UNREACHABLE
    kept = json.loads((fleet.folder / "state/runs/latest/report.json").read_text())
    verdicts = {host["host"]: host["verdict"] for host in kept["hosts"]}
    assert verdicts == {"gpu-01": "WARN", "gpu-02": "PASS", "gpu-03": "UNKNOWN"}
