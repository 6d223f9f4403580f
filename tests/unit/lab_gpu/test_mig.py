"""GPUs that are divided: what the driver allows, and what NVML lists to whom."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.lab_gpu import Library, loaded_state

from gpuhost.lab.gpu.guest.kernel_player import mig
from gpuhost.lab.gpu.guest.kernel_player.hardware import State

DEVICES = (
    "[pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu(0), i)) "
    "for i in range({count})]"
)
MODES = "[pynvml.nvmlDeviceGetMigMode(gpu(i)) for i in range(2)]"


@pytest.fixture
def divided(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Library, State]:
    """A host whose first GPU is divided into instances of 3 and of 2 slices."""
    monkeypatch.setattr(mig, "MIG_MODES", tmp_path / "modes.json")
    monkeypatch.setattr(mig, "driven_gpus", lambda _state: library.gpus)
    state = loaded_state(library.gpus)
    uuid = library.host.uuids[0]
    assert mig.answer(state, "mode", uuid, "1") == "ok 0"
    for profile, instance, compute in (("9", 1, "2"), ("14", 5, "1")):
        assert mig.answer(state, "create-instance", uuid, profile) == f"ok {instance}"
        assert mig.answer(state, "create-compute", uuid, str(instance), compute) == "ok 0"
    library.write(state)
    return library, state


def nodes(*instances: int) -> tuple[str, ...]:
    """The nodes of the first GPU with the right to use these GPU instances, each by its first
    compute instance."""
    minors = [
        minor for gi in instances for minor in (mig.capability(0, gi), mig.capability(0, gi, 0))
    ]
    return ("nvidiactl", "nvidia0", *(f"nvidia-caps/nvidia-cap{minor}" for minor in minors))


def test_a_mig_device_is_listed_where_both_its_capabilities_can_be_opened(
    divided: tuple[Library, State],
) -> None:
    library, _ = divided
    both = library.ask(DEVICES.format(count=2), nodes(1, 5))
    assert len(set(both)) == 2
    assert library.ask(DEVICES.format(count=1), nodes(5)) == both[1:]
    assert library.ask(DEVICES.format(count=1), nodes(5)[:-1]) == "NVMLError_NotFound"


def test_a_mig_device_tells_its_profile_and_its_parent(divided: tuple[Library, State]) -> None:
    library, _ = divided
    handle = "pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu(0), 0)"
    asked = (
        f"[pynvml.nvmlDeviceGetName({handle}), pynvml.nvmlDeviceGetGpuInstanceId({handle}), "
        f"pynvml.nvmlDeviceGetUUID("
        f"pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle({handle}))]"
    )
    assert library.ask(asked, nodes(1, 5)) == [
        "NVIDIA A100-SXM4-40GB MIG 3g.20gb",
        1,
        library.host.uuids[0],
    ]


def test_only_the_divided_gpu_says_so(divided: tuple[Library, State]) -> None:
    library, _ = divided
    assert library.ask(MODES, ("nvidiactl", "nvidia0", "nvidia1")) == [[1, 1], [0, 0]]


def test_there_is_no_room_for_more_than_the_gpu_has(divided: tuple[Library, State]) -> None:
    library, state = divided
    uuid = library.host.uuids[0]
    refused = f"error {mig.INSUFFICIENT_RESOURCES}"
    assert mig.answer(state, "create-instance", uuid, "9") == refused
    assert mig.answer(state, "create-instance", uuid, "0") == refused
    assert mig.answer(state, "create-instance", uuid, "19") == "ok 13"


def test_an_instance_in_use_is_neither_destroyed_nor_is_the_mode_left(
    divided: tuple[Library, State],
) -> None:
    library, state = divided
    uuid = library.host.uuids[0]
    in_use = f"error {mig.IN_USE}"
    assert mig.answer(state, "destroy-instance", uuid, "1") == in_use
    assert mig.answer(state, "mode", uuid, "0") == in_use


def test_a_gpu_that_is_held_open_changes_its_mode_only_at_its_reset(
    divided: tuple[Library, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    library, state = divided
    uuid = library.host.uuids[1]
    monkeypatch.setattr(mig, "is_held_open", lambda _minor: True)
    assert mig.answer(state, "mode", uuid, "1") == f"ok {mig.IN_USE}"
    library.write(state)
    assert library.ask(MODES, ("nvidiactl", "nvidia0", "nvidia1")) == [[1, 1], [0, 1]]
    monkeypatch.setattr(mig, "is_held_open", lambda _minor: False)
    assert mig.answer(state, "reset", uuid) == "ok 0"
    library.write(state)
    assert library.ask(MODES, ("nvidiactl", "nvidia0", "nvidia1")) == [[1, 1], [1, 1]]


def test_after_a_boot_there_is_no_instance_and_an_a100_still_has_its_mode(
    divided: tuple[Library, State],
) -> None:
    library, _ = divided
    found = mig.modes_at_load(library.gpus)
    assert found == {library.host.uuids[0]: {"current": True, "pending": True, "instances": []}}
