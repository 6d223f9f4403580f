"""Workloads that prove a host: small ones of a site's own, that work and that do not."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from support.lab import Lab

SERVE = (
    'echo "{\\"status\\": \\"${status}\\"}" > health; echo speed: ${speed}; '
    "exec python3 -m http.server 80"
)
WEB: dict[str, Any] = {
    "services": {
        "web": {
            "image": "nvcr.io/nvidia/pytorch:26.08-py3",
            "x-gpuhost-gpus": True,
            "ports": ["${port}:80"],
            "volumes": ["data:/srv"],
            "working_dir": "/srv",
            "command": ["sh", "-c", SERVE],
        }
    },
    "volumes": {"data": {}},
}
ABOUT: dict[str, Any] = {
    "description": "A server that says how it is.",
    "kind": "service",
    "within": 60,
    "parameters": {
        "port": {"type": "int", "default": 8090, "verify": 8099, "help": "Its port."},
        "status": {"type": "str", "default": "ok", "help": "How it is."},
        "speed": {"type": "int", "default": 100, "help": "How fast it is."},
    },
    "probes": [
        {
            "name": "it is well",
            "http": {"port": "${port}", "path": "/health", "json": {"status": "ok"}},
        },
        {
            "name": "the file is there",
            "exec": {"service": "web", "command": ["cat", "/srv/health"]},
        },
    ],
    "measures": [{"name": "speed", "log": "^speed: ([0-9]+)$", "unit": "images/s"}],
}
JOB: dict[str, Any] = {
    "services": {
        "job": {
            "image": "nvidia/cuda:13.0.3-base-ubuntu24.04",
            "x-gpuhost-gpus": True,
            "command": ["sh", "-c", "${script}"],
        }
    }
}
ABOUT_JOB: dict[str, Any] = {
    "description": "A job.",
    "parameters": {"script": {"type": "str", "default": "echo done", "help": "What it does."}},
    "probes": [{"name": "it is done", "log": "^done$"}],
}
CONTAINERS = ["docker", "ps", "--all", "--quiet", "--filter", "label=gpuhost.workload"]


def define(lab: Lab, name: str, compose: Any, about: Any) -> None:
    folder = lab.project / "workloads" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "compose.yaml").write_text(yaml.safe_dump(compose))
    (folder / "workload.yaml").write_text(yaml.safe_dump(about))


@pytest.fixture(scope="module")
def host(lab: Lab, provisioned: str) -> Iterator[str]:
    """A host, in a project with two workloads of its own; none of them is left in the end."""
    define(lab, "web", WEB, ABOUT)
    define(lab, "job", JOB, ABOUT_JOB)
    yield provisioned
    assert left(lab, provisioned) == []


def left(lab: Lab, host: str) -> list[str]:
    """Containers, volumes and folders of verified workloads."""
    volumes = ["docker", "volume", "ls", "--quiet", "--filter", "name=gpuhost-verify"]
    folders = ["sh", "-c", "ls -d /var/lib/gpuhost/workloads/verify-* 2>/dev/null || :"]
    return [
        line for argv in (CONTAINERS, volumes, folders) for line in lab.exec(host, argv).split()
    ]


def verdicts(lab: Lab, *words: str) -> tuple[int, dict[str, dict[str, Any]]]:
    ran = lab.run("workload", "verify", *words, "--json", "--quiet")
    assert ran.stdout.startswith("{"), ran.stderr
    (report,) = ran.document["hosts"]
    results = {r["check"].partition(".")[2]: r for r in report["checks"]}
    return ran.code, results


def test_the_suite_proves_the_host_and_its_workloads_and_leaves_nothing(
    lab: Lab, host: str
) -> None:
    found = lab.verify(host, "--workload", "web", "--workload", "job")
    assert found.code == 0, found.results
    names = {name for name in found.results if name.startswith("workload.")}
    assert names == {
        "workload.web.starts",
        "workload.web.it_is_well",
        "workload.web.the_file_is_there",
        "workload.web.speed",
        "workload.job.starts",
        "workload.job.it_is_done",
    }
    assert "partition.gpus" in found.results
    assert left(lab, host) == []


@pytest.mark.slow
def test_what_is_wrong_is_named_and_nothing_is_left(lab: Lab, host: str) -> None:
    code, found = verdicts(lab, host, "web", "--set", "status=ill")
    assert (code, found["web.it_is_well"]["verdict"]) == (1, "FAIL")
    assert 'status is "ill"' in found["web.it_is_well"]["cause"]
    code, found = verdicts(lab, host, "job", "--set", "script=echo lost; exit 7")
    assert (code, found["job.starts"]["verdict"]) == (1, "FAIL")
    assert "exit code 7" in found["job.starts"]["summary"]
    assert "lost" in found["job.starts"]["seen"]
    assert found["job.it_is_done"]["verdict"] == "FAIL"
    assert left(lab, host) == []


@pytest.mark.slow
def test_a_port_that_is_taken_is_told_with_who_has_it(lab: Lab, host: str) -> None:
    squatter = ["docker", "run", "--detach", "--name", "squatter", "--publish", "8090:80"]
    lab.exec(host, [*squatter, "nvidia/cuda:13.0.3-base-ubuntu24.04", "sleep", "600"])
    try:
        ran = lab.run("workload", "run", host, "web", "--gpus", "0")
        assert ran.code == 1
        assert "port 8090 is taken by container squatter" in ran.stderr
        # A verification has a port of its own.
        code, _ = verdicts(lab, host, "web")
        assert code == 0
    finally:
        lab.exec(host, ["docker", "rm", "--force", "squatter"])


@pytest.mark.slow
def test_a_service_that_dies_or_is_not_ready_is_not_left_running(lab: Lab, host: str) -> None:
    define(lab, "dying", JOB, {**ABOUT_JOB, "kind": "service", "within": 20})
    words = ("workload", "run", host, "dying", "--gpus", "0", "--set")
    dead = lab.run(*words, "script=echo I am lost; exit 3")
    assert dead.code == 1
    assert "ended after its start" in dead.stderr
    assert "I am lost" in dead.stderr
    never = lab.run(*words, "script=echo waiting; sleep 600")
    assert never.code == 1
    assert "not ready after 20 s (it is done: no line of the log is like ^done$)" in never.stderr
    running = ["docker", "ps", "--quiet", "--filter", "label=gpuhost.workload=dying"]
    assert lab.exec(host, running) == ""
    lab.ok("workload", "rm", host, "dying")


@pytest.mark.slow
def test_an_image_that_cannot_be_built_and_a_missing_volume_show_docker_s_words(
    lab: Lab, host: str
) -> None:
    compose: dict[str, Any] = {"services": {"main": {"image": "nowhere/none:1"}}}
    define(lab, "broken", compose, {"description": "x", "kind": "job"})
    code, found = verdicts(lab, host, "broken")
    assert (code, found["broken.starts"]["verdict"]) == (1, "FAIL")
    assert "nowhere/none" in found["broken.starts"]["seen"]
    volume = {
        "type": "bind",
        "source": "/nas/gone",
        "target": "/x",
        "bind": {"create_host_path": False},
    }
    compose = {
        "services": {"main": {**JOB["services"]["job"], "command": ["true"], "volumes": [volume]}}
    }
    define(lab, "broken", compose, {"description": "x", "kind": "job"})
    code, found = verdicts(lab, host, "broken", "--gpus", "none")
    assert (code, found["broken.starts"]["verdict"]) == (1, "FAIL")
    assert "/nas/gone" in found["broken.starts"]["seen"]
    assert left(lab, host) == []


@pytest.mark.slow
def test_busy_gpus_are_skipped_and_ones_that_are_not_there_refused(lab: Lab, host: str) -> None:
    holder = [
        "docker",
        "run",
        "--detach",
        "--gpus",
        "device=1",
        "nvidia/cuda:13.0.3-base-ubuntu24.04",
    ]
    identifier = lab.exec(host, [*holder, "sleep", "600"]).strip()
    try:
        _, found = verdicts(lab, host, "job", "--gpus", "1")
        assert found["job.starts"]["verdict"] == "SKIP"
        assert "in use by container" in found["job.starts"]["summary"]
        code, found = verdicts(lab, host, "job")
        assert (code, found["job.starts"]["verdict"]) == (0, "PASS")
    finally:
        lab.exec(host, ["docker", "rm", "--force", identifier])
    assert lab.run("workload", "verify", host, "job", "--gpus", "9").code == 2


@pytest.mark.slow
def test_after_ctrl_c_nothing_is_left_running(lab: Lab, host: str) -> None:
    words = ("workload", "verify", host, "job", "--set", "script=sleep 600")
    argv = [sys.executable, "-m", "gpuhost", *words]
    with subprocess.Popen(argv, cwd=lab.project, env=None, stderr=subprocess.PIPE) as process:
        started = [*CONTAINERS, "--filter", "status=running"]
        assert eventually(lambda: lab.exec(host, started) != "", 120)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
    assert eventually(lambda: left(lab, host) == [], 60)


@pytest.mark.slow
def test_plain_docker_compose_runs_what_is_rendered(lab: Lab, host: str) -> None:
    rendered = lab.ok("workload", "render", "web", "--gpus", "0", "--set", "port=8091").stdout
    compose = ["docker", "compose", "--file", "/tmp/web.yaml"]
    lab.exec(host, ["tee", "/tmp/web.yaml"], stdin=rendered)
    lab.exec(host, [*compose, "config", "--quiet"])
    lab.exec(host, [*compose, "up", "--detach", "--wait"])
    try:
        answer = (
            "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8091/health').read())"
        )
        assert eventually(lambda: "ok" in lab.exec(host, ["python3", "-c", answer]), 30)
        seen = lab.exec(host, [*compose, "exec", "-T", "web", "nvidia-smi", "-L"])
        assert len(seen.splitlines()) == 1
    finally:
        lab.exec(host, [*compose, "down", "--volumes"])


def eventually(holds: Any, within_s: float) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if holds():
                return True
        except Exception:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.5)
    return False


def test_every_workload_of_gpuhosts_is_a_file_that_docker_compose_takes(
    lab: Lab, host: str
) -> None:
    listed = lab.ok("workload", "list", "--json").stdout
    for one in json.loads(listed):
        rendered = lab.ok("workload", "render", one["name"]).stdout
        argv = ["docker", "compose", "--file", "-", "config", "--quiet"]
        assert lab.exec(host, argv, stdin=rendered) == "", one["name"]
