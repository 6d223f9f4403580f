"""The simulated libnvidia-ml, seen through nvidia-ml-py."""

from __future__ import annotations

import pytest
from support.lab_gpu import CUDA, VERSION, Library, loaded_state

ALL = ("nvidiactl", "nvidia0", "nvidia1", "nvidia2")
CORRUPTED = "NVMLError_CorruptedInforom"
PERSISTENCE = "[pynvml.nvmlDeviceGetPersistenceMode(gpu(i)) for i in range(3)]"
UUIDS = "[pynvml.nvmlDeviceGetUUID(gpu(i)) for i in range(pynvml.nvmlDeviceGetCount())]"


def test_every_gpu_whose_node_can_be_opened_is_listed(library: Library) -> None:
    assert library.ask(UUIDS, ALL) == list(library.host.uuids)


def test_a_gpu_without_a_node_is_not_listed_and_the_others_move_up(library: Library) -> None:
    seen = library.ask(UUIDS, ("nvidiactl", "nvidia0", "nvidia2"))
    assert seen == [library.host.uuids[0], library.host.uuids[2]]


def test_a_gpu_whose_node_may_not_be_opened_is_not_listed(library: Library) -> None:
    assert library.ask(UUIDS, ALL, closed="nvidia1") == [
        library.host.uuids[0],
        library.host.uuids[2],
    ]


def test_without_any_gpu_the_list_is_empty_and_nothing_fails(library: Library) -> None:
    assert library.ask(UUIDS, ("nvidiactl",)) == []


@pytest.mark.parametrize(
    ("nodes", "closed", "error"),
    [
        (("nvidia0",), "", "NVMLError_DriverNotLoaded"),
        (ALL, "nvidiactl", "NVMLError_NoPermission"),
    ],
)
def test_the_control_node_decides_whether_there_is_a_driver(
    library: Library, nodes: tuple[str, ...], closed: str, error: str
) -> None:
    assert library.ask(UUIDS, nodes, closed) == error


def test_a_library_of_another_version_than_the_loaded_module_says_so(library: Library) -> None:
    library.write(loaded_state(library.gpus, VERSION), version="580.178.04")
    assert library.ask(UUIDS, ALL) == "NVMLError_LibRmVersionMismatch"


def test_a_library_that_came_after_the_loaded_module_is_a_mismatch(library: Library) -> None:
    library.write(None)
    assert library.ask(UUIDS, ALL) == "NVMLError_LibRmVersionMismatch"


def test_versions_are_those_of_the_package_and_the_module(library: Library) -> None:
    expression = (
        "[pynvml.nvmlSystemGetDriverVersion(), pynvml.nvmlSystemGetCudaDriverVersion_v2(), "
        "pynvml.nvmlSystemGetNVMLVersion()]"
    )
    assert library.ask(expression, ALL) == [VERSION, CUDA, f"12.{VERSION}"]


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("nvmlDeviceGetName(gpu(1))", "NVIDIA A100-SXM4-40GB"),
        ("nvmlDeviceGetPciInfo(gpu(1)).busId", "00000000:12:00.0"),
        ("nvmlDeviceGetPciInfo(gpu(1)).pciDeviceId", 0x20B010DE),
        ("nvmlDeviceGetPciInfo(gpu(1)).bus", 0x12),
        ("nvmlDeviceGetMemoryInfo(gpu(1)).total", 40960 * 1024 * 1024),
        ("nvmlDeviceGetMemoryInfo(gpu(1), pynvml.nvmlMemory_v2).reserved", 518 * 1024 * 1024),
        ("nvmlDeviceGetCudaComputeCapability(gpu(1))", [8, 0]),
        ("nvmlDeviceGetArchitecture(gpu(1))", 7),
        ("nvmlDeviceGetMinorNumber(gpu(1))", 1),
        ("nvmlDeviceGetMigMode(gpu(1))", [0, 0]),
        ("nvmlDeviceGetMaxMigDeviceCount(gpu(1))", 7),
        ("nvmlDeviceGetRemappedRows(gpu(1))", [0, 0, 0, 0]),
        ("nvmlDeviceGetPersistenceMode(gpu(1))", 0),
        ("nvmlDeviceGetTemperature(gpu(1), 0)", 33),
        ("nvmlDeviceGetPowerUsage(gpu(1))", 49680),
        ("nvmlDeviceGetEnforcedPowerLimit(gpu(1))", 400000),
        ("nvmlDeviceGetEccMode(gpu(1))", [1, 1]),
        ("nvmlDeviceGetTotalEccErrors(gpu(1), 1, 0)", 0),
        ("nvmlDeviceGetCurrPcieLinkGeneration(gpu(1))", 4),
        ("nvmlDeviceGetMaxPcieLinkWidth(gpu(1))", 16),
        ("nvmlDeviceGetComputeRunningProcesses(gpu(1))", []),
        ("nvmlDeviceGetFieldValues(gpu(1), [186])[0].value.uiVal", 49680),
        ("nvmlDeviceGetTotalEccErrors(gpu(1), 1, 1)", 0),
        ("nvmlDeviceValidateInforom(gpu(1))", None),
        ("nvmlDeviceGetNvLinkState(gpu(1), 11)", 1),
        ("nvmlDeviceGetNvLinkState(gpu(1), 12)", "NVMLError_InvalidArgument"),
        ("nvmlDeviceGetRetiredPagesPendingStatus(gpu(1))", "NVMLError_NotSupported"),
        ("nvmlDeviceGetMarginTemperature(gpu(1))", "NVMLError_NotSupported"),
        ("nvmlDeviceGetFieldValues(gpu(1), [230])[0].value.uiVal", 0),
        ("nvmlDeviceGetFieldValues(gpu(1), [9999])[0].nvmlReturn", 3),
        ("nvmlDeviceGetFanSpeed(gpu(1))", "NVMLError_NotSupported"),
        ("nvmlDeviceGetMigDeviceHandleByIndex(gpu(1), 0)", "NVMLError_NotFound"),
        ("nvmlDeviceGetHandleByIndex(3)", "NVMLError_InvalidArgument"),
        ("nvmlDeviceGetHandleByUUID('GPU-unknown')", "NVMLError_NotFound"),
    ],
)
def test_a_gpu_answers_as_its_model_does(library: Library, call: str, value: object) -> None:
    assert library.ask(f"pynvml.{call}", ALL) == value


