from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.evidence import healthy_desired, healthy_evidence

from gpuhost import cli, runs
from gpuhost.errors import ExitCode, UsageError
from gpuhost.model import Desired, Login, RunReport, Verdict
from gpuhost.rejudge import judge_again


@pytest.fixture
def kept(tmp_path: Path) -> runs.Run:
    """A run that kept the evidence of two hosts, one of which had a GPU too few."""
    run = runs.begin(tmp_path / "runs")
    logins = (Login("nvcr.io", "$oauthtoken"),)
    declared = replace(healthy_desired(), registry_logins=logins)
    runs.keep_evidence(run, {"a": healthy_evidence(), "b": healthy_evidence()})
    runs.keep_desired(run, {"a": declared, "b": replace(declared, gpu_count=5)})
    runs.keep_report(run, RunReport(run.run_id, "verify", run.started, run.started, "0", ()))
    return run


def again(kept: runs.Run, *places: str, hosts: tuple[str, ...] = ()) -> RunReport:
    return judge_again(places, kept.folder.parent, hosts=hosts)


@pytest.mark.parametrize("place", ["latest", "", "file"])
def test_kept_evidence_gets_the_verdicts_that_its_declaration_asks_for(
    kept: runs.Run, place: str
) -> None:
    places = {"": kept.run_id[:16], "file": str(kept.evidence_path("b"))}
    report = again(kept, places.get(place, place), hosts=("b",))
    (host,) = report.hosts
    bad = {r.check: r.verdict for r in host.results if r.verdict is not Verdict.PASS}
    assert bad["gpu.count"] is Verdict.FAIL
    assert report.exit_code is ExitCode.FAILED


def test_a_healthy_host_passes_again(kept: runs.Run) -> None:
    report = again(kept, "latest", hosts=("a",))
    assert report.hosts[0].verdict is Verdict.PASS


def test_without_a_declaration_nothing_is_held_against_the_host(kept: runs.Run) -> None:
    kept.desired_path("b").unlink()
    (host,) = again(kept, "latest", hosts=("b",)).hosts
    verdicts = {r.check: r.verdict for r in host.results}
    assert verdicts["gpu.count"] is Verdict.SKIP


def test_what_a_host_logs_in_with_is_not_kept(kept: runs.Run) -> None:
    assert "oauthtoken" not in kept.desired_path("a").read_text()


def test_a_field_of_another_gpuhost_is_left_out(kept: runs.Run) -> None:
    path = kept.desired_path("b")
    path.write_text(json.dumps({**json.loads(path.read_text()), "gpu_colour": "green"}))
    assert again(kept, "latest", hosts=("b",)).exit_code is ExitCode.FAILED


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "Expecting property name"),
        ("[]", "it is no evidence"),
        ('{"sections": {}, "schema_version": 0}', "it is of schema 0"),
        ('{"sections": [], "schema_version": 1}', "cannot be judged"),
    ],
)
def test_a_damaged_or_foreign_file_is_an_error_that_names_it(
    kept: runs.Run, tmp_path: Path, text: str, why: str
) -> None:
    path = tmp_path / "b.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="cannot be judged") as caught:
        again(kept, str(path))
    assert str(path) in caught.value.message
    assert why in caught.value.message


def test_an_unknown_run_or_host_is_an_error(kept: runs.Run) -> None:
    with pytest.raises(UsageError, match="no one run 'yesterday'"):
        again(kept, "yesterday")
    with pytest.raises(UsageError, match=r"no evidence of ab .* Did you mean"):
        again(kept, "latest", hosts=("ab",))


def test_the_command_asks_no_host_and_gives_the_exit_code_of_the_verdicts(
    kept: runs.Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GPUHOST_STATE_DIR", str(kept.folder.parent.parent))
    monkeypatch.setattr("gpuhost.targets.resolve", lambda *_: pytest.fail("asked"))
    assert cli.run(["verify", "--from", "latest"]) is ExitCode.FAILED
    assert "gpu.count" in capsys.readouterr().out
    assert cli.run(["verify"]) is ExitCode.USAGE


def test_every_field_of_a_declaration_survives(tmp_path: Path) -> None:
    run = runs.begin(tmp_path)
    declared = replace(
        Desired(), gpu_uuids=("GPU-1",), daemon_config={"log-opts": {"max-size": "10m"}}
    )
    runs.keep_evidence(run, {"a": healthy_evidence()})
    runs.keep_desired(run, {"a": declared})
    kept = json.loads(run.desired_path("a").read_text())
    assert Desired(**{**kept, "gpu_uuids": ("GPU-1",), "docker_users": ()}) == declared
