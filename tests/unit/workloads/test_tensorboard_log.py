"""The event files of the training that gpuhost brings, read by TensorBoard's own reader."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event

from gpuhost.workloads.library.training.source import tensorboard_log
from gpuhost.workloads.library.training.source.tensorboard_log import SummaryWriter

STEPS = (1, 127, 128, 1 << 40)


def curve(folder: Path, tag: str) -> list[tuple[int, float]]:
    found = EventAccumulator(str(folder))
    found.Reload()
    return [(event.step, event.value) for event in found.Scalars(tag)]


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    log = SummaryWriter(str(tmp_path / "run"))
    for step in STEPS:
        log.add_scalar("loss", 1 / step, step)
        log.add_scalar("größe", float(step), step)
    log.close()
    steps, losses = zip(*curve(tmp_path / "run", "loss"), strict=True)
    assert steps == STEPS
    assert losses == pytest.approx([1 / step for step in STEPS])
    assert len(curve(tmp_path / "run", "größe")) == len(STEPS)


def test_a_reader_sees_what_was_flushed(tmp_path: Path) -> None:
    log = SummaryWriter(str(tmp_path))
    log.add_scalar("loss", 0.5, 1)
    log.flush()
    assert curve(tmp_path, "loss") == [(1, 0.5)]
    log.close()


def test_two_logs_in_one_folder_are_two_files(tmp_path: Path) -> None:
    for _ in range(2):
        SummaryWriter(str(tmp_path)).close()
    assert len(list(tmp_path.iterdir())) == 2


def test_the_checksum_is_castagnolis() -> None:
    assert tensorboard_log.crc32c(b"123456789") == 0xE3069283


@given(st.text(min_size=1, max_size=300), st.floats(width=32, allow_nan=False))
def test_any_tag_and_number_comes_back(tag: str, value: float) -> None:
    event = Event.FromString(tensorboard_log.scalar(tag, value, 7, 1.5))
    (found,) = event.summary.value
    assert (found.tag, found.simple_value, event.step, event.wall_time) == (tag, value, 7, 1.5)
