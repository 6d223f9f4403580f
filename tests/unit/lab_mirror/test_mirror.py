import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gpuhost.lab import debian, docker_packages, mirror, releases
from gpuhost.lab.gpu import packages as gpu_packages
from gpuhost.lab.mirror import Keys, Mirror
from gpuhost.lab.releases import Release
from gpuhost.lab.toolkit import packages as toolkit_packages
from gpuhost.mirror.signing import SigningKey

MakeDeb = Callable[..., Path]
TRIXIE, BOOKWORM = releases.find("debian13"), releases.find("debian12")


def key(name: str) -> SigningKey:
    return SigningKey(name * 40, Path(f"/keys/{name}.asc"), Path(f"/keys/{name}.secret.asc"))


@pytest.fixture
def served() -> Mirror:
    return Mirror("http://198.18.0.1:8080", Keys(key("A"), key("B"), key("C"), key("D")))


def test_the_roles_are_pointed_at_repositories_of_their_hosts_suite(served: Mirror) -> None:
    trixie, bookworm = served.variables(TRIXIE), served.variables(BOOKWORM)
    assert trixie["nvidia_driver_repo_url"].endswith("/cuda/debian13/x86_64")
    assert bookworm["nvidia_driver_repo_url"].endswith("/cuda/debian12/x86_64")
    assert trixie["docker_ce_repo_url"] == "http://198.18.0.1:8080/docker/linux/debian"


def test_every_repository_has_a_key_with_a_fingerprint(served: Mirror) -> None:
    variables = served.variables(TRIXIE)
    for role, name in (
        ("docker_ce", "B"),
        ("nvidia_driver", "C"),
        ("nvidia_container_toolkit", "D"),
    ):
        assert variables[f"{role}_repo_key_fingerprint"] == name * 40
        assert variables[f"{role}_repo_key_url"].startswith(served.url)


def test_a_hosts_own_source_is_signed_with_the_labs_debian_key(tmp_path: Path) -> None:
    public = tmp_path / "debian.asc"
    public.write_text("the key")
    debian_key = SigningKey("A" * 40, public, Path("/keys/A.secret.asc"))
    served = Mirror("http://198.18.0.1:8080", Keys(debian_key, key("B"), key("C"), key("D")))
    files = served.own_sources(BOOKWORM)
    source = files["etc/apt/sources.list.d/lab.sources"]
    assert "URIs: http://198.18.0.1:8080/debian/bookworm/\nSuites: ./\n" in source
    assert f"Signed-By: /{mirror.DEBIAN_KEYRING}\n" in source
    assert files[mirror.DEBIAN_KEYRING] == "the key"


class Builds:
    """Stands in for the makers of packages, and counts what they make."""

    def __init__(self, make_deb: MakeDeb) -> None:
        self.made: list[str] = []
        self._make_deb = make_deb

    def make(self, what: str, out: Path) -> list[Path]:
        self.made.append(what)
        return [self._make_deb(out, what, f"1.0-{len(self.made)}")]

    def docker(self, _cache: Path, out: Path, release: Release) -> list[Path]:
        return self.make(f"docker-{release.system.codename}", out)

    def driver(self, _cache: Path, out: Path, vendor: str) -> list[Path]:
        return self.make(f"driver-{vendor}", out)

    def toolkit(self, _cache: Path, out: Path) -> list[Path]:
        return self.make("toolkit", out)


