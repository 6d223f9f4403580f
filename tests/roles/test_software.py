"""What roles declare of software: keys, files and packages, all of several roles at once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from support import roles

software = roles.library("software")
software_offered = roles.library("software_offered")
apt = roles.util("apt")
offers = roles.util("offers")
DRIVER = {"nvidia-driver-cuda": "550.*"}


def declared(folder: Path, **more: Any) -> dict[str, Any]:
    """A role's declaration, whose key is there already."""
    key = {"url": "http://keys.invalid/key", "path": str(folder / "key"), "fingerprint": "A" * 40}
    return {"key": key, "files": {}, "absent": [], "packages": {}, "held": [], **more}


class Host:
    """A pretended dpkg and apt-get."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, patch
        self.asked, self.selected = folder / "asked", folder / "selected"
        self.script("apt-get", "")
        self.offers({})
        self.script("dpkg", f"cat >>{self.selected}")
        self.has({})
        patch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
        patch.setattr(software.repository_key, "is_installed", lambda _path, _print: True)
        patch.setattr(software.repository_key.shutil, "which", lambda name: f"/usr/bin/{name}")
        self.lists = folder / "lists"
        self.lists.mkdir()
        patch.setattr(apt, "LISTS", self.lists)
        patch.setattr(software.declared_files, "APT_LISTS", self.lists)
        patch.setattr(apt, "PAUSE_S", 0)

    def script(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>{self.asked}\n{text}\n')
        path.chmod(0o755)

    def has(self, installed: Mapping[str, str], want: str = "install") -> None:
        """What is installed, as name → version."""
        versions = "".join(f"installed {name} {version}\\n" for name, version in installed.items())
        states = "".join(f"{want} installed {name}\\n" for name in installed)
        answer = f"case $* in *Want*) printf '{states}';; *) printf '{versions}';; esac"
        self.script("dpkg-query", answer)

    def offers(self, versions: Mapping[str, Sequence[str]]) -> None:
        """What repositories have beside the driver: every version of a package, by its name."""
        lines = {
            name: "".join(f"{name} | {version} | http://mirror.invalid\\n" for version in each)
            for name, each in {
                "nvidia-driver-cuda": ["590.1", "550.1"],
                "containerd.io": ["2"],
                **versions,
            }.items()
        }
        cases = "".join(f"{name}) printf '{text}';; " for name, text in lines.items())
        self.script("apt-cache", f"case $2 in {cases} esac")

    def old_source(self) -> str:
        """A source that is there, and is to go."""
        path = self.folder / "docker.list"
        path.write_text("deb http://old.invalid ./\n")
        return str(path)

    def run(self, check: bool = False, **wanted: Any) -> Any:
        return roles.run(software, check=check, declared=wanted)

    @property
    def apt(self) -> list[str]:
        """What apt-get was asked for, without its options."""
        lines = self.asked.read_text().splitlines() if self.asked.exists() else []
        words = [line.split() for line in lines if line.startswith("apt-get ")]
        return [" ".join(w for w in each[1:] if not w.startswith("--")) for each in words]


class Dnf:
    """A pretended dnf: name → the versions of it that repositories have, the oldest first."""

    def __init__(self, versions: Mapping[str, Sequence[str]]) -> None:
        self.versions = versions

    def run_command(self, argv: Sequence[str], **_: Any) -> tuple[int, str, str]:
        form = argv[argv.index("--qf") + 1]
        if form == "%{evr}\n":
            return 0, "\n".join(self.versions.get(argv[-1], ())), ""
        specs = {f"{name}-{v}": name for name, each in self.versions.items() for v in each}
        return 0, "".join(f"{specs[asked]}\n" for asked in argv if asked in specs), ""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_the_packages_of_all_roles_are_installed_at_once(host: Host) -> None:
    result = host.run(
        nvidia_driver=declared(host.folder, packages=DRIVER),
        docker_ce=declared(host.folder, packages={"docker-ce": "", "docker-ce-cli": "5:29-1"}),
    )
    assert host.apt == ["install nvidia-driver-cuda=550.* docker-ce docker-ce-cli=5:29-1"]
    assert result["changed"]
    assert result["roles"]["nvidia_driver"]["packages"] == {"nvidia-driver-cuda": ["", ""]}
    assert sorted(result["roles"]["docker_ce"]["packages"]) == ["docker-ce", "docker-ce-cli"]


def test_what_is_there_at_a_wanted_version_is_left_alone(host: Host) -> None:
    host.has({"nvidia-driver-cuda": "550.163.01-1", "docker-ce": "5:28-1"})
    result = host.run(
        nvidia_driver=declared(host.folder, packages=DRIVER),
        docker_ce=declared(host.folder, packages={"docker-ce": ""}),
    )
    assert host.apt == []
    assert not result["changed"]


def test_another_version_than_the_wanted_one_is_replaced(host: Host) -> None:
    host.has({"nvidia-driver-cuda": "535.1-1"})
    result = host.run(nvidia_driver=declared(host.folder, packages=DRIVER))
    assert host.apt == ["install nvidia-driver-cuda=550.*"]
    assert result["roles"]["nvidia_driver"]["packages"]["nvidia-driver-cuda"][0] == "535.1-1"


def test_what_comes_first_is_installed_before_the_others(host: Host) -> None:
    wanted = declared(host.folder, packages=DRIVER, first=["nvidia-driver-pinning-550"])
    host.run(nvidia_driver=wanted, docker_ce=declared(host.folder, packages={"docker-ce": ""}))
    assert host.apt == [
        "install nvidia-driver-pinning-550",
        "install nvidia-driver-cuda=550.* docker-ce",
    ]


def test_of_a_role_with_packages_in_the_way_only_files_are_written(host: Host) -> None:
    host.has({"docker.io": "20.10"})
    file = str(host.folder / "docker.sources")
    wanted = declared(
        host.folder, packages={"docker-ce": ""}, conflicting=["docker.io"], files={file: "Types:\n"}
    )
    result = host.run(docker_ce=wanted, nvidia_driver=declared(host.folder, packages=DRIVER))
    assert result["roles"]["docker_ce"]["conflicting"] == ["docker.io"]
    assert result["roles"]["docker_ce"]["changed_paths"] == [file]
    assert host.apt == ["install nvidia-driver-cuda=550.*"]


def test_held_are_the_installed_packages_that_match(host: Host) -> None:
    host.has({"nvidia-driver-cuda": "550.1", "libnvidia-container1": "1.20"})
    wanted = declared(host.folder, packages=DRIVER, held=["*nvidia-*"], not_held=["*container*"])
    assert host.run(nvidia_driver=wanted)["roles"]["nvidia_driver"]["held"] == [
        "nvidia-driver-cuda"
    ]
    assert host.selected.read_text() == "nvidia-driver-cuda hold\n"


def test_a_driver_that_changes_is_let_go_before_apt_is_asked(host: Host) -> None:
    host.has({"libnvidia-ml1": "535.1"}, want="hold")
    wanted = declared(host.folder, packages=DRIVER, held=["libnvidia-*"], is_changing=True)
    result = host.run(nvidia_driver=wanted)
    assert result["roles"]["nvidia_driver"]["released"] == ["libnvidia-ml1"]
    calls = [line.split(" ")[0] for line in host.asked.read_text().splitlines()]
    assert calls.index("dpkg") < calls.index("apt-get")


def test_where_apt_refuses_the_hold_is_back_and_its_words_are_told(host: Host) -> None:
    host.script("apt-get", "echo 'E: Unable to correct problems' >&2; exit 100")
    host.has({"libnvidia-ml1": "535.1"})
    wanted = declared(host.folder, packages=DRIVER, held=["libnvidia-*"])
    result = host.run(nvidia_driver=wanted)
    assert result["failed"]
    assert not result["half_installed"]
    assert result["msg"] == (
        "apt-get could not install nvidia-driver-cuda=550.*: E: Unable to correct problems"
    )
    assert host.selected.read_text() == "libnvidia-ml1 hold\n"


def test_of_all_roles_what_no_repository_has_is_told_with_what_there_is(host: Host) -> None:
    host.script("apt-get", "echo \"E: Version '590.*' was not found\" >&2; exit 100")
    host.offers(
        {"docker-ce": ["5:29.8.2-1", "5:29.8.1-1"], "docker-ce-cli": ["5:29.8.2-1", "5:29.8.1-1"]}
    )
    result = host.run(
        nvidia_driver=declared(
            host.folder,
            packages={"nvidia-driver-cuda": "590.*", "linux-headers-6.1.0-1": ""},
            chosen_by=["nvidia_driver_branch", "nvidia_driver_version"],
        ),
        docker_ce=declared(
            host.folder,
            packages={"docker-ce": "29.8.2", "docker-ce-cli": "29.8.2", "containerd.io": ""},
            chosen_by=["docker_ce_version"],
        ),
    )
    assert result["msg"].splitlines() == [
        "The repositories are configured, but nothing was installed:",
        "linux-headers-6.1.0-1: no repository has it",
        "docker-ce, docker-ce-cli: no repository has 29.8.2, but 5:29.8.2-1, 5:29.8.1-1",
        "docker_ce_version chooses among them.",
    ]


def test_of_many_versions_the_newest_are_told() -> None:
    there = [f"1.{number}" for number in range(20, 0, -1)]
    said = offers.words({"a": "2.*"}, {"a": there}, ["a_version", "a_branch"])
    assert said == [
        "a: no repository has 2.*, but 1.20, 1.19, 1.18, 1.17, 1.16, 1.15, 1.14, 1.13, …",
        "a_version and a_branch choose among them.",
    ]


def test_where_dpkg_fails_the_way_out_of_what_is_half_installed_is_told(host: Host) -> None:
    host.script("apt-get", f"cat <<'END'\n{OVERWRITES}END\necho '{SUB_PROCESS}' >&2; exit 100")
    result = host.run(nvidia_driver=declared(host.folder, packages=DRIVER))
    assert result["half_installed"]
    first, *words, last = result["msg"].splitlines()
    assert first == "Packages are half installed now:"
    assert words == OVERWRITES.splitlines()[3:5]
    assert last == "When that is mended: apt-get --fix-broken install"


def test_apt_reads_its_lists_again_when_a_source_was_removed(host: Host) -> None:
    host.run(docker_ce=declared(host.folder, absent=[host.old_source()]))
    assert host.apt == ["update"]
    assert not (host.folder / "docker.list").exists()


def test_lists_of_another_day_are_read_again_before_something_is_installed(host: Host) -> None:
    host.run(nvidia_driver=declared(host.folder))
    os.utime(host.lists, (1, 1))
    host.run(nvidia_driver=declared(host.folder))
    assert host.apt == []
    os.utime(host.lists, (1, 1))
    host.run(nvidia_driver=declared(host.folder, packages=DRIVER))
    assert host.apt == ["update", "install nvidia-driver-cuda=550.*"]


def test_a_repository_that_cannot_be_read_is_asked_again_and_then_told(host: Host) -> None:
    host.script("apt-get", "echo 'E: Failed to fetch http://mirror.invalid/' >&2; exit 100")
    result = host.run(docker_ce=declared(host.folder, absent=[host.old_source()]))
    assert host.apt == ["update"] * apt.ATTEMPTS
    assert "cannot read its repositories: E: Failed to fetch http://mirror" in result["msg"]


def test_a_lock_on_the_lists_is_waited_for(host: Host) -> None:
    tries = host.folder / "tries"
    host.script(
        "apt-get",
        f"echo x >>{tries}; [ $(wc -l <{tries}) -gt 5 ] && exit 0\n"
        "echo 'E: Could not get lock /var/lib/apt/lists/lock' >&2; exit 100",
    )
    result = host.run(docker_ce=declared(host.folder, absent=[host.old_source()]))
    assert result["changed"]
    assert host.apt == ["update"] * 6


def test_check_mode_tells_what_is_missing_and_asks_apt_for_nothing(host: Host) -> None:
    result = host.run(check=True, nvidia_driver=declared(host.folder, packages=DRIVER))
    assert result["changed"]
    assert result["roles"]["nvidia_driver"]["packages"] == {"nvidia-driver-cuda": ["", ""]}
    assert host.apt == []


def test_unmet_dependencies_are_told_in_apts_words() -> None:
    out = "Reading package lists...\nThe following packages have unmet dependencies:\n a : b\n"
    told = apt.words(out, "W: noise\nE: Unable to correct problems\n")
    assert told.startswith("The following packages have unmet dependencies:\n a : b")
    assert told.endswith("E: Unable to correct problems")


# As apt-get 2.6 and dpkg 1.21 print it to a pipe.
OVERWRITES = """\
(Reading database ... 12316 files and directories currently installed.)
Preparing to unpack .../20-nvidia-smi_550.163.01-1_amd64.deb ...
Unpacking nvidia-smi (550.163.01-1) ...
dpkg: error processing archive /tmp/apt/20-nvidia-smi_550.163.01-1_amd64.deb (--unpack):
 trying to overwrite '/usr/bin/nvidia-smi', which is also in package clash 1
