"""Removing gpuhost from hosts: what is shown, asked and done on which."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.evidence import healthy_desired, healthy_evidence

from gpuhost import cli
from gpuhost.checks.facts import Facts
from gpuhost.errors import ExitCode
from gpuhost.inventory import Host
from gpuhost.model import HostReport
from gpuhost.remove import HostRemoval, Planned, Removed, removal_of, users_of
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


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, ...]]:
    """The hosts on which it was done, each time, with one host that it can be done on."""
    targets = Targets(tmp_path, (Host("gpu-01", "192.0.2.1"),), {"gpu-01": healthy_desired()})
    ran: list[tuple[str, ...]] = []

    def work(asked: Targets, *_: object) -> Removed:
        ran.append(asked.names)
        return Removed({"gpu-01": ["podman 4.3 could not be put back"]}, {})

    monkeypatch.setattr("gpuhost.targets.resolve", lambda *_: targets)
    monkeypatch.setattr("gpuhost.remove.make_plans", lambda *_: Planned({"gpu-01": removal()}))
    monkeypatch.setattr("gpuhost.remove.remove", work)
    return ran


def test_what_would_be_done_is_shown_and_nothing_done_where_nobody_can_be_asked(
    done: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["remove", "gpu-01"]) is ExitCode.USAGE
    printed = capsys.readouterr().err
    for words in ("docker-ce", "docker.io 20.10", "alice out of docker", "/var/lib/docker"):
        assert words in printed
    assert done == []


@pytest.mark.parametrize(("answer", "ran"), [("remove\n", [("gpu-01",)]), ("yes\n", [])])
def test_the_word_has_to_be_typed(
    done: list[tuple[str, ...]],
    answer: str,
    ran: list[tuple[str, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _prompt: answer.strip())
    cli.run(["remove", "gpu-01"])
    assert done == ran


def test_what_stays_otherwise_is_told(
    done: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["remove", "gpu-01", "--yes"]) is ExitCode.OK
    assert done == [("gpu-01",)]
    assert capsys.readouterr().out == (
        "gpu-01: is as it was before gpuhost, except for:\n  podman 4.3 could not be put back\n"
    )


def test_a_host_that_is_left_alone_shows_in_the_exit_code_and_as_json(
    done: list[tuple[str, ...]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gone = HostReport("gpu-02", error="no route", error_code=ExitCode.UNREACHABLE)
    planned = Planned({"gpu-01": removal(needed_by=["portainer"])}, {"gpu-02": gone})
    monkeypatch.setattr("gpuhost.remove.make_plans", lambda *_: planned)
    assert cli.run(["remove", "gpu-01", "--yes", "--json"]) is ExitCode.UNREACHABLE
    document = json.loads(capsys.readouterr().out)
    assert document["hosts"][0]["problem"].startswith("portainer would be removed too")
    assert document["hosts"][0]["removed"] is False
    assert document["failures"][0]["error"] == "no route"
    assert done == []
