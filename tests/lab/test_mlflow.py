"""The workload mlflow with MLflow itself: proven, used, stopped and started, broken, removed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.lab import Lab

from gpuhost.workloads.definition import LIBRARY

pytestmark = pytest.mark.slow

PORT = 5000
# Asks on the host itself, which has no program for it.
REQUEST = """
import sys, urllib.error, urllib.request
path, host, body = sys.argv[1:]
headers = {"Content-Type": "application/json", **({"Host": host} if host else {})}
request = urllib.request.Request(f"http://127.0.0.1:5000{path}", body.encode() or None, headers)
try:
    print(urllib.request.urlopen(request, timeout=60).read().decode())
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
"""


@pytest.fixture(scope="module")
def host(lab: Lab, provisioned: str) -> Iterator[str]:
    """A host whose registry has the image; no MLflow is there in the end."""
    lab.ok("lab", "image", "mlflow")
    yield provisioned
    lab.run("workload", "rm", provisioned, "mlflow")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's client, as gpuhost[mlflow] brings it."""
    folder = tmp_path_factory.mktemp("client")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder)]
    subprocess.run([*pip, "mlflow-skinny==3.17.2"], check=True, timeout=600)
    return folder


def ask(lab: Lab, host: str, path: str, body: object = None, *, name: str = "") -> str:
    text = json.dumps(body) if body else ""
    return lab.exec(host, ["python3", "-c", REQUEST, path, name, text])


def runs(lab: Lab, host: str, experiment: str) -> list[dict[str, Any]]:
    where = f"/api/2.0/mlflow/experiments/get-by-name?experiment_name={experiment}"
    found = json.loads(ask(lab, host, where))["experiment"]["experiment_id"]
    told = ask(lab, host, "/api/2.0/mlflow/runs/search", {"experiment_ids": [found]})
    answered: list[dict[str, Any]] = json.loads(told).get("runs", [])
    return answered


def await_health(lab: Lab, host: str) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            if "OK" in ask(lab, host, "/health"):
                return
        except Exception:
            if time.monotonic() > deadline:
                raise
        time.sleep(1)


def left(lab: Lab, host: str) -> str:
    """What there is of MLflow's on a host, by any name of gpuhost's."""
    words = ["docker ps --all --format {{.Names}}", "docker volume ls --format {{.Name}}"]
    words += ["docker network ls --format {{.Name}}", "ls /var/lib/gpuhost/workloads"]
    script = "; ".join(words)
    return "\n".join(
        line for line in lab.exec(host, ["sh", "-c", script]).splitlines() if "mlflow" in line
    )


def verdicts(lab: Lab, host: str, *options: str) -> dict[str, dict[str, Any]]:
    ran = lab.run("workload", "verify", host, "mlflow", "--json", *options)
    assert ran.stdout.startswith("{"), ran.stderr
    (report,) = ran.document["hosts"]
    return {check["check"].removeprefix("workload.mlflow."): check for check in report["checks"]}


def test_a_host_is_proven_to_run_it_and_keeps_nothing_of_the_proof(lab: Lab, host: str) -> None:
    found = verdicts(lab, host)
    assert {name: check["verdict"] for name, check in found.items()} == dict.fromkeys(
        (
            "starts",
            "it_is_healthy",
            "the_store_is_read",
            "a_run_is_logged_and_read_back",
            "a_model_is_registered",
            "a_model_is_served_and_predicts_right",
            "a_project_is_run",
        ),
        "PASS",
    ), found
    assert left(lab, host) == ""


def test_a_verification_is_logged_to_it_and_stays_until_it_is_removed(
    lab: Lab, host: str, client: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = json.loads(lab.ok("hosts", host, "--json").stdout)[0]["address"]
    words = ("workload", "run", host, "mlflow")
    opened = ("--set", "address=0.0.0.0", "--set", f"allowed_hosts={address}:{PORT}")
    lab.ok(*words, *opened)
    # What the probes made is gone again.
    assert runs(lab, host, "gpuhost-probes") == []
    assert "registered_models" not in ask(lab, host, "/api/2.0/mlflow/registered-models/search")
    assert ask(lab, host, "/api/2.0/mlflow/experiments/search", name="evil.example").startswith(
        "403 Invalid Host header"
    )

    path = os.pathsep.join((os.environ["PYTHONPATH"], str(client)))
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        told = lab.ok("verify", host, "--suite", "quick", "--mlflow", f"http://{address}:{PORT}")
    assert "MLflow" not in told.stderr
    (logged,) = runs(lab, host, "gpuhost")
    assert logged["info"]["run_name"] == host
    assert logged["info"]["status"] == "FINISHED"
    assert {tag["key"]: tag["value"] for tag in logged["data"]["tags"]}["gpuhost.verdict"] == "PASS"
    key = logged["info"]["run_id"]
    listed = json.loads(ask(lab, host, f"/api/2.0/mlflow/artifacts/list?run_id={key}"))
    assert [file["path"] for file in listed["files"]] == ["report.html", "report.json"]

    # The host is proven beside it.
    assert verdicts(lab, host)["starts"]["verdict"] == "PASS"
    assert [run["info"]["run_id"] for run in runs(lab, host, "gpuhost")] == [key]

    lab.ok("workload", "stop", host, "mlflow")
    lab.ok(*words, *opened, "--detach")
    await_health(lab, host)
    assert [run["info"]["run_id"] for run in runs(lab, host, "gpuhost")] == [key]
    lab.ok("workload", "rm", host, "mlflow")
    assert left(lab, host) == ""


@pytest.fixture
def impatient(lab: Lab) -> Iterator[None]:
    """The same workload as one of the site's own, which is given up sooner."""
    own = lab.project / "workloads" / "mlflow"
    shutil.copytree(LIBRARY / "mlflow", own)
    about = own / "workload.yaml"
    about.write_text(about.read_text().replace("within: 300", "within: 120"))
    yield
    shutil.rmtree(own)


@pytest.mark.usefixtures("impatient")
def test_artifacts_that_cannot_be_written_are_found_on_a_server_that_is_healthy(
    lab: Lab, host: str
) -> None:
    mount = "mkdir -p /srv/half/artifacts && mount -t tmpfs -o ro none /srv/half/artifacts"
    lab.exec(host, ["sh", "-c", mount])
    try:
        found = verdicts(lab, host, "--set", "data=/srv/half")
    finally:
        lab.exec(host, ["umount", "/srv/half/artifacts"])
    assert [found[name]["verdict"] for name in ("it_is_healthy", "the_store_is_read")] == [
        "PASS"
    ] * 2
    broken = found["a_run_is_logged_and_read_back"]
    assert broken["verdict"] == "FAIL"
    # The last words of the program that asked.
    assert "MlflowException" in broken["cause"] or "HTTPError" in broken["cause"], broken
    assert left(lab, host) == ""


@pytest.mark.usefixtures("impatient")
def test_a_store_that_cannot_be_written_says_so(lab: Lab, host: str) -> None:
    lab.exec(host, ["sh", "-c", "mkdir -p /srv/full && mount -t tmpfs -o ro none /srv/full"])
    try:
        found = verdicts(lab, host, "--set", "data=/srv/full")
    finally:
        lab.exec(host, ["umount", "/srv/full"])
    # MLflow goes on trying for longer than a proof waits.
    assert found["it_is_healthy"]["verdict"] == "FAIL"
    assert "unable to open database file" in found["it_is_healthy"]["seen"], found
    assert left(lab, host) == ""
