"""The lab's package mirror: repositories laid out as their vendors' are, served over HTTP.

==============================================  =========================================
``<vendor>/<codename>``                         what lab hosts may need of their own
``docker/linux/<vendor>``                       Docker: ``gpg``, ``dists/<codename>``
``cuda/<system>/x86_64``                        NVIDIA's driver (flat), ``lab-cuda.asc``
``libnvidia-container/stable/deb/amd64``        NVIDIA's container toolkit (flat)
``libnvidia-container/gpgkey``                  … and its key
==============================================  =========================================

Each part is built in the lab's cache when it is first needed, in a folder named
after what it is made from, so that labs with different code share one cache. What
a lab serves is a folder of its own that links to them. Each vendor has a key of
its own, kept in the lab's cache.
"""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from gpuhost.lab import daemon, debian, docker_packages, rhel
from gpuhost.lab.gpu import packages as gpu_packages
from gpuhost.lab.keyed import ensure_built, key_of, locked
from gpuhost.lab.releases import Release
from gpuhost.lab.toolkit import packages as toolkit_packages
from gpuhost.mirror import debrepo, layout, rpmrepo, server, signing
from gpuhost.mirror.debrepo import Release as Description
from gpuhost.mirror.layout import VendorKeys
from gpuhost.mirror.signing import SigningKey

PORT = 8080
DEBIAN_KEYRING = "etc/apt/keyrings/lab-debian.asc"
RPM_KEY = "etc/pki/rpm-gpg/RPM-GPG-KEY-lab"
_REPOSITORY = """\
[lab]
name=The distribution's own
baseurl={url}
gpgcheck=1
gpgkey=file:///{key}
"""

# What roles and operators may install from Debian on a lab host, and what the vendors'
# packages depend on there.
DEBIAN_PACKAGES = {
    "bookworm": ("docker.io",),
    "trixie": ("docker.io", "docker-cli"),
}
DEBIAN_PACKAGES_EVERYWHERE = (
    "ca-certificates",
    "gnupg",
    "iptables",
    "kmod",
    "libseccomp2",
    "libsystemd0",
    "passwd",
    "pciutils",
    "procps",
    "python3-apt",
    "python3-debian",
    "xz-utils",
)

_LAB = Path(__file__).parent
_FILE_SERVER = Path(server.__file__)
_SHARED_CODE = (_LAB / "mirror.py", _LAB / "debian.py", Path(debrepo.__file__))
_DAEMON = "mirror"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Keys:
    """The signing keys of the mirror's repositories."""

    debian: SigningKey
    docker: SigningKey
    driver: SigningKey
    toolkit: SigningKey


@dataclass(frozen=True)
class Mirror:
    """A mirror that is served under ``url``."""

    url: str
    keys: Keys

    def own_sources(self, release: Release) -> dict[str, str]:
        """The files, by path, that a host has in place of its distribution's own sources."""
        key = self.keys.debian.public.read_text()
        if release.system.kind == "rpm":
            repository = _REPOSITORY.format(url=f"{self.url}/{release.archive}", key=RPM_KEY)
            return {"etc/yum.repos.d/lab.repo": repository, RPM_KEY: key}
        return {
            "etc/apt/sources.list.d/lab.sources": (
                f"Types: deb\nURIs: {self.url}/{release.archive}/\nSuites: ./\n"
                f"Signed-By: /{DEBIAN_KEYRING}\n"
            ),
            DEBIAN_KEYRING: key,
        }

    def variables(self, release: Release) -> dict[str, str]:
        """The roles' variables that make hosts of a release use this mirror."""
        keys = VendorKeys(self.keys.docker, self.keys.driver, self.keys.toolkit)
        return layout.variables(self.url, release.system, keys, "lab-cuda.asc")


def folder(state: Path) -> Path:
    """What the mirror of a lab serves."""
    return state / "mirror"


def ensure(
    cache: Path,
    state: Path,
    address: str,
    releases: Sequence[Release],
    *,
    port: int = PORT,
    progress: Progress = lambda _: None,
) -> Mirror:
    """A mirror for hosts of these releases that is served on ``address``, built as needed.

    From nothing it takes about 25 s a release on two cores. Raises LabError
    where something is missing or the port is taken.
    """
    www = folder(state)
    with locked(cache, "mirror"):
        keys = build(cache, www, releases, progress)
    argv = [sys.executable, "-P", str(_FILE_SERVER), str(www), address, str(port)]
    version = key_of(_FILE_SERVER)
    daemon.ensure(_DAEMON, argv, state=state, address=address, port=port, version=version)
    return Mirror(f"http://{address}:{port}", keys)


def stop(state: Path) -> None:
    """End the mirror's server of this state folder; nothing happens where none runs."""
    daemon.stop(state, _DAEMON)


def build(
    cache: Path, www: Path, releases: Sequence[Release], progress: Progress = lambda _: None
) -> Keys:
    """Make ``www`` hold every repository for these releases; returns their keys."""
    keys = signing_keys(cache)
    parts = [part for release in releases for part in _release_parts(cache, release, keys)]
    parts.append(_toolkit_part(cache, keys))
    # Docker's packages use every core by themselves; the others mostly wait for the network.
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda part: part.ensure(cache, www, progress), parts))
    for release in releases:
        _publish_key(keys.docker, www / release.system.docker / "gpg")
    _publish_key(keys.toolkit, www / "libnvidia-container/gpgkey")
    return keys


