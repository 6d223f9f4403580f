"""The docker daemon: that it runs, which one it is, and that it knows NVIDIA's runtime."""

from __future__ import annotations

import json
from typing import Any

from gpuhost.checks.facts import Facts
from gpuhost.checks.failure_words import explain
from gpuhost.checks.finding import (
    Finding,
    failed,
    not_applicable,
    not_declared,
    passed,
    undetermined,
    warned,
)
from gpuhost.checks.registry import check
from gpuhost.checks.remedies import (
    DOCKER_LOGS,
    PROVISION,
    REGISTER_RUNTIME,
    RESTART_DOCKER,
    START_DOCKER,
)
from gpuhost.checks.words import listed
from gpuhost.parse.docker import differences, parse_daemon_json
from gpuhost.parse.errors import ParseError
from gpuhost.parse.versions import same, upstream
from gpuhost.probe.schema import Docker

SERVICE = "docker.service"
ENGINE = "docker-ce"
ENGINES = (ENGINE, "docker.io", "docker-engine")


def _installed(docker: Docker) -> str | None:
    return next((p["version"] for p in docker["packages"] if p["name"] == ENGINE), None)


@check("docker.present", "A Docker Engine is installed", needs=("docker",))
def present(facts: Facts) -> Finding:
    """A host that nobody has provisioned has no docker; no container can be started on it.

    Provision the host: gpuhost provision installs docker-ce.
    """
    docker = facts.docker
    engines = [f"{p['name']} {p['version']}" for p in docker["packages"] if p["name"] in ENGINES]
    if engines:
        return passed(listed(engines))
    if docker["info"] is not None:
        return passed("a daemon answers that no package is installed of")
    if any(u["name"] == SERVICE and u["load_state"] != "not-found" for u in docker["units"]):
        return passed(f"{SERVICE}, that no package is installed of")
    return failed(
        "docker is not installed",
        seen=f"no package of it, no {SERVICE} and no answer",
        expected=f"{ENGINE} {facts.desired.docker_version or ''}".strip(),
        cause="the host was not provisioned yet, or docker was removed",
        remedy=PROVISION,
    )


def daemon_silent(docker: Docker, expected: str) -> Finding:
    """What a check says that needs the daemon, where it does not answer."""
    cause, remedy = _why_silent(docker)
    return undetermined(
        "could not be determined: dockerd does not answer",
        seen=docker["connect_error"] or "no answer",
        expected=expected,
        cause=cause,
        remedy=remedy,
    )


def _why_silent(docker: Docker) -> tuple[str, str]:
    """Cause and remedy of a daemon that does not answer."""
    if _installed(docker) is None:
        return f"the package {ENGINE} is not installed", PROVISION
    return explain(
        docker["connect_error"] or "", DOCKER_LOGS if _is_active(docker) else START_DOCKER
    )


def _is_active(docker: Docker) -> bool:
    return any(u["name"] == SERVICE and u["active_state"] == "active" for u in docker["units"])


@check("docker.running", "The docker daemon answers", needs=("docker",))
def running(facts: Facts) -> Finding:
    """A unit that is active says little: the daemon has to answer on its socket.

    Start it with systemctl and read its journal: most often daemon.json is invalid or the disk
    is full.
    """
    docker = facts.docker
    info = docker["info"]
    if info is not None and not docker["connect_error"]:
        return passed(f"Engine {info['server_version']}, API {info['api_version']}")
    states = {u["name"]: u for u in docker["units"]}
    state = states[SERVICE]["active_state"] if SERVICE in states else "not there"
    words = docker["connect_error"] or "the daemon returned no information"
    cause, remedy = _why_silent(docker)
    return failed(
        "dockerd does not answer",
        seen=f"{words}; {SERVICE} is {state}",
        expected="an answer on /var/run/docker.sock",
        cause=cause,
        remedy=remedy,
    )


@check("docker.version", "The Engine is the declared one, and the installed one", needs=("docker",))
def version(facts: Facts) -> Finding:
    """An upgraded package changes nothing until the daemon is restarted.

    Restart docker where only the restart is missing; otherwise provision the host, or declare
    the version that is meant to stay.
    """
    declared, installed = facts.desired.docker_version, _installed(facts.docker)
    info = facts.docker["info"]
    if info is None:
        return daemon_silent(facts.docker, f"Engine {declared or 'as installed'}")
    served = info["server_version"]
    if declared and not same(declared, installed or served):
        return failed(
            f"docker {installed or served} is not the declared version",
            seen=f"{ENGINE} {installed or 'not installed as a package'}, running {served}",
            expected=declared,
            cause="docker was changed by something else, or the declaration is newer than the host",
            remedy=PROVISION,
        )
    if installed and upstream(installed) != upstream(served):
        return warned(
            "the running Engine is not the installed one",
            seen=f"running {served}, installed {installed}",
            expected="the installed Engine running",
            cause="the package was upgraded and the daemon was not restarted",
            remedy=RESTART_DOCKER,
        )
    if not declared:
        return not_declared("docker_ce_version", installed or served)
    return passed(f"{served}, as declared")


