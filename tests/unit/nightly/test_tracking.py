from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.nights import night

from gpuhost import nightly, notify, tracking
from gpuhost.errors import ExitCode
from gpuhost.model import HostReport, RunReport
from gpuhost.settings import Settings
from gpuhost.targets import Targets
from gpuhost.tracking_sender import words_of
from gpuhost.ui import Ui

FAKE = Path(__file__).parents[2] / "support" / "fake_mlflow"
HOSTS: Mapping[str, Mapping[str, str]] = {
    "a": {"gpu.count": "PASS", "cdi.matches": "PASS"},
    "b": {"gpu.count": "FAIL", "cdi.matches": "PASS"},
}
REPORT = night(
    0, HOSTS, facts={"driver": "580.1"}, measures={"gpu0.temperature_c": 41.0, "verify.s": 6.5}
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path, None, tmp_path / "state", 10, mlflow=f"fake://{tmp_path / 'told'}")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's client, or what stands in for it."""
    monkeypatch.setenv("PYTHONPATH", str(FAKE))


def told(settings: Settings, kind: str) -> list[list[Any]]:
    lines = (settings.project / "told").read_text().splitlines()
    return [words[1:] for words in map(json.loads, lines) if words[0] == kind]


@pytest.mark.usefixtures("installed")
class TestSending:
    def test_each_host_becomes_a_run_of_one_experiment(self, settings: Settings) -> None:
        assert list(tracking.send(REPORT, settings)) == []
        assert list(tracking.send(night(1, HOSTS), settings)) == []
        assert told(settings, "create_experiment") == [["gpuhost"]]
        made = [given for _, given in told(settings, "create_run")]
        assert [given["run_name"] for given in made] == ["a", "b", "a", "b"]
        assert made[1]["tags"]["gpuhost.run_id"] == REPORT.run_id
        assert made[1]["tags"]["gpuhost.verdict"] == "FAIL"
        assert "**FAIL** gpu.count" in made[1]["tags"]["mlflow.note.content"]
        ends = [words[:2] for words in told(settings, "set_terminated")]
        assert ends[:2] == [["a", "FINISHED"], ["b", "FAILED"]]

    def test_versions_are_parameters_and_figures_are_metrics(self, settings: Settings) -> None:
        assert list(tracking.send(REPORT, settings)) == []
        _, metrics, params = told(settings, "log_batch")[1]
        values = {metric["key"]: metric["value"] for metric in metrics}
        assert values["checks/fail"] == 1
        assert values["checks/unknown"] == 0
        assert values["gpu0/temperature_c"] == 41
        assert {p["key"]: p["value"] for p in params} == {"gpuhost": "0.1.0", "driver": "580.1"}

    def test_the_reports_of_a_host_are_artifacts_of_its_run(self, settings: Settings) -> None:
        assert list(tracking.send(REPORT, settings)) == []
        files = {(run, name): text for run, name, text in told(settings, "log_text")}
        assert [h["host"] for h in json.loads(files["a", "report.json"])["hosts"]] == ["a"]
        assert "<!DOCTYPE html>" in files["b", "report.html"]

    def test_a_host_that_was_left_alone_is_not_sent_and_one_that_was_not_reached_is(
        self, settings: Settings
    ) -> None:
        away = night(0, {"c": {"error": "No route to host"}}).hosts
        report = replace(REPORT, hosts=(HostReport("d", skipped="drained"), *away))
        assert list(tracking.send(report, settings)) == []
        ((_, made),) = told(settings, "create_run")
        assert made["tags"]["gpuhost.error"] == "No route to host"

    def test_a_server_that_refuses_is_told_without_its_password(self, settings: Settings) -> None:
        refusing = replace(settings, mlflow=f"fake://user:secret@{settings.project}")
        (said,) = tracking.send(REPORT, refusing)
        assert said.startswith(f"MLflow at fake://{settings.project} has 0 of 2 hosts of this run:")
        assert "said: no" in said
        assert "secret" not in said
        assert f"gpuhost verify --from {REPORT.run_id} --mlflow URI" in said

    def test_a_server_that_does_not_answer_is_not_waited_for(self, settings: Settings) -> None:
        began = time.monotonic()
        silent = replace(settings, mlflow="fake:///dev/null")
        (said,) = tracking.send(REPORT, silent, limit_s=1.0)
        assert "took longer than 1 s" in said
        assert time.monotonic() - began < 30

    def test_what_got_there_before_the_trouble_is_counted_and_no_run_stays_open(
        self, settings: Settings
    ) -> None:
        report = replace(REPORT, hosts=(REPORT.hosts[0], replace(REPORT.hosts[1], host="full")))
        (said,) = tracking.send(report, settings)
        assert "has 1 of 2 hosts of this run: OSError: no space left" in said
        assert [run for run, *_ in told(settings, "set_terminated")] == ["a", "full"]

    def test_without_a_uri_nothing_is_sent(self, settings: Settings) -> None:
        assert list(tracking.send(REPORT, replace(settings, mlflow=""))) == []
        assert not (settings.project / "told").exists()


def test_of_a_wrapped_refusal_only_what_the_network_said_is_told() -> None:
    def wrapped(inner: Exception) -> Exception:
        outer = ValueError("pages of it")
        outer.__cause__ = inner
        return outer

    assert words_of(wrapped(ConnectionRefusedError("refused"))) == "ConnectionRefusedError: refused"
    assert words_of(wrapped(KeyError("no"))) == "ValueError: pages of it"


def test_without_the_extra_the_message_says_how_to_get_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mlflow.py").write_text("raise ImportError('as if it were not installed')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (said,) = tracking.send(REPORT, settings)
    assert "pip install 'gpuhost[mlflow]'" in said


def test_a_night_is_kept_and_told_of_whatever_becomes_of_mlflow(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def verify(*_: object, **__: object) -> RunReport:
        return REPORT

    def send(_: object, message: notify.Message) -> tuple[str, ...]:
        messages.append(message)
        return ()

    messages: list[notify.Message] = []
    monkeypatch.setattr("gpuhost.nightly.verify", verify)
    monkeypatch.setattr("gpuhost.tracking.send", lambda *_: iter(["MLflow is away."]))
    monkeypatch.setattr("gpuhost.notify.send", send)
    found = nightly.run(Targets(Path("/inventory"), (), {}), settings, Ui())
    assert "MLflow is away." in found.troubles
    assert "! MLflow is away." in messages[0].body
    assert found.exit_code is ExitCode.SETUP
