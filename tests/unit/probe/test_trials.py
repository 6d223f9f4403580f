"""The plan of the container trials."""

from __future__ import annotations

import shlex
from collections import defaultdict
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.probe import IMAGE, gpus, trials_asked

from gpuhost.probe.schema import Nvml
from gpuhost.probe.trials import (
    CDI,
    GPUS,
    GROUPS,
    NO_SUCH_UUID,
    RUNTIME,
    Gpu,
    PlannedTrial,
    alone,
    divided_gpus,
    docker_run,
    groups_of,
    plan,
    roles_wanted,
    usable_gpus,
)

PATHS = [GPUS, RUNTIME, CDI]
SOME_PATHS = [list(p) for n in (1, 2, 3) for p in permutations(PATHS, n)]
hosts = st.builds(
    lambda count, holes: tuple(gpu for gpu in gpus(count) if gpu.index not in holes),
    st.integers(0, 10),
    st.sets(st.integers(0, 9), max_size=2),
)
plans = st.builds(
    lambda found, paths, ngc, user: (
        found,
        paths,
        plan(found, 10, trials_asked(paths=paths, ngc_image=ngc, user=user)),
    ),
    hosts,
    st.sampled_from(SOME_PATHS),
    st.sampled_from(["", "nvcr.io/nvidia/pytorch:26.08-py3"]),
    st.sampled_from([None, "alice"]),
)
Planned = tuple[tuple[Gpu, ...], list[str], list[PlannedTrial]]


@given(plans)
def test_no_two_trials_have_the_same_name(planned: Planned) -> None:
    names = [trial.id for trial in planned[2]]
    assert len(names) == len(set(names))


@given(plans)
def test_every_gpu_is_asked_for_alone_by_index_and_by_uuid_on_every_path(planned: Planned) -> None:
    found, paths, trials = planned
    alone = {
        (trial.path, trial.devices[0])
        for trial in trials
        if trial.image_role == "cuda" and trial.expected is not None and len(trial.expected) == 1
    }
    for path in paths:
        for gpu in found:
            assert (path, str(gpu.index)) in alone
            assert (path, gpu.uuid) in alone


@given(plans)
def test_what_must_be_visible_is_what_was_asked_for(planned: Planned) -> None:
    found, _, trials = planned
    by_name = {name: gpu for gpu in found for name in (gpu.uuid, str(gpu.index))}
    for trial in trials:
        if trial.selector in ("index", "uuid", "half", "complement"):
            assert trial.expected == tuple(by_name[device] for device in trial.devices)
        elif trial.selector == "all":
            assert trial.expected == found
        elif trial.selector == "none":
            assert trial.expected == ()


@given(plans)
def test_what_must_be_refused_names_nothing_that_exists(planned: Planned) -> None:
    found, paths, trials = planned
    refused = [trial for trial in trials if trial.expected is None]
    known = {name for gpu in found for name in (gpu.uuid, str(gpu.index))}
    assert all(known.isdisjoint(trial.devices) for trial in refused)
    expected = {(p, s) for p in paths for s in ("bad-index", "bad-uuid")} if found else set()
    assert {(trial.path, trial.selector) for trial in refused} == expected


@given(plans)
def test_pairs_are_two_disjoint_sets_that_make_up_the_whole_host(planned: Planned) -> None:
    found, paths, trials = planned
    pairs: dict[str, list[PlannedTrial]] = defaultdict(list)
    for trial in trials:
        if trial.pair:
            pairs[trial.pair].append(trial)
    for members in pairs.values():
        assert len(members) == 2
        first, second = (set(trial.expected or ()) for trial in members)
        assert first
        assert second
        assert first.isdisjoint(second)
        assert first | second == set(found)
    mixed = [m for m in pairs.values() if m[0].path != m[1].path]
    several = len(found) > 1
    assert len(mixed) == (1 if several and len(paths) > 1 else 0)
    assert len(pairs) - len(mixed) == (len(paths) if several else 0)


