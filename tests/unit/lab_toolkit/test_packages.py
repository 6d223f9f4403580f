"""The packages: names, versions, relations and contents."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gpuhost.errors import LabError
from gpuhost.lab.toolkit import packages

NAMES = {
    "libnvidia-container1",
    "libnvidia-container-tools",
    "nvidia-container-toolkit",
    "nvidia-container-toolkit-base",
}


@pytest.fixture(scope="module")
def debs(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """The built packages by name and version."""
    folder = tmp_path_factory.mktemp("lab")
    paths = packages.build(folder / "cache", folder / "out")
    assert list((folder / "cache").iterdir()) == []
    return {(field(path, "Package"), field(path, "Version")): path for path in paths}


def field(deb: Path, name: str) -> str:
    return output("dpkg-deb", "--field", str(deb), name).strip()


def output(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def listing(deb: Path) -> dict[str, str]:
    """Mode and owner by path."""
    lines = (line.split() for line in output("dpkg-deb", "--contents", str(deb)).splitlines())
    return {words[5].removeprefix("."): f"{words[0]} {words[1]}" for words in lines}


def test_two_versions_of_the_four_upstream_packages_are_built(
    debs: dict[tuple[str, str], Path],
) -> None:
    assert set(debs) == {(name, version) for name in NAMES for version in ("1.19.1-1", "1.20.0-1")}


def test_the_four_are_held_to_one_version(debs: dict[tuple[str, str], Path]) -> None:
    for (_, version), path in debs.items():
        for relation in field(path, "Depends").split(", "):
            name, _, bound = relation.partition(" ")
            assert name == "python3" or (name in NAMES and bound == f"(= {version})")


def test_every_package_is_reached_from_the_one_that_is_installed(
    debs: dict[tuple[str, str], Path],
) -> None:
    reached, pending = set(), ["nvidia-container-toolkit"]
    while pending:
        name = pending.pop()
        reached.add(name)
        relations = field(debs[name, "1.20.0-1"], "Depends").split(", ")
        pending += [r.split()[0] for r in relations if r.split()[0] in NAMES - reached]
    assert reached == NAMES


def test_the_programs_are_where_upstream_has_them(debs: dict[tuple[str, str], Path]) -> None:
    expected = {
        "libnvidia-container-tools": ["/usr/bin/nvidia-container-cli"],
        "nvidia-container-toolkit": ["/usr/bin/nvidia-container-runtime-hook"],
        "nvidia-container-toolkit-base": [
            "/usr/bin/nvidia-ctk",
            "/usr/bin/nvidia-cdi-hook",
            "/usr/bin/nvidia-container-runtime",
        ],
    }
    for name, paths in expected.items():
        contents = listing(debs[name, "1.20.0-1"])
        assert {path: contents[path] for path in paths} == dict.fromkeys(
            paths, "-rwxr-xr-x root/root"
        )


def test_every_file_is_roots_and_readable_whatever_the_builders_umask(
    debs: dict[tuple[str, str], Path],
) -> None:
    for path in debs.values():
        for name, mode in listing(path).items():
            assert mode.endswith(" root/root")
            assert mode.startswith(("-rw-r--r--", "-rwxr-xr-x", "drwxr-xr-x", "lrwxrwxrwx")), name


def test_the_native_programs_need_no_library_of_the_host(
    debs: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    deb = debs["nvidia-container-toolkit-base", "1.19.1-1"]
    output("dpkg-deb", "--extract", str(deb), str(tmp_path))

    hook = tmp_path / "usr/bin/nvidia-cdi-hook"

    assert output(str(hook), "--version") == "NVIDIA CDI Hook version 1.19.1\n"
    assert "NEEDED" not in output("objdump", "--private-headers", str(hook))


def test_the_launched_modules_have_a_main_for_their_release(
    debs: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    for name in NAMES:
        output("dpkg-deb", "--extract", str(debs[name, "1.20.0-1"]), str(tmp_path))
    cli = (tmp_path / "usr/bin/nvidia-container-cli").read_text()
    installed = tmp_path / "usr/lib/gpuhost-lab/toolkit"
    moved = cli.replace("/usr/lib/gpuhost-lab/toolkit", str(installed))
    (tmp_path / "cli.py").write_text(moved)

    assert output("python3", "-IS", str(tmp_path / "cli.py"), "-V").startswith("cli-version: 1.20")


@pytest.mark.parametrize("script", ["postinst", "prerm", "postrm"])
def test_maintainer_scripts_are_valid_shell(
    debs: dict[tuple[str, str], Path], tmp_path: Path, script: str
) -> None:
    deb = debs["nvidia-container-toolkit-base", "1.20.0-1"]
    output("dpkg-deb", "--control", str(deb), str(tmp_path))

    output("sh", "-n", str(tmp_path / script))


def test_without_a_compiler_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(LabError) as caught:
        packages.build(tmp_path / "cache", tmp_path / "out")

    assert "gcc" in caught.value.remedy
