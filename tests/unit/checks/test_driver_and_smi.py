from __future__ import annotations

import re
from typing import Any

import pytest
from support.evidence import DRIVER, gpu_list, uuid_of

from gpuhost.model import Desired, Verdict

NEWER = "580.200.01"


# ---------------------------------------------------------------------- loaded


def unload(host: Any) -> Any:
    driver = host.section("driver")
    driver.update(loaded_version=None, loaded_text=None)
    return driver


def test_a_driver_that_is_not_installed_is_told_to_be_provisioned(host: Any) -> None:
    unload(host)["on_disk_version"] = None
    result = host.check("driver.loaded")
    assert result.verdict is Verdict.FAIL
    assert "not built for the running kernel 6.1.0-40-amd64" in result.cause
    assert "gpuhost provision" in result.remedy


def test_nouveau_is_named_when_it_keeps_the_driver_out(host: Any) -> None:
    unload(host)["nouveau_loaded"] = True
    assert "nouveau" in host.check("driver.loaded").cause
    result = host.check("driver.nouveau")
    assert result.verdict is Verdict.FAIL
    assert "systemctl reboot" in result.remedy


def test_secure_boot_is_named_when_it_keeps_the_driver_out(host: Any) -> None:
    unload(host)
    host.section("system")["secure_boot"] = True
    result = host.check("driver.loaded")
    assert "Secure Boot" in result.cause
    assert "mokutil --import" in result.remedy


def test_a_module_that_was_just_not_loaded_is_told_to_be(host: Any) -> None:
    unload(host)
    assert "modprobe nvidia" in host.check("driver.loaded").remedy


def test_nouveau_that_waits_for_the_next_boot_is_a_warning(host: Any) -> None:
    host.section("driver")["nouveau_blacklisted"] = False
    result = host.check("driver.nouveau")
    assert result.verdict is Verdict.WARN
    assert "blacklist nouveau" in result.remedy
    assert "modeset=0" in result.remedy


# ------------------------------------------------------------------------ nvml


def test_nvml_that_does_not_start_fails_in_its_own_words(host: Any) -> None:
    failure = {"code": 18, "name": "", "text": "Driver/library version mismatch"}
    host.section("nvml").update(failure=failure, gpus=[])
    result = host.check("driver.nvml")
    assert result.verdict is Verdict.FAIL
    assert result.seen == "Driver/library version mismatch (NVML error 18)"
    assert "upgraded" in result.cause


def test_one_value_that_nvml_cannot_read_fails(host: Any) -> None:
    host.section("nvml")["gpus"][2]["failures"] = {"temperature_c": "GPU is lost"}
    result = host.check("driver.nvml")
    assert result.verdict is Verdict.FAIL
    assert result.seen == "GPU 2 temperature_c: GPU is lost"
    assert "fallen off" in result.cause


# -------------------------------------------------------------------- versions


@pytest.mark.parametrize(
    ("changed", "summary", "remedy"),
    [
        (
            {"on_disk_version": NEWER, "userspace_version": NEWER},
            "needs a reboot: the loaded module is not the installed one",
            "systemctl reboot",
        ),
        (
            {"on_disk_version": NEWER},
            "breaks at the next reboot: another module is on disk",
            "gpuhost provision",
        ),
        (
            {"userspace_version": NEWER},
            "breaks at the next reboot: module and libraries on disk differ",
            "gpuhost provision",
        ),
    ],
)
def test_versions_that_differ_fail_and_say_when_it_breaks(
    host: Any, changed: dict[str, str], summary: str, remedy: str
) -> None:
    host.section("driver").update(changed)
    result = host.check("driver.versions")
    assert result.verdict is Verdict.FAIL
    assert result.summary == summary
    assert f"loaded {DRIVER}" in result.seen
    assert NEWER in result.seen
    assert remedy in result.remedy


@pytest.mark.parametrize("place", ["loaded_version", "on_disk_version", "userspace_version"])
def test_a_version_that_could_not_be_read_is_unknown(host: Any, place: str) -> None:
    host.section("driver")[place] = None
    assert host.check("driver.versions").verdict is Verdict.UNKNOWN


def test_no_driver_in_three_places_is_no_agreement(host: Any) -> None:
    host.section("driver").update(loaded_version=None, on_disk_version=None, userspace_version=None)
    assert host.check("driver.versions").verdict is Verdict.UNKNOWN


# ---------------------------------------------------------------------- branch


def test_a_driver_of_another_branch_fails(host: Any) -> None:
    host.desired = Desired(driver_branch="550")
    result = host.check("driver.branch")
    assert result.verdict is Verdict.FAIL
    assert result.seen == DRIVER
    assert result.expected == "branch 550"


def test_any_version_of_the_declared_branch_passes(host: Any) -> None:
    host.desired = Desired(driver_branch="580")
    assert host.check("driver.branch").verdict is Verdict.PASS


