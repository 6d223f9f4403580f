"""The package mirror and the registry as hosts find them: real packages, real images."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from support.apt import Apt
from support.lab import Lab
from testinfra.host import Host

from gpuhost.errors import LabError
from gpuhost.lab import base, check_requirements, daemon, mirror, releases, settings
from gpuhost.lab.mirror import Mirror

DOCKER = (
    "docker-ce",
    "docker-ce-cli",
    "containerd.io",
    "docker-buildx-plugin",
    "docker-compose-plugin",
)
TOOLKIT = (
    "nvidia-container-toolkit",
    "nvidia-container-toolkit-base",
    "libnvidia-container-tools",
    "libnvidia-container1",
)
DRIVER = ("nvidia-driver-cuda", "nvidia-kernel-open-dkms", "nvidia-persistenced")
EVERYTHING = (*DOCKER, *TOOLKIT, *DRIVER)
DEBIAN = ("debian12", "debian13")
ADDRESS = "127.0.0.1"

MakeApt = Callable[[str], Apt]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    """The mirror for both releases, from the lab's cache, on loopback."""
    try:
        check_requirements()
    except LabError as error:
        pytest.skip(f"{error.message} {error.remedy}")
    state = tmp_path_factory.mktemp("state")
    port = daemon.free_port(ADDRESS)
    found = [releases.find(name) for name in DEBIAN]
    yield mirror.ensure(settings.load().cache, state, ADDRESS, found, port=port)
    mirror.stop(state)


@pytest.fixture(scope="module")
def bare_host(served: Mirror, tmp_path_factory: pytest.TempPathFactory) -> MakeApt:
    """apt as on a bare host of a release: what the base has, and no source but the mirror."""

    def make(release: str) -> Apt:
        ground = base.ensure(settings.load().cache, releases.find(release), lambda _line: None)
        variables = served.variables(ground.release)
        cuda = variables["nvidia_driver_repo_url"]
        toolkit = variables["nvidia_container_toolkit_repo_url"]
        docker = variables["docker_ce_repo_url"]
        keys = served.keys
        sources = [
            (f"Types: deb\nURIs: {cuda}/\nSuites: /\n", keys.driver.public),
            (f"Types: deb\nURIs: {toolkit}/amd64/\nSuites: /\n", keys.toolkit.public),
            (
                f"Types: deb\nURIs: {docker}\nSuites: {ground.release.suite}\nComponents: stable\n",
                keys.docker.public,
            ),
            (
                f"Types: deb\nURIs: {served.url}/debian/{ground.release.suite}/\nSuites: ./\n",
                keys.debian.public,
            ),
        ]
        apt = Apt(tmp_path_factory.mktemp(release) / "apt", sources, ground.dpkg_status)
        apt("apt-get", "update", "--error-on=any")
        return apt

    return make


@pytest.mark.parametrize("release", DEBIAN)
def test_a_bare_host_can_install_everything_from_the_mirror_alone(
    bare_host: MakeApt, release: str
) -> None:
    apt = bare_host(release)
    installed = {package.partition("=")[0] for package in apt.resolve(*EVERYTHING)}
    assert set(EVERYTHING) <= installed
    for name in EVERYTHING:
        assert len(apt.versions(name)) >= 2, name


@pytest.mark.parametrize("release", DEBIAN)
def test_each_older_docker_can_be_installed_too(bare_host: MakeApt, release: str) -> None:
    apt = bare_host(release)
    pinned = [f"{name}={apt.versions(name)[-1]}" for name in DOCKER]
    assert set(pinned) <= set(apt.resolve(*pinned))


@pytest.mark.parametrize("release", DEBIAN)
def test_debians_own_docker_is_there_to_be_replaced(bare_host: MakeApt, release: str) -> None:
    assert "docker.io" in " ".join(bare_host(release).resolve("docker.io"))


def pull(host: Host, image: str) -> tuple[int, str]:
    done = host.run(f"docker pull --quiet {image}")
    return int(done.rc), str(done.stderr)


def test_images_come_under_the_names_of_the_real_ones(host: Host) -> None:
    for image in ("nvidia/cuda:12.4.1-base-ubuntu22.04", "nvcr.io/nvidia/pytorch:24.04-py3"):
        assert pull(host, image) == (0, "")


def test_the_framework_image_has_python_with_ctypes_behind_its_banner(host: Host) -> None:
    image = "nvcr.io/nvidia/pytorch:24.04-py3"
    code = "import ctypes; print(ctypes.CDLL(None).getpid() > 0)"
    output = host.check_output(f"docker run --rm {image} python3 -c '{code}'")
    assert "== PyTorch ==" in output
    assert output.splitlines()[-1] == "True"


def test_an_unknown_tag_is_manifest_unknown(host: Host) -> None:
    code, words = pull(host, "nvidia/cuda:99.9.9-base-ubuntu24.04")
    assert code == 1
    assert "manifest unknown" in words


def test_a_restricted_namespace_takes_a_login(host: Host, lab: Lab) -> None:
    image = "nvcr.io/nvstaging/pytorch:24.04-py3"
    code, words = pull(host, image)
    assert code == 1
    assert "may require 'docker login'" in words
    login = ["docker", "login", "nvcr.io", "--username", "$oauthtoken", "--password-stdin"]
    secret = (settings.load().cache / "ca" / "account.secret").read_text()
    assert "Login Succeeded" in lab.exec("lab-01", login, stdin=secret)
    try:
        assert pull(host, image) == (0, "")
    finally:
        lab.exec("lab-01", ["docker", "logout", "nvcr.io"])


def test_a_wrong_password_is_refused(host: Host) -> None:
    login = "docker login nvcr.io --username '$oauthtoken' --password-stdin"
    refused = host.run(f"echo wrong | {login}")
    assert refused.rc == 1
    assert "unauthorized: incorrect username or password" in refused.stderr
