"""docs/workloads.md: the example is a workload, and every word of the format is in the table."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from support.pages import PROJECT

from gpuhost.workloads.definition import COMPOSE as COMPOSE_FILE
from gpuhost.workloads.definition import KEYS, LIBRARY, load
from gpuhost.workloads.parameters import TYPES, resolve
from gpuhost.workloads.probes import FIELDS, HOWS
from gpuhost.workloads.proof import declared
from gpuhost.workloads.render import asked, render

PAGE = (PROJECT / "docs" / "workloads.md").read_text()
COMPOSE, ABOUT, DECLARED = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_names_the_workloads_that_come_with_gpuhost_and_no_others() -> None:
    named = re.search(r"that come with gpuhost \(([^)]+)\)", PAGE)
    assert named is not None
    assert sorted(named[1].split(", ")) == sorted(
        folder.name for folder in LIBRARY.iterdir() if (folder / COMPOSE_FILE).exists()
    )


def write(project: Path) -> Path:
    folder = project / "workloads" / "embeddings"
    folder.mkdir(parents=True)
    (folder / "compose.yaml").write_text(COMPOSE)
    (folder / "workload.yaml").write_text(ABOUT)
    return folder


def test_the_example_is_a_workload_that_can_be_rendered_and_asked(tmp_path: Path) -> None:
    definition = load(write(tmp_path))
    values = resolve(definition.parameters, ())
    assert render(definition, values, ["0"])["services"]["server"]["ports"] == ["8000:8000"]
    assert asked(definition, definition.probes[0], values)["http"]["port"] == 8000


def test_what_a_host_declares_in_the_example_is_understood(tmp_path: Path) -> None:
    write(tmp_path)
    works = declared(tmp_path, yaml.safe_load(DECLARED)["gpuhost_workloads"], ())
    assert [(work.name, work.gpus) for work in works] == [("training", 1), ("embeddings", 2)]
    assert works[1].values["port"] == 18000


def test_every_word_of_the_format_is_explained() -> None:
    fields = {word for least, more in FIELDS.values() for word in least | more}
    for word in KEYS | set(TYPES) | set(HOWS) | fields:
        assert re.search(rf"\b{word}\b", PAGE), word
