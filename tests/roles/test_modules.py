"""The smaller modules."""

import grp
import os
import pwd
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import roles

text_files = roles.library("text_files")
package_hold = roles.library("package_hold")
holds = roles.util("holds")
nvidia_module = roles.library("nvidia_module")
nvswitch = roles.library("nvswitch")
cdi_spec = roles.library("cdi_spec")
group_members = roles.library("group_members")


def put_in_path(monkeypatch: pytest.MonkeyPatch, folder: Path, **scripts: str) -> None:
    """Programs that the module finds before those of this machine."""
    folder.mkdir(exist_ok=True)
    for name, script in scripts.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


# ------------------------------------------------------------------ text_files


def test_files_are_written_and_removed_and_only_changes_are_named(tmp_path: Path) -> None:
    new, same, old = tmp_path / "etc" / "new", tmp_path / "same", tmp_path / "old"
    same.write_text("same\n")
    old.write_text("old\n")
    wanted: Any = {
        "present": {str(new): "new\n", str(same): "same\n"},
        "absent": [str(old), str(tmp_path / "never")],
    }
    first = roles.run(text_files, **wanted)
    assert first["changed_paths"] == [str(new), str(old)]
    assert new.read_text() == "new\n"
    assert not old.exists()
    assert not roles.run(text_files, **wanted)["changed"]