def test_an_exact_version_is_held_against_the_host(host: Any) -> None:
    host.desired = Desired(driver_branch="580", driver_version="580.178.05")
    assert host.check("driver.branch").verdict is Verdict.FAIL


def test_a_declared_driver_that_is_not_loaded_fails(host: Any) -> None:
    unload(host)
    assert host.check("driver.branch").verdict is Verdict.FAIL


# ------------------------------------------------------------------------ held


def test_packages_that_nobody_holds_are_a_warning_with_the_command(host: Any) -> None:
    for package in host.section("driver")["packages"]:
        package["held"] = False
    result = host.check("driver.held")
    assert result.verdict is Verdict.WARN
    assert result.remedy.startswith("apt-mark hold nvidia-driver-cuda")


def test_a_driver_without_packages_has_nothing_to_hold(host: Any) -> None:
    host.section("driver")["packages"] = []
    assert host.check("driver.held").verdict is Verdict.SKIP


# --------------------------------------------------------------------- flavour

PROPRIETARY_TEXT = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.178.04  Release\n"


def make_proprietary(host: Any) -> None:
    host.section("driver").update(loaded_text=PROPRIETARY_TEXT, on_disk_license="NVIDIA")


def test_the_declared_flavour_is_held_against_the_host(host: Any) -> None:
    host.desired = Desired(driver_modules="proprietary")
    assert host.check("driver.flavour").verdict is Verdict.FAIL
    make_proprietary(host)
    assert host.check("driver.flavour").verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("capability", "open_passes", "proprietary_passes"),
    [
        ("7.0", False, True),
        ("7.5", True, True),
        ("8.0", True, True),
        ("9.0", True, True),
        ("10.0", True, False),
        ("12.0", True, False),
    ],
)
def test_auto_means_what_the_gpus_can_run(
    host: Any, capability: str, open_passes: bool, proprietary_passes: bool
) -> None:
    for gpu in host.section("nvml")["gpus"]:
        gpu["compute_capability"] = capability
    assert (host.check("driver.flavour").verdict is Verdict.PASS) == open_passes
    make_proprietary(host)
    assert (host.check("driver.flavour").verdict is Verdict.PASS) == proprietary_passes


def test_auto_without_gpus_to_look_at_is_unknown(host: Any) -> None:
    host.section("nvml")["gpus"] = []
    assert host.check("driver.flavour").verdict is Verdict.UNKNOWN


def test_a_license_that_is_neither_is_unknown(host: Any) -> None:
    host.section("driver").update(loaded_text=None, on_disk_license=None)
    assert host.check("driver.flavour").verdict is Verdict.UNKNOWN


def test_the_license_on_disk_tells_when_nothing_is_loaded(host: Any) -> None:
    host.section("driver")["loaded_text"] = None
    assert "open" in host.check("driver.flavour").summary


# ----------------------------------------------------------------- persistence


def test_persistence_that_is_off_is_a_warning(host: Any) -> None:
    host.section("nvml")["gpus"][1]["persistence_mode"] = False
    result = host.check("driver.persistence")
    assert result.verdict is Verdict.WARN
    assert "GPU 1" in result.seen
    assert "--no-persistence-mode" in result.cause
    host.section("driver")["units"][0]["active_state"] = "inactive"
    result = host.check("driver.persistence")
    assert result.verdict is Verdict.WARN
    assert result.remedy == "systemctl enable --now nvidia-persistenced.service"


def test_persistence_that_ends_with_the_next_reboot_is_a_warning(host: Any) -> None:
    host.section("driver")["units"] = []
    result = host.check("driver.persistence")
    assert result.verdict is Verdict.WARN
    assert "next reboot" in result.summary


def test_persistence_that_nobody_tells_is_unknown(host: Any) -> None:
    host.section("nvml")["gpus"][1]["persistence_mode"] = None
    assert host.check("driver.persistence").verdict is Verdict.UNKNOWN


# ------------------------------------------------------------------------- smi

TABLE_LINE = (
    "| N/A   31C    P0             ERR! / 400W |      0MiB / 40960MiB |     0%  Default |\n"
)


def test_err_in_the_table_fails_though_nvidia_smi_exits_0(host: Any) -> None:
    table = host.section("nvidia_smi")["table"]
    table["stdout"] += TABLE_LINE
    assert table["rc"] == 0
    result = host.check("smi.output")
    assert result.verdict is Verdict.FAIL
    assert "exits 0 and prints an error" in result.summary
    assert "ERR!" in result.seen


@pytest.mark.parametrize("words", ["ERR!", "GPU is lost", "Unknown Error"])
def test_an_error_in_the_xml_fails_with_gpu_and_field(host: Any, words: str) -> None:
    query = host.section("nvidia_smi")["query_xml"]
    query["stdout"] = query["stdout"].replace("31 C", words, 1)
    result = host.check("smi.output")
    assert result.verdict is Verdict.FAIL
    assert result.seen == f"0000:07:00.0 temperature/gpu_temp: {words}"