@pytest.fixture
def builds(make_deb: MakeDeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Builds:
    builds = Builds(make_deb)
    monkeypatch.setattr(docker_packages, "build", builds.docker)
    monkeypatch.setattr(gpu_packages, "build", builds.driver)
    monkeypatch.setattr(toolkit_packages, "build", builds.toolkit)

    def collect(archive: debian.Archive, _names: tuple[str, ...]) -> tuple[Path, ...]:
        return tuple(builds.make(f"debian-{archive.suite}", tmp_path / "debian"))

    monkeypatch.setattr(debian.Archive, "collect", collect)
    return builds


EVERYTHING_FOR_TRIXIE = {"docker-trixie", "driver-debian", "debian-trixie", "toolkit"}


def test_the_layout_is_that_of_the_vendors(builds: Builds, tmp_path: Path) -> None:
    told: list[str] = []
    mirror.build(tmp_path, tmp_path / "mirror", [TRIXIE], told.append)
    assert set(builds.made) == EVERYTHING_FOR_TRIXIE
    assert len(told) == len(builds.made)
    assert any("Docker for debian13" in line for line in told)
    root = tmp_path / "mirror"
    for path in (
        "docker/linux/debian/gpg",
        "docker/linux/debian/dists/trixie/InRelease",
        "docker/linux/debian/dists/trixie/stable/binary-amd64/Packages.gz",
        "cuda/debian13/x86_64/InRelease",
        "cuda/debian13/x86_64/lab-cuda.asc",
        "libnvidia-container/gpgkey",
        "libnvidia-container/stable/deb/amd64/InRelease",
        "debian/trixie/InRelease",
    ):
        assert (root / path).is_file(), path
    for repository, index in (
        ("docker/linux/debian", "dists/trixie/stable/binary-amd64/Packages"),
        ("cuda/debian13/x86_64", "Packages"),
    ):
        text = (root / repository / index).read_text()
        (name,) = re.findall(r"^Filename: (.*)$", text, re.MULTILINE)
        assert (root / repository / name).is_file()


def test_what_is_built_stays_and_another_suite_adds_only_its_own_parts(
    builds: Builds, tmp_path: Path
) -> None:
    keys = mirror.build(tmp_path, tmp_path / "mirror", [TRIXIE])
    assert mirror.build(tmp_path, tmp_path / "mirror", [TRIXIE]) == keys
    assert len(builds.made) == len(EVERYTHING_FOR_TRIXIE)
    mirror.build(tmp_path, tmp_path / "mirror", [TRIXIE, BOOKWORM])
    assert set(builds.made[4:]) == {"docker-bookworm", "driver-debian", "debian-bookworm"}
    assert (tmp_path / "mirror/docker/linux/debian/dists/trixie/InRelease").is_file()


def test_a_new_key_makes_its_repository_anew(builds: Builds, tmp_path: Path) -> None:
    mirror.build(tmp_path, tmp_path / "mirror", [TRIXIE])
    (tmp_path / "keys/lab-toolkit.asc").unlink()
    mirror.build(tmp_path, tmp_path / "mirror", [TRIXIE])
    assert builds.made[4:] == ["toolkit"]


def test_labs_of_different_code_share_a_cache_and_rebuild_nothing_of_each_others(
    builds: Builds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.py"
    other.write_text("# another recipe")
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    mirror.build(tmp_path, mine, [TRIXIE])
    with monkeypatch.context() as changed:
        changed.setattr(mirror, "_SHARED_CODE", (other,))
        mirror.build(tmp_path, theirs, [TRIXIE])
    made = len(builds.made)
    mirror.build(tmp_path, mine, [TRIXIE])
    assert len(builds.made) == made
    index = "libnvidia-container/stable/deb/amd64/Packages"
    assert (mine / index).read_text() != (theirs / index).read_text()


def test_ubuntu_has_its_vendors_layout(builds: Builds, tmp_path: Path) -> None:
    www = tmp_path / "mirror"
    mirror.build(tmp_path, www, [releases.find("ubuntu2404")])
    assert {"docker-noble", "driver-ubuntu", "debian-trixie"} <= set(builds.made)
    assert (www / "docker/linux/ubuntu/dists/noble/InRelease").is_file()
    assert (www / "docker/linux/ubuntu/gpg").is_file()
    assert (www / "cuda/ubuntu2404/x86_64/lab-cuda.asc").is_file()
    assert "Codename: noble" in (www / "ubuntu/noble/Release").read_text()