@given(plans)
def test_the_user_repeats_exactly_one_plain_request(planned: Planned) -> None:
    _, paths, trials = planned
    asked_for_user = any(trial.user for trial in trials)
    mine = [trial for trial in trials if trial.user]
    assert len(mine) <= 1
    if asked_for_user:
        assert mine[0].path == (GPUS if GPUS in paths else paths[0])
        assert mine[0].pair is None


def test_an_eight_gpu_host_has_seventy_one_trials() -> None:
    asked = trials_asked(ngc_image="nvcr.io/nvidia/pytorch:26.08-py3", user="alice")
    planned = plan(gpus(8), 8, asked)
    assert len(planned) == 3 * (8 + 8 + 2 + 2 + 2) + 2 + 2 + 1
    assert [trial.id for trial in planned if trial.user] == ["user/gpus/index/0"]


def test_a_single_gpu_has_no_pairs() -> None:
    assert all(trial.pair is None for trial in plan(gpus(1), 1, trials_asked()))


def test_without_a_gpu_all_is_tried_once_a_path_so_that_the_words_are_seen() -> None:
    planned = plan((), 0, trials_asked())
    assert [trial.id for trial in planned] == ["gpus/all", "runtime/all", "cdi/all"]
    assert all(trial.expected_uuids == [] for trial in planned)


def test_the_first_index_that_does_not_exist_counts_gpus_that_are_lost() -> None:
    planned = plan(gpus(2), 3, trials_asked(paths=[GPUS]))
    assert next(t for t in planned if t.selector == "bad-index").devices == ("3",)


def test_a_gpu_without_a_uuid_is_counted_but_not_asked_for() -> None:
    def gpu(index: int, uuid: str | None) -> dict[str, object]:
        return {"index": index, "uuid": uuid, "bus_id": None, "mig_current": None}

    nvml: Nvml = {"gpus": [gpu(0, "GPU-a"), gpu(1, None)]}  # type: ignore[typeddict-item]
    assert usable_gpus(nvml) == ((Gpu(0, "GPU-a", None),), 2)
    assert usable_gpus(None) == ((), 0)


def test_mig_devices_are_asked_for_in_the_place_of_their_gpu() -> None:
    part = {"index": 1, "uuid": "MIG-a"}
    gpu = {"index": 3, "uuid": "GPU-a", "bus_id": "0000:17:00.0", "mig_current": True}
    nvml: Nvml = {"gpus": [{**gpu, "mig_devices": [part]}]}  # type: ignore[typeddict-item]
    (unit,), count = usable_gpus(nvml)
    assert (unit.name, unit.uuid, unit.bus_id, count) == ("3:1", "MIG-a", "0000:17:00.0", 1)
    planned = plan((unit,), count, trials_asked(paths=[CDI]), divided_gpus(nvml))
    whole = [trial for trial in planned if trial.selector == "divided"]
    assert [(t.id, t.request, t.expected_uuids) for t in whole] == [
        ("cdi/divided/3", ["nvidia.com/gpu=3"], [])
    ]
    assert groups_of(whole[0]) == {"refusal"}
    assert "nvidia.com/gpu=3:1" in docker_run(next(t for t in planned if t.selector == "index"))


@pytest.mark.parametrize("paths", [[GPUS], [GPUS, CDI], [GPUS, RUNTIME, CDI]])
def test_of_many_mig_devices_each_is_alone_once_and_whole_gpus_in_every_way(
    paths: list[str],
) -> None:
    parts = [Gpu(0, f"MIG-{n}", "0000:17:00.0", n) for n in range(17)]
    whole = Gpu(1, "GPU-b", "0000:18:00.0")
    found = list(alone([*parts, whole], paths))
    assert [gpu.uuid for _, _, gpu in found].count("GPU-b") == 2 * len(paths)
    assert sorted(g.uuid for _, _, g in found if g.part is not None) == sorted(
        g.uuid for g in parts
    )
    assert {(path, selector) for path, selector, gpu in found if gpu is not whole} == {
        (path, selector) for path in paths for selector in ("index", "uuid")
    }
    assert len(list(alone(parts[:16], paths))) == 16 * 2 * len(paths)


