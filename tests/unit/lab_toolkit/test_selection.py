"""Which GPUs a request means, and how a misbehaving toolkit gets it wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuhost.lab.toolkit.standin import fault
from gpuhost.lab.toolkit.standin.host import Host
from gpuhost.lab.toolkit.standin.selection import Selection, UnknownDeviceError

SUBSETS = st.lists(st.integers(0, 3), max_size=6)
SHARED_HOST = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def ordinals(host: Host, ids: list[str], fault_name: str = "") -> list[int]:
    return [int(gpu.ordinal) for gpu in Selection(host.gpus, fault_name).select(ids)]


@SHARED_HOST
@given(SUBSETS)
def test_indices_and_uuids_mean_the_same_gpus_each_once(host: Host, asked: list[int]) -> None:
    expected = list(dict.fromkeys(asked))

    assert ordinals(host, [str(ordinal) for ordinal in asked]) == expected
    assert ordinals(host, [host.gpus[ordinal].uuid.upper() for ordinal in asked]) == expected


def test_all_and_none_mean_what_they_say(host: Host) -> None:
    assert ordinals(host, ["all"]) == [0, 1, 2, 3]
    assert ordinals(host, ["0", "none"]) == []


@pytest.mark.parametrize("name", ["4", "-1", "GPU-", "gpu0", "0:0"])
def test_what_is_not_on_the_host_is_unknown(host: Host, name: str) -> None:
    with pytest.raises(UnknownDeviceError, match=f"^{name}$"):
        ordinals(host, ["0", name])


@SHARED_HOST
@given(SUBSETS)
def test_a_leak_is_one_gpu_that_was_not_asked_for(host: Host, asked: list[int]) -> None:
    given_out = set(ordinals(host, [str(ordinal) for ordinal in asked], fault.LEAK_ONE))

    assert given_out >= set(asked)
    expected = 0 if len(set(asked)) in (0, len(host.gpus)) else 1
    assert len(given_out - set(asked)) == expected


@SHARED_HOST
@given(SUBSETS)
def test_a_swap_gives_as_many_but_others(host: Host, asked: list[int]) -> None:
    given_out = ordinals(host, [str(ordinal) for ordinal in asked], fault.SWAP)

    assert given_out == [(ordinal + 1) % 4 for ordinal in dict.fromkeys(asked)]


def of_divided(host: Host, ids: list[str], fault_name: str = "") -> list[str]:
    return [gpu.ordinal for gpu in Selection(host.gpus, fault_name).select(ids)]


def test_mig_devices_are_handed_out_in_the_place_of_their_gpu(divided: Host) -> None:
    assert of_divided(divided, ["all"]) == ["0:0", "0:1", "1", "2", "3"]
    assert of_divided(divided, [divided.gpus[2].uuid, "1"]) == ["0:1", "1"]
    with pytest.raises(UnknownDeviceError, match=r"^0:2$"):
        of_divided(divided, ["0:2"])


def test_a_misbehaving_toolkit_mixes_mig_devices_up_too(divided: Host) -> None:
    assert of_divided(divided, ["0:1"], fault.LEAK_ONE) == ["0:1", "0:0"]
    assert of_divided(divided, ["0:0"], fault.SWAP) == ["0:1"]


def test_the_nodes_of_mig_devices_are_their_gpus_and_their_capabilities(divided: Host) -> None:
    selected = Selection(divided.gpus).select(["0:0", "0:1"])
    assert [node.path.removeprefix("/dev/") for node in divided.nodes_of(selected)] == [
        "nvidia0",
        *(f"nvidia-caps/nvidia-cap{minor}" for minor in (12, 13, 21, 22)),
    ]


def test_a_host_with_all_faults_off_has_none(tmp_path: Path) -> None:
    assert fault.switched_on(tmp_path / "toolkit.json") == ""


def test_the_switch_names_the_fault(tmp_path: Path) -> None:
    switch = tmp_path / "toolkit.json"
    switch.write_text(json.dumps({"misbehave": fault.SWAP}))

    assert fault.switched_on(switch) == fault.SWAP
