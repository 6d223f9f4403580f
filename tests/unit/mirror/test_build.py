"""A site's mirror out of package files, as apt on its hosts finds it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from support.apt import Apt

from gpuhost.commands.mirror import mirror
from gpuhost.errors import MirrorError, UsageError
from gpuhost.mirror import layout
from gpuhost.mirror.build import build, repository_of

pytestmark = pytest.mark.skipif(
    not (shutil.which("apt-ftparchive") and shutil.which("gpg")),
    reason="apt-ftparchive and gpg are not on this machine",
)

MakeDeb = Callable[..., Path]
NOBLE = layout.SYSTEMS["ubuntu2404"]


@pytest.fixture
def packages(tmp_path: Path, make_deb: MakeDeb) -> Path:
    folder = tmp_path / "packages"
    for name in ("docker-ce", "nvidia-open", "nvidia-container-toolkit", "dkms"):
        make_deb(folder, name, "1.0-1")
    return folder


def apt_of_a_host(root: Path, site: Path, variables: dict[str, str]) -> Apt:
    """apt with the sources that the roles write, and the keys that they would install."""
    www = site / "www"
    toolkit = variables["nvidia_container_toolkit_repo_url"]
    stanzas = (
        (f"{variables['docker_ce_repo_url']}\nSuites: noble\nComponents: stable", "docker_ce"),
        (f"{variables['nvidia_driver_repo_url']}/\nSuites: /", "nvidia_driver"),
        (f"{toolkit}/amd64/\nSuites: /", "nvidia_container_toolkit"),
    )
    sources = []
    for words, role in stanzas:
        key = variables[f"{role}_repo_key_url"].removeprefix(f"file:{www}/")
        armoured = root.parent / f"{root.name}-{role}.asc"
        shutil.copy(www / key, armoured)
        sources.append((f"Types: deb\nURIs: {words}\n", armoured))
    apt = Apt(root, sources)
    apt("apt-get", "update", "--error-on=any")
    return apt


def test_a_host_with_the_variables_finds_every_package(tmp_path: Path, packages: Path) -> None:
    site = tmp_path / "site"
    built = build(site, NOBLE, packages, f"file:{site / 'www'}")
    assert (built.docker, built.driver, built.toolkit) == (1, 2, 1)
    variables = yaml.safe_load(built.group_vars.read_text())
    apt = apt_of_a_host(tmp_path / "apt", site, variables)
    for name in ("docker-ce", "nvidia-open", "nvidia-container-toolkit", "dkms"):
        assert apt.versions(name) == ["1.0-1"]


def test_building_again_adds_versions_and_keeps_keys_and_packages(
    tmp_path: Path, packages: Path, make_deb: MakeDeb
) -> None:
    site = tmp_path / "site"
    url = f"file:{site / 'www'}"
    first = build(site, NOBLE, packages, url).group_vars.read_text()
    make_deb(packages, "docker-ce", "1.1-1")
    again = build(site, NOBLE, packages, url).group_vars.read_text()
    assert again == first
    apt = apt_of_a_host(tmp_path / "apt", site, yaml.safe_load(again))
    assert apt.versions("docker-ce") == ["1.1-1", "1.0-1"]


def test_no_secret_key_is_in_what_is_served(tmp_path: Path, packages: Path) -> None:
    built = build(tmp_path / "site", NOBLE, packages, "http://mirror.site")
    served = [path.read_bytes() for path in built.www.rglob("*") if path.is_file()]
    assert not any(b"PRIVATE KEY" in content for content in served)


def test_a_folder_without_packages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MirrorError, match=r"no \.deb file"):
        build(tmp_path / "site", NOBLE, tmp_path, "http://mirror.site")


def test_an_unknown_system_is_refused_with_what_was_meant() -> None:
    with pytest.raises(UsageError, match="ubuntu2404"):
        layout.find("ubuntu2405")


@pytest.mark.parametrize(
    ("package", "repository"),
    [
        ("docker-ce", "docker"),
        ("docker-buildx-plugin", "docker"),
        ("containerd.io", "docker"),
        ("libnvidia-container1", "toolkit"),
        ("nvidia-container-toolkit-base", "toolkit"),
        ("libnvidia-ml1", "driver"),
        ("dkms", "driver"),
    ],
)
def test_each_package_goes_to_its_vendors_repository(package: str, repository: str) -> None:
    assert repository_of(package) == repository


def test_the_command_says_what_to_do_next(tmp_path: Path, packages: Path) -> None:
    words = ["build", str(tmp_path / "site"), "--packages", str(packages)]
    done = CliRunner().invoke(mirror, [*words, "--os", "debian12", "--url", "http://mirror.site"])
    assert done.exit_code == 0, done.output
    assert "docker 1, driver 2, toolkit 1 packages" in done.output
    assert f"serve {tmp_path / 'site' / 'www'} as http://mirror.site" in done.output