def test_bus_ids_are_expected_only_where_all_are_known() -> None:
    known, unknown = Gpu(0, "GPU-a", "0000:17:00.0"), Gpu(1, "GPU-b", None)
    planned = {t.id: t for t in plan((known, unknown), 2, trials_asked(paths=[GPUS]))}
    assert planned["gpus/index/0"].expected_bus_ids == ["0000:17:00.0"]
    assert planned["gpus/all"].expected_bus_ids is None
    assert planned["gpus/bad-index"].expected_bus_ids is None
    assert planned["gpus/none"].expected_bus_ids == []


def trial(path: str, *devices: str, user: str | None = None) -> PlannedTrial:
    return PlannedTrial("x", path, "index", devices, (), "cuda", IMAGE, user)


@pytest.mark.parametrize(
    ("planned", "expected"),
    [
        (trial(GPUS, "all"), "--gpus all"),
        (trial(GPUS, "0"), """--gpus '"device=0"'"""),
        (trial(GPUS, "0", "2"), """--gpus '"device=0,2"'"""),
        (trial(RUNTIME, "0", "2"), "--runtime nvidia -e NVIDIA_VISIBLE_DEVICES=0,2"),
        (trial(RUNTIME), "--runtime nvidia -e NVIDIA_VISIBLE_DEVICES=none"),
        (trial(CDI, "0", "2"), "--device nvidia.com/gpu=0 --device nvidia.com/gpu=2"),
        (trial(CDI, "all"), "--device nvidia.com/gpu=all"),
    ],
)
def test_the_command_line_makes_the_same_request(planned: PlannedTrial, expected: str) -> None:
    assert docker_run(planned) == f"docker run --rm --network none {expected} {IMAGE} nvidia-smi -L"


@pytest.mark.parametrize("path", [GPUS, CDI])
def test_asking_for_none_is_to_ask_for_nothing(path: str) -> None:
    assert docker_run(trial(path)) == f"docker run --rm --network none {IMAGE} nvidia-smi -L"


def test_a_users_command_line_says_who_makes_the_request() -> None:
    assert docker_run(trial(GPUS, "all", user="alice")).startswith("sudo -u alice docker run ")


@given(plans)
def test_every_command_line_survives_the_shell(planned: Planned) -> None:
    for one in planned[2]:
        words = shlex.split(docker_run(one))
        assert words[-2:] == ["nvidia-smi", "-L"]
        assert all(device in " ".join(words) for device in one.devices)


def test_the_uuid_that_must_be_refused_looks_like_one() -> None:
    assert len(NO_SUCH_UUID) == len("GPU-8d8a3b1e-77b5-4b58-a3a5-0f7ab1f8c111")


EVERYTHING = trials_asked(ngc_image="nvcr.io/nvidia/pytorch:26.08-py3", user="alice")


@given(st.sets(st.sampled_from(GROUPS)))
def test_only_the_groups_asked_for_are_planned_and_no_pair_is_torn(groups: set[str]) -> None:
    everything = plan(gpus(4), 4, EVERYTHING)
    asked = trials_asked(**{**EVERYTHING, "groups": sorted(groups)})
    planned = plan(gpus(4), 4, asked)
    chosen = {trial.id for trial in planned}
    partners = {trial.pair for trial in planned if trial.pair}
    assert chosen >= {t.id for t in everything if not groups or groups & groups_of(t)}
    assert chosen >= {trial.id for trial in everything if trial.pair in partners}
    for trial in planned:
        assert not groups or groups & groups_of(trial) or trial.pair


def test_every_trial_belongs_to_a_group_and_every_group_but_images_has_one() -> None:
    found = {name for trial in plan(gpus(2), 2, EVERYTHING) for name in groups_of(trial)}
    assert found == set(GROUPS) - {"images"}


def test_an_image_is_wanted_only_where_something_looks_at_it() -> None:
    for groups, roles in (
        ([], {"cuda", "ngc"}),
        (["images"], {"cuda", "ngc"}),
        (["cuda"], {"cuda"}),
        (["ngc"], {"ngc"}),
    ):
        asked = trials_asked(**{**EVERYTHING, "groups": groups})
        assert roles_wanted(asked, plan(gpus(2), 2, asked)) == roles
