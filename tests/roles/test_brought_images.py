"""The images that gpuhost brought: what is on record, what is kept and why."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from support import roles

THEN, LATER = "2026-11-24T10:00:00.1Z", "2026-11-25T09:00:00.2Z"
brought_images = roles.util("brought_images")


def image(name: str = "nvidia/cuda:13", identifier: str = "sha256:1", **more: Any) -> Any:
    tags = [name] if name else []
    found = {"Id": identifier, "RepoTags": tags, "Size": 5, "Metadata": {"LastTagTime": THEN}}
    return {**found, **more}


def entry(reference: str = "nvidia/cuda:13", identifier: str = "sha256:1") -> dict[str, str]:
    return {"id": identifier, "reference": reference, "at": THEN, "tagged": THEN}


def kept(found: Any, *users: str, reference: str = "nvidia/cuda:13") -> str:
    (one,) = brought_images.still_here(
        [entry(reference)], {"sha256:1": found}, {"sha256:1": users} if users else {}
    )
    return str(one.kept)


def test_one_that_nobody_touched_can_go() -> None:
    assert kept(image()) == ""


@pytest.mark.parametrize("reference", ["docker.io/nvidia/cuda:13", "nvidia/cuda:13"])
def test_dockers_short_name_is_the_same_name(reference: str) -> None:
    assert kept(image(), reference=reference) == ""
    assert kept(image("debian:latest"), reference="docker.io/library/debian") == ""


def test_one_that_is_used_named_or_built_since_is_kept() -> None:
    assert kept(image(), "web", "db") == "in use by web, db"
    named = image(RepoTags=["nvidia/cuda:13", "team/base:1"])
    assert kept(named) == "somebody named it team/base:1"
    assert "since" in kept(image(Metadata={"LastTagTime": LATER}))


def test_one_that_lost_its_name_goes_by_its_id() -> None:
    found = brought_images.still_here([entry()], {"sha256:1": image("")}, {})
    assert [(one.reference, one.kept) for one in found] == [("sha256:1", "")]


def test_one_that_is_gone_is_not_listed() -> None:
    assert brought_images.still_here([entry()], {}, {}) == []


def test_what_is_noted_is_read_and_cut_lines_are_none(tmp_path: Path) -> None:
    record = tmp_path / "gpuhost" / "images.jsonl"
    assert brought_images.entries(record) == []
    brought_images.note(record, {"nvidia/cuda:13": image()})
    with record.open("a") as stream:
        stream.write('[1]\n{"id": "sha256:2", "refer')
    (found,) = brought_images.entries(record)
    assert {**found, "at": THEN} == entry()
    assert datetime.fromisoformat(found["at"]).tzinfo


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Put a docker on the PATH that has these images; gives the file of what was removed."""

    def write(*images: Any) -> Path:
        gone = tmp_path / "gone"
        (tmp_path / "images.json").write_text(json.dumps(images))
        program = tmp_path / "docker"
        program.write_text(
            "#!/bin/sh\n"
            'case "$1 $2" in\n'
            f'"image ls") printf "%s\\n" {" ".join(one["Id"] for one in images)};;\n'
            f'"image inspect") cat {tmp_path}/images.json;;\n'
            '"ps -aq") ;;\n'
            f'"image rm") echo "$3" >> {gone};;\n'
            "esac\n"
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        return gone

    return write


def ask(tmp_path: Path, **more: Any) -> Any:
    record = tmp_path / "images.jsonl"
    return roles.run(roles.library("brought_images"), record=str(record), **more)


def test_only_what_was_shown_is_removed(tmp_path: Path, docker: Callable[..., Path]) -> None:
    images = [image(), image("ngc/torch:1", "sha256:2"), image("team/own:1", "sha256:3")]
    gone = docker(*images)
    ours = {"nvidia/cuda:13": images[0], "ngc/torch:1": images[1]}
    brought_images.note(tmp_path / "images.jsonl", ours)
    listed = ask(tmp_path)
    assert [one["reference"] for one in listed["images"]["here"]] == [
        "nvidia/cuda:13",
        "ngc/torch:1",
    ]
    assert (listed["changed"], gone.exists()) == (False, False)
    removed = ask(tmp_path, state="absent", ids=["sha256:1", "sha256:3"])
    assert removed["images"]["removed"] == ["sha256:1"]
    assert gone.read_text() == "nvidia/cuda:13\n"


def test_without_a_record_nothing_is_asked_of_docker(tmp_path: Path) -> None:
    assert ask(tmp_path)["images"] == {"here": [], "removed": []}
