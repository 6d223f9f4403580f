"""One run at a time a host, from the controller; for the host see tests/roles/test_ledger.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.evidence import healthy_desired, healthy_evidence

from gpuhost import locks, settings
from gpuhost.engine import HostOutcome, Outcome
from gpuhost.errors import ExitCode
from gpuhost.inventory import Host
from gpuhost.model import HostReport
from gpuhost.targets import Targets
from gpuhost.ui import Ui

RECORD = {
    "run": "r1",
    "holder": {"user": "ops", "machine": "bastion", "pid": 4711, "command": "gpuhost provision a"},
    "since": 1_700_000_000.0,
    "free_at": 1_700_000_900.0,
    "at": "docker_ce",
}
WHOSE = "`gpuhost provision a` (ops@bastion, pid 4711, since 2023-11-14 22:13:20 UTC)"


class Engine:
    """Plays the playbooks: every one that runs, with its hosts; how the first ends is given."""

    def __init__(self, **outcomes: HostOutcome) -> None:
        self.outcomes = outcomes
        self.ran: list[tuple[str, tuple[str, ...], Mapping[str, Any]]] = []

    def run(
        self,
        playbook: str,
        _inventory: Path,
        names: Sequence[str],
        variables: Mapping[str, Any],
        *_: object,
        **__: object,
    ) -> Outcome:
        self.ran.append((playbook, tuple(names), variables))
        noted = {"version_changes": {"docker-ce": ["28", "29"]}}
        fine = {name: HostOutcome(name, ok=True, results=noted) for name in names}
        return Outcome({**fine, **({} if len(self.ran) > 1 else self.outcomes)})


def run_locked(monkeypatch: pytest.MonkeyPatch, engine: Engine) -> tuple[Outcome, list[str]]:
    """How a playbook ends on the hosts that the engine knows, and what is said meanwhile."""
    said: list[str] = []
    monkeypatch.setattr("gpuhost.engine.run", engine.run)
    monkeypatch.setattr(Ui, "say", lambda _self, words: said.append(words))
    hosts = tuple(Host(name, "192.0.2.1") for name in engine.outcomes)
    targets = Targets(Path("hosts.yml"), hosts, {h.name: healthy_desired() for h in hosts})
    outcome = locks.run_locked("provision.yml", targets, settings.load({}), Ui(), {"more": 1})
    return outcome, said


def test_a_run_says_who_it_is_and_what_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(a=HostOutcome("a", ok=True))
    assert run_locked(monkeypatch, engine)[1] == []
    ((playbook, names, variables),) = engine.ran
    assert (playbook, names) == ("provision.yml", ("a",))
    assert variables["gpuhost_command"] == "gpuhost provision a"
    assert variables["more"] == 1
    assert len(variables["gpuhost_run_id"]) == 32


def test_the_locks_of_hosts_that_failed_are_released_by_the_same_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Engine(
        fine=HostOutcome("fine", ok=True),
        sick=HostOutcome("sick", ok=False, failed=True),
        gone=HostOutcome("gone", ok=False, unreachable=True),
        taken=HostOutcome("taken", ok=False, failed=True, results={"lock": RECORD}),
    )
    outcome, _ = run_locked(monkeypatch, engine)
    first, release = engine.ran
    # What had begun on a host that cannot be reached may still be at work there.
    assert release[:2] == ("release.yml", ("sick",))
    assert release[2]["gpuhost_run_id"] == first[2]["gpuhost_run_id"]
    # What a run changed before it failed is known, too.
    assert outcome.hosts["sick"].failed
    assert outcome.hosts["sick"].results["version_changes"] == {"docker-ce": ["28", "29"]}


def test_a_run_that_was_found_unfinished_is_told_with_how_far_it_had_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    early = {**RECORD, "at": ""}
    engine = Engine(
        a=HostOutcome("a", ok=True, results={"unfinished": RECORD}),
        b=HostOutcome("b", ok=True, results={"unfinished": early}),
    )
    assert run_locked(monkeypatch, engine)[1] == [
        f"a: found unfinished: {WHOSE}; it had come to docker_ce. This run went on from there.",
        f"b: found unfinished: {WHOSE}; it had changed nothing. This run went on from there.",
    ]


def test_a_locked_host_is_no_failure_of_the_host_and_nothing_unknown() -> None:
    report = locks.locked(HostReport("a"), RECORD)
    assert report.error == f"another run is at work on it: {WHOSE}. Nothing was changed."
    assert "from 22:28:20 UTC on, and at once on bastion" in report.error_remedy
    assert report.exit_code is ExitCode.SETUP


@pytest.mark.parametrize(("record", "expected"), [(None, False), ('{"run": "r1"}', True)])
def test_a_record_that_a_run_left_shows_in_the_evidence(record: str | None, expected: bool) -> None:
    evidence = healthy_evidence()
    data = evidence["sections"]["provisioning"]["data"] or {}
    evidence["sections"]["provisioning"]["data"] = {**data, "run": record}
    assert locks.has_run(evidence) is expected