@pytest.mark.parametrize("address", ["0000:12:00.0", "00000000:12:00.0"])
def test_a_gpu_is_found_by_its_address_in_either_form(library: Library, address: str) -> None:
    call = f"pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByPciBusId({address!r}))"
    assert library.ask(call, ALL) == library.host.uuids[1]


def test_a_gpu_is_found_by_its_uuid(library: Library) -> None:
    uuid = library.host.uuids[2]
    call = f"pynvml.nvmlDeviceGetIndex(pynvml.nvmlDeviceGetHandleByUUID({uuid!r}))"
    assert library.ask(call, ALL) == 2


def test_a_lost_gpu_is_counted_but_has_no_handle(library: Library) -> None:
    state = loaded_state(library.gpus)
    state.reports[library.host.uuids[1]] = {"handle": "!15"}
    library.write(state)
    assert library.ask("pynvml.nvmlDeviceGetCount()", ALL) == 3
    assert library.ask("pynvml.nvmlDeviceGetUUID(gpu(0))", ALL) == library.host.uuids[0]
    assert library.ask("pynvml.nvmlDeviceGetUUID(gpu(1))", ALL) == "NVMLError_GpuIsLost"


def test_a_broken_sensor_answers_with_its_error(library: Library) -> None:
    state = loaded_state(library.gpus)
    state.reports[library.host.uuids[0]] = {"power": "!999"}
    library.write(state)
    assert library.ask("pynvml.nvmlDeviceGetPowerUsage(gpu(0))", ALL) == "NVMLError_Unknown"
    assert library.ask("pynvml.nvmlDeviceGetPowerUsage(gpu(1))", ALL) == 49680


@pytest.mark.parametrize(
    ("report", "call", "value"),
    [
        ({"ecc_uncorrected": "2"}, "nvmlDeviceGetTotalEccErrors(gpu(0), 1, 0)", 2),
        ({"ecc_uncorrected_ever": "5"}, "nvmlDeviceGetTotalEccErrors(gpu(0), 1, 1)", 5),
        ({"ecc_pending": "0"}, "nvmlDeviceGetEccMode(gpu(0))", [1, 0]),
        ({"inforom_checksum": "!14"}, "nvmlDeviceValidateInforom(gpu(0))", CORRUPTED),
        ({"nvlinks_down": "8"}, "nvmlDeviceGetNvLinkState(gpu(0), 3)", 0),
        ({"nvlinks_down": "8"}, "nvmlDeviceGetNvLinkState(gpu(0), 4)", 1),
        ({"temperature_margin": "4"}, "nvmlDeviceGetMarginTemperature(gpu(0))", 4),
        ({"recovery_action": "2"}, "nvmlDeviceGetFieldValues(gpu(0), [230])[0].value.uiVal", 2),
    ],
)
def test_what_goes_wrong_with_a_gpu_can_be_reported(
    library: Library, report: dict[str, str], call: str, value: object
) -> None:
    state = loaded_state(library.gpus)
    state.reports[library.host.uuids[0]] = report
    library.write(state)
    assert library.ask(f"pynvml.{call}", ALL) == value


def test_persistence_mode_is_kept_in_the_file_for_everyone_to_see(library: Library) -> None:
    library.ask("pynvml.nvmlDeviceSetPersistenceMode(gpu(1), 1)", ALL)
    assert library.ask(PERSISTENCE, ALL) == [0, 1, 0]


def test_persistence_mode_goes_to_the_right_gpu_after_the_file_has_changed(
    library: Library,
) -> None:
    state = loaded_state(library.gpus)
    state.reports[library.host.uuids[0]] = {"name": "a name of another length than before"}
    newer = library.folder / "newer"
    library.write(state, path=newer)
    rewrite = f"open({str(library.path)!r}, 'r+b').write(open({str(newer)!r}, 'rb').read())"
    library.ask(f"[{rewrite}, pynvml.nvmlDeviceSetPersistenceMode(gpu(2), 1)]", ALL)
    assert library.ask(PERSISTENCE, ALL) == [0, 0, 1]
