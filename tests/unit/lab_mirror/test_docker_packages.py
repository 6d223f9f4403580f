import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gpuhost.errors import LabError
from gpuhost.lab import docker_packages, releases
from gpuhost.lab.commands import run

MakeDeb = Callable[..., Path]

VERSIONS = {
    "docker.io": "26.1.5+dfsg1-9+deb13u1",
    "docker-cli": "26.1.5+dfsg1-9+deb13u1",
    "containerd": "1.7.24~ds1-6+deb13u1",
    "docker-buildx": "0.13.1+ds1-3",
    "docker-compose": "2.26.1-4",
    "tini": "0.19.0-3+b8",
    "runc": "1.1.15+ds1-2+b4",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, make_deb: MakeDeb) -> list[Path]:
    """Packages made from stand-ins of Debian's that have every file that is taken from them."""
    folder = tmp_path_factory.mktemp("docker")
    taken = [source for recipe in docker_packages.RECIPES for source in recipe.files.values()]
    sources = {}
    for name, version in VERSIONS.items():
        stamp = f"#!/bin/sh\n# {version}\n".encode()
        files = {path: stamp for package, path in taken if package == name}
        unit = "usr/lib/systemd/system/docker.service"
        if unit in files:
            files[unit] = (
                b"[Service]\nEnvironmentFile=-/etc/default/docker\n"
                b"ExecStart=/usr/sbin/dockerd -H fd:// $DOCKER_OPTS\n"
            )
        sources[name] = make_deb(folder / "debian", name, version, files)

    class Archive:
        def __init__(self, _cache: Path, _suite: str) -> None:
            pass

        def download(self, packages: Sequence[str]) -> tuple[Path, ...]:
            return tuple(sources[package] for package in packages)

    out = folder / "out"
    out.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(docker_packages, "Archive", Archive)
        return docker_packages.build(folder, out, releases.find("debian12"))


def fields(deb: Path) -> dict[str, str]:
    text = run(["dpkg-deb", "--field", deb], purpose="Reading a package")
    return dict(re.findall(r"^(\S+): (.*)$", text, re.MULTILINE))


def unpacked(deb: Path, folder: Path) -> Path:
    run(["dpkg-deb", "--raw-extract", deb, folder], purpose="Unpacking")
    return folder


def test_every_package_has_two_versions_shaped_as_upstreams(built: list[Path]) -> None:
    versions = {(fields(deb)["Package"], fields(deb)["Version"]) for deb in built}
    suffix = "~debian.12~bookworm"
    assert versions == {
        *((name, f"5:26.1.5-1{suffix}") for name in ("docker-ce", "docker-ce-cli")),
        *((name, f"5:26.1.4-1{suffix}") for name in ("docker-ce", "docker-ce-cli")),
        ("docker-ce-rootless-extras", f"5:26.1.5-1{suffix}"),
        ("docker-ce-rootless-extras", f"5:26.1.4-1{suffix}"),
        ("containerd.io", f"1.7.24-1{suffix}"),
        ("containerd.io", f"1.7.23-1{suffix}"),
        ("docker-buildx-plugin", f"0.13.1-1{suffix}"),
        ("docker-buildx-plugin", f"0.13.0-1{suffix}"),
        ("docker-compose-plugin", f"2.26.1-1{suffix}"),
        ("docker-compose-plugin", f"2.26.0-1{suffix}"),
    }


def test_only_packages_are_left_in_the_folder(built: list[Path]) -> None:
    assert sorted(built[0].parent.iterdir()) == sorted(built)


def test_the_older_package_says_its_own_version(built: list[Path], tmp_path: Path) -> None:
    (older,) = (deb for deb in built if deb.name.startswith("docker-ce_26.1.4"))
    tree = unpacked(older, tmp_path / "older")
    assert "26.1.4+dfsg1" in (tree / "usr/bin/dockerd").read_text()
    assert (tree / "usr/bin/dockerd").stat().st_mode & 0o777 == 0o755


