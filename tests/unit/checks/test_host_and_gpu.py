from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.evidence import MODEL, uuid_of

from gpuhost.checks.gpu import is_model
from gpuhost.checks.host import SUPPORTED
from gpuhost.model import Desired, Verdict

ROLES = Path(__file__).parents[3] / "playbooks" / "roles"
PREFLIGHT = ROLES / "preflight" / "vars" / "main.yml"


def lose_nvml(host: Any, text: str = "Driver Not Loaded", code: int = 9) -> None:
    nvml = host.section("nvml")
    nvml.update(failure={"code": code, "name": "", "text": text}, gpus=[])


# ------------------------------------------------------------------------ host


@pytest.mark.parametrize(
    ("name", "version"),
    [("debian", "13"), ("ubuntu", "24.04"), ("rhel", "9.6"), ("rocky", "8.10"), ("centos", "10")],
)
def test_supported_releases_pass(host: Any, name: str, version: str) -> None:
    host.section("system").update(os_id=name, os_version_id=version)
    assert host.check("host.os").verdict is Verdict.PASS


def test_a_release_that_is_not_listed_is_a_warning(host: Any) -> None:
    host.section("system").update(os_id="debian", os_version_id="11")
    result = host.check("host.os")
    assert result.verdict is Verdict.WARN
    assert "12, 13" in result.expected


def test_a_distribution_without_packages_fails(host: Any) -> None:
    host.section("system").update(os_id="alpine", os_version_id="3.22")
    assert host.check("host.os").verdict is Verdict.FAIL


def test_an_architecture_without_packages_fails(host: Any) -> None:
    host.section("system")["arch"] = "riscv64"
    assert host.check("host.os").verdict is Verdict.FAIL


def test_a_pending_reboot_is_a_warning(host: Any) -> None:
    host.section("system")["reboot_required"] = True
    result = host.check("host.reboot")
    assert result.verdict is Verdict.WARN
    assert "systemctl reboot" in result.remedy


# ----------------------------------------------------------------------- count


def test_a_missing_gpu_fails(host: Any) -> None:
    host.section("nvml")["gpus"].pop(2)
    result = host.check("gpu.count")
    assert result.verdict is Verdict.FAIL
    assert result.summary == "1 GPU is missing"
    assert result.expected == "4 GPUs"


def test_a_gpu_too_many_fails(host: Any) -> None:
    host.desired = Desired(gpu_count=2)
    result = host.check("gpu.count")
    assert result.verdict is Verdict.FAIL
    assert result.summary == "2 GPUs are more than declared"


def test_no_gpu_at_all_is_never_a_pass(host: Any) -> None:
    host.section("nvml")["gpus"] = []
    host.section("pci")["devices"] = []
    assert host.check("gpu.present").verdict is Verdict.FAIL
    for name in ("gpu.count", "gpu.model", "gpu.uuids", "gpu.on_bus", "smi.list", "cdi.matches"):
        assert host.check(name).verdict is Verdict.SKIP, name


def test_nvml_that_does_not_answer_fails_with_its_cause(host: Any) -> None:
    lose_nvml(host)
    result = host.check("gpu.count")
    assert result.verdict is Verdict.FAIL
    assert "Driver Not Loaded" in result.seen
    assert "not loaded" in result.cause
    assert "modprobe nvidia" in result.remedy


def test_an_undeclared_count_is_skipped_and_shows_what_could_be_declared(host: Any) -> None:
    host.desired = Desired()
    result = host.check("gpu.count")
    assert result.verdict is Verdict.SKIP
    assert result.seen == "4 GPUs"
    assert "gpuhost_gpu_count" in result.summary


# ----------------------------------------------------------------------- model


@pytest.mark.parametrize("declared", ["A100", "a100-sxm4-40gb", MODEL, "NVIDIA A100"])
def test_a_model_is_declared_by_any_whole_words_of_its_name(declared: str) -> None:
    assert is_model(declared, MODEL)


@pytest.mark.parametrize("declared", ["A10", "A100-PCIE", "40G", "", "H100", "A100 A100"])
def test_a_model_is_not_declared_by_parts_of_words(declared: str) -> None:
    assert not is_model(declared, MODEL)


def test_one_gpu_of_another_model_fails_and_is_named(host: Any) -> None:
    host.section("nvml")["gpus"][3]["name"] = "NVIDIA A100-PCIE-40GB"
    result = host.check("gpu.model")
    assert result.verdict is Verdict.FAIL
    assert "GPU 3" in result.seen
    assert "A100-PCIE" in result.seen


def test_a_gpu_without_a_name_is_unknown(host: Any) -> None:
    host.section("nvml")["gpus"][1]["name"] = None
    assert host.check("gpu.model").verdict is Verdict.UNKNOWN


# ----------------------------------------------------------------------- uuids


