from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuhost.parse.errors import ParseError
from gpuhost.parse.nvidia_smi import (
    ListedGpu,
    MigDevice,
    QueriedGpu,
    is_gpu_uuid,
    parse_list,
    parse_query,
    parse_xml,
    troubles,
)

A100 = "NVIDIA A100-SXM4-40GB"
FIRST = "GPU-03d91bdd-e1b1-e418-7862-7d0dbe980e2e"
SECOND = "GPU-03d91cdd-e1b1-e5cb-8731-710dc3d0e3a2"
MIG = "MIG-5e8b2f1c-0d5b-5a3e-8f5e-1f2c3d4e5f60"

# What each capture shows: name, architecture, number of GPUs, driver, CUDA, persistence, MIG.
CAPTURES = {
    "hardware/qx-a100.xml": (A100, "Ampere", 1, "570.148.08", "12.8", True, False),
    "hardware/qx-b200.xml": ("NVIDIA B200", "Blackwell", 8, "580.105.08", "13.0", False, False),
    "hardware/qx-gb200.xml": ("NVIDIA GB200", "Blackwell", 4, "580.173.02", "13.0", True, False),
    "hardware/qx-gb300.xml": ("NVIDIA GB300", "Blackwell", 4, "580.173.02", "13.0", True, False),
    "hardware/qx-h100.xml": (
        "NVIDIA H100 80GB HBM3",
        "Hopper",
        8,
        "580.105.08",
        "13.0",
        True,
        False,
    ),
    "hardware/qx-l40s.xml": ("NVIDIA L40S", "Ada Lovelace", 1, "595.91.07", "13.2", True, None),
    "hardware/qx-t4.xml": ("Tesla T4", "Turing", 1, "595.91.07", "13.2", True, None),
    "nvidia-smi-qx-550.xml": (A100, "Ampere", 4, "550.163.01", "12.4", True, None),
}


@pytest.mark.parametrize("name", CAPTURES)
def test_a_real_machines_xml_is_read_whole(captures: Path, name: str) -> None:
    model, architecture, count, driver, cuda, persistence, mig = CAPTURES[name]
    log = parse_xml((captures / name).read_text())
    assert (log.driver_version, log.cuda_version, log.attached) == (driver, cuda, count)
    assert len(log.gpus) == count
    assert {gpu.name for gpu in log.gpus} == {model}
    assert {gpu.architecture for gpu in log.gpus} == {architecture}
    assert {gpu.persistence_mode for gpu in log.gpus} == {persistence}
    assert {gpu.mig_mode for gpu in log.gpus} == {mig}
    assert [gpu.minor for gpu in log.gpus] == list(range(count))
    assert len({gpu.uuid for gpu in log.gpus}) == count
    assert all(is_gpu_uuid(gpu.uuid) for gpu in log.gpus)
    assert all(re.fullmatch(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.0", g.bus_id) for g in log.gpus)
    assert all((gpu.memory_total_mib or 0) > 10_000 for gpu in log.gpus)
    assert all((gpu.device_id or "").endswith("10DE") for gpu in log.gpus)
    assert all(gpu.troubles == () for gpu in log.gpus), "a healthy machine has no trouble"
    assert all(gpu.mig_devices == () for gpu in log.gpus)


def test_every_capture_is_tested(captures: Path) -> None:
    found = {str(path.relative_to(captures)) for path in captures.rglob("*.xml")}
    assert found == set(CAPTURES)


@pytest.mark.parametrize("name", CAPTURES)
@pytest.mark.parametrize("words", ["ERR!", "GPU is lost", "Unknown Error"])
def test_an_error_in_a_field_of_a_real_machine_is_named_with_its_place(
    captures: Path, name: str, words: str
) -> None:
    text = (captures / name).read_text()
    ill = re.sub(r"<gpu_temp>[^<]*<", f"<gpu_temp>{words}<", text, count=1)
    assert ill != text
    first, *others = parse_xml(ill).gpus
    assert first.troubles == (f"temperature/gpu_temp: {words}",)
    assert all(gpu.troubles == () for gpu in others)


def test_a_uuid_that_cannot_be_read_is_none(captures: Path) -> None:
    text = (captures / "hardware/qx-a100.xml").read_text()
    for body in ("N/A", "GPU is lost", "Unknown Error"):
        assert parse_xml(re.sub(r"<uuid>[^<]*<", f"<uuid>{body}<", text)).gpus[0].uuid is None


def test_mig_devices_are_read_from_the_xml(captures: Path) -> None:
    text = (captures / "hardware/qx-a100.xml").read_text()
    mig = (
        "<mig_device><index>0</index><gpu_instance_id>1</gpu_instance_id>"
        "<compute_instance_id>0</compute_instance_id></mig_device>"
    )
    text = re.sub(r"(<mig_devices>)\s*None", rf"\1{mig}", text)
    text = text.replace("<current_mig>Disabled<", "<current_mig>Enabled<")
    (gpu,) = parse_xml(text).gpus
    assert gpu.mig_mode is True
    assert [(m.index, m.gpu_instance, m.compute_instance) for m in gpu.mig_devices] == [(0, 1, 0)]


@pytest.mark.parametrize("name", CAPTURES)
def test_xml_that_was_cut_off_is_an_error(captures: Path, name: str) -> None:
    text = (captures / name).read_text()
    with pytest.raises(ParseError, match="nvidia-smi's XML"):
        parse_xml(text[: len(text) // 2])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "No devices were found",
        "<html></html>",
        "<nvidia_smi_log></nvidia_smi_log>",
        "<nvidia_smi_log><attached_gpus>N/A</attached_gpus></nvidia_smi_log>",
        (
            '<!DOCTYPE x [<!ENTITY a "b">]><nvidia_smi_log><attached_gpus>0</attached_gpus>'
            "</nvidia_smi_log>"
        ),
    ],
)
def test_what_is_not_nvidia_smis_xml_is_an_error(text: str) -> None:
    with pytest.raises(ParseError, match="not nvidia-smi's XML"):
        parse_xml(text)


# ------------------------------------------------------------------------- -L


def test_a_list_of_gpus_with_mig_devices_is_read() -> None:
    text = (
        f"GPU 0: {A100} (UUID: {FIRST})\n"
        f"  MIG 3g.20gb     Device  0: (UUID: {MIG})\n"
        f"  MIG 1g.5gb+me   Device  1: (UUID: {MIG[:-1]}1)\n"
        f"  MIG 1c.3g.20gb  Device 10: (UUID: {MIG[:-1]}2)\n"
        f"GPU 1: {A100} (UUID: {SECOND})\n"
    )
    first, second = parse_list(text)
    assert first == ListedGpu(
        0,
        A100,
        FIRST,
        (
            MigDevice("3g.20gb", 0, MIG),
            MigDevice("1g.5gb+me", 1, f"{MIG[:-1]}1"),
            MigDevice("1c.3g.20gb", 10, f"{MIG[:-1]}2"),
        ),
    )
    assert second == ListedGpu(1, A100, SECOND)


@pytest.mark.parametrize("text", ["No devices found.\n", "No devices were found\n"])
def test_a_list_that_says_so_is_empty(text: str) -> None:
    assert parse_list(text) == ()
    assert parse_query(text) == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "Failed to initialize NVML: Unknown Error",
        "Unable to determine the device handle for GPU0000:17:00.0: Unknown Error",
        f"GPU 0: {A100} (UUID: {FIRST})\nGPU is lost",
        f"  MIG 3g.20gb     Device  0: (UUID: {MIG})\n",
        f"No devices found.\nGPU 0: {A100} (UUID: {FIRST})",
    ],
)
def test_a_list_with_any_other_line_is_an_error_not_a_short_list(text: str) -> None:
    with pytest.raises(ParseError, match="not a GPU list"):
        parse_list(text)