def test_dockers_unit_starts_what_the_package_has_and_reads_no_debian_defaults(
    built: list[Path], tmp_path: Path
) -> None:
    (deb,) = (deb for deb in built if deb.name.startswith("docker-ce_26.1.5"))
    tree = unpacked(deb, tmp_path / "tree")
    unit = (tree / "usr/lib/systemd/system/docker.service").read_text()
    assert unit == "[Service]\nExecStart=/usr/bin/dockerd -H fd://\n"
    assert (tree / "usr/bin/dockerd").is_file()


def test_packages_conflict_with_debians_as_upstreams_do(built: list[Path]) -> None:
    conflicts = {fields(deb)["Package"]: fields(deb).get("Conflicts", "") for deb in built}
    assert "docker.io" in conflicts["docker-ce"]
    assert "docker-cli" in conflicts["docker-ce-cli"]
    assert conflicts["containerd.io"] == "containerd, runc"


def test_maintainer_scripts_are_valid_shell_and_know_their_units(
    built: list[Path], tmp_path: Path
) -> None:
    for number, deb in enumerate(built):
        control = unpacked(deb, tmp_path / f"tree{number}") / "DEBIAN"
        for script in ("postinst", "prerm", "postrm"):
            if (control / script).exists():
                checked = subprocess.run(["sh", "-n", control / script], check=False)
                assert checked.returncode == 0
                assert "{" not in (control / script).read_text().replace("${", "")
    assert "groupadd --system docker" in "".join(
        path.read_text() for path in tmp_path.glob("tree*/DEBIAN/postinst")
    )


def test_configuration_files_are_kept_across_upgrades(built: list[Path], tmp_path: Path) -> None:
    (deb,) = (deb for deb in built if deb.name.startswith("containerd.io_1.7.24"))
    control = unpacked(deb, tmp_path / "tree") / "DEBIAN"
    assert (control / "conffiles").read_text() == "/etc/containerd/config.toml\n"


@pytest.mark.parametrize(
    ("file", "version"),
    [
        ("docker.io_26.1.5+dfsg1-9+deb13u1_amd64.deb", "26.1.5"),
        ("containerd_1.7.24~ds1-6+deb13u1_amd64.deb", "1.7.24"),
        ("docker-compose_2.26.1-4_amd64.deb", "2.26.1"),
        ("passwd_1%3a4.17.4-2_amd64.deb", "4.17.4"),
    ],
)
def test_upstreams_version_is_read_from_debians(file: str, version: str) -> None:
    assert docker_packages.upstream_version(Path(file)) == version


@pytest.mark.parametrize(
    ("version", "older"),
    [("26.1.5", "26.1.4"), ("2.26.0", "2.25.0"), ("1.10.10", "0.10.10"), ("0.13.1", "0.13.0")],
)
def test_the_version_before(version: str, older: str) -> None:
    assert docker_packages.previous_version(version) == older


versions = st.lists(st.integers(0, 120), min_size=3, max_size=3).map(
    lambda numbers: ".".join(map(str, numbers))
)


@given(versions)
def test_the_version_before_is_older_and_written_as_long(version: str) -> None:
    try:
        older = docker_packages.previous_version(version)
    except LabError:
        assume(False)
    assert len(older) == len(version)
    assert [int(n) for n in older.split(".")] < [int(n) for n in version.split(".")]


@given(st.binary(), st.binary())
def test_restamping_changes_the_version_and_no_length(before: bytes, after: bytes) -> None:
    content = before + b"\0" + b"26.1.5+dfsg1" + b"\0" + after
    stamped = docker_packages.restamp(content, "26.1.5", "26.1.4")
    assert b"\0" + b"26.1.4+dfsg1" + b"\0" in stamped
    assert len(stamped) == len(content)


@pytest.mark.parametrize("other", [b"126.1.5+x", b"26.1.5.2+x", b"v26.1.50-x", b"0.26.1.5-x"])
def test_restamping_leaves_other_numbers_alone(other: bytes) -> None:
    assert docker_packages.restamp(other, "26.1.5", "26.1.4") == other
