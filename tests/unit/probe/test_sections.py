"""The sections that read files, programs and the user database."""

from __future__ import annotations

import base64
import grp
import json
import os
import pwd
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.probe import FakePrograms, answer, context, tree

from gpuhost.probe import docker, driver, nvidia_smi, pci, system, toolkit, units, users
from gpuhost.probe.root import Root
from gpuhost.probe.run import SEARCH_PATH
from gpuhost.probe.schema import Command

OPEN_MODULE = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build"
    "  (dvs-builder@U22)  Tue Sep 23 10:11:16 UTC 2025\nGCC version:  gcc version 13.3.0\n"
)
CLOSED_MODULE = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.163.01  Tue Apr  8 2025\n"
OS_RELEASE = """\
PRETTY_NAME="Ubuntu 24.04.3 LTS"
NAME="Ubuntu"
# a comment
ID=ubuntu
ID_LIKE="debian"
VERSION_ID='24.04'
VERSION_CODENAME=noble
UBUNTU_CODENAME=noble
"""


class TestSystem:
    def test_the_operating_system_is_read_from_os_release(self, tmp_path: Path) -> None:
        root = tree(tmp_path, {"/etc/os-release": OS_RELEASE, "/proc/uptime": "12.5 30.1\n"})
        found = system.collect(context(root))
        assert (found["os_id"], found["os_version_id"], found["os_codename"]) == (
            "ubuntu",
            "24.04",
            "noble",
        )
        assert found["os_id_like"] == ["debian"]
        assert found["os_pretty_name"] == "Ubuntu 24.04.3 LTS"
        assert found["uptime_s"] == 12.5
        assert found["kernel"] == os.uname().release

    def test_a_tree_without_anything_leaves_everything_empty(self, tmp_path: Path) -> None:
        found = system.collect(context(Root(tmp_path)))
        assert found["os_id"] == ""
        assert found["boot_id"] is None
        assert found["uptime_s"] is None
        assert found["kernels_installed"] == []
        assert not found["reboot_required"]

    def test_kernels_are_those_with_an_image_in_boot_or_beside_their_modules(
        self, tmp_path: Path
    ) -> None:
        root = tree(
            tmp_path,
            {
                "/boot/vmlinuz-6.1.0-1-amd64": "",
                "/lib/modules/6.1.0-1-amd64/modules.dep": "",
                "/lib/modules/5.10.0-old/modules.dep": "",
                "/lib/modules/6.12.0-el10/vmlinuz": "",
            },
        )
        assert system.kernels_installed(root) == ["6.1.0-1-amd64", "6.12.0-el10"]

    def test_without_any_image_the_modules_folders_have_to_do(self, tmp_path: Path) -> None:
        root = tree(tmp_path, {"/lib/modules/6.18.0/modules.dep": ""})
        assert system.kernels_installed(root) == ["6.18.0"]

    @pytest.mark.parametrize(
        ("files", "expected"),
        [
            ({}, False),
            ({"/sys/firmware/efi/fw_vendor": ""}, None),
            ({system.SECURE_BOOT: b"\x06\x00\x00\x00\x01"}, True),
            ({system.SECURE_BOOT: b"\x06\x00\x00\x00\x00"}, False),
            ({system.SECURE_BOOT: b"\x06"}, None),
        ],
    )
    def test_secure_boot_is_the_byte_after_the_attributes(
        self, tmp_path: Path, files: dict[str, str | bytes], expected: bool | None
    ) -> None:
        assert system.secure_boot(tree(tmp_path, files)) is expected

    def test_debian_asks_for_a_reboot_by_a_file(self, tmp_path: Path) -> None:
        root = tree(tmp_path, {"/var/run/reboot-required": "*** System restart required ***\n"})
        assert system.reboot_required(context(root))

    @pytest.mark.parametrize(("rc", "expected"), [(0, False), (1, True)])
    def test_red_hat_asks_for_a_reboot_by_an_exit_status(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rc: int, expected: bool
    ) -> None:
        monkeypatch.setattr(system, "which", lambda name: f"/usr/bin/{name}")
        programs = FakePrograms({"needs-restarting -r": ("", rc)})
        assert system.reboot_required(context(Root(tmp_path), programs)) is expected

    def test_the_disk_that_docker_was_given_is_looked_at_too(self, tmp_path: Path) -> None:
        root = tree(tmp_path, {"/etc/docker/daemon.json": '{"data-root": "/data"}', "/data/x": ""})
        found = {disk["path"]: disk for disk in system.disks(root)}
        assert found["/data"]["total_bytes"] >= found["/data"]["free_bytes"] > 0

    @pytest.mark.parametrize("text", ["", "[]", "{broken", '{"data-root": 3}'])
    def test_a_strange_daemon_json_names_no_disk(self, tmp_path: Path, text: str) -> None:
        root = tree(tmp_path, {"/etc/docker/daemon.json": text})
        assert [disk["path"] for disk in system.disks(root)] == ["/"]