def test_a_file_with_another_mode_is_put_right(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("text")
    path.chmod(0o600)
    assert roles.run(text_files, present={str(path): "text"})["changed"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_files_that_are_not_utf_8_are_replaced_and_removed_as_others_are(tmp_path: Path) -> None:
    written, removed = tmp_path / "docker.sources", tmp_path / "docker.list"
    for path in (written, removed):
        path.write_bytes("# für München\n".encode("latin-1"))
    wanted: Any = {"present": {str(written): "# new\n"}, "absent": [str(removed)]}
    result = roles.run(text_files, **wanted)
    assert result["changed_paths"] == [str(written), str(removed)]
    assert "# f\ufffdr M" in result["diff"][0]["before"]
    assert written.read_text() == "# new\n"
    assert not removed.exists()


def test_check_mode_shows_what_would_be_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    result = roles.run(text_files, check=True, present={str(path): "text"})
    assert result["diff"][0]["after"] == "text"
    assert not path.exists()


# ---------------------------------------------------------------- package_hold

DPKG = """
echo 'install installed nvidia-driver-cuda'
echo 'hold installed libnvidia-ml1:amd64'
echo 'install installed libcuda1:amd64'
echo 'install installed libnvidia-container1:amd64'
echo 'deinstall config-files nvidia-smi'
echo 'unknown not-installed nvidia-open'
"""


def test_installed_packages_that_match_are_held_with_one_dpkg(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    selected = tmp_path / "selected"
    put_in_path(
        monkeypatch,
        tmp_path / "bin",
        dpkg_query=DPKG,
        dpkg=f"[ $1 = --set-selections ] && cat >{selected}",
    )
    names = ["nvidia-*", "libnvidia-*", "libcuda1"]
    result = roles.run(package_hold, names=names, excluding=["*container*"])
    assert result["packages"] == ["nvidia-driver-cuda", "libcuda1:amd64"]
    assert selected.read_text() == "nvidia-driver-cuda hold\nlibcuda1:amd64 hold\n"


def test_only_packages_that_are_held_are_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    selected = tmp_path / "selected"
    put_in_path(monkeypatch, tmp_path / "bin", dpkg_query=DPKG, dpkg=f"cat >{selected}")
    roles.run(package_hold, names=["lib*"], state="released")
    assert selected.read_text() == "libnvidia-ml1:amd64 install\n"


def test_on_rpm_hosts_the_installed_version_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    folder = tmp_path / "bin"
    put_in_path(
        monkeypatch,
        folder,
        rpm="echo docker-ce 29.8.2; echo docker-ce-cli 29.8.2; echo bash 5.1",
        dnf='[ $3 = list ] && echo "docker-ce-cli-1:29.8.2-1.el9.*" && exit 0\n'
        f'echo "$@" >>{asked}',
    )
    monkeypatch.setattr(holds.shutil, "which", lambda _: None)
    result = roles.run(package_hold, names=["docker-*"])
    assert result["packages"] == ["docker-ce"]
    assert asked.read_text() == "-q versionlock add docker-ce-29.8.2\n"


def test_on_rpm_hosts_a_lock_at_another_version_gives_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    put_in_path(
        monkeypatch,
        tmp_path / "bin",
        rpm="echo docker-ce 29.8.2; echo docker-ce-cli 29.8.2",
        dnf=f'[ $3 = list ] && echo "docker-ce-3:29.7.1-1.el9.*" && exit 0\necho "$@" >>{asked}',
    )
    monkeypatch.setattr(holds.shutil, "which", lambda _: None)
    roles.run(package_hold, names=["docker-*"])
    assert asked.read_text().splitlines() == [
        "-q versionlock delete docker-ce",
        "-q versionlock add docker-ce-29.8.2 docker-ce-cli-29.8.2",
    ]


# -------------------------------------------------------------------- nvswitch


def test_the_board_is_read_with_the_fabric_managers_that_are_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = ("installed nvidia-fabricmanager-535", "installed nvidia-fabricmanager-dev-535")
    put_in_path(
        monkeypatch,
        tmp_path / "bin",
        dpkg_query=f"printf '%s\\n' {' '.join(map(repr, listed))} 'config-files nvidia-fabric'",
        rpm="exit 1",
        modinfo='case "$*" in *version*) echo 550.163.01;; *) echo NVIDIA;; esac',
    )
    result = roles.run(nvswitch)
    assert result["installed"] == ["nvidia-fabricmanager-535"]
    assert result["driver_version"] == "550.163.01"
    assert not result["changed"]


# --------------------------------------------------------------- nvidia_module


def state(**changes: Any) -> dict[str, Any]:
    """A host whose driver is installed and loaded."""
    return {
        "loaded_version": "580.178.04",
        "loaded_modules": "open",
        "on_disk_version": "580.178.04",
        "on_disk_modules": "open",
        "nouveau_loaded": False,
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "users", "action"),
    [
        ({}, [], "nothing"),
        ({}, ["900 python3"], "nothing"),
        ({"loaded_modules": None}, [], "nothing"),
        ({"loaded_version": None}, [], "load"),
        ({"loaded_version": None, "nouveau_loaded": True}, [], "reboot"),
        ({"loaded_version": "550.163.01"}, [], "reload"),
        ({"loaded_version": "550.163.01"}, ["900 python3"], "reboot"),
        ({"loaded_modules": "proprietary"}, [], "reload"),
    ],
)
def test_the_host_is_rebooted_only_where_nothing_else_loads_the_driver(
    changes: dict[str, Any], users: list[str], action: str
) -> None:
    step = nvidia_module.next_step(state(**changes), users)
    assert step.action == action
    assert (step.reason == "") is (action == "nothing")


def pretend(monkeypatch: pytest.MonkeyPatch, found: dict[str, Any]) -> None:
    monkeypatch.setattr(nvidia_module, "read_state", lambda: {"kernel": "6.12", **found})
    monkeypatch.setattr(nvidia_module.driver_state, "users_of_gpus", list)


def test_a_driver_that_is_not_loaded_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    put_in_path(monkeypatch, tmp_path / "bin", modprobe=f'echo "$@" >>{asked}')
    pretend(monkeypatch, state(loaded_version=None))
    result = roles.run(nvidia_module)
    assert result["changed"]
    assert not result["reboot_required"]
    assert asked.read_text() == "-a nvidia nvidia_uvm\n"


def test_services_of_nvidia_are_stopped_for_a_reload_and_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    put_in_path(
        monkeypatch,
        tmp_path / "bin",
        modprobe=f'echo modprobe "$@" >>{asked}',
        systemctl="""case "$*" in
            "is-active --quiet nvidia-persistenced") exit 0;;
            is-active*) exit 3;;
        esac"""
        f'\necho systemctl "$@" >>{asked}',
    )
    pretend(monkeypatch, state(loaded_version="550.163.01"))
    loaded = {"nvidia", "nvidia_uvm"}
    monkeypatch.setattr(
        nvidia_module.driver_state,
        "is_loaded",
        lambda name: name in loaded and not (asked.exists() and "modprobe -r" in asked.read_text()),
    )
    assert roles.run(nvidia_module)["changed"]
    assert asked.read_text().splitlines() == [
        "systemctl stop nvidia-persistenced",
        "modprobe -r nvidia_uvm nvidia",
        "modprobe -a nvidia nvidia_uvm",
        "systemctl start nvidia-persistenced",
        "systemctl is-enabled --quiet nvidia-persistenced",
    ]


def test_a_fabric_manager_that_refuses_the_new_driver_does_not_end_the_reload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_path(
        monkeypatch,
        tmp_path / "bin",
        modprobe=f"echo $1 >>{tmp_path / 'asked'}",
        systemctl='case "$*" in "start nvidia-fabricmanager") exit 1;; esac',
    )
    pretend(monkeypatch, state(loaded_version="550.163.01"))
    monkeypatch.setattr(
        nvidia_module.driver_state,
        "is_loaded",
        lambda name: name == "nvidia" and not (tmp_path / "asked").exists(),
    )
    assert roles.run(nvidia_module)["changed"]


def test_a_module_that_cannot_be_unloaded_needs_a_reboot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_path(
        monkeypatch,
        tmp_path / "bin",
        modprobe='if [ $1 = -r ]; then echo "FATAL: Module nvidia is in use." >&2; exit 1; fi',
        systemctl="exit 3",
    )
    pretend(monkeypatch, state(loaded_version="550.163.01"))
    monkeypatch.setattr(nvidia_module.driver_state, "is_loaded", lambda name: name == "nvidia")
    result = roles.run(nvidia_module)
    assert result["reboot_required"]
    assert not result["changed"]
    assert "Module nvidia is in use" in result["reason"]


def test_a_module_that_secure_boot_refuses_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_path(
        monkeypatch, tmp_path / "bin", modprobe="echo 'Key was rejected by service' >&2; exit 1"
    )
    pretend(monkeypatch, state(loaded_version=None))
    result = roles.run(nvidia_module)
    assert result["failed"]
    assert "mokutil --import" in result["msg"]


def test_a_module_that_was_not_built_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, state(loaded_version=None, on_disk_version=None))
    result = roles.run(nvidia_module)
    assert result["failed"]
    assert "dkms status" in result["msg"]


# -------------------------------------------------------------------- cdi_spec


@pytest.mark.parametrize(
    ("version", "nodes", "words"),
    [
        ("550.163.01", ["/dev/nvidia0", "/dev/nvidia3"], ""),
        ("580.178.04", ["/dev/nvidia0"], "not made for driver 580.178.04"),
        ("550.163.0", ["/dev/nvidia0"], "not made for driver 550.163.0"),
        ("550.163.01", ["/dev/nvidia0", "/dev/nvidia4"], "it lacks /dev/nvidia4"),
        (None, [], ""),
    ],
)
def test_a_specification_is_compared_with_driver_and_gpus(
    captures: Path, version: str | None, nodes: list[str], words: str
) -> None:
    text = (captures / "nvidia-1.20.0.yaml").read_text()
    reason = cdi_spec.staleness(text, version, nodes)
    assert words in reason
    assert bool(reason) is bool(words)


def test_a_specification_has_the_rights_to_the_mig_devices_that_there_are_and_no_others() -> None:
    right = "/dev/nvidia-caps/nvidia-cap{}"
    text = f"x.so.550.163.01 /dev/nvidia0 {right.format(12)} {right.format(13)}"
    nodes = ["/dev/nvidia0", right.format(12), right.format(13)]
    assert cdi_spec.staleness(text, "550.163.01", nodes) == ""
    assert "it lacks" in cdi_spec.staleness(text, "550.163.01", [*nodes, right.format(1)])
    gone = cdi_spec.staleness(text, "550.163.01", nodes[:-1])
    assert gone == f"it has {right.format(13)}, which is gone"


def test_a_missing_specification_is_stale() -> None:
    assert cdi_spec.staleness(None, "580.178.04", []) == "there is none"


class CdiHost:
    """A host whose refresh service writes a specification for driver 580.178.04."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.spec = folder / "nvidia.yaml"
        self.asked = folder / "asked"
        self.units = "enabled\nenabled"
        self.writes = "libcuda.so.580.178.04"
        self._folder, self._patch = folder / "bin", monkeypatch
        monkeypatch.setattr(cdi_spec.driver_state, "loaded_version", lambda: "580.178.04")
        monkeypatch.setattr(cdi_spec, "gpu_nodes", list)

    def run(self, *, check: bool = False) -> Any:
        systemctl = f"""
            case $1 in
                is-enabled) printf '{self.units}\n'; exit 0;;
                restart) printf '{self.writes}\n' >{self.spec};;
            esac
            echo "$@" >>{self.asked}"""
        journal = "echo driver not loaded"
        put_in_path(self._patch, self._folder, systemctl=systemctl, journalctl=journal)
        return roles.run(cdi_spec, check=check, path=str(self.spec))


@pytest.fixture
def cdi_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CdiHost:
    return CdiHost(tmp_path, monkeypatch)


def test_a_missing_specification_is_made_once(cdi_host: CdiHost) -> None:
    first = cdi_host.run()
    assert first["changed"]
    assert first["reason"] == "there is none"
    assert not cdi_host.run()["changed"]
    assert cdi_host.asked.read_text() == "restart nvidia-cdi-refresh.service\n"


def test_a_refresh_that_does_not_help_fails_with_the_services_words(cdi_host: CdiHost) -> None:
    cdi_host.writes = "libcuda.so.550.163.01"
    result = cdi_host.run()
    assert result["failed"]
    assert "not made for driver 580.178.04" in result["msg"]
    assert "driver not loaded" in result["msg"]


def test_units_that_were_disabled_are_enabled(cdi_host: CdiHost) -> None:
    cdi_host.run()
    cdi_host.units = "enabled\ndisabled"
    assert cdi_host.run()["enabled"] == ["nvidia-cdi-refresh.path"]
    assert "enable --now nvidia-cdi-refresh.path" in cdi_host.asked.read_text()


def test_check_mode_refreshes_nothing(cdi_host: CdiHost) -> None:
    assert cdi_host.run(check=True)["changed"]
    assert not cdi_host.asked.exists()


def test_a_toolkit_without_the_service_is_too_old(cdi_host: CdiHost) -> None:
    cdi_host.units = ""
    result = cdi_host.run()
    assert result["failed"]
    assert "1.18 or later" in result["msg"]


# --------------------------------------------------------------- group_members


@pytest.fixture
def accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with the users alice, who is in docker, bob, and carl, whose primary group it is."""
    gids = {"alice": 1000, "bob": 1001, "carl": 990}

    def user(name: str) -> Any:
        return SimpleNamespace(pw_gid=gids[name])

    def group(name: str) -> Any:
        return {"docker": SimpleNamespace(gr_mem=["alice"], gr_gid=990)}[name]

    monkeypatch.setattr(pwd, "getpwnam", user)
    monkeypatch.setattr(grp, "getgrnam", group)


