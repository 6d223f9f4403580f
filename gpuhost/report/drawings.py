"""What the HTML report draws: the geometry of partition maps and of sparklines. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gpuhost.history.records import Point, Trends
from gpuhost.model import Partition, Sight, Verdict

CELL = 11
PITCH = 13
GAP = 18
TOP = 18
# About what a letter of the headings and of the lanes' names takes.
LETTER = 6.2
HEADINGS = {"gpus": "--gpus", "pair": "side by side", "ngc": "NGC image", "cdi": "CDI"}

SPARK_WIDTH = 108
SPARK_HEIGHT = 24
MARGIN = 3
# Less than this share of a figure is noise, and drawn as such.
SPAN = 0.2
_OF_GPU = re.compile(r"gpu(\d+)\.(.+)")
_CALLED = {"ecc_uncorrected_ever": "uncorrected ECC errors"}
_UNITS = {"per_s": "/s", "s": " s", "c": " °C", "w": " W", "percent": " %"}


@dataclass(frozen=True)
class Column:
    """One container in the map: where it is drawn, and what it says when it is pointed at."""

    x: float
    verdict: Verdict
    title: str


@dataclass(frozen=True)
class PartitionMap:
    """A lane for each GPU, a column for each container.

    ``headings`` and ``lanes`` are words with where they begin; ``paths`` are
    the cells as SVG paths, by what they mean: ``seen`` (as asked), ``missed``
    (asked for and not seen), ``leaked`` (seen and not asked for), ``refused``
    (as had to be), ``idle``.
    """

    width: float
    height: float
    left: float
    headings: Sequence[tuple[float, str]]
    lanes: Sequence[tuple[float, str, str]]
    columns: Sequence[Column]
    paths: Mapping[str, str]
    troubles: Sequence[Sight]
    exact: int


@dataclass(frozen=True)
class Spark:
    """One cell of the trends: its lines and where they end, the newest value, and all in words."""

    lines: Sequence[str]
    ends: Sequence[tuple[float, float]]
    value: str
    title: str


def partition_map(partition: Partition) -> PartitionMap:
    """Where everything of a partition map is drawn."""
    lanes = {uuid: TOP + row * PITCH for row, uuid in enumerate(partition.devices)}
    left = LETTER * max(map(len, partition.devices.values()), default=0) + PITCH
    headings: list[tuple[float, str]] = []
    columns: list[Column] = []
    cells: dict[str, list[str]] = {}
    x = left
    for heading, sights in _groups(partition.containers).items():
        headings.append((x, heading))
        start = x
        for sight in sights:
            columns.append(Column(x, sight.verdict, _title(sight, partition.devices)))
            for uuid, y in lanes.items():
                cells.setdefault(_state(sight, uuid), []).append(_square(x, y))
            x += PITCH
        x = max(x, start + LETTER * len(heading)) + GAP
    return PartitionMap(
        width=x - GAP,
        height=TOP + PITCH * len(lanes) + PITCH,
        left=left,
        headings=headings,
        lanes=[(y, partition.devices[uuid], uuid) for uuid, y in lanes.items()],
        columns=columns,
        paths={state: "".join(squares) for state, squares in cells.items()},
        troubles=[s for s in partition.containers if s.verdict is not Verdict.PASS],
        exact=sum(s.verdict is Verdict.PASS for s in partition.containers),
    )


def _groups(sights: Iterable[Sight]) -> Mapping[str, Sequence[Sight]]:
    """The containers by how they asked, and within that by what they asked for."""
    groups: dict[str, dict[str, list[Sight]]] = {}
    for sight in sights:
        path, _, rest = sight.trial.partition("/")
        path = path.partition("-")[0]
        selector = rest.partition("/")[0]
        groups.setdefault(HEADINGS.get(path, path), {}).setdefault(selector, []).append(sight)
    return {
        heading: [sight for selected in by_selector.values() for sight in selected]
        for heading, by_selector in groups.items()
    }


def _state(sight: Sight, uuid: str) -> str:
    saw = uuid in sight.saw
    if sight.asked is None:
        return "leaked" if saw else "refused" if sight.verdict is Verdict.PASS else "idle"
    if uuid in sight.asked:
        return "seen" if saw else "missed"
    return "leaked" if saw else "idle"


def _square(x: float, y: float) -> str:
    return f"M{x:g} {y:g}h{CELL}v{CELL}h-{CELL}z"


def _title(sight: Sight, names: Mapping[str, str]) -> str:
    if sight.words:
        return f"{sight.trial}: {sight.words}"
    if sight.asked is None:
        return f"{sight.trial}: refused, as it has to be"
    return f"{sight.trial}: {' '.join(names[uuid] for uuid in sight.saw) or 'no GPU'}, as asked"


def figures(trends: Iterable[Trends]) -> list[str]:
    """The kinds of figures that any of some hosts has, those of GPUs first."""
    kinds = {(not _OF_GPU.fullmatch(name), _kind(name)) for each in trends for name in each}
    return [kind for _, kind in sorted(kinds)]


def words(kind: str) -> str:
    """How a kind of figure is called, without its unit."""
    stem, unit = _stem_and_unit(kind)
    called = _CALLED.get(stem, stem.replace("_", " ").replace(".", " "))
    return called + (unit if unit == "/s" else "")


def spark(trends: Trends, kind: str) -> Spark | None:
    """The figures of one kind over time, a line for each GPU; None where there is none."""
    series = {name: points for name, points in trends.items() if _kind(name) == kind}
    if not series:
        return None
    moments = sorted({point.started for points in trends.values() for point in points})
    place = {moment: number for number, moment in enumerate(moments)}
    low, high = _range([point.value for points in series.values() for point in points])

    def at(point: Point) -> tuple[float, float]:
        across = place[point.started] / max(len(moments) - 1, 1)
        up = (point.value - low) / (high - low)
        return (
            round(MARGIN + across * (SPARK_WIDTH - 2 * MARGIN), 1),
            round(SPARK_HEIGHT - MARGIN - up * (SPARK_HEIGHT - 2 * MARGIN), 1),
        )

    lines = [" ".join(f"{x:g},{y:g}" for x, y in map(at, points)) for points in series.values()]
    _, unit = _stem_and_unit(kind)
    return Spark(
        lines=lines,
        ends=sorted({at(points[-1]) for points in series.values()}),
        value=_between([points[-1].value for points in series.values()], unit),
        title="\n".join(_told(name, points, unit) for name, points in series.items()),
    )


def _kind(name: str) -> str:
    found = _OF_GPU.fullmatch(name)
    return found[2] if found else name


def _stem_and_unit(name: str) -> tuple[str, str]:
    """``temperature_c`` is ``temperature`` in °C; most figures without a unit are counts."""
    for suffix, unit in _UNITS.items():
        if name.endswith(f"_{suffix}"):
            return name.removesuffix(f"_{suffix}"), unit
    return name, ""


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    least = SPAN * max(abs(low), abs(high)) or 1.0
    spare = max(least - (high - low), 0.0)
    # What is never negative does not look as if it could be.
    low = max(low - spare / 2, 0.0) if low >= 0 else low - spare / 2
    return low, max(high, low + least)


def _between(values: Sequence[float], unit: str) -> str:
    low, high = _number(min(values)), _number(max(values))
    return f"{low}{unit}" if low == high else f"{low}–{high}{unit}"


def _told(name: str, points: Sequence[Point], unit: str) -> str:
    values = [point.value for point in points]
    spread = _between(values, unit)
    return f"{name}: {_number(values[-1])}{unit} now, {spread} in {len(values)} runs"


def _number(value: float) -> str:
    """Three digits at least, and none that say nothing."""
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"  # noqa: PLR2004