class TestPci:
    def device(self, address: str, vendor: str, device: str, class_code: str) -> dict[str, str]:
        folder = f"{pci.DEVICES}/{address}"
        return {
            f"{folder}/vendor": f"{vendor}\n",
            f"{folder}/device": f"{device}\n",
            f"{folder}/class": f"{class_code}\n",
        }

    def test_only_nvidias_devices_are_listed_in_the_order_of_their_addresses(
        self, tmp_path: Path
    ) -> None:
        files = {
            **self.device("0000:ca:00.0", "0x10de", "0x2330", "0x030200"),
            **self.device("0000:17:00.0", "0x10DE", "0x2330", "0x030200"),
            **self.device("0000:00:1f.0", "0x8086", "0x1234", "0x060100"),
        }
        found = pci.collect(context(tree(tmp_path, files)))["devices"]
        assert [device["address"] for device in found] == ["0000:17:00.0", "0000:ca:00.0"]
        assert found[1]["class_code"] == "0x030200"
        assert found[1]["driver"] is None

    def test_the_driver_that_a_device_is_bound_to_is_named(self, tmp_path: Path) -> None:
        root = tree(tmp_path, self.device("0000:17:00.0", "0x10de", "0x2330", "0x030200"))
        link = root.path(f"{pci.DEVICES}/0000:17:00.0/driver")
        link.symlink_to("../../../../bus/pci/drivers/nouveau")
        assert pci.collect(context(root))["devices"][0]["driver"] == "nouveau"

    def test_a_host_without_pci_has_no_devices(self, tmp_path: Path) -> None:
        assert pci.collect(context(Root(tmp_path))) == {"devices": []}