@dataclass(frozen=True)
class Part:
    """One repository, or one suite of it: where it lies in the mirror and how it is made.

    ``made_from`` are the files and texts that its content follows from.
    ``make`` fills a scratch folder and returns the folder to be served.
    """

    path: str
    title: str
    make: Callable[[Path], Path]
    made_from: tuple[str | Path, ...] = field(default=())

    def ensure(self, cache: Path, www: Path, progress: Progress) -> None:
        """Have ``www`` serve the part, made where the cache has none of the kind."""

        def make(scratch: Path) -> Path:
            progress(f"Building the package mirror: {self.title}")
            return self.make(scratch)

        key = key_of(*self.made_from, *_SHARED_CODE)
        built = cache / "parts" / f"{self.path.replace('/', '-')}-{key[:12]}"
        ensure_built(built, key, make)
        _link(www / self.path, built)


def signing_keys(cache: Path) -> Keys:
    """The keys that the repositories are signed with, made where the cache has none."""
    folder = cache / "keys"
    names = ("debian", "docker", "driver", "toolkit")
    return Keys(**{name: signing.signing_key(folder, f"lab-{name}") for name in names})


def _link(path: Path, target: Path) -> None:
    """Have ``path`` lead to ``target`` from one moment to the next: hosts may be reading."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(path)


def _publish_key(key: SigningKey, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(key.public, target)


def _release_parts(cache: Path, release: Release, keys: Keys) -> tuple[Part, ...]:
    make = _rpm_parts if release.system.kind == "rpm" else _deb_parts
    return make(cache, release, keys)


def _rpm_parts(cache: Path, release: Release, keys: Keys) -> tuple[Part, ...]:
    system = release.system

    def make_docker(scratch: Path) -> Path:
        rhel.docker(cache, scratch, release)
        return _publish_rpms(scratch, keys.docker)

    def make_own(scratch: Path) -> Path:
        rhel.own(cache, scratch, release, platform.release())
        return _publish_rpms(scratch, keys.debian)

    def make_driver(scratch: Path) -> Path:
        modules = rhel.driver(cache, scratch, release)
        _publish_key(keys.driver, scratch / "lab-cuda.asc")
        return _publish_rpms(scratch, keys.driver, modules if release.has_modules else "")

    def make_toolkit(scratch: Path) -> Path:
        rhel.toolkit(cache, scratch)
        return _publish_rpms(scratch, keys.toolkit)

    made_from = (_LAB / "rhel.py", _LAB / "rpm.py", Path(rpmrepo.__file__), release.suite)
    kernel = platform.release()
    return (
        Part(
            str(system.docker / system.docker_pool),
            f"Docker for {release.name}",
            make_docker,
            (*made_from, _LAB / "docker_packages.py", keys.docker.fingerprint),
        ),
        Part(
            str(release.archive),
            f"the distribution's own packages for {release.name}",
            make_own,
            (*made_from, _LAB / "gpu", kernel, keys.debian.fingerprint),
        ),
        Part(
            str(system.driver),
            f"NVIDIA driver for {release.name}",
            make_driver,
            (*made_from, _LAB / "gpu", kernel, keys.driver.fingerprint),
        ),
        Part(
            str(system.toolkit),
            "NVIDIA container toolkit (rpm)",
            make_toolkit,
            (*made_from, _LAB / "toolkit", keys.toolkit.fingerprint),
        ),
    )


def _publish_rpms(root: Path, key: SigningKey, modules: str = "") -> Path:
    rpmrepo.sign_packages(sorted(root.glob("*.rpm")), key)
    rpmrepo.publish(root, key, modules)
    return root


def _deb_parts(cache: Path, release: Release, keys: Keys) -> tuple[Part, ...]:
    system = release.system

    def make_docker(scratch: Path) -> Path:
        pool = scratch / system.docker_pool
        pool.mkdir(parents=True)
        docker_packages.build(cache, pool, release)
        about = Description("Docker", "Docker CE", system.codename, "stable")
        debrepo.publish_dists(scratch, system.docker_pool, about, keys.docker)
        return scratch / "dists" / system.codename

    def make_own(scratch: Path) -> Path:
        archive = debian.Archive(cache, release.suite)
        names = (*DEBIAN_PACKAGES_EVERYWHERE, *DEBIAN_PACKAGES[release.suite])
        debrepo.place(archive.collect(names), scratch)
        vendor = system.vendor.capitalize()
        about = Description(vendor, f"{vendor}, as far as the lab needs it", system.codename)
        debrepo.publish_flat(scratch, about, keys.debian)
        return scratch

    def make_driver(scratch: Path) -> Path:
        gpu_packages.build(cache, scratch, system.vendor)
        debrepo.publish_flat(scratch, Description("NVIDIA", "NVIDIA CUDA"), keys.driver)
        _publish_key(keys.driver, scratch / "lab-cuda.asc")
        return scratch

    return (
        Part(
            f"{system.docker}/dists/{system.codename}",
            f"Docker for {release.name}",
            make_docker,
            (_LAB / "docker_packages.py", release.suite, keys.docker.fingerprint),
        ),
        Part(
            str(release.archive),
            f"the distribution's own packages for {release.name}",
            make_own,
            (release.suite, keys.debian.fingerprint),
        ),
        Part(
            str(system.driver),
            f"NVIDIA driver for {release.name}",
            make_driver,
            (_LAB / "gpu", platform.release(), keys.driver.fingerprint),
        ),
    )


def _toolkit_part(cache: Path, keys: Keys) -> Part:
    def make(scratch: Path) -> Path:
        toolkit_packages.build(cache, scratch)
        about = Description("NVIDIA", "NVIDIA Container Toolkit")
        debrepo.publish_flat(scratch, about, keys.toolkit)
        return scratch

    return Part(
        "libnvidia-container/stable/deb/amd64",
        "NVIDIA container toolkit",
        make,
        (_LAB / "toolkit", keys.toolkit.fingerprint),
    )