dpkg-deb: error: paste subprocess was killed by signal (Broken pipe)
Selecting previously unselected package nvidia-driver-cuda.
Preparing to unpack .../25-nvidia-driver-cuda_550.163.01-1_amd64.deb ...
Unpacking nvidia-driver-cuda (550.163.01-1) ...
Errors were encountered while processing:
 /tmp/apt/20-nvidia-smi_550.163.01-1_amd64.deb
"""
DOES_NOT_BUILD = """\
Setting up dkms (3.2.2-1) ...
Setting up nvidia-kernel-open-dkms (550.163.01-1) ...
Building for 6.1.0-56-amd64
Error! Bad return status for module build on kernel: 6.1.0-56-amd64 (x86_64)
Consult /var/lib/dkms/nvidia/550.163.01/build/make.log for more information.
dpkg: error processing package nvidia-kernel-open-dkms (--configure):
 installed nvidia-kernel-open-dkms package post-installation script subprocess returned error \
exit status 10
dpkg: dependency problems prevent configuration of nvidia-driver-cuda:
 nvidia-driver-cuda depends on nvidia-kernel-open-dkms (= 550.163.01-1); however:
  Package nvidia-kernel-open-dkms is not configured yet.

dpkg: error processing package nvidia-driver-cuda (--configure):
 dependency problems - leaving unconfigured