def test_a_swapped_gpu_is_called_changed_hardware(host: Any) -> None:
    new = "GPU-99999999-e1b1-e418-7862-000000000001"
    host.section("nvml")["gpus"][1]["uuid"] = new
    result = host.check("gpu.uuids")
    assert result.verdict is Verdict.FAIL
    assert result.summary == "hardware changed: 1 GPU swapped"
    assert result.seen == f"{new} instead of {uuid_of(1)}"
    assert uuid_of(0) in result.expected


def test_a_missing_gpu_is_named_by_its_uuid(host: Any) -> None:
    host.section("nvml")["gpus"].pop(0)
    result = host.check("gpu.uuids")
    assert result.verdict is Verdict.FAIL
    assert result.seen == f"missing: {uuid_of(0)}"


def test_a_gpu_more_than_declared_is_a_warning(host: Any) -> None:
    host.desired = Desired(gpu_uuids=(uuid_of(0), uuid_of(1), uuid_of(2)))
    result = host.check("gpu.uuids")
    assert result.verdict is Verdict.WARN
    assert uuid_of(3) in result.seen


def test_a_gpu_that_lost_its_uuid_fails_where_uuids_are_declared(host: Any) -> None:
    host.section("nvml")["gpus"][1]["uuid"] = None
    assert host.check("gpu.uuids").verdict is Verdict.FAIL


def test_a_gpu_without_a_uuid_beside_all_declared_ones_is_unknown(host: Any) -> None:
    host.section("nvml")["gpus"][3]["uuid"] = None
    host.desired = Desired(gpu_uuids=(uuid_of(0), uuid_of(1), uuid_of(2)))
    assert host.check("gpu.uuids").verdict is Verdict.UNKNOWN


def test_uuids_are_declared_in_either_case(host: Any) -> None:
    host.desired = Desired(gpu_uuids=tuple(uuid_of(i).upper() for i in range(4)))
    assert host.check("gpu.uuids").verdict is Verdict.PASS


# ---------------------------------------------------------------------- on_bus


def test_a_gpu_on_the_bus_that_the_driver_does_not_show_fails(host: Any) -> None:
    host.section("nvml")["gpus"].pop(1)
    result = host.check("gpu.on_bus")
    assert result.verdict is Verdict.FAIL
    assert "0000:0f:00.0" in result.seen


@pytest.mark.parametrize(
    ("driver", "words"), [("vfio-pci", "virtual machine"), ("nouveau", "nouveau")]
)
def test_who_holds_a_silent_gpu_is_told(host: Any, driver: str, words: str) -> None:
    host.section("nvml")["gpus"].pop(1)
    host.section("pci")["devices"][1]["driver"] = driver
    assert words in host.check("gpu.on_bus").cause


def test_a_gpu_gone_from_the_bus_is_called_lost(host: Any) -> None:
    host.section("pci")["devices"].pop(3)
    result = host.check("gpu.on_bus")
    assert result.verdict is Verdict.FAIL
    assert "lost" in result.summary
    assert "GPU 3" in result.seen


def test_gpus_on_the_bus_without_nvml_fail_with_nvmls_words(host: Any) -> None:
    lose_nvml(host, "Driver/library version mismatch", 18)
    result = host.check("gpu.on_bus")
    assert result.verdict is Verdict.FAIL
    assert "mismatch" in result.seen
    assert "reboot" in result.remedy


def test_devices_that_are_no_gpus_do_not_count(host: Any) -> None:
    host.section("pci")["devices"].append(
        {
            "address": "0000:d0:00.0",
            "vendor": "0x10de",
            "device": "0x22a3",
            "class_code": "0x068000",
            "driver": "nvidia-nvswitch",
        }
    )
    assert host.check("gpu.on_bus").verdict is Verdict.PASS


def test_two_gpus_at_one_address_are_unknown(host: Any) -> None:
    gpus = host.section("nvml")["gpus"]
    gpus[1]["bus_id"] = gpus[0]["bus_id"]
    assert host.check("gpu.on_bus").verdict is Verdict.UNKNOWN


def test_the_check_and_the_preflight_role_support_the_same_releases() -> None:
    variables = yaml.safe_load(PREFLIGHT.read_text())["__preflight_supported"]
    assert {name: tuple(versions) for name, versions in variables.items()} == SUPPORTED


# ------------------------------------------------------------------------ lost


@pytest.mark.parametrize(
    "check", ["gpu.model", "gpu.on_bus", "driver.persistence", "cdi.matches", "smi.agrees"]
)
def test_what_a_lost_gpu_does_not_tell_is_told_with_the_cause_that_it_is_lost(
    host: Any, check: str
) -> None:
    unread = dict.fromkeys(("uuid", "name", "bus_id", "minor", "serial", "persistence_mode"))
    host.section("nvml")["gpus"][1].update(**unread, failures={"handle": "GPU is lost"})
    host.desired = replace(host.desired, gpu_model="A100")
    result = host.check(check)
    assert result.verdict is Verdict.UNKNOWN
    assert result.seen == "GPU 1: GPU is lost"
    assert "fallen off" in result.cause
    assert "reboot" in result.remedy
