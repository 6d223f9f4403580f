"""What hosts need, downloaded from repositories as vendors have them, for the real apt and dnf."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from support.apt import Apt

from gpuhost.errors import GpuhostError, MirrorError
from gpuhost.lab.gpu.deb import Package
from gpuhost.lab.gpu.deb import pack as pack_deb
from gpuhost.lab.rpm import Rpm
from gpuhost.lab.rpm import pack as pack_rpm
from gpuhost.mirror import download, layout
from gpuhost.mirror.build import build
from gpuhost.mirror.upstream import Wanted, fabric_manager
from gpuhost.mirror.upstream import download as download_all
from gpuhost.programs import run

NOBLE, RHEL = layout.SYSTEMS["ubuntu2404"], layout.SYSTEMS["rhel9"]
BRANCHES = ("570.1.1", "580.2.1", "580.10.2")
OTHERS = {
    "docker-ce": ("28.1.1", "29.8.2"),
    "docker-ce-cli": ("28.1.1", "29.8.2"),
    "containerd.io": ("2.1.5", "2.3.1"),
    "docker-buildx-plugin": ("0.30.0",),
    "docker-compose-plugin": ("5.0.0",),
    "nvidia-container-toolkit": ("1.19.1", "1.20.0"),
    "nvidia-container-toolkit-base": ("1.19.1", "1.20.0"),
    "libnvidia-container-tools": ("1.19.1", "1.20.0"),
    "libnvidia-container1": ("1.19.1", "1.20.0"),
    "somebodys-else": ("1",),
}
MODULES = """\
---
document: modulemd
version: 2
data:
  name: nvidia-driver
  stream: "{branch}-open"
  version: 20260101000000
  context: c{branch}
  arch: x86_64
  summary: driver
  description: driver
  license: {{module: [MIT]}}
  artifacts: {{rpms: [{artifacts}]}}
"""


def ubuntus(folder: Path) -> Path:
    """The packages of Ubuntu's vendors, with every version there is."""
    out = folder / "packages"
    out.mkdir(parents=True)
    packages = [
        Package(name, f"{version}-1", "x") for name, found in OTHERS.items() for version in found
    ]
    for version in BRANCHES:
        branch, v = version.partition(".")[0], f"{version}-0ubuntu1"
        needs = f"libnvidia-compute-{branch} (= {v}), libc6 (>= 2.34)"
        packages += [
            Package("nvidia-open", v, "x", fields={"Depends": f"nvidia-driver-{branch}-open"}),
            Package(f"nvidia-driver-{branch}-open", v, "x", fields={"Depends": needs}),
            Package(f"libnvidia-compute-{branch}", v, "x"),
        ]
        packages.append(Package(f"nvidia-driver-pinning-{branch}", f"{version}-1", "x"))
        manager = "nvidia-fabricmanager" + ("-570" if branch == "570" else "")
        packages.append(Package(manager, f"{version}-1", "x"))
    # Newer than any driver: not the one that is wanted.
    packages.append(Package("nvidia-fabricmanager", "590.1.1-1", "x"))
    for package in packages:
        pack_deb(package, folder / "trees", out)
    return out


def red_hats(folder: Path) -> tuple[Path, str]:
    """The packages of Red Hat's vendors, with every version there is, and their modules."""
    out, empty, modules = folder / "packages", folder / "empty", ""
    out.mkdir(parents=True)
    empty.mkdir()
    packages = [
        Rpm(name, version, "1", "x", epoch="3" if name == "docker-ce" else "")
        for name, found in OTHERS.items()
        for version in found
    ]
    for version in BRANCHES:
        needs = {"Requires": [f"nvidia-libs = 3:{version}", "glibc >= 2.34"]}
        of_driver = [
            Rpm("nvidia-driver-cuda", version, "1", "x", epoch="3", relations=needs),
            *(
                Rpm(name, version, "1", "x", epoch="3")
                for name in ("nvidia-libs", "kmod-nvidia-open-dkms", "nvidia-persistenced")
            ),
        ]
        artifacts = ", ".join(f'"{rpm.name}-3:{version}-1.x86_64"' for rpm in of_driver)
        modules += MODULES.format(branch=version.partition(".")[0], artifacts=artifacts)
        packages += of_driver
    for package in packages:
        pack_rpm(package, empty, folder / "scratch", out)
    return out, modules


