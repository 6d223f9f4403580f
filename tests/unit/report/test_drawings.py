from __future__ import annotations

import pytest

from gpuhost.history.records import Point, Trends
from gpuhost.model import Partition, Sight, Verdict
from gpuhost.report import drawings

DEVICES = {"GPU-a": "GPU 0", "GPU-b": "GPU 1"}


def course(*values: float) -> tuple[Point, ...]:
    return tuple(Point(f"2026-11-{day:02}", value) for day, value in enumerate(values, start=1))


class TestPartitionMap:
    @pytest.mark.parametrize(
        ("asked", "saw", "verdict", "states"),
        [
            (("GPU-a",), ("GPU-a",), Verdict.PASS, {"seen", "idle"}),
            (("GPU-a",), ("GPU-b",), Verdict.FAIL, {"missed", "leaked"}),
            ((), (), Verdict.PASS, {"idle"}),
            (None, (), Verdict.PASS, {"refused"}),
            (None, ("GPU-b",), Verdict.FAIL, {"idle", "leaked"}),
            (("GPU-a", "GPU-b"), (), Verdict.UNKNOWN, {"missed"}),
        ],
    )
    def test_a_cell_says_what_was_asked_for_and_what_was_seen(
        self,
        asked: tuple[str, ...] | None,
        saw: tuple[str, ...],
        verdict: Verdict,
        states: set[str],
    ) -> None:
        drawn = drawings.partition_map(Partition(DEVICES, (Sight("x/y", asked, saw, verdict),)))
        assert set(drawn.paths) == states
        assert sum(path.count("M") for path in drawn.paths.values()) == len(DEVICES)

    def test_containers_stand_together_by_how_they_asked(self) -> None:
        names = ("gpus/index/0", "pair-1/gpus/a", "gpus/uuid/0", "gpus/index/1", "mig/all")
        sights = tuple(Sight(name, (), (), Verdict.PASS) for name in names)
        drawn = drawings.partition_map(Partition(DEVICES, sights))
        assert [words for _, words in drawn.headings] == ["--gpus", "side by side", "mig"]
        told = [column.title.partition(":")[0] for column in drawn.columns]
        assert told == ["gpus/index/0", "gpus/index/1", "gpus/uuid/0", "pair-1/gpus/a", "mig/all"]
        assert [column.x for column in drawn.columns] == sorted(c.x for c in drawn.columns)

    def test_headings_do_not_overlap(self) -> None:
        sights = (
            Sight("pair-1/gpus/a", (), (), Verdict.PASS),
            Sight("ngc/gpus/all", (), (), Verdict.PASS),
        )
        (first, words), (second, _) = drawings.partition_map(Partition(DEVICES, sights)).headings
        assert second - first > drawings.LETTER * len(words)

    def test_what_was_wrong_is_told_where_it_is_pointed_at(self) -> None:
        wrong = Sight("gpus/all", ("GPU-a",), (), Verdict.FAIL, "does not see GPU-a")
        drawn = drawings.partition_map(Partition(DEVICES, (wrong,)))
        assert drawn.columns[0].title == "gpus/all: does not see GPU-a"
        assert drawn.troubles == [wrong]
        assert drawn.exact == 0

    def test_containers_without_a_gpu_are_drawn_too(self) -> None:
        drawn = drawings.partition_map(Partition({}, (Sight("gpus/all", (), (), Verdict.FAIL),)))
        assert drawn.paths == {}
        assert len(drawn.columns) == 1


class TestSparks:
    def test_a_line_for_each_gpu_and_the_newest_values(self) -> None:
        trends: Trends = {
            "gpu0.temperature_c": course(40, 41),
            "gpu1.temperature_c": course(42, 48),
            "verify.duration_s": course(6.61, 6.5),
        }
        assert drawings.figures([trends]) == ["temperature_c", "verify.duration_s"]
        drawn = drawings.spark(trends, "temperature_c")
        assert drawn is not None
        assert len(drawn.lines) == 2
        assert drawn.value == "41–48 °C"
        assert "gpu1.temperature_c: 48 °C now, 42–48 °C in 2 runs" in drawn.title

    def test_a_host_without_such_a_figure_has_no_line(self) -> None:
        assert drawings.spark({"verify.duration_s": course(1)}, "temperature_c") is None

    def test_noise_looks_flat_and_a_loss_does_not(self) -> None:
        def height(*values: float) -> float:
            drawn = drawings.spark({"gpu0.images_per_s": course(*values)}, "images_per_s")
            assert drawn is not None
            ys = [float(point.split(",")[1]) for point in drawn.lines[0].split()]
            return max(ys) - min(ys)

        assert height(2900, 2910, 2895) < 1
        assert height(2900, 2300) > drawings.SPARK_HEIGHT / 2

    @pytest.mark.parametrize("values", [(0.0,), (0.0, 0.0), (5.0, 5.0), (-3.0, -3.0), (1e9, 0)])
    def test_every_line_stays_inside_its_frame(self, values: tuple[float, ...]) -> None:
        drawn = drawings.spark({"gpu0.ecc": course(*values)}, "ecc")
        assert drawn is not None
        for point in drawn.lines[0].split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= drawings.SPARK_WIDTH
            assert 0 <= y <= drawings.SPARK_HEIGHT

    def test_a_run_without_the_figure_leaves_its_place(self) -> None:
        first, _, third = course(1, 2, 3)
        trends: Trends = {"gpu0.images_per_s": (first, third), "verify.duration_s": course(1, 2, 3)}
        drawn = drawings.spark({**trends}, "images_per_s")
        full = drawings.spark(trends, "verify.duration_s")
        assert drawn is not None
        assert full is not None
        assert [p.split(",")[0] for p in drawn.lines[0].split()] == [
            full.lines[0].split()[index].split(",")[0] for index in (0, 2)
        ]

    @pytest.mark.parametrize(
        ("kind", "words"),
        [
            ("images_per_s", "images/s"),
            ("temperature_c", "temperature"),
            ("verify.duration_s", "verify duration"),
            ("ecc_uncorrected_ever", "uncorrected ECC errors"),
        ],
    )
    def test_a_figure_is_called_in_words(self, kind: str, words: str) -> None:
        assert drawings.words(kind) == words