Setting up docker-ce (5:26.1.5-1) ...
Errors were encountered while processing:
 nvidia-kernel-open-dkms
 nvidia-driver-cuda
"""
SUB_PROCESS = "E: Sub-process /usr/bin/dpkg returned an error code (1)\n"


def test_a_file_that_is_another_packages_is_told_and_no_progress() -> None:
    assert apt.words(OVERWRITES, SUB_PROCESS).splitlines() == OVERWRITES.splitlines()[3:5]


def test_of_modules_that_do_not_build_what_dkms_said_is_told_and_no_consequences() -> None:
    assert apt.words(DOES_NOT_BUILD, SUB_PROCESS).splitlines() == DOES_NOT_BUILD.splitlines()[2:7]


def test_where_dpkg_tells_consequences_alone_they_are_told() -> None:
    out = (
        "dpkg: error processing package b (--configure):\n"
        " dependency problems - leaving unconfigured\n"
    )
    assert apt.words(out, SUB_PROCESS) == out.rstrip()


def test_what_dnf_finds_in_no_repository_is_told_with_what_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(offers.shutil, "which", lambda _: None)
    dnf = Dnf({"docker-ce": ["29.1", "29.2"], "docker-ce-cli": ["28.0", "29.2"]})
    packages = {"docker-ce": "28.0", "docker-ce-cli": "28.0", "containerd.io": ""}
    role = {"packages": packages, "chosen_by": ["docker_ce_version"]}
    assert software_offered.not_offered(dnf, role) == [
        "docker-ce: no repository has 28.0, but 29.2, 29.1",
        "docker_ce_version chooses among them.",
    ]
    role = {"packages": {"docker-ce": "29.1", "containerd.io": ""}, "chosen_by": ["x"]}
    assert software_offered.not_offered(dnf, role) == []
    assert software_offered.not_offered(dnf, {**role, "packages": {"containerd.io": ""}}) == []
