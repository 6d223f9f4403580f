"""To which run a container belongs."""

from __future__ import annotations

import os
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from support.probe import tree

from gpuhost.probe.owner import LABEL, MAX_AGE_S, is_orphan, run_id
from gpuhost.probe.root import Root


def container(run: str, age_s: float = 0.0) -> dict[str, object]:
    return {"Labels": {LABEL: run}, "Created": time.time() - age_s}


def test_a_run_is_known_by_its_process_and_when_that_started() -> None:
    pid, _, started = run_id(Root()).partition("-")
    assert int(pid) == os.getpid()
    assert int(started) > 0


def test_our_own_containers_have_a_run() -> None:
    assert not is_orphan(container(run_id(Root())), Root())


def test_a_process_that_took_over_the_number_is_another_run(tmp_path: Path) -> None:
    after_name = "S " + " ".join(str(number) for number in range(4, 53))
    root = tree(tmp_path, {"/proc/77/stat": f"77 (a) b) {after_name}"})
    assert run_id(root, 77) == "77-22"
    assert not is_orphan(container("77-22"), root)
    assert is_orphan(container("77-21"), root)
    assert is_orphan(container("78-22"), root)


def test_no_run_takes_longer_than_the_limit() -> None:
    assert is_orphan(container(run_id(Root()), MAX_AGE_S + 1), Root())


@given(st.text(max_size=20))
def test_any_label_at_all_can_be_read(label: str) -> None:
    assert is_orphan(container(label), Root(Path("/nowhere")))