class TestDriver:
    @pytest.fixture(autouse=True)
    def dpkg(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gpuhost.probe.packages.which", lambda name: name)

    def test_who_has_a_gpu_open_is_named_but_not_the_probe_and_what_is_idle(
        self, tmp_path: Path
    ) -> None:
        programs = ((7, "trainer", 1), (8, "probe", 1), (9, "nvidia-smi", 8))
        for pid, name, parent in (*programs, (10, "nvidia-persiste", 1)):
            root = tree(
                tmp_path,
                {
                    f"/proc/{pid}/comm": f"{name}\n",
                    f"/proc/{pid}/stat": f"{pid} ({name}) S {parent} 0",
                },
            )
            (tmp_path / f"proc/{pid}/fd").mkdir()
            (tmp_path / f"proc/{pid}/fd/3").symlink_to("/dev/nvidia0")
        assert driver.gpu_users(root, probe=8) == ["7 trainer"]

    def test_a_host_without_a_driver_has_none_of_the_versions(self, tmp_path: Path) -> None:
        programs = FakePrograms({"dpkg-query": ("", 1)})
        found = driver.collect(context(Root(tmp_path), programs))
        assert found["loaded_version"] is None
        assert found["on_disk_version"] is None
        assert found["userspace_version"] is None
        assert not found["nouveau_loaded"]

    def test_loaded_on_disk_and_user_space_versions_are_told_apart(self, tmp_path: Path) -> None:
        root = tree(
            tmp_path,
            {
                "/sys/module/nvidia/version": "550.163.01\n",
                "/proc/driver/nvidia/version": CLOSED_MODULE,
                "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.580.95.05": "",
            },
        )
        folder = root.path("/usr/lib/x86_64-linux-gnu")
        (folder / "libnvidia-ml.so.1").symlink_to("libnvidia-ml.so.580.95.05")
        found = driver.collect(
            context(
                root,
                FakePrograms(
                    {
                        "dpkg-query": ("", 1),
                        "modinfo -F filename nvidia": ("/lib/modules/x/nvidia.ko\n", 0),
                        "modinfo -F version nvidia": ("570.10\n", 0),
                        "modinfo -F license nvidia": ("Dual MIT/GPL\n", 0),
                    }
                ),
            )
        )
        assert found["loaded_version"] == "550.163.01"
        assert found["on_disk_version"] == "570.10"
        assert found["on_disk_license"] == "Dual MIT/GPL"
        assert found["userspace_version"] == "580.95.05"

    def test_debians_name_of_the_module_is_tried_as_well(self, tmp_path: Path) -> None:
        programs = FakePrograms(
            {
                "dpkg-query": ("", 1),
                "modinfo -F filename nvidia-current": ("/lib/modules/x/nvidia-current.ko", 0),
                "modinfo -F version nvidia-current": ("535.261.03\n", 0),
            }
        )
        found = driver.collect(context(Root(tmp_path), programs))
        assert found["on_disk_version"] == "535.261.03"
        assert found["on_disk_license"] is None

    def test_the_library_is_the_one_that_the_loader_would_take(self, tmp_path: Path) -> None:
        root = tree(
            tmp_path,
            {
                "/opt/driver/libnvidia-ml.so.590.48.01": "",
                "/usr/lib64/libnvidia-ml.so.1": "",
            },
        )
        root.path("/opt/driver/libnvidia-ml.so.1").symlink_to("libnvidia-ml.so.590.48.01")
        cache = "\tlibnvidia-ml.so.1 (libc6,x86-64) => /opt/driver/libnvidia-ml.so.1\n"
        programs = FakePrograms({"ldconfig": (f"2 libs found\n{cache}", 0)})
        assert driver.userspace_version(context(root, programs)) == "590.48.01"

    @pytest.mark.parametrize(
        ("text", "version"),
        [(OPEN_MODULE, "580.95.05"), (CLOSED_MODULE, "550.163.01"), ("", None), ("GCC 13", None)],
    )
    def test_the_loaded_version_is_found_in_either_kind_of_text(
        self, text: str, version: str | None
    ) -> None:
        assert driver.loaded_version(text) == version

    @pytest.mark.parametrize(
        ("path", "text", "expected"),
        [
            ("/etc/modprobe.d/x.conf", "blacklist nouveau\noptions nouveau modeset=0\n", True),
            ("/etc/modprobe.d/x.conf", "  blacklist   nouveau # why\n", True),
            ("/usr/lib/modprobe.d/x.conf", "install nouveau /bin/false\n", True),
            ("/etc/modprobe.d/x.conf", "# blacklist nouveau\n", False),
            ("/etc/modprobe.d/x.conf", "blacklist nouveau_other\n", False),
            ("/etc/modprobe.d/x.conf.bak", "blacklist nouveau\n", False),
            ("/proc/cmdline", "quiet modprobe.blacklist=foo,nouveau ro\n", True),
            ("/proc/cmdline", "rd.driver.blacklist=nouveau\n", True),
            ("/proc/cmdline", "root=/dev/nouveau\n", False),
        ],
    )
    def test_nouveau_is_kept_away_by_modprobe_or_by_the_kernels_command_line(
        self, tmp_path: Path, path: str, text: str, expected: bool
    ) -> None:
        assert driver.nouveau_blacklisted(tree(tmp_path, {path: text})) is expected

    def test_a_device_node_shows_its_numbers_and_mode(self) -> None:
        assert Root().device_node("/dev/null") == {
            "path": "/dev/null",
            "major": 1,
            "minor": 3,
            "mode": "0666",
        }

    def test_a_file_that_is_no_device_is_no_device_node(self, tmp_path: Path) -> None:
        root = tree(tmp_path, {"/dev/nvidia0": ""})
        assert driver.device_paths(root) == ["/dev/nvidia0"]
        assert root.device_node("/dev/nvidia0") is None

    def test_the_toolkits_packages_are_not_the_drivers(self, tmp_path: Path) -> None:
        listed = "".join(
            f"{name}\t1\tinstall\tinstalled\n"
            for name in ("libnvidia-ml1", "libnvidia-container1", "nvidia-container-toolkit")
        )
        found = driver.collect(context(Root(tmp_path), FakePrograms({"dpkg-query": (listed, 0)})))
        assert [package["name"] for package in found["packages"]] == ["libnvidia-ml1"]


class TestNvidiaSmi:
    def test_without_the_tool_everything_is_none(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(nvidia_smi, "which", lambda _: None)
        assert set(nvidia_smi.collect(context(Root(tmp_path))).values()) == {None}

    def test_a_failure_of_the_tool_is_kept_with_its_exit_status(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(nvidia_smi, "which", lambda _: "/usr/bin/nvidia-smi")
        programs = FakePrograms({"-q -x": ("<x/>", 0), "nvidia-smi": ("Failed to initialize", 18)})
        found = nvidia_smi.collect(context(Root(tmp_path), programs))
        assert found["list_gpus"] is not None
        assert found["list_gpus"]["rc"] == 18
        assert found["query_xml"] is not None
        assert found["query_xml"]["stdout"] == "<x/>"

    def test_its_three_questions_are_asked_at_once_so_that_a_hang_takes_one_limit(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(nvidia_smi, "which", lambda _: "/usr/bin/nvidia-smi")
        together = threading.Barrier(len(nvidia_smi.QUESTIONS), timeout=10)

        def run(argv: Sequence[str]) -> Command:
            together.wait()
            return answer(argv, " ".join(argv[1:]))

        found = nvidia_smi.collect(context(Root(tmp_path), run))
        answers = [found["list_gpus"], found["table"], found["query_xml"]]
        assert [each["stdout"] for each in answers if each] == ["-L", "", "-q -x"]


class TestUnits:
    def test_each_unit_has_its_states_in_the_order_asked_for(self) -> None:
        text = (
            "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n\n"
            "LoadState=not-found\nActiveState=inactive\nUnitFileState=\n"
        )
        found = units.units(["docker.service", "docker.socket"], text)
        assert found[0] == {
            "name": "docker.service",
            "load_state": "loaded",
            "active_state": "active",
            "enabled_state": "enabled",
        }
        assert found[1]["load_state"] == "not-found"

    def test_a_host_without_systemd_has_no_units(self, tmp_path: Path) -> None:
        assert units.show(context(Root(tmp_path)), ["docker.service"]) == []


class TestToolkit:
    def test_every_cdi_spec_on_the_host_is_read(self, tmp_path: Path) -> None:
        root = tree(
            tmp_path,
            {
                "/var/run/cdi/nvidia.yaml": "kind: nvidia.com/gpu\n",
                "/etc/cdi/old.json": "{}",
                "/etc/cdi/README": "",
            },
        )
        programs = FakePrograms({"dpkg-query": ("", 1), "rpm": ("", 0)})
        found = toolkit.collect(context(root, programs))
        assert [spec["path"] for spec in found["cdi_specs"]] == [
            "/etc/cdi/old.json",
            "/var/run/cdi/nvidia.yaml",
        ]
        assert found["cdi_specs"][1]["text"] == "kind: nvidia.com/gpu\n"
        assert not found["config_toml"]["exists"]

    def test_the_hook_is_looked_for_where_dockerd_looks(self, tmp_path: Path) -> None:
        folder = tmp_path / "dockerds"
        folder.mkdir()
        hook = folder / toolkit.HOOK
        hook.write_text("#!/bin/sh\n")
        hook.chmod(0o755)
        root = tree(
            tmp_path,
            {"/var/run/docker.pid": "77", "/proc/77/environ": f"A=b\0PATH=/x:{folder}\0Z=\0"},
        )
        assert toolkit.hook_path(root) == str(hook)

    @pytest.mark.parametrize("pid", ["", "../self", "99"])
    def test_without_a_running_dockerd_its_path_is_systemds(self, tmp_path: Path, pid: str) -> None:
        assert toolkit.dockerd_path(tree(tmp_path, {"/var/run/docker.pid": pid})) == SEARCH_PATH


class TestDocker:
    def test_the_checks_part_of_the_engines_answers_is_kept(self) -> None:
        info = {
            "Runtimes": {"nvidia": {"path": "nvidia-container-runtime"}, "runc": {"path": "runc"}},
            "DefaultRuntime": "runc",
            "CgroupDriver": "systemd",
            "CgroupVersion": "2",
            "Driver": "overlay2",
            "CDISpecDirs": ["/etc/cdi"],
            "DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}],
            "DockerRootDir": "/var/lib/docker",
        }
        found = docker.docker_info(info, {"Version": "29.8.2", "ApiVersion": "1.55"})
        assert found["runtimes"]["nvidia"] == "nvidia-container-runtime"
        assert found["discovered_devices"] == ["nvidia.com/gpu=0"]
        assert found["server_version"] == "29.8.2"
        assert found["cdi_spec_dirs"] == ["/etc/cdi"]

    def test_an_old_engine_that_says_less_leaves_the_rest_empty(self) -> None:
        found = docker.docker_info({"CDISpecDirs": None}, {})
        assert found["cdi_spec_dirs"] == []
        assert found["discovered_devices"] == []
        assert found["runtimes"] == {}

    def test_running_containers_have_their_names_without_the_slash(self) -> None:
        listed: list[dict[str, Any]] = [
            {"Id": "1", "Names": ["/web"], "Image": "nginx", "Labels": None},
            {"Id": "2"},
        ]
        assert docker.running_containers(listed, lambda _: {}) == [
            {"id": "1", "name": "web", "image": "nginx", "labels": {}, "gpus": ""},
            {"id": "2", "name": "", "image": "", "labels": {}, "gpus": ""},
        ]

    def test_a_container_that_ends_while_it_is_looked_at_is_left_out(self) -> None:
        assert docker.running_containers([{"Id": "1"}], lambda _: None) == []

    @pytest.mark.parametrize(
        ("details", "gpus"),
        [
            ({"HostConfig": {"DeviceRequests": None, "Devices": None, "Runtime": "runc"}}, ""),
            ({"HostConfig": {"DeviceRequests": [{"Count": -1, "DeviceIDs": None}]}}, "all"),
            ({"HostConfig": {"DeviceRequests": [{"Count": 2, "DeviceIDs": []}]}}, "any 2"),
            ({"HostConfig": {"DeviceRequests": [{"Count": 0, "DeviceIDs": ["0", "1"]}]}}, "0,1"),
            (
                {
                    "HostConfig": {"Runtime": "nvidia"},
                    "Config": {
                        "Env": ["A=1", "NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_VISIBLE_DEVICES=3"]
                    },
                },
                "3",
            ),
            (
                {
                    "HostConfig": {"Runtime": "nvidia"},
                    "Config": {"Env": ["NVIDIA_VISIBLE_DEVICES=none"]},
                },
                "",
            ),
            ({"HostConfig": {"Devices": [{"PathOnHost": "/dev/nvidia2"}]}}, "/dev/nvidia2"),
        ],
    )
    def test_the_gpus_of_a_container_are_told_however_they_were_asked_for(
        self, details: dict[str, Any], gpus: str
    ) -> None:
        assert docker.gpus_of(details) == gpus

    def test_logins_come_without_their_passwords(self, tmp_path: Path) -> None:
        auth = base64.b64encode(b"$oauthtoken:secret").decode()
        config = {"auths": {"nvcr.io": {"auth": auth}, "other:5000": {}}}
        found = docker.logins(tree(tmp_path, {docker.CONFIG_JSON: json.dumps(config)}))
        assert found == [
            {"registry": "nvcr.io", "username": "$oauthtoken"},
            {"registry": "other:5000", "username": ""},
        ]

    @pytest.mark.parametrize("text", ["{", "[]", '{"auths": []}', '{"auths": {"a": 1}}'])
    def test_a_config_that_makes_no_sense_has_no_logins(self, tmp_path: Path, text: str) -> None:
        assert docker.logins(tree(tmp_path, {docker.CONFIG_JSON: text})) == []

    def test_a_daemon_that_is_not_there_is_part_of_the_section(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        socket = f"unix://{tmp_path}/docker.sock"
        monkeypatch.setattr("gpuhost.probe.engine_api.SOCKET_URL", socket)
        monkeypatch.setattr("gpuhost.probe.packages.which", lambda name: name)
        programs = FakePrograms({"dpkg-query": ("", 1)})
        found = docker.collect(context(Root(tmp_path), programs))
        assert "No such file or directory" in str(found["connect_error"])
        assert found["info"] is None


class TestUsers:
    def test_a_user_has_the_groups_of_a_new_login(self) -> None:
        found = users.user("root")
        assert found["exists"]
        assert found["uid"] == 0
        assert "root" in found["groups"]

    def test_a_user_that_does_not_exist_says_so(self) -> None:
        missing = users.user("nobody-has-this-name")
        assert missing == {
            "name": "nobody-has-this-name",
            "exists": False,
            "uid": None,
            "groups": [],
        }

    def test_members_by_primary_group_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        group = grp.struct_group(("docker", "x", 999, ["zoe"]))
        account = pwd.struct_passwd(("alice", "x", 1000, 999, "", "/home/alice", "/bin/sh"))
        monkeypatch.setattr(grp, "getgrnam", lambda _: group)
        monkeypatch.setattr(pwd, "getpwall", lambda: [account])
        assert users.docker_group() == {"gid": 999, "members": ["alice", "zoe"]}

    def test_no_docker_group_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing(_: str) -> None:
            raise KeyError

        monkeypatch.setattr(grp, "getgrnam", missing)
        assert users.docker_group() is None
