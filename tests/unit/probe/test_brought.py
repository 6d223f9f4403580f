"""The record of images that the probe pulled."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from support import roles
from support.probe import FakeEngine

from gpuhost.probe import brought
from gpuhost.probe.root import Root
from gpuhost.probe.schema import Image

TAGGED = "2026-11-24T10:00:00.1Z"


class Named(FakeEngine):
    """An engine that says when an image got its name."""

    def image(self, reference: str) -> dict[str, Any] | None:
        found = super().image(reference)
        return found and {**found, "Metadata": {"LastTagTime": TAGGED}}


@pytest.fixture
def engine() -> FakeEngine:
    return Named(lambda _spec: b"", images=["cuda:13", "ngc:1"])


def image(reference: str, *, before: bool = False, identifier: str | None = "sha256:1") -> Image:
    return {
        "role": "cuda",
        "reference": reference,
        "present_before": before,
        "pull_error": None,
        "pull_duration_s": 1.0,
        "id": identifier,
        "digests": [],
        "env": [],
    }


def test_what_was_pulled_is_on_record_once_and_as_the_playbooks_read_it(
    engine: FakeEngine, tmp_path: Path
) -> None:
    images = [image("cuda:13"), image("cuda:13"), image("ngc:1", before=True)]
    brought.note(engine, images, Root(tmp_path))
    record = tmp_path / brought.RECORD.lstrip("/")
    (line,) = record.read_text().splitlines()
    found = json.loads(line)
    assert datetime.fromisoformat(found.pop("at")).tzinfo
    assert found == {"id": "sha256:1", "reference": "cuda:13", "tagged": TAGGED}
    utils = roles.util("brought_images")
    assert utils.entries(record) == [json.loads(line)]
    assert str(utils.RECORD) == brought.RECORD


def test_a_pull_that_failed_leaves_no_record(engine: FakeEngine, tmp_path: Path) -> None:
    brought.note(engine, [image("cuda:13", identifier=None)], Root(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_where_the_record_cannot_be_written_the_proof_goes_on(engine: FakeEngine) -> None:
    brought.note(engine, [image("cuda:13")], Root(Path("/proc/nowhere")))