@pytest.mark.parametrize("body", ["N/A", "[N/A]", ""])
def test_a_gpu_without_a_uuid_in_the_xml_fails(host: Any, body: str) -> None:
    query = host.section("nvidia_smi")["query_xml"]
    query["stdout"] = query["stdout"].replace(uuid_of(1), body)
    result = host.check("smi.output")
    assert result.verdict is Verdict.FAIL
    assert "without a UUID" in result.summary


def test_a_gpu_that_is_counted_and_not_described_fails(host: Any) -> None:
    query = host.section("nvidia_smi")["query_xml"]
    query["stdout"] = re.sub(r"<gpu .*?</gpu>\n", "", query["stdout"], count=1, flags=re.S)
    result = host.check("smi.output")
    assert result.verdict is Verdict.FAIL
    assert "counts more GPUs than it describes" in result.summary


def test_xml_that_was_cut_off_is_unknown(host: Any) -> None:
    query = host.section("nvidia_smi")["query_xml"]
    query["stdout"] = query["stdout"][:300]
    assert host.check("smi.output").verdict is Verdict.UNKNOWN


def test_a_list_shorter_than_nvmls_fails(host: Any) -> None:
    gpus = host.section("nvml")["gpus"]
    host.section("nvidia_smi")["list_gpus"]["stdout"] = gpu_list(gpus[:3])
    assert host.check("smi.list").verdict is Verdict.FAIL


def test_a_list_with_one_gpu_twice_fails(host: Any) -> None:
    gpus = host.section("nvml")["gpus"]
    stdout = gpu_list([gpus[0], gpus[0], gpus[2], gpus[3]])
    host.section("nvidia_smi")["list_gpus"]["stdout"] = stdout
    assert host.check("smi.list").verdict is Verdict.FAIL


def test_no_devices_found_with_exit_code_0_fails(host: Any) -> None:
    host.section("nvidia_smi")["list_gpus"]["stdout"] = "No devices found.\n"
    result = host.check("smi.list")
    assert result.verdict is Verdict.FAIL
    assert result.summary == "nvidia-smi shows no GPU"


@pytest.mark.parametrize(
    ("rc", "words", "cause"),
    [
        (9, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", "not"),
        (18, "Failed to initialize NVML: Driver/library version mismatch", "upgraded"),
        (15, "Unable to determine the device handle for GPU0: GPU is lost.", "fallen off"),
        (12, "NVIDIA-SMI couldn't find libnvidia-ml.so library in your system.", "libraries"),
    ],
)
def test_the_words_of_a_failed_nvidia_smi_name_the_cause(
    host: Any, rc: int, words: str, cause: str
) -> None:
    host.section("nvidia_smi")["list_gpus"].update(rc=rc, stdout=words + "\n")
    result = host.check("smi.list")
    assert result.verdict is Verdict.FAIL
    assert f"exits {rc}" in result.summary
    assert words in result.seen
    assert cause in result.cause


def test_an_unknown_failure_of_nvidia_smi_is_shown_whole(host: Any) -> None:
    words = "Something that nobody has ever seen before, in two lines\nof text"
    host.section("nvidia_smi")["list_gpus"].update(rc=255, stdout="", stderr=words)
    result = host.check("smi.list")
    assert result.verdict is Verdict.FAIL
    assert words in result.seen
    assert "not a failure that gpuhost knows" in result.cause


def test_nvidia_smi_that_hangs_fails(host: Any) -> None:
    host.section("nvidia_smi")["table"].update(rc=None, timed_out=True, duration_s=20.0, stdout="")
    result = host.check("smi.output")
    assert result.verdict is Verdict.FAIL
    assert "did not end within 20 s" in result.summary


def test_nvidia_smi_that_is_not_installed_fails(host: Any) -> None:
    host.section("nvidia_smi").update(path=None, list_gpus=None, table=None, query_xml=None)
    assert host.check("smi.list").verdict is Verdict.FAIL
    assert host.check("smi.output").verdict is Verdict.FAIL


def test_nvidia_smi_that_was_not_run_is_unknown(host: Any) -> None:
    host.section("nvidia_smi").update(list_gpus=None, query_xml=None)
    assert host.check("smi.list").verdict is Verdict.UNKNOWN
    assert host.check("smi.output").verdict is Verdict.UNKNOWN


def test_a_line_that_is_no_gpu_makes_the_list_unknown(host: Any) -> None:
    host.section("nvidia_smi")["list_gpus"]["stdout"] += "WARNING: a new kind of line\n"
    result = host.check("smi.list")
    assert result.verdict is Verdict.UNKNOWN
    assert "a new kind of line" in result.seen
