"""How a mirror is laid out, and the roles' variables that point hosts at it.

==============================================  =========================================
``docker/linux/<vendor>``                       Docker: ``gpg``, ``dists/<suite>``
``cuda/<system>/x86_64``                        NVIDIA's driver (flat), and its key
``libnvidia-container/stable/deb/amd64``        NVIDIA's container toolkit (flat)
``libnvidia-container/gpgkey``                  … and its key
==============================================  =========================================

For Red Hat's family, Docker is ``docker/linux/rhel/<major>/x86_64/stable`` and the
toolkit ``libnvidia-container/stable/rpm/x86_64``.

It is the vendors' own layout, so that a site's inventory differs from any
other in base URLs and fingerprints alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gpuhost.errors import UsageError
from gpuhost.mirror.signing import SigningKey
from gpuhost.suggest import did_you_mean

TOOLKIT = "libnvidia-container"


@dataclass(frozen=True)
class System:
    """An operating system: its name in NVIDIA's repository, its vendor, codename and number.

    The vendor and the code name are as Docker's repository has them: for Red
    Hat's family, rhel and the major version.
    """

    name: str
    vendor: str
    codename: str
    number: str

    @property
    def kind(self) -> str:
        """What its packages are: deb or rpm."""
        return "rpm" if self.vendor == "rhel" else "deb"

    @property
    def docker(self) -> Path:
        """Where Docker's repository lies."""
        return Path("docker") / "linux" / self.vendor

    @property
    def docker_pool(self) -> Path:
        """Where its packages lie in Docker's repository."""
        if self.kind == "rpm":
            return Path(self.codename) / "x86_64" / "stable"
        return Path("dists") / self.codename / "pool" / "stable" / "amd64"

    @property
    def driver(self) -> Path:
        """Where the driver's repository lies."""
        return Path("cuda") / self.name / "x86_64"

    @property
    def toolkit(self) -> Path:
        """Where the toolkit's repository lies."""
        machine = "x86_64" if self.kind == "rpm" else "amd64"
        return Path(TOOLKIT) / "stable" / self.kind / machine


SYSTEMS = {
    system.name: system
    for system in (
        System("debian12", "debian", "bookworm", "12"),
        System("debian13", "debian", "trixie", "13"),
        System("ubuntu2204", "ubuntu", "jammy", "22.04"),
        System("ubuntu2404", "ubuntu", "noble", "24.04"),
        System("ubuntu2604", "ubuntu", "resolute", "26.04"),
        System("rhel8", "rhel", "8", "8"),
        System("rhel9", "rhel", "9", "9"),
        System("rhel10", "rhel", "10", "10"),
    )
}


@dataclass(frozen=True)
class VendorKeys:
    """The keys that stand in for the vendors' own."""

    docker: SigningKey
    driver: SigningKey
    toolkit: SigningKey


def find(name: str) -> System:
    """The system of this name; UsageError for one that mirrors cannot be made for."""
    if name not in SYSTEMS:
        raise UsageError(
            f"There is no mirror for {name!r}.{did_you_mean(name, SYSTEMS)}",
            f"Choose one of: {', '.join(SYSTEMS)}.",
        )
    return SYSTEMS[name]


def variables(url: str, system: System, keys: VendorKeys, driver_key: str) -> dict[str, str]:
    """The roles' variables that make hosts of a system use the mirror served under ``url``.

    ``driver_key`` is the name of the key's file in the driver's repository.
    """
    base = url.rstrip("/")
    docker, driver = f"{base}/{system.docker}", f"{base}/{system.driver}"
    return {
        "docker_ce_repo_url": docker,
        "docker_ce_repo_key_url": f"{docker}/gpg",
        "docker_ce_repo_key_fingerprint": keys.docker.fingerprint,
        "nvidia_driver_repo_url": driver,
        "nvidia_driver_repo_key_url": f"{driver}/{driver_key}",
        "nvidia_driver_repo_key_fingerprint": keys.driver.fingerprint,
        "nvidia_container_toolkit_repo_url": f"{base}/{system.toolkit.parent}",
        "nvidia_container_toolkit_repo_key_url": f"{base}/{TOOLKIT}/gpgkey",
        "nvidia_container_toolkit_repo_key_fingerprint": keys.toolkit.fingerprint,
    }
