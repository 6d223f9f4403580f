"""The workload mlflow: who reaches the server, where it keeps things, what its probes ask."""

from __future__ import annotations

import ast
import http.client
import importlib.util
import itertools
import sys
from pathlib import Path
from typing import Any

import pytest

from gpuhost.lab.large_images import LARGE_IMAGES
from gpuhost.workloads.definition import LIBRARY, SERVICE, load
from gpuhost.workloads.docker_run import docker_run
from gpuhost.workloads.parameters import resolve
from gpuhost.workloads.render import render

FOLDER = LIBRARY / "mlflow"
PROBES = FOLDER / "probes"


def rendered(*words: str) -> dict[str, Any]:
    definition = load(FOLDER)
    return render(definition, resolve(definition.parameters, words), ())


def options(compose: dict[str, Any]) -> dict[str, str]:
    """The server's options that have a value."""
    command = compose["services"]["mlflow"]["command"]
    return {name: value for name, value in itertools.pairwise(command) if "--" in name}


def test_nobody_but_the_host_reaches_it_unless_that_is_asked_for() -> None:
    assert rendered()["services"]["mlflow"]["ports"] == ["127.0.0.1:5000:5000"]
    opened = rendered("address=0.0.0.0", "port=5050", "allowed_hosts=mlflow.example:5050")
    assert opened["services"]["mlflow"]["ports"] == ["0.0.0.0:5050:5000"]
    allowed = options(opened)["--allowed-hosts"].split(",")
    # The probes, which are on the host, stay among them.
    assert {"127.0.0.1:*", "mlflow.example:5050"} <= set(allowed)
    assert "*" not in allowed


def test_its_store_and_its_artifacts_are_in_one_place_that_outlives_the_container() -> None:
    for words, source in (((), "data"), (("data=/srv/mlflow",), "/srv/mlflow")):
        compose = rendered(*words)
        assert f"{source}:/mlflow" in compose["services"]["mlflow"]["volumes"]
        assert options(compose)["--backend-store-uri"] == "sqlite:////mlflow/mlflow.db"
        assert options(compose)["--artifacts-destination"] == "/mlflow/artifacts"
    assert rendered()["volumes"] == {"data": {}}


def test_it_is_one_docker_run_too() -> None:
    line = docker_run(rendered("port=5050"))
    assert "--init" in line
    assert "--publish 127.0.0.1:5050:5000" in line
    assert "ghcr.io/mlflow/mlflow" in line


def test_the_lab_has_the_image_that_it_names() -> None:
    assert load(FOLDER).parameters["image"].default == LARGE_IMAGES["mlflow"].reference


def test_each_question_of_its_probes_is_one_that_there_is() -> None:
    definition = load(FOLDER)
    assert definition.kind == SERVICE
    asked = [probe.asked["command"] for probe in definition.probes if probe.how == "exec"]
    assert len(asked) == 4
    tree = ast.parse((PROBES / "questions.py").read_text())
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    for _python, program, question in asked:
        assert (PROBES / Path(program).name).is_file()
        assert question in functions


def test_a_server_that_is_not_there_is_told_of_before_anything_heavy_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = importlib.util.spec_from_file_location("ask", PROBES / "ask.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def refuse(*_: object) -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(http.client.HTTPConnection, "request", refuse)
    monkeypatch.setitem(sys.modules, "questions", None)
    with pytest.raises(SystemExit, match=r"^ConnectionRefusedError: .*Connection refused$"):
        module.main()