names = st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1, max_size=30)
uuids = st.uuids().map(lambda uuid: f"GPU-{uuid}")


@given(st.lists(st.tuples(names.filter(lambda n: n.strip() == n), uuids), min_size=1, max_size=16))
def test_every_list_that_nvidia_smi_can_print_is_read_back(gpus: list[tuple[str, str]]) -> None:
    text = "".join(f"GPU {i}: {name} (UUID: {uuid})\n" for i, (name, uuid) in enumerate(gpus))
    found = parse_list(text)
    assert [(gpu.name, gpu.uuid) for gpu in found] == gpus
    assert [gpu.index for gpu in found] == list(range(len(gpus)))


@given(st.text())
def test_no_text_makes_the_parsers_raise_anything_but_a_parse_error(text: str) -> None:
    for parse in (parse_list, parse_query, parse_xml):
        with contextlib.suppress(ParseError):
            parse(text)


# ------------------------------------------------------------------------ csv


def test_a_query_is_read_with_normalised_addresses() -> None:
    text = f"0, {FIRST}, 00000000:07:00.0, {A100}\n1, {SECOND}, 00000000:0F:00.0, {A100}\n"
    assert parse_query(text) == (
        QueriedGpu(0, FIRST, "0000:07:00.0", A100),
        QueriedGpu(1, SECOND, "0000:0f:00.0", A100),
    )


def test_an_address_that_is_not_available_is_none() -> None:
    (gpu,) = parse_query(f"0, {FIRST}, [N/A], {A100}\n")
    assert gpu.bus_id is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        'Field "pci.bus" is not a valid field to query.',
        f"{FIRST}, 0, 00000000:07:00.0, {A100}",
        f"0, {FIRST}, 00000000:07:00.0",
        f"0, {FIRST}, nowhere, {A100}",
    ],
)
def test_what_is_not_the_query_is_an_error(text: str) -> None:
    with pytest.raises(ParseError):
        parse_query(text)


# ---------------------------------------------------------------------- table


def test_troubles_of_the_table_are_the_lines_without_its_frame() -> None:
    text = (
        "|   0  NVIDIA A100-SXM4-40GB          On  |   00000000:07:00.0 Off |            0 |\n"
        "| N/A   31C    P0             ERR! / 400W |      0MiB /  40960MiB |      0%  Default |\n"
    )
    assert troubles(text) == ("N/A 31C P0 ERR! / 400W | 0MiB / 40960MiB | 0% Default",)


@pytest.mark.parametrize(
    "line",
    [
        "Unable to determine the device handle for GPU0000:17:00.0: Unknown Error",
        (
            "Unable to determine the device handle for GPU 0000:17:00.0: GPU is lost.  Reboot the "
            "system to recover this GPU"
        ),
        "Failed to initialize NVML: Driver/library version mismatch",
        "Failed to initialize NVML: Unknown Error",
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
    ],
)
def test_errors_in_place_of_the_table_are_troubles(line: str) -> None:
    assert len(troubles(line)) == 1


def test_a_gpu_has_no_trouble_for_what_it_does_not_support() -> None:
    assert troubles("| N/A   31C    P0   54W / 400W |      0MiB /  40960MiB |  N/A |") == ()