@check("docker.config", "daemon.json is valid and holds what is declared", needs=("docker",))
def config(facts: Facts) -> Finding:
    """A daemon.json with an error goes unnoticed until the next restart, which then fails.

    Correct /etc/docker/daemon.json, check it with dockerd --validate, and only then restart
    docker.
    """
    file = facts.docker["daemon_json"]
    declared = facts.desired.daemon_config
    if file["error"] or (file["exists"] and file["text"] is None):
        return undetermined(
            f"{file['path']} could not be read",
            seen=file["error"] or "no text",
            expected="a readable file",
            cause="missing permission, or the file is not UTF-8",
            remedy=f"ls -l {file['path']}",
        )
    if not file["exists"] and not declared:
        return not_applicable(f"there is no {file['path']}, and nothing is declared for it")
    try:
        found = parse_daemon_json(file["text"] or "")
    except ParseError as error:
        return failed(
            f"{file['path']} is not valid JSON",
            seen=str(error),
            expected="a JSON object",
            cause="it was edited by hand, or a program wrote only part of it",
            remedy=f"python3 -m json.tool {file['path']}  # then correct it and {RESTART_DOCKER}",
        )
    missing = [_difference(*difference) for difference in differences(declared, found)]
    if missing:
        return failed(
            f"{file['path']} lacks what is declared",
            seen=listed(missing),
            expected=json.dumps(dict(declared)),
            cause="the file was changed since, or the declaration is newer than the host",
            remedy=PROVISION,
        )
    return _validated(facts.docker)


def _difference(place: str, declared: Any, found: Any) -> str:
    return f"{place} is {'not set' if found is None else json.dumps(found)}, not " + json.dumps(
        declared
    )


def _validated(docker: Docker) -> Finding:
    path, command = docker["daemon_json"]["path"], docker["validate"]
    expected = f"dockerd --validate --config-file={path} says that it is OK"
    if command is None or command["rc"] is None:
        return undetermined(
            "dockerd was not asked whether its configuration is valid",
            seen=(command["error"] if command else None) or "no answer",
            expected=expected,
            cause="dockerd is not installed, older than 23.0, or did not end",
            remedy=f"dockerd --validate --config-file={path}",
        )
    if command["rc"] == 0:
        return passed(f"{path} is valid and as declared")
    words = (command["stderr"] + command["stdout"]).strip()
    cause, remedy = explain(words, f"dockerd --validate --config-file={path}")
    return failed(
        f"dockerd refuses {path}: the next restart fails",
        seen=words or f"exit code {command['rc']}",
        expected=expected,
        cause=cause,
        remedy=remedy,
    )


@check(
    "docker.runtime",
    "The running daemon knows the nvidia runtime",
    needs=("docker",),
    wants=("docker", "toolkit"),
)
def runtime(facts: Facts) -> Finding:
    """`--runtime=nvidia` works only if the daemon that runs has read its registration.

    Register it with nvidia-ctk runtime configure and restart docker; gpuhost provision does it
    without dropping other keys.
    """
    info, in_file = facts.docker["info"], _registered_in_file(facts.docker)
    if info is None:
        return daemon_silent(facts.docker, "a runtime named nvidia")
    if "nvidia" in info["runtimes"]:
        path = facts.docker["daemon_json"]["path"]
        return passed(f"nvidia → {info['runtimes']['nvidia']}") if in_file else _soon_lost(path)
    seen = f"runtimes: {listed(sorted(info['runtimes'])) or 'none'}"
    if in_file:
        return failed(
            "the nvidia runtime is registered, and dockerd was not restarted since",
            seen=f"{seen}; daemon.json has nvidia",
            expected="nvidia among the runtimes of the running daemon",
            cause="daemon.json was changed after the daemon had started",
            remedy=RESTART_DOCKER,
        )
    return failed(
        "the nvidia runtime is not registered",
        seen=f"{seen}; daemon.json has none by that name",
        expected="nvidia among the runtimes of the running daemon",
        cause="nvidia-ctk runtime configure was not run, or daemon.json was replaced since",
        remedy=REGISTER_RUNTIME,
    )


def _registered_in_file(docker: Docker) -> bool:
    try:
        runtimes = parse_daemon_json(docker["daemon_json"]["text"] or "").get("runtimes")
    except ParseError:
        return False
    return isinstance(runtimes, dict) and "nvidia" in runtimes


def _soon_lost(path: str) -> Finding:
    return warned(
        "the nvidia runtime is lost at the next restart of docker",
        seen=f"the daemon knows it, {path} does not",
        expected=f"nvidia among the runtimes in {path}",
        cause="daemon.json was changed or removed after the daemon had started",
        remedy=REGISTER_RUNTIME,
    )
