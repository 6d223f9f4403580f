"""The simulated driver in a host, without any of gpuhost's roles or checks: apt and nvidia-smi."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from xml.etree import ElementTree as ET

import pytest
from support.ground import own_lab, silent

from gpuhost import lab as room
from gpuhost.lab.gpu import faults, inventory, packages
from gpuhost.lab.state import Store

HOST = "driver-01"
GPUS = 3
OLD, NEW = packages.VERSIONS
UUIDS = list(inventory.plan(host=HOST, gpus=GPUS, model="A100").uuids)
FIELDS = (
    *("index", "name", "uuid", "serial", "pci.bus_id", "driver_version", "vbios_version"),
    *("compute_cap", "memory.total", "memory.used", "persistence_mode", "compute_mode"),
    *("mig.mode.current", "mig.mode.pending", "ecc.mode.current"),
    *("ecc.errors.uncorrected.volatile.total", "temperature.gpu", "power.draw", "power.limit"),
    *("pcie.link.gen.current", "pcie.link.gen.max", "pcie.link.width.current"),
    *("pcie.link.width.max", "clocks_event_reasons.active"),
)
# Prints the names of NVML's functions that nvidia-smi has in it and the library does not define.
UNDEFINED = r"""
import re
smi = open("/usr/bin/nvidia-smi", "rb").read()
library = open("/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1", "rb").read()
for name in sorted(set(re.findall(rb"(?<=\0)nvml[A-Z]\w+(?=\0)", smi))):
    if b"\0" + name + b"\0" not in library:
        print(name.decode())
"""


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return room.attempt(HOST, argv, timeout_s=120)


def listed() -> list[str]:
    """The UUIDs that ``nvidia-smi -L`` prints."""
    return [
        line.split("UUID: ")[1].rstrip(")") for line in run("nvidia-smi", "-L").stdout.splitlines()
    ]


def install(version: str) -> None:
    """What an operator types; the pin is what makes apt take the older ones of many packages."""
    pin = f"Package: *nvidia* libcuda*\nPin: version {version}-*\nPin-Priority: 1001\n"
    room.execute(HOST, ["tee", "/etc/apt/preferences.d/driver"], stdin=pin)
    names = ["nvidia-driver-cuda", "nvidia-kernel-open-dkms", f"linux-headers-{kernel()}"]
    room.execute(HOST, ["apt-get", "install", "--yes", *names], timeout_s=120)


def kernel() -> str:
    return room.execute(HOST, ["uname", "-r"]).strip()


@pytest.fixture(scope="module", autouse=True)
def bare() -> Iterator[None]:
    """A host with three GPUs that knows the driver's repository and has nothing of it."""
    with own_lab() as state:
        room.up(
            [HOST],
            gpus=GPUS,
            model="A100",
            release="debian12",
            project=state / "project",
            progress=silent,
        )
        record = Store(state).host(HOST)
        assert record
        source = f"deb [trusted=yes] {record.variables['nvidia_driver_repo_url']}/ /\n"
        room.execute(HOST, ["tee", "/etc/apt/sources.list.d/driver.list"], stdin=source)
        room.execute(HOST, ["apt-get", "update"])
        yield


@pytest.fixture(scope="module")
def old() -> None:
    """The older driver, installed and loaded by a reboot."""
    install(OLD)
    room.reboot(HOST)


@pytest.fixture(scope="module")
def new(old: None) -> None:
    """The newer driver after it, loaded by a reboot."""
    assert old is None
    install(NEW)
    room.reboot(HOST)


def test_a_bare_host_shows_its_gpus_on_the_bus_and_nouveau_on_them() -> None:
    devices = run("lspci", "-n", "-d", "10de:").stdout.splitlines()
    assert [line.split()[1:3] for line in devices] == [["0302:", "10de:20b0"]] * GPUS
    assert "nouveau" in run("lsmod").stdout
    assert run("modprobe", "nvidia").returncode == 1


def test_an_installed_driver_is_not_loaded_before_the_reboot() -> None:
    install(OLD)
    assert run("modinfo", "-F", "version", "nvidia").stdout.strip() == OLD
    assert run("nvidia-smi").returncode == 9
    assert run("modprobe", "nvidia").stderr == (
        "modprobe: ERROR: could not insert 'nvidia': No such device\n"
    )


@pytest.mark.usefixtures("old")
class TestTheOlderDriver:
    def test_it_is_loaded_and_lists_every_gpu(self) -> None:
        assert run("cat", "/sys/module/nvidia/version").stdout.strip() == OLD
        assert listed() == UUIDS
        assert run("systemctl", "is-active", "nvidia-persistenced").stdout == "active\n"

    def test_the_real_nvidia_smi_reads_every_field_that_is_asked_for(self) -> None:
        assert_fields_are_readable()

    def test_the_library_has_every_function_that_nvidia_smi_looks_up(self) -> None:
        assert run("python3", "-c", UNDEFINED).stdout == ""

    def test_an_upgrade_is_a_mismatch_until_the_module_is_reloaded(self) -> None:
        install(NEW)
        ran = run("nvidia-smi")
        assert ran.returncode == 18
        assert "Driver/library version mismatch" in ran.stdout + ran.stderr
        run("systemctl", "stop", "nvidia-persistenced")
        room.execute(HOST, ["modprobe", "-r", "nvidia_uvm", "nvidia_drm"])
        room.execute(HOST, ["modprobe", "nvidia"])
        assert listed() == UUIDS
        assert run("cat", "/sys/module/nvidia/version").stdout.strip() == NEW


