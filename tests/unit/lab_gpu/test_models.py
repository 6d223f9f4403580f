"""The lab's GPU models against what real machines reported."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from gpuhost.errors import UsageError
from gpuhost.lab.gpu import models
from gpuhost.lab.gpu.models import Model

CAPTURED = ("A100", "B200", "GB200", "GB300", "H100", "L40S", "T4")


def captured_gpu(captures: Path, key: str) -> ET.Element:
    tree = ET.parse(captures / "hardware" / f"qx-{key.lower()}.xml")
    gpu = tree.getroot().find("gpu")
    assert gpu is not None
    return gpu


def number(gpu: ET.Element, path: str) -> float:
    return float(str(gpu.findtext(path)).split()[0].rstrip("x"))


@pytest.mark.parametrize("key", CAPTURED)
class TestAgainstARealMachine:
    def test_it_is_the_same_device(self, captures: Path, key: str) -> None:
        gpu, model = captured_gpu(captures, key), models.find(key)
        assert gpu.findtext("product_name") == model.name
        assert gpu.findtext("product_architecture") == model.architecture
        assert gpu.findtext("pci/pci_device_id") == f"{model.device_id:04X}10DE"
        assert gpu.findtext("pci/pci_sub_system_id") == f"{model.subsystem_id:04X}10DE"

    def test_it_has_the_same_memory(self, captures: Path, key: str) -> None:
        gpu, model = captured_gpu(captures, key), models.find(key)
        assert number(gpu, "fb_memory_usage/total") == model.memory_mib["total"]
        assert number(gpu, "fb_memory_usage/reserved") == model.memory_mib["reserved"]
        assert number(gpu, "bar1_memory_usage/total") == model.memory_mib["bar1"]

    def test_it_has_the_same_link_and_power_limits(self, captures: Path, key: str) -> None:
        gpu, model = captured_gpu(captures, key), models.find(key)
        link = "pci/pci_gpu_link_info"
        assert number(gpu, f"{link}/pcie_gen/max_link_gen") == model.pcie["gen"]
        assert number(gpu, f"{link}/pcie_gen/max_device_link_gen") == model.pcie["device_gen"]
        assert number(gpu, f"{link}/link_widths/max_link_width") == model.pcie["width"]
        power = "gpu_power_readings"
        assert number(gpu, f"{power}/max_power_limit") == model.power_w["max"]
        assert number(gpu, f"{power}/min_power_limit") == model.power_w["min"]
        assert number(gpu, f"{power}/instant_power_draw") == model.power_w["draw"]

    def test_it_has_the_same_clocks(self, captures: Path, key: str) -> None:
        gpu, model = captured_gpu(captures, key), models.find(key)
        for clock, field in (("sm", "sm_clock"), ("memory", "mem_clock"), ("video", "video_clock")):
            assert number(gpu, f"clocks/{field}") == model.clocks_mhz[clock]
            assert number(gpu, f"max_clocks/{field}") == model.clocks_mhz[f"{clock}_max"]

    def test_it_is_as_warm(self, captures: Path, key: str) -> None:
        gpu, model = captured_gpu(captures, key), models.find(key)
        fields = {
            "gpu": "gpu_temp",
            "margin": "gpu_temp_tlimit",
            "memory": "memory_temp",
            "shutdown": "gpu_temp_max_threshold",
            "slowdown": "gpu_temp_slow_threshold",
            "gpu_max": "gpu_temp_max_gpu_threshold",
            "memory_max": "gpu_temp_max_mem_threshold",
        }
        texts = {name: gpu.findtext(f"temperature/{field}") for name, field in fields.items()}
        degrees = {n: int(t.split()[0]) for n, t in texts.items() if t and t != "N/A"}
        assert degrees == model.temperature_c

    def test_it_can_be_divided_and_remaps_rows_alike(self, captures: Path, key: str) -> None:
        gpu, model = captured_gpu(captures, key), models.find(key)
        assert (gpu.findtext("mig_mode/current_mig") != "N/A") == (model.mig is not None)
        banks = "remapped_rows/row_remapper_histogram/row_remapper_histogram_max"
        text = gpu.findtext(banks)
        assert (int(text.split()[0]) if text else None) == model.remapper_banks


@pytest.mark.parametrize("name", ["a100", "A100", "NVIDIA A100-SXM4-40GB"])
def test_a_model_is_found_by_its_key_and_by_its_product_name(name: str) -> None:
    assert models.find(name).key == "A100"


def test_an_unknown_model_is_refused_with_what_may_have_been_meant() -> None:
    with pytest.raises(UsageError) as raised:
        models.find("a1000")
    assert "Did you mean 'A100'?" in raised.value.message
    assert "T4" in raised.value.remedy


def test_the_default_is_named_first() -> None:
    assert models.names()[0] == models.DEFAULT


@pytest.mark.parametrize("key", ["V100", "P100"])
def test_generations_before_turing_take_only_proprietary_modules_up_to_580(key: str) -> None:
    assert models.find(key).drivers["modules"] == ["proprietary"]
    assert models.find(key).drivers["last"] == 580


@pytest.mark.parametrize("key", ["B200", "GB200", "GB300"])
def test_blackwell_takes_only_open_modules_from_570_on(key: str) -> None:
    assert models.find(key).drivers["modules"] == ["open"]
    assert models.find(key).drivers["first"] >= 570


@pytest.mark.parametrize("key", models.names())
def test_what_a_model_tells_nvml_is_complete(key: str) -> None:
    model: Model = models.find(key)
    told = model.nvml()
    assert told["compute_capability"] == model.compute_capability
    assert told["memory_total"] == model.memory_mib["total"] * 1024 * 1024
    assert ("mig" in told) == (model.mig is not None)
    assert ("remapped_failed" in told) == (model.remapper_banks is not None)
    assert ("retired_pages_pending" in told) == (model.remapper_banks is None)
    assert told.get("nvlinks", 0) == model.nvlinks
