"""Reading what stands in the way in a host's package managers."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support import roles

package_state = roles.util("package_state")


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("deb [arch=amd64 signed-by=/k/a.gpg] x ./\n# deb [signed-by=/k/b.gpg] y ./\n", ["a"]),
        ("deb http://x stable main\n", []),
        ("Types: deb\nSigned-By: /k/a.gpg\n\nTypes: deb\nSigned-By: /k/b.gpg\n", ["a", "b"]),
        ("Types: deb\nEnabled: no\nSigned-By: /k/a.gpg\n", []),
        ("Types: deb\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n", []),
    ],
)
def test_the_keys_of_enabled_sources_are_found_in_both_formats(text: str, keys: list[str]) -> None:
    assert package_state.signed_by(text) == [f"/k/{key}.gpg" for key in keys]


def test_a_lock_that_another_process_holds_is_found_and_one_that_is_free_is_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "lock"
    path.touch()
    assert package_state.holder(path) is None
    assert package_state.holder(tmp_path / "none") is None
    script = (
        "import fcntl, sys; stream = open(sys.argv[1], 'r+b'); fcntl.lockf(stream, fcntl.LOCK_EX);"
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert package_state.holder(path) == other.pid
        other.communicate()


@pytest.mark.parametrize("name", package_state.NAMING_LOCKS)
def test_a_lock_of_dnfs_is_that_of_the_process_it_names_while_there_is_one(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text("4711")
    assert package_state.lock(tmp_path) is None
    (tmp_path / "proc/4711").mkdir(parents=True)
    (tmp_path / "proc/4711/comm").write_text("dnf-automatic\n")
    found = package_state.lock(tmp_path)
    assert found is not None
    assert (found["path"], found["process"]) == (f"/{name}", "dnf-automatic, pid 4711")


@pytest.mark.parametrize("text", ["", "none", "-1"])
def test_a_lock_of_dnfs_that_names_nobody_is_nobodys(tmp_path: Path, text: str) -> None:
    path = tmp_path / package_state.NAMING_LOCKS[0]
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert package_state.lock(tmp_path) is None


@pytest.mark.parametrize(
    ("maintainer", "is_distributions"),
    [
        ("Debian NVIDIA Maintainers <pkg-nvidia-devel@alioth-lists.debian.net>", True),
        ("Ubuntu Core Developers <ubuntu-devel-discuss@lists.ubuntu.com>", True),
        ("cudatools <cudatools@nvidia.com>", False),
    ],
)
def test_a_distributions_driver_is_told_by_its_maintainer(
    monkeypatch: pytest.MonkeyPatch, maintainer: str, is_distributions: bool
) -> None:
    rows = [
        ("libnvidia-ml1", "1", maintainer),
        ("nvidia-container-toolkit", "1", maintainer),
        ("nvidia-cuda-toolkit", "1", maintainer),
        ("bash", "1", maintainer),
    ]
    monkeypatch.setattr(package_state, "_packages", lambda: rows)
    monkeypatch.setattr(package_state.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert package_state.distribution_driver() == ["libnvidia-ml1"] * is_distributions


def test_what_the_roles_may_have_to_remove_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(name, "1", "") for name in ("bash", "runc", "nvidia-docker2", "podman", "podman-x")]
    monkeypatch.setattr(package_state, "_packages", lambda: rows)
    monkeypatch.setattr(package_state.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert package_state.replaced_packages() == ["nvidia-docker2", "podman", "runc"]


def test_what_rpm_would_have_to_take_away_with_conflicting_packages_is_told_to_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needing = {"runc": "podman-4:5.2-1.el9.x86_64", "podman": "cockpit-podman-98-1.el9.noarch"}

    def complaints(*argv: str) -> str:
        assert argv[:3] == ("rpm", "--erase", "--test")
        going = argv[3:]
        words = [
            f"\t{name} is needed by (installed) {package}"
            for name, package in needing.items()
            if name in going and package.rsplit("-", 2)[0] not in going
        ]
        return "\n".join(["error: Failed dependencies:", *words]) if words else ""

    monkeypatch.setattr(package_state.shutil, "which", lambda _: None)
    monkeypatch.setattr(package_state, "_names", lambda: ["bash", "runc", "podman"])
    monkeypatch.setattr(package_state, "_complaints", complaints)
    replaced = package_state.replaced_packages()
    assert replaced == ["podman", "runc"]
    assert package_state.removed_with_conflicts(replaced) == ["cockpit-podman", "podman"]


def test_what_conflicts_is_what_the_role_replaces() -> None:
    declared: set[str] = set()
    for name in ("Debian", "Ubuntu"):
        text = (roles.ROLES / "docker_ce/vars" / f"{name}.yml").read_text()
        declared |= set(yaml.safe_load(text)["__docker_ce_conflicting"])
    assert declared == set(package_state.CONFLICTING)
    text = (roles.ROLES / "docker_ce/vars/RedHat.yml").read_text()
    assert yaml.safe_load(text)["__docker_ce_conflicting"] == list(package_state.RPM_CONFLICTING)
    text = (roles.ROLES / "nvidia_container_toolkit/vars/main.yml").read_text()
    assert yaml.safe_load(text)["__nvidia_container_toolkit_legacy"] == list(package_state.LEGACY)


@pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is not installed")
@pytest.mark.parametrize(
    ("name", "replaced"),
    [("docker.sources", True), ("nvidia-cuda.sources", True), ("x.list", False)],
)
@pytest.mark.parametrize(
    ("key", "problem"), [(None, "is missing"), (b"", "holds no key"), (b"what?", "holds no key")]
)
def test_a_source_whose_key_is_of_no_use_is_found(
    tmp_path: Path, name: str, replaced: bool, key: bytes | None, problem: str
) -> None:
    folder = tmp_path / "etc/apt/sources.list.d"
    folder.mkdir(parents=True)
    text = "Types: deb\nSigned-By: /k.asc\n" if "sources" in name else "deb [signed-by=/k.asc] x ./"
    (folder / name).write_text(text)
    if key is not None:
        (tmp_path / "k.asc").write_bytes(key)
    assert package_state.unusable_sources(tmp_path) == [
        {
            "file": f"/etc/apt/sources.list.d/{name}",
            "key": "/k.asc",
            "problem": problem,
            "replaced": replaced,
        }
    ]