@pytest.fixture(scope="module")
def apt_upstream(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The roles' variables that lead to repositories for apt."""
    if not (shutil.which("apt-ftparchive") and shutil.which("gpg")):
        pytest.skip("apt-ftparchive and gpg are not on this machine")
    folder = tmp_path_factory.mktemp("apt")
    site = folder / "upstream"
    built = build(site, NOBLE, ubuntus(folder), f"file:{site / 'www'}")
    return dict(yaml.safe_load(built.group_vars.read_text()))


@pytest.fixture(scope="module")
def dnf_upstream(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The roles' variables that lead to repositories for dnf."""
    if not all(map(shutil.which, ("rpmbuild", "rpmsign", "createrepo_c", "dnf"))):
        pytest.skip("rpm, createrepo_c and dnf are not on this machine")
    folder = tmp_path_factory.mktemp("dnf")
    site = folder / "upstream"
    packages, modules = red_hats(folder)
    built = build(site, RHEL, packages, f"file:{site / 'www'}", modules)
    return dict(yaml.safe_load(built.group_vars.read_text()))


def names(folder: Path, suffix: str) -> list[str]:
    return sorted(path.name for path in folder.glob(f"*.{suffix}"))


def test_what_the_roles_install_is_downloaded_with_what_it_needs_and_nothing_else(
    apt_upstream: dict[str, Any], tmp_path: Path
) -> None:
    wanted = Wanted(driver="580", docker="28.1.1-1", variables=apt_upstream)
    there = download_all(tmp_path, NOBLE, wanted)
    assert names(tmp_path, "deb") == [
        "containerd.io_2.3.1-1_amd64.deb",
        "docker-buildx-plugin_0.30.0-1_amd64.deb",
        "docker-ce-cli_28.1.1-1_amd64.deb",
        "docker-ce_28.1.1-1_amd64.deb",
        "docker-compose-plugin_5.0.0-1_amd64.deb",
        "libnvidia-compute-580_580.10.2-0ubuntu1_amd64.deb",
        "libnvidia-container-tools_1.20.0-1_amd64.deb",
        "libnvidia-container1_1.20.0-1_amd64.deb",
        "nvidia-container-toolkit-base_1.20.0-1_amd64.deb",
        "nvidia-container-toolkit_1.20.0-1_amd64.deb",
        "nvidia-driver-580-open_580.10.2-0ubuntu1_amd64.deb",
        "nvidia-driver-pinning-580_580.10.2-1_amd64.deb",
        "nvidia-open_580.10.2-0ubuntu1_amd64.deb",
    ]
    assert (there.packages, there.fresh) == (13, 13)
    assert download_all(tmp_path, NOBLE, wanted).fresh == 0


def test_apt_installs_from_a_mirror_of_what_was_downloaded(
    apt_upstream: dict[str, Any], tmp_path: Path
) -> None:
    there = download_all(tmp_path / "in", NOBLE, Wanted(driver="580", variables=apt_upstream))
    site = tmp_path / "site"
    built = build(site, NOBLE, there.folder, f"file:{site / 'www'}")
    variables = yaml.safe_load(built.group_vars.read_text())
    url, key = variables["nvidia_driver_repo_url"], tmp_path / "driver.asc"
    shutil.copy(variables["nvidia_driver_repo_key_url"].removeprefix("file:"), key)
    apt = Apt(tmp_path / "apt", [(f"Types: deb\nURIs: {url}/\nSuites: /\n", key)])
    apt("apt-get", "update", "--error-on=any")
    assert apt.versions("nvidia-open") == ["580.10.2-0ubuntu1"]


@pytest.mark.parametrize(
    ("driver", "manager"),
    [("580", "nvidia-fabricmanager_580.10.2-1"), ("570", "nvidia-fabricmanager-570_570.1.1-1")],
)
def test_for_nvswitches_there_is_the_fabric_manager_of_the_drivers_version(
    tmp_path: Path, apt_upstream: dict[str, Any], driver: str, manager: str
) -> None:
    wanted = Wanted(driver=driver, nvswitch=True, variables=apt_upstream)
    there = download_all(tmp_path, NOBLE, wanted)
    found = [file.name for file in there.folder.rglob("nvidia-fabricmanager*")]
    assert [name.startswith(manager) for name in found] == [True]


def test_rpms_had_another_name_for_the_fabric_manager_once() -> None:
    assert fabric_manager("rpm", "570.1.1") == {"nvidia-fabric-manager": "570.1.1"}
    assert fabric_manager("rpm", "580.2.1") == {"nvidia-fabricmanager": "580.2.1"}


@pytest.fixture
def mig_manager(tmp_path: Path) -> dict[str, str]:
    """Variables that say where nvidia-mig-manager is, which no repository has."""
    (tmp_path / "release").mkdir()
    package = Package("nvidia-mig-manager", "0.14.4-1", "divides GPUs")
    file = pack_deb(package, tmp_path / "tree", tmp_path / "release")
    return {
        "nvidia_mig_manager_url": f"file:{file}",
        "nvidia_mig_manager_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }


def test_a_package_of_no_repository_comes_by_its_checksum_and_is_served_with_the_driver(
    apt_upstream: dict[str, Any], mig_manager: dict[str, str], tmp_path: Path
) -> None:
    wanted = Wanted(driver="580", variables=apt_upstream | mig_manager)
    there = download_all(tmp_path / "in", NOBLE, wanted)
    assert there.packages == there.fresh == 14
    assert download_all(tmp_path / "in", NOBLE, wanted).fresh == 0
    build(tmp_path / "site", NOBLE, there.folder, "http://mirror.example.com")
    served = tmp_path / "site/www" / NOBLE.driver
    assert (served / "nvidia-mig-manager_0.14.4-1_amd64.deb").exists()
    assert "Package: nvidia-mig-manager\n" in (served / "Packages").read_text()


@pytest.mark.parametrize(
    ("declared", "complaint"), [("", "Nothing vouches"), ("0" * 64, "its SHA-256 is another")]
)
def test_a_package_of_no_repository_is_refused_without_its_checksum(
    apt_upstream: dict[str, Any],
    mig_manager: dict[str, str],
    tmp_path: Path,
    declared: str,
    complaint: str,
) -> None:
    variables = apt_upstream | mig_manager | {"nvidia_mig_manager_sha256": declared}
    with pytest.raises(MirrorError, match=complaint):
        download_all(tmp_path / "in", NOBLE, Wanted(driver="580", variables=variables))
    assert list((tmp_path / "in").glob("nvidia-mig-manager*")) == []


def test_a_version_that_is_not_there_is_refused_with_those_that_are(
    apt_upstream: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(MirrorError, match=r"has no nvidia-open 590\.\*.* 580\.10\.2-0ubuntu1"):
        download_all(tmp_path, NOBLE, Wanted(driver="590", variables=apt_upstream))


def test_a_key_with_another_fingerprint_is_refused(
    apt_upstream: dict[str, Any], tmp_path: Path
) -> None:
    other = apt_upstream | {"docker_ce_repo_key_fingerprint": "A" * 40}
    with pytest.raises(MirrorError, match=r"A{40} was expected"):
        download_all(tmp_path, NOBLE, Wanted(driver="580", variables=other))


def test_an_index_that_was_changed_after_it_was_signed_is_refused(
    apt_upstream: dict[str, Any], tmp_path: Path
) -> None:
    base = apt_upstream["docker_ce_repo_url"].removeprefix("file:")
    forged = tmp_path / "forged"
    shutil.copytree(base, forged)
    release = forged / "dists/noble/InRelease"
    release.write_text(release.read_text().replace("Codename: noble", "Codename: n0ble"))
    other = apt_upstream | {"docker_ce_repo_url": f"file:{forged}"}
    with pytest.raises(GpuhostError, match="Verifying the signature"):
        download_all(tmp_path / "in", NOBLE, Wanted(driver="580", variables=other))


CONTENT = bytes(range(256)) * 100


class Ranges(BaseHTTPRequestHandler):
    """A server that sends the rest of a file to whoever has its beginning."""

    starts: ClassVar[list[int]] = []

    def do_GET(self) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.starts.append(start)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start:])

    def log_message(self, *_words: object) -> None:
        """Say nothing."""


@pytest.fixture
def ranges() -> Iterator[str]:
    """The URL of a package on such a server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Ranges) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        Ranges.starts.clear()
        yield f"http://127.0.0.1:{server.server_port}/package"
        server.shutdown()


@pytest.mark.parametrize(
    ("beginning", "starts"), [(CONTENT[:5000], [5000]), (b"x" * 5000, [5000, 0])]
)
def test_a_download_that_was_cut_off_goes_on_and_a_wrong_beginning_is_thrown_away(
    tmp_path: Path, ranges: str, beginning: bytes, starts: list[int]
) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    target = tmp_path / "package"
    target.with_name("package.part").write_bytes(beginning)
    assert download.fetch(ranges, target, len(CONTENT), digest)
    assert target.read_bytes() == CONTENT
    assert Ranges.starts == starts
    assert not download.fetch(ranges, target, len(CONTENT), digest)


def dnf(root: Path, variables: dict[str, Any], *words: str) -> str:
    """The real dnf of a host with the mirror's repositories, checking every signature."""
    urls = {
        "docker": f"{variables['docker_ce_repo_url']}/9/x86_64/stable",
        "driver": variables["nvidia_driver_repo_url"],
        "toolkit": f"{variables['nvidia_container_toolkit_repo_url']}/x86_64",
    }
    (root / "repos").mkdir(parents=True, exist_ok=True)
    for name, role in (
        ("docker", "docker_ce"),
        ("driver", "nvidia_driver"),
        ("toolkit", "nvidia_container_toolkit"),
    ):
        (root / f"repos/{name}.repo").write_text(
            f"[{name}]\nname={name}\nbaseurl={urls[name].replace('file:', 'file://')}\ngpgcheck=1\nrepo_gpgcheck=1\n"
            f"gpgkey={variables[f'{role}_repo_key_url'].replace('file:', 'file://')}\n"
        )
    options = {
        "reposdir": root / "repos",
        "cachedir": root / "cache",
        "persistdir": root / "persist",
        "module_platform_id": "platform:el9",
        "plugins": 0,
        "install_weak_deps": 0,
    }
    argv = ["dnf", "--assumeyes", f"--installroot={root / 'root'}", "--releasever=9"]
    argv += [f"--setopt={name}={value}" for name, value in options.items()]
    return run([*argv, *words], purpose="The test's dnf")


def test_dnf_installs_from_a_mirror_of_what_was_downloaded_with_its_stream(
    dnf_upstream: dict[str, Any], tmp_path: Path
) -> None:
    there = download_all(tmp_path / "in", RHEL, Wanted(driver="580", variables=dnf_upstream))
    assert there.packages == 13
    site = tmp_path / "site"
    build(site, RHEL, there.folder, f"file:{site / 'www'}", there.modules)
    older = download_all(tmp_path / "in", RHEL, Wanted(driver="570", variables=dnf_upstream))
    assert older.fresh == 4
    built = build(site, RHEL, older.folder, f"file:{site / 'www'}", older.modules)
    variables = yaml.safe_load(built.group_vars.read_text())
    dnf(tmp_path / "dnf", variables, "module", "enable", "nvidia-driver:580-open")
    listed = dnf(tmp_path / "dnf", variables, "repoquery", "--quiet", "nvidia-driver-cuda")
    assert listed.split() == ["nvidia-driver-cuda-3:580.10.2-1.x86_64"]
    dnf(tmp_path / "dnf", variables, "module", "reset", "nvidia-driver")
    dnf(tmp_path / "dnf", variables, "module", "enable", "nvidia-driver:570-open")
    packages = ("docker-ce", "nvidia-container-toolkit", "nvidia-libs", "nvidia-persistenced")
    dnf(tmp_path / "dnf", variables, "install", *packages)
    installed = dnf(tmp_path / "dnf", variables, "list", "--installed", "--quiet")
    assert "570.1.1-1" in installed
    assert "29.8.2-1" in installed


def test_a_package_that_was_changed_after_its_index_was_signed_is_refused(
    dnf_upstream: dict[str, Any], tmp_path: Path
) -> None:
    base = dnf_upstream["docker_ce_repo_url"].removeprefix("file:")
    forged = tmp_path / "forged"
    shutil.copytree(base, forged)
    (package,) = forged.rglob("docker-ce-29*.rpm")
    package.write_bytes(package.read_bytes()[:-1] + b"x")
    other = dnf_upstream | {"docker_ce_repo_url": f"file:{forged}"}
    with pytest.raises(MirrorError, match="did not arrive as its repository announced it"):
        download_all(tmp_path / "in", RHEL, Wanted(driver="580", variables=other))


def test_where_only_packages_are_signed_these_signatures_are_checked(
    dnf_upstream: dict[str, Any], tmp_path: Path
) -> None:
    base = dnf_upstream["nvidia_driver_repo_url"].removeprefix("file:")
    forged = tmp_path / "cuda"
    shutil.copytree(base, forged)
    (forged / "repodata/repomd.xml.asc").unlink()
    unsigned = dnf_upstream | {"nvidia_driver_repo_url": f"file:{forged}"}
    there = download_all(tmp_path / "in", RHEL, Wanted(driver="580", variables=unsigned))
    assert there.packages == 13
    for rpm in forged.glob("nvidia-driver-cuda*.rpm"):
        run(["rpmsign", "--delsign", rpm], purpose="Taking a signature away")
    run(["createrepo_c", "--quiet", forged], purpose="Indexing")
    with pytest.raises(GpuhostError, match="Verifying the signatures"):
        download_all(tmp_path / "anew", RHEL, Wanted(driver="580", variables=unsigned))
