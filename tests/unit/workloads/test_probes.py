"""Probes and measures as workload.yaml has them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gpuhost.errors import UsageError
from gpuhost.workloads.definition import JOB, Definition, folders, load
from gpuhost.workloads.probes import ProbeError, measure, probe, unique
from gpuhost.workloads.render import asked

LIBRARY = sorted(folders(Path("/nonexistent")).items())


@pytest.mark.parametrize(("name", "folder"), LIBRARY)
def test_every_workload_that_comes_with_gpuhost_can_be_proven(name: str, folder: Path) -> None:
    definition = load(folder)
    # A job's exit code is a verdict of its own.
    assert definition.probes or definition.kind == JOB, f"{name} has no probe"


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("it works", "a mapping with a name"),
        ({"name": "a"}, "exactly one of http, exec, log, file"),
        ({"name": "a", "log": "x", "file": {"path": "/x"}}, "exactly one of"),
        ({"name": "a", "ping": {}}, "exactly one of"),
        ({"name": "a", "http": {"path": "/"}}, "http takes port"),
        ({"name": "a", "http": {"port": 1, "prot": 2}}, "may have body"),
        ({"name": "a", "log": "("}, "the pattern of 'a' cannot be used"),
        ({"name": "a", "exec": {"service": "s", "command": ["c"], "output": "("}}, "pattern"),
        ({"name": "??", "log": "x"}, "exactly one of"),
    ],
)
def test_what_is_no_probe_is_told(document: Any, words: str) -> None:
    with pytest.raises(ProbeError, match=words):
        probe(document)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"name": "speed"}, "log"),
        ({"name": "speed", "log": "no group"}, "one group"),
        ({"name": "speed", "log": "(a)", "better": "faster"}, "higher or lower"),
        ({"name": "speed", "log": "(a)", "unti": "s"}, "unti"),
    ],
)
def test_what_is_no_measure_is_told(document: Any, words: str) -> None:
    with pytest.raises(ProbeError, match=words):
        measure(document)


def test_a_value_in_a_pattern_stands_for_itself() -> None:
    definition = Definition("w", Path("/nonexistent"), "", {"services": {"m": {}}})
    found = asked(definition, probe({"name": "p", "log": "^saved ${path}$"}), {"path": "a(b$"})
    assert re.search(found["log"], "saved a(b$")
    values = {"port": 80, "path": "[x]"}
    http = {"port": "${port}", "path": "/${path}", "text": "^${path}$", "json": {"n": "${port}"}}
    found = asked(definition, probe({"name": "p", "http": http}), values)["http"]
    assert found == {"port": 80, "path": "/[x]", "text": r"^\[x\]$", "json": {"n": 80}}


def test_two_of_one_name_would_be_one_check() -> None:
    first, second = (
        probe({"name": "It works!", "log": "x"}),
        probe({"name": "it works", "log": "y"}),
    )
    with pytest.raises(ProbeError, match="there twice"):
        unique([first, second])
    with pytest.raises(ProbeError, match="reserved"):
        unique([probe({"name": "starts", "log": "x"})])


@pytest.mark.parametrize(
    "about",
    [
        "kind: daemon",
        "within: soon",
        "gpus: -1",
        "gpus: some",
        "probes: [{name: a}]",
        "probes: [{name: a, http: {port: 1, body_file: no.jpg}}]",
        "parameters: {n: {type: int, default: 1, help: x, verify: many}}",
        "measures: [{name: a, log: b}]",
        "probez: []",
    ],
)
def test_a_definition_that_is_wrong_is_not_used(tmp_path: Path, about: str) -> None:
    (tmp_path / "compose.yaml").write_text("services: {main: {image: x}}")
    (tmp_path / "workload.yaml").write_text(f"description: x\n{about}\n")
    with pytest.raises(UsageError, match=r"cannot be used|must be"):
        load(tmp_path)