@pytest.mark.usefixtures("new")
class TestTheNewerDriver:
    def test_the_real_nvidia_smi_reads_every_field_that_is_asked_for(self) -> None:
        assert_fields_are_readable()

    def test_the_library_has_every_function_that_nvidia_smi_looks_up(self) -> None:
        assert run("python3", "-c", UNDEFINED).stdout == ""

    def test_its_xml_describes_a_healthy_gpu(self) -> None:
        log = ET.fromstring(run("nvidia-smi", "-q", "-x").stdout)
        assert log.findtext("attached_gpus") == str(GPUS)
        for gpu in log.findall("gpu"):
            assert gpu.findtext("persistence_mode") == "Enabled"
            assert gpu.findtext("ecc_mode/current_ecc") == "Enabled"
            assert gpu.findtext("remapped_rows/remapped_row_failure") == "No"
            assert gpu.findtext("temperature/gpu_temp") == "33 C"
            assert gpu.findtext("clocks_event_reasons/clocks_event_reason_hw_slowdown") == (
                "Not Active"
            )

    def test_the_device_cgroup_decides_which_gpus_a_process_has(self) -> None:
        allowed = ["DevicePolicy=closed", "DeviceAllow=/dev/nvidiactl rw"]
        ran = in_unit(*allowed, "DeviceAllow=/dev/nvidia1 rw")
        assert UUIDS[1] in ran.stdout
        assert ran.stdout.count("UUID") == 1
        assert "No devices found" in in_unit(*allowed).stdout

    def test_a_process_that_may_not_reach_the_driver_at_all_is_told_unknown_error(self) -> None:
        ran = in_unit("DevicePolicy=closed")
        assert ran.returncode == 255
        assert "Failed to initialize NVML: Unknown Error" in ran.stdout

    def test_persistence_mode_is_roots_to_change(self) -> None:
        modes = ["nvidia-smi", "--query-gpu=persistence_mode", "--format=csv,noheader"]
        assert in_unit("User=nobody", command=["nvidia-smi", "-pm", "0"]).returncode == 4
        assert run("nvidia-smi", "-pm", "0").returncode == 0
        assert run(*modes).stdout.split() == ["Disabled"] * GPUS
        assert run("nvidia-smi", "-pm", "1").returncode == 0
        assert run(*modes).stdout.split() == ["Enabled"] * GPUS

    def test_a_module_is_in_use_while_the_persistence_daemon_holds_the_gpus(self) -> None:
        room.execute(HOST, ["modprobe", "-r", "nvidia_uvm"])
        ran = run("modprobe", "-r", "nvidia_drm", "nvidia_modeset", "nvidia")
        assert (ran.returncode, ran.stderr) == (1, "modprobe: FATAL: Module nvidia is in use.\n")
        room.execute(HOST, ["modprobe", "-a", "nvidia", "nvidia-uvm", "nvidia-drm"])
        assert listed() == UUIDS

    def test_a_missing_gpu_is_missing_everywhere(self) -> None:
        with faults.injected(room.execute, HOST, faults.GpuMissing(1)):
            assert listed() == [UUIDS[0], UUIDS[2]]
            assert "0000:12:00.0" not in run("ls", "/sys/bus/pci/devices").stdout
            assert run("test", "-e", "/dev/nvidia1").returncode == 1
        assert listed() == UUIDS

    def test_a_lost_gpu_ends_nvidia_smi_with_15(self) -> None:
        with faults.injected(room.execute, HOST, faults.GpuLost(1)):
            ran = run("nvidia-smi")
            assert ran.returncode == 15
            assert "GPU is lost" in ran.stdout
        assert listed() == UUIDS

    def test_a_broken_sensor_shows_as_err_with_exit_code_0(self) -> None:
        with faults.injected(room.execute, HOST, faults.ErrOutput(0)):
            ran = run("nvidia-smi")
            assert (ran.returncode, ran.stdout.count("ERR!")) == (0, 2)
        assert "ERR!" not in run("nvidia-smi").stdout

    @pytest.mark.parametrize("fault", [faults.DriverMismatch(), faults.LibraryMismatch()])
    def test_a_mismatch_of_either_side_ends_nvidia_smi_with_18(self, fault: faults.Fault) -> None:
        with faults.injected(room.execute, HOST, fault):
            assert run("nvidia-smi", "-L").returncode == 18
        assert listed() == UUIDS

    def test_a_purged_driver_leaves_nothing_behind_but_what_is_loaded(self) -> None:
        room.execute(HOST, ["sh", "-c", "apt-get purge --yes '*nvidia*' 'libcuda*'"])
        assert run("modinfo", "nvidia").returncode == 1
        assert "nvidia" in run("lsmod").stdout
        room.reboot(HOST)
        assert run("ls", "/dev").stdout.count("nvidia") == 0
        assert "nouveau" in run("lsmod").stdout


def assert_fields_are_readable() -> None:
    query = run("nvidia-smi", f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader")
    assert query.returncode == 0
    rows = [dict(zip(FIELDS, row.split(", "), strict=True)) for row in query.stdout.splitlines()]
    assert [row["uuid"] for row in rows] == UUIDS
    for row in rows:
        assert [name for name, value in row.items() if value == "[N/A]" or "Err" in value] == []
    remapped = "--query-remapped-rows=gpu_uuid,remapped_rows.pending,remapped_rows.failure"
    assert run("nvidia-smi", remapped, "--format=csv,noheader").stdout.splitlines() == [
        f"{uuid}, 0, 0" for uuid in UUIDS
    ]


def in_unit(*properties: str, command: list[str] | None = None) -> subprocess.CompletedProcess[str]:
    """``nvidia-smi -L``, or another command, in a service with these properties."""
    options = [f"--property={text}" for text in properties]
    argv = ["systemd-run", "--quiet", "--pipe", "--wait", *options]
    return run(*argv, *(command or ["nvidia-smi", "-L"]))
