"""The plan of the container trials: which request, and what it must show. Pure.

A host's GPUs are asked for in every way and through every path there is; the
plan says for each request which GPUs have to be visible inside, no more and
no fewer, or that it has to be refused.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from itertools import islice
from typing import FrozenSet, Iterator, List, Optional, Sequence, Tuple

from gpuhost.probe.schema import Nvml, NvmlGpu, Trials

GPUS = "gpus"
RUNTIME = "runtime"
CDI = "cdi"
CDI_KIND = "nvidia.com/gpu"
NO_SUCH_UUID = "GPU-00000000-0000-0000-0000-000000000000"
PAIR_MINIMUM = 2
DIVIDED = "divided"
ALONE = ("index", "uuid")
# Up to so many GPUs and MIG devices together, each is asked for alone in every way.
EVERY_WAY = 16
# What can be asked for by itself. "images" starts nothing: it only looks at the images.
GROUPS = ("cuda", "ngc", "images", "gpus", "runtime", "cdi", "pairs", "refusal", "user")


@dataclass(frozen=True)
class Gpu:
    """One GPU that a container may be given, or a MIG device: ``part`` is its index on the GPU."""

    index: int
    uuid: str
    bus_id: Optional[str]
    part: Optional[int] = None

    @property
    def name(self) -> str:
        """What it is asked for by, other than by its UUID: "0", "0:1"."""
        return str(self.index) if self.part is None else f"{self.index}:{self.part}"


@dataclass(frozen=True)
class PlannedTrial:
    """One container to run.

    ``devices`` are the ids asked for: ``("all",)``, indexes, UUIDs, or none.
    ``expected`` None means that the request must be refused. Two trials with
    the same ``pair`` are open at the same time.
    """

    id: str
    path: str
    selector: str
    devices: Tuple[str, ...]
    expected: Optional[Tuple[Gpu, ...]]
    image_role: str
    image: str
    user: Optional[str] = None
    pair: Optional[str] = None

    @property
    def request(self) -> List[str]:
        """The ids exactly as they are passed."""
        if self.path == CDI:
            return [f"{CDI_KIND}={device}" for device in self.devices]
        if self.path == RUNTIME and not self.devices:
            return ["none"]
        return list(self.devices)

    @property
    def expected_uuids(self) -> Optional[List[str]]:
        """The UUIDs that must be visible; None: the request must be refused."""
        return None if self.expected is None else [gpu.uuid for gpu in self.expected]

    @property
    def expected_bus_ids(self) -> Optional[List[str]]:
        """The bus ids that must be visible; None if refused, or where NVML gave none."""
        bus_ids = [gpu.bus_id for gpu in self.expected or ()]
        if self.expected is None or None in bus_ids:
            return None
        return [bus_id for bus_id in bus_ids if bus_id is not None]


def usable_gpus(nvml: Optional[Nvml]) -> Tuple[Tuple[Gpu, ...], int]:
    """What containers can be given: GPUs with a UUID, or the MIG devices that they are divided in.

    And how many GPUs NVML counts in all.
    """
    found = nvml["gpus"] if nvml else []
    usable = [unit for gpu in found for unit in _units(gpu) if unit.uuid]
    return tuple(usable), len(found)


def divided_gpus(nvml: Optional[Nvml]) -> Tuple[Gpu, ...]:
    """The GPUs that are divided, which nobody is to be given as a whole."""
    found = nvml["gpus"] if nvml else []
    return tuple(Gpu(g["index"], g["uuid"] or "", g["bus_id"]) for g in found if g["mig_current"])


def _units(gpu: NvmlGpu) -> List[Gpu]:
    if not gpu["mig_current"]:
        return [Gpu(gpu["index"], gpu["uuid"] or "", gpu["bus_id"])]
    devices = gpu["mig_devices"]
    return [Gpu(gpu["index"], d["uuid"] or "", gpu["bus_id"], d["index"]) for d in devices]


def plan(
    gpus: Sequence[Gpu], count: int, asked: Trials, divided: Sequence[Gpu] = ()
) -> List[PlannedTrial]:
    """Every trial for a host with these GPUs; ``count`` is the first index that is none.

    Without a GPU one request for all a path remains: its words say what is
    wrong. ``divided`` are GPUs that must not be handed out whole.
    """
    images = [("cuda", asked["cuda_image"]), ("ngc", asked["ngc_image"])]
    planned: List[PlannedTrial] = []
    for role, image in images:
        if image:
            make = plan_cuda if role == "cuda" else plan_ngc
            trials = [*make(tuple(gpus), count, asked["paths"])]
            if role == "cuda":
                trials += plan_divided(divided, asked["paths"])
            planned += [replace(t, image_role=role, image=image) for t in trials]
    if asked["user"] is not None:
        suited = (trial for trial in planned if is_for_user(trial, asked["paths"]))
        planned += [as_user(trial, asked["user"]) for trial in islice(suited, 1)]
    return wanted(planned, asked["groups"])


def wanted(planned: Sequence[PlannedTrial], groups: Sequence[str]) -> List[PlannedTrial]:
    """The trials of these groups, all where none is named; a pair stays together."""
    if not groups:
        return list(planned)
    chosen = [trial for trial in planned if not groups_of(trial).isdisjoint(groups)]
    pairs = {trial.pair for trial in chosen if trial.pair}
    return [trial for trial in planned if trial in chosen or trial.pair in pairs]


def groups_of(trial: PlannedTrial) -> FrozenSet[str]:
    """The groups that a trial belongs to."""
    if trial.user is not None:
        return frozenset(("user",))
    if trial.image_role == "ngc":
        return frozenset(("ngc",))
    if trial.expected is None or trial.selector == DIVIDED:
        return frozenset(("refusal",))
    groups = {trial.path}
    if trial.selector == "all":
        # A path that refuses every request has shown nothing by refusing a bad one.
        groups |= {"cuda", "refusal"}
    return frozenset(groups | ({"pairs"} if trial.pair else set()))


def roles_wanted(asked: Trials, planned: Sequence[PlannedTrial]) -> FrozenSet[str]:
    """The roles of the images that have to be on the host for this."""
    if not asked["groups"] or "images" in asked["groups"]:
        return frozenset(("cuda", "ngc"))
    return frozenset(trial.image_role for trial in planned)


def plan_cuda(gpus: Tuple[Gpu, ...], count: int, paths: Sequence[str]) -> Iterator[PlannedTrial]:
    """The whole proof, path by path."""
    for number, path in enumerate(paths, start=1):
        if not gpus:
            yield _trial(path, "all", ("all",), ())
            continue
        for way, selector, gpu in alone(gpus, paths):
            if way == path:
                name = gpu.name if selector == "index" else gpu.uuid
                yield _trial(path, selector, (name,), (gpu,), gpu.name)
        yield _trial(path, "all", ("all",), gpus)
        yield _trial(path, "none", (), ())
        yield _trial(path, "bad-index", (str(count),), None)
        yield _trial(path, "bad-uuid", (NO_SUCH_UUID,), None)
        if len(gpus) >= PAIR_MINIMUM:
            # Every other GPU: a mix-up of numbering shows, which two blocks could hide.
            yield from _pair(f"pair-{number}", (path, path), gpus[::2], gpus[1::2])
    if len(gpus) >= PAIR_MINIMUM and len(paths) >= PAIR_MINIMUM:
        middle = len(gpus) // 2
        ends = (paths[0], paths[-1])
        yield from _pair(f"pair-{len(paths) + 1}", ends, gpus[:middle], gpus[middle:])


def plan_divided(divided: Sequence[Gpu], paths: Sequence[str]) -> Iterator[PlannedTrial]:
    """Each divided GPU as a whole: it must be refused, or show nothing to work on."""
    for path in paths:
        for gpu in divided:
            yield _trial(path, DIVIDED, (gpu.name,), (), gpu.name)


def plan_ngc(gpus: Tuple[Gpu, ...], _count: int, paths: Sequence[str]) -> Iterator[PlannedTrial]:
    """A framework image: all GPUs, and one of them."""
    path = paths[0] if paths else GPUS
    trials = [_trial(path, "all", ("all",), gpus)]
    if gpus:
        trials.append(_trial(path, "uuid", (gpus[-1].uuid,), (gpus[-1],), gpus[-1].name))
    for trial in trials:
        yield replace(trial, id=f"ngc/{trial.id}")


def is_for_user(trial: PlannedTrial, paths: Sequence[str]) -> bool:
    """Whether the trial is one to repeat as the docker-group user: a plain request that works."""
    path = GPUS if GPUS in paths else next(iter(paths), GPUS)
    return trial.path == path and trial.selector in ("index", "all") and trial.pair is None


def as_user(trial: PlannedTrial, user: str) -> PlannedTrial:
    """The same request, made by ``user`` without sudo."""
    return replace(trial, id=f"user/{trial.id}", user=user)


def alone(gpus: Sequence[Gpu], paths: Sequence[str]) -> Iterator[Tuple[str, str, Gpu]]:
    """Every path and selector by which a GPU or MIG device is asked for by itself.

    A GPU is by all of them. So is a MIG device, but on a host with many: there
    each has its turn with one of them, or eight GPUs of seven devices each
    would take hundreds of containers. The halves name each on every path.
    """
    ways = [(path, selector) for selector in ALONE for path in paths]
    for position, gpu in enumerate(gpus):
        for turn, (path, selector) in enumerate(ways):
            if gpu.part is None or len(gpus) <= EVERY_WAY or turn == position % len(ways):
                yield path, selector, gpu


def _pair(
    pair: str, paths: Tuple[str, str], half: Sequence[Gpu], rest: Sequence[Gpu]
) -> Iterator[PlannedTrial]:
    by_index = tuple(gpu.name for gpu in half)
    by_uuid = tuple(gpu.uuid for gpu in rest)
    first = _trial(paths[0], "half", by_index, tuple(half))
    second = _trial(paths[1], "complement", by_uuid, tuple(rest))
    yield replace(first, id=f"{pair}/{paths[0]}/a", pair=pair)
    yield replace(second, id=f"{pair}/{paths[1]}/b", pair=pair)


def _trial(
    path: str,
    selector: str,
    devices: Tuple[str, ...],
    expected: Optional[Tuple[Gpu, ...]],
    detail: str = "",
) -> PlannedTrial:
    name = "/".join(part for part in (path, selector, detail) if part)
    return PlannedTrial(name, path, selector, devices, expected, image_role="", image="")


def docker_run(trial: PlannedTrial) -> str:
    """The command line that makes the same request by hand and lists the GPUs inside."""
    sudo = ["sudo", "-u", trial.user] if trial.user else []
    argv = [*sudo, "docker", "run", "--rm", "--network", "none", *_options(trial)]
    return shlex.join([*argv, trial.image, "nvidia-smi", "-L"])


def _options(trial: PlannedTrial) -> List[str]:
    if trial.path == RUNTIME:
        devices = ",".join(trial.request)
        return ["--runtime", "nvidia", "-e", f"NVIDIA_VISIBLE_DEVICES={devices}"]
    if trial.path == CDI:
        return [option for name in trial.request for option in ("--device", name)]
    if not trial.devices:
        return []
    # Docker reads this value as CSV: only quotes keep several ids together.
    all_gpus = trial.devices == ("all",)
    return ["--gpus", "all" if all_gpus else f'"device={",".join(trial.devices)}"']