@pytest.mark.usefixtures("accounts")
def test_only_users_who_are_not_in_the_group_are_added_and_a_warning_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    put_in_path(monkeypatch, tmp_path / "bin", gpasswd=f'echo "$@" >>{asked}')
    result = roles.run(group_members, group="docker", users=["alice", "bob", "carl"])
    assert result["added"] == ["bob"]
    assert asked.read_text() == "--add bob docker\n"
    assert "can become root" in str(result["warnings"])


@pytest.mark.usefixtures("accounts")
def test_all_users_that_do_not_exist_are_named_before_anything_changes() -> None:
    result = roles.run(group_members, group="docker", users=["bob", "dora", "emil"])
    assert result["failed"]
    assert result["missing"] == ["dora", "emil"]
    assert "docker_users_create" in result["msg"]


@pytest.mark.usefixtures("accounts")
def test_users_are_created_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    script = f'echo "$(basename $0) $@" >>{asked}'
    put_in_path(monkeypatch, tmp_path / "bin", gpasswd=script, useradd=script)
    result = roles.run(group_members, group="docker", users=["dora"], create=True)
    assert result["created"] == ["dora"]
    assert asked.read_text().splitlines() == [
        "useradd --create-home dora",
        "gpasswd --add dora docker",
    ]


@pytest.mark.usefixtures("accounts")
def test_nothing_changes_and_nobody_is_warned_the_second_time() -> None:
    result = roles.run(group_members, group="docker", users=["alice"])
    assert not result["changed"]
    assert "warnings" not in result


# ------------------------------------------------------------- where they run


def test_modules_need_no_newer_python_than_ansible_does(python_of_hosts: str) -> None:
    files = sorted(
        str(path)
        for folder in ("library", "module_utils")
        for path in (roles.PLAYBOOKS / folder).glob("*.py")
    )
    assert len(files) > 10
    compile_all = "import ast, sys; [ast.parse(open(file).read()) for file in sys.argv[1:]]"
    subprocess.run([python_of_hosts, "-c", compile_all, *files], check=True)
