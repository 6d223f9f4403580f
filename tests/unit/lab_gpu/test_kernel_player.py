"""What plays the kernel in a lab host, on folders in the place of sysfs, procfs and /dev."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gpuhost.lab.gpu.guest import kernel_player
from gpuhost.lab.gpu.guest.kernel_player import (
    commands,
    hardware,
    library,
    log,
    modules,
    tools,
    views,
)
from gpuhost.lab.gpu.guest.kernel_player.hardware import Gpu, KernelError, Module, State
from gpuhost.lab.gpu.inventory import plan, write

OPEN, PROPRIETARY = "Dual MIT/GPL", "NVIDIA"
DEPENDS = {
    "nvidia": "",
    "nvidia-uvm": "nvidia",
    "nvidia-modeset": "nvidia",
    "nvidia-drm": "nvidia-modeset",
}
LIBRARY = b"\x7fELF of a library\n#gpuhost-lab-library 550.163.01 12040\n"


@dataclass
class Host:
    """A host's files below ``root``; ``version`` and ``license`` of the driver on its disk."""

    root: Path
    version: str = ""
    license: str = OPEN
    blacklisted: list[str] = field(default_factory=list)

    def kmod(self, tool: str, *arguments: str) -> str:
        """What kmod's tools say about that driver."""
        name = Path(arguments[-1]).name.removesuffix(".ko").replace("_", "-")
        if "--showconfig" in arguments:
            return "".join(f"blacklist {module}\n" for module in self.blacklisted)
        if not self.version:
            raise KernelError(f"{tool}: FATAL: Module {name} not found in directory")
        if arguments[0] == "-F":
            return self.version + "\n"
        if tool == "modinfo":
            depends = DEPENDS[name].replace("-", "_")
            return f"version: {self.version}\nlicense: {self.license}\ndepends: {depends}\n"
        wanted = [name, "nvidia-uvm", "nvidia-drm"] if name == "nvidia" else [name]
        lines = [f"insmod /m/{file}.ko \n" for module in wanted for file in self._chain(module)]
        return "".join(lines)

    def _chain(self, module: str) -> list[str]:
        return [*self._chain(DEPENDS[module]), module] if module else []

    def text(self, path: str) -> str:
        return (self.root / path).read_text().strip()

    @property
    def nodes(self) -> set[str]:
        return {node.name for node in (self.root / "dev").iterdir()}

    @property
    def loaded(self) -> set[str]:
        return {folder.name for folder in (self.root / "module").iterdir()}

    def call(self, *words: str) -> int:
        return kernel_player.main(words)

    def boot(self) -> None:
        """Forget what the last boot left in memory, then boot."""
        for folder in ("run", "dev", "module", "proc"):
            for path in sorted((self.root / folder).rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        assert self.call("kernel", "boot") == 0


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A bare host with three A100."""
    folders = ("run", "pci", "module", "proc", "dev", "lib/x86_64-linux-gnu")
    for name in folders:
        (tmp_path / name).mkdir(parents=True)
    write(tmp_path, plan(host="lab-01", gpus=3, model="A100"))
    found = Host(tmp_path)
    paths = {
        "HARDWARE": tmp_path / "etc/gpuhost-lab/gpus.json",
        "DEFECTS": tmp_path / "etc/gpuhost-lab/defects.json",
        "RUN": tmp_path / "run",
        "STATE": tmp_path / "run/kernel.json",
        "PCI_DEVICES": tmp_path / "pci",
        "SYS_MODULE": tmp_path / "module",
        "PROC_DRIVER": tmp_path / "proc",
        "DEV": tmp_path / "dev",
        "LIBRARIES": tmp_path / "lib",
        "LOG": tmp_path / "run/kernel.log",
        "CLOCK_IS_LOOSE": tmp_path / "run/clock-is-loose",
    }
    replaced: dict[str, object] = {
        **paths,
        "kmod": found.kmod,
        "mount_views": lambda: None,
        "prepare_module_folder": lambda _folder: None,
        "open_nodes": lambda _name: False,
        "require_root": lambda *_words: None,
    }
    for module in (hardware, commands, views, library, log, modules, tools):
        for name, value in replaced.items():
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)
    # Only root can make real nodes.
    monkeypatch.setattr(os, "mknod", lambda node, _mode, _device: node.touch())
    monkeypatch.setattr(Path, "is_char_device", lambda node: node.is_file())
    return found


@pytest.fixture
def installed(host: Host) -> Host:
    """The host with a driver on disk and its library, booted."""
    host.version, host.blacklisted = "550.163.01", ["nouveau"]
    folder = host.root / "lib/x86_64-linux-gnu"
    (folder / "libnvidia-ml.so.550.163.01").write_bytes(LIBRARY)
    (folder / "libnvidia-ml.so.1").symlink_to("libnvidia-ml.so.550.163.01")
    host.boot()
    return host


def reported(host: Host, name: str = "libnvidia-ml.so.1") -> str:
    content = (host.root / "lib/x86_64-linux-gnu" / name).read_bytes()
    assert content.startswith(LIBRARY[:20])
    return content.partition(b" 12040\n")[2].decode()


def gpu_of(model: str) -> Gpu:
    (gpu,) = plan(host="lab-01", gpus=1, model=model).gpus
    return Gpu(
        gpu.index,
        gpu.uuid,
        gpu.pci,
        gpu.device_id,
        gpu.subsystem_id,
        dict(gpu.drivers),
        dict(gpu.nvml),
    )


# ---------------------------------------------------------------- booting and loading


def test_a_bare_host_has_nouveau_on_its_gpus_and_no_node(host: Host) -> None:
    host.boot()
    assert host.loaded == {"nouveau"}
    assert (host.root / "pci/0000:07:00.0/driver").readlink().name == "nouveau"
    assert host.nodes == set()


def test_nouveau_stays_away_where_it_is_blacklisted(host: Host) -> None:
    host.blacklisted = ["nouveau"]
    host.boot()
    assert host.loaded == set()
    assert not (host.root / "pci/0000:07:00.0/driver").is_symlink()


def test_an_installed_driver_is_loaded_at_boot_with_all_that_it_brings(installed: Host) -> None:
    assert installed.loaded == {"nvidia", "nvidia_uvm", "nvidia_modeset", "nvidia_drm"}
    assert installed.text("module/nvidia/version") == "550.163.01"
    assert "Open Kernel Module for x86_64  550.163.01" in installed.text("proc/nvidia/version")
    assert {"nvidia0", "nvidia1", "nvidia2", "nvidiactl", "nvidia-uvm"} <= installed.nodes
    assert (installed.root / "pci/0000:07:00.0/driver").readlink().name == "nvidia"
    assert reported(installed).count("[gpu]") == 3


def test_a_driver_cannot_be_loaded_while_nouveau_has_the_gpus(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.boot()
    host.version = "550.163.01"
    assert host.call("modprobe", "nvidia") == 1
    assert "could not insert 'nvidia': No such device" in capsys.readouterr().err
    assert host.loaded == {"nouveau"}


def test_a_driver_that_is_not_installed_cannot_be_loaded(host: Host) -> None:
    host.blacklisted = ["nouveau"]
    host.boot()
    assert host.call("modprobe", "nvidia") == 1
    assert host.nodes == set()


def test_what_is_on_disk_is_loaded_only_at_the_next_boot(installed: Host) -> None:
    installed.version, installed.license = "580.178.04", PROPRIETARY
    installed.call("kernel", "refresh")
    assert installed.text("module/nvidia/version") == "550.163.01"
    assert "loaded=550.163.01" in reported(installed)
    installed.boot()
    assert installed.text("module/nvidia/version") == "580.178.04"
    assert "UNIX x86_64 Kernel Module  580.178.04" in installed.text("proc/nvidia/version")


def test_unloading_takes_away_all_that_loading_brought(installed: Host) -> None:
    assert installed.call("modprobe", "-r", "nvidia_uvm", "nvidia_drm") == 0
    assert installed.loaded == set()
    assert installed.nodes == set()
    assert list((installed.root / "proc").iterdir()) == []
    assert reported(installed) == ""
    assert installed.call("modprobe", "nvidia") == 0
    assert "nvidia2" in installed.nodes


def test_a_module_that_others_use_is_not_unloaded(
    installed: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    assert installed.call("rmmod", "nvidia") == 1
    told = capsys.readouterr().err
    assert told == "rmmod: ERROR: Module nvidia is in use by: nvidia_uvm nvidia_modeset\n"
    assert installed.text("module/nvidia/refcnt") == "2"


def test_a_module_whose_nodes_are_open_is_not_unloaded(
    installed: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(modules, "open_nodes", lambda name: name == "nvidia_uvm")
    assert installed.call("modprobe", "-r", "nvidia-uvm") == 1
    assert capsys.readouterr().err == "modprobe: FATAL: Module nvidia_uvm is in use.\n"
    assert "nvidia_uvm" in installed.loaded


@pytest.mark.parametrize(
    "arguments", [("overlay",), ("-c",), ("--show-depends", "nvidia"), ("-n", "nvidia"), ()]
)
def test_whatever_is_not_about_a_played_module_is_left_to_the_real_modprobe(
    host: Host, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[str, ...]] = []

    def become(tool: str, words: tuple[str, ...]) -> None:
        ran.append((tool, *words))
        raise SystemExit

    monkeypatch.setattr(tools, "become", become)
    with pytest.raises(SystemExit):
        host.call("modprobe", *arguments)
    assert ran == [("modprobe", *arguments)]


def test_lsmod_lists_what_is_played(installed: Host, capsys: pytest.CaptureFixture[str]) -> None:
    installed.call("lsmod")
    lines = {line.split()[0]: line.split()[2:] for line in capsys.readouterr().out.splitlines()}
    assert lines["nvidia_modeset"] == ["1", "nvidia_drm"]


@pytest.mark.parametrize(
    ("model", "version", "licence", "takes"),
    [
        ("A100", "550.163.01", OPEN, True),
        ("A100", "550.163.01", PROPRIETARY, True),
        ("V100", "550.163.01", PROPRIETARY, True),
        ("V100", "550.163.01", OPEN, False),
        ("P100", "595.91.07", PROPRIETARY, False),
        ("B200", "550.163.01", OPEN, False),
        ("B200", "580.178.04", OPEN, True),
        ("B200", "580.178.04", PROPRIETARY, False),
    ],
)
def test_a_gpu_is_driven_by_the_modules_that_know_its_generation(
    model: str, version: str, licence: str, takes: bool
) -> None:
    assert gpu_of(model).takes(Module(version, licence)) is takes


# ---------------------------------------------------------------- what the host sees


def test_a_gpu_looks_like_one_in_sysfs(installed: Host) -> None:
    device = installed.root / "pci/0000:12:00.0"
    assert (device / "vendor").read_text() == "0x10de\n"
    assert (device / "device").read_text() == "0x20b0\n"
    assert (device / "class").read_text() == "0x030200\n"
    assert (device / "current_link_speed").read_text() == "16.0 GT/s PCIe\n"
    header = (device / "config").read_bytes()
    assert len(header) == 64
    assert header[:4] == bytes.fromhex("de10b020")
    assert header[9:12] == bytes.fromhex("000203")
    assert header[0x2C:0x30] == bytes.fromhex("de104f13")


def test_the_machines_other_devices_stay_in_sight(installed: Host) -> None:
    own = installed.root / "pci/0000:00:01.0"
    own.symlink_to("../devices/0000:00:01.0")
    installed.call("kernel", "refresh")
    assert own.is_symlink()


def test_a_gpu_takes_the_place_of_a_device_of_the_machine_at_the_same_address(host: Host) -> None:
    behind = host.root / "behind"
    behind.mkdir()
    (host.root / "pci/0000:12:00.0").symlink_to(behind)
    host.boot()
    assert host.text("pci/0000:12:00.0/vendor") == "0x10de"
    assert list(behind.iterdir()) == []


def test_nodes_are_open_to_everyone(installed: Host) -> None:
    mode = (installed.root / "dev/nvidia0").stat().st_mode
    assert stat.S_IMODE(mode) == 0o666


# ---------------------------------------------------------------- the management library


def test_a_shorter_text_leaves_nothing_of_a_longer_one(installed: Host) -> None:
    before = len(reported(installed))
    installed.call("kernel", "pull", "0")
    after = reported(installed)
    assert len(after) < before
    assert after.endswith("#end\n")
    assert after.count("#end") == 1


def test_persistence_mode_outlasts_a_refresh_but_not_a_reboot(installed: Host) -> None:
    path = installed.root / "lib/x86_64-linux-gnu/libnvidia-ml.so.550.163.01"
    path.write_bytes(path.read_bytes().replace(b"persistence=0", b"persistence=1"))
    installed.call("kernel", "refresh")
    assert reported(installed).count("persistence=1") == 3
    installed.boot()
    assert reported(installed).count("persistence=0") == 3


def test_a_library_that_is_installed_later_learns_what_is_loaded(installed: Host) -> None:
    newer = "libnvidia-ml.so.580.178.04"
    content = LIBRARY.replace(b"550.163.01", b"580.178.04")
    (installed.root / "lib/x86_64-linux-gnu" / newer).write_bytes(content)
    installed.call("kernel", "refresh")
    assert "loaded=550.163.01" in reported(installed, newer)


def test_firmware_is_reported_in_the_version_that_is_loaded(installed: Host) -> None:
    assert reported(installed).count("gsp=550.163.01") == 3


# ---------------------------------------------------------------- faults


def test_a_pulled_gpu_is_gone_everywhere_and_stays_so_after_a_reboot(installed: Host) -> None:
    gone = plan(host="lab-01", gpus=3, model="A100").uuids[1]
    assert gone in reported(installed)
    installed.call("kernel", "pull", "1")
    assert not (installed.root / "pci/0000:12:00.0").exists()
    assert "nvidia1" not in installed.nodes
    assert gone not in reported(installed)
    installed.boot()
    assert gone not in reported(installed)
    assert installed.nodes >= {"nvidia0", "nvidia1"}  # numbered anew
    assert "nvidia2" not in installed.nodes


def test_a_gpu_that_is_put_back_is_as_it_was(installed: Host) -> None:
    before = (reported(installed), installed.nodes)
    installed.call("kernel", "pull", "1")
    installed.call("kernel", "plug", "1")
    assert (reported(installed), installed.nodes) == before


@pytest.mark.parametrize(
    ("fault", "clear"),
    [
        (("report", "1", "handle=!15"), ("report", "1", "handle=")),
        (("report", "1", "fan=!999", "power=!999"), ("report", "1", "fan=", "power=")),
        (("loaded", "525.147.05"), ("loaded",)),
    ],
)
def test_a_fault_of_the_driver_is_cleared_by_its_counterpart_and_by_a_reboot(
    installed: Host, fault: tuple[str, ...], clear: tuple[str, ...]
) -> None:
    before = reported(installed)
    installed.call("kernel", *fault)
    assert reported(installed) != before
    installed.call("kernel", *clear)
    assert reported(installed) == before
    installed.call("kernel", *fault)
    installed.boot()
    assert reported(installed) == before
    assert installed.call("kernel", *clear) == 0


def test_another_library_is_what_clients_get_until_it_is_removed(installed: Host) -> None:
    folder = installed.root / "lib/x86_64-linux-gnu"
    installed.call("kernel", "library", "999.99.99")
    assert (folder / "libnvidia-ml.so.1").readlink() == Path("libnvidia-ml.so.999.99.99")
    assert (
        b"gpuhost-lab-library 999.99.99 12040\nloaded=550.163.01\n"
        in (folder / "libnvidia-ml.so.1").read_bytes()
    )
    installed.call("kernel", "library")
    assert (folder / "libnvidia-ml.so.1").readlink() == Path("libnvidia-ml.so.550.163.01")
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("pull", "7"), "this host has no GPU 7: 0, 1, 2"),
        (("loaded", "1.2.3"), "no NVIDIA module is loaded"),
        (("report", "0", "fan=!999"), "no NVIDIA module is loaded"),
        (("library", "1.2.3"), "no libnvidia-ml is installed"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(
    host: Host, words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    host.boot()
    assert host.call("kernel", *words) == 1
    assert told in capsys.readouterr().err


def test_an_unknown_command_is_answered_with_those_there_are(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    assert host.call("kernel", "dance") == 2
    assert "kernel pull|plug INDEX" in capsys.readouterr().err


def test_a_state_survives_being_written_and_read(host: Host) -> None:
    host.boot()
    written = State(
        modules={"nvidia": Module("550.163.01", OPEN, ["other"])},
        minors={"GPU-1": 3},
        reports={"GPU-1": {"fan": "!999"}},
        persistence={"GPU-1": "1"},
    )
    views.show(written)
    assert hardware.read_state() == written


class TestLogAndClock:
    def test_the_kernel_logs_its_boot_and_the_driver(
        self, installed: Host, capsys: pytest.CaptureFixture[str]
    ) -> None:
        tools.TOOLS["journalctl"](["-k", "-b", "-q", "-o", "short-unix"])
        first, second = capsys.readouterr().out.splitlines()
        assert "kernel: Linux version" in first
        assert "NVRM: loading" in second
        assert float(first.split()[0]) > 1_000_000_000
        assert installed.version in second

    def test_a_line_is_logged_and_forgotten(
        self, installed: Host, capsys: pytest.CaptureFixture[str]
    ) -> None:
        installed.call("kernel", "log", "NVRM: Xid (PCI:0000:07:00): 79, pid=1, fell off")
        tools.TOOLS["journalctl"](["-k", "-g", "Xid|SXid", "-n", "5"])
        assert "Xid (PCI:0000:07:00): 79, pid=1" in capsys.readouterr().out
        tools.TOOLS["dmesg"](["--time-format=iso"])
        assert "+00:00 NVRM: Xid" in capsys.readouterr().out
        installed.call("kernel", "log")
        tools.TOOLS["dmesg"]([])
        assert "Xid" not in capsys.readouterr().out

    def test_the_clock_is_kept_until_it_is_let_loose(
        self, installed: Host, capsys: pytest.CaptureFixture[str]
    ) -> None:
        tools.TOOLS["timedatectl"](["show"])
        assert "NTPSynchronized=yes" in capsys.readouterr().out
        installed.call("kernel", "clock", "loose")
        tools.TOOLS["timedatectl"](["show"])
        assert "NTPSynchronized=no" in capsys.readouterr().out
        installed.boot()
        tools.TOOLS["timedatectl"](["show"])
        assert "NTPSynchronized=yes" in capsys.readouterr().out

    def test_sysfs_shows_the_link_that_a_gpu_reports(self, installed: Host) -> None:
        installed.call("kernel", "report", "0", "pcie_width=8", "pcie_gen=1")
        assert installed.text("pci/0000:07:00.0/current_link_width") == "8"
        assert installed.text("pci/0000:07:00.0/current_link_speed") == "2.5 GT/s PCIe"
        assert installed.text("pci/0000:07:00.0/max_link_width") == "16"
