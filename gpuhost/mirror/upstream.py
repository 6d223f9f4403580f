"""Downloading what a site's hosts need from the vendors' repositories.

The roles themselves say which repositories, keys and packages those are, for
an operating system and for versions: what is downloaded is what they install.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from gpuhost import inventory
from gpuhost.errors import MirrorError
from gpuhost.mirror import indices, modules, rpmrepo
from gpuhost.mirror.download import fetch, read
from gpuhost.mirror.indices import Index, Offered
from gpuhost.mirror.layout import System
from gpuhost.mirror.resolve import resolve
from gpuhost.parse.versions import upstream

MIG_MANAGER_URL, MIG_MANAGER_SHA256 = "nvidia_mig_manager_url", "nvidia_mig_manager_sha256"
ROLES = ("docker_ce", "nvidia_driver", "nvidia_container_toolkit")
Progress = Callable[[str], None]

_HOST = "mirrored"
# The first branch from which on all repositories have the fabric manager under one name.
_ONE_NAME = 580
_DISTRIBUTIONS = {"debian": "Debian", "ubuntu": "Ubuntu", "rhel": "RedHat"}


@dataclass(frozen=True)
class Wanted:
    """What to mirror: versions as the roles' variables have them, empty for their defaults.

    ``driver`` is a branch or a version, ``nvswitch`` whether there are hosts with NVSwitches,
    which need the fabric manager at exactly the driver's version. ``variables`` are any others
    of the roles, e.g. of a mirror to take the packages from.
    """

    driver: str = ""
    modules: str = "open"
    nvswitch: bool = False
    docker: str = ""
    containerd: str = ""
    toolkit: str = ""
    variables: Mapping[str, Any] = field(default_factory=dict)

    def of_roles(self) -> dict[str, Any]:
        """The roles' variables."""
        branch, dot, _ = self.driver.partition(".")
        named = {
            "nvidia_driver_branch": branch,
            "nvidia_driver_version": self.driver if dot else "",
            "docker_ce_version": self.docker,
            "docker_ce_containerd_version": self.containerd,
            "nvidia_container_toolkit_version": self.toolkit,
        }
        return {**self.variables, **{name: value for name, value in named.items() if value}}


@dataclass(frozen=True)
class Downloaded:
    """The folder of packages that are there, how many, how many of them came just now."""

    folder: Path
    packages: int
    fresh: int
    modules: str


def download(
    folder: Path, system: System, wanted: Wanted, progress: Progress = lambda _: None
) -> Downloaded:
    """Have ``folder`` hold the packages that the roles install on a system.

    What is there already is kept, and what was interrupted gone on with. Raises
    MirrorError where a repository, its signature or a package is not as it should be.
    """
    packages, fresh, streams = 0, 0, ""
    for role, declared in _declared(system, wanted).items():
        progress(f"Reading {declared['repository']}")
        key = declared["key"]
        armoured = indices.fetch_key(key["url"], key["fingerprint"], folder / f"{role}.key")
        index = _index(role, system, declared["repository"], armoured)
        names = declared["packages"] | _pins(role, index, declared["packages"])
        if index.modules:
            branch = next(iter(declared["packages"].values())).partition(".")[0]
            streams = modules.of_branch(index.modules, branch)
        chosen = resolve(index, names)
        if wanted.nvswitch and role == "nvidia_driver":
            driver = next(p for p in chosen if p.name in declared["packages"])
            manager = fabric_manager(system.kind, upstream(driver.version))
            chosen = resolve(index, names | manager)
        progress(f"{role}: {_listed(chosen)}")
        files = [folder / package.file for package in chosen]
        for package, file in zip(chosen, files, strict=True):
            url = f"{index.url}/{quote(package.location, safe='/~+:')}"
            fresh += fetch(url, file, package.size, package.sha256)
        if not index.is_signed:
            rpmrepo.check_packages(files, armoured)
        packages += len(chosen)
    if url := str(wanted.variables.get(MIG_MANAGER_URL, "")):
        progress(f"Reading {url}")
        fresh += fetch_known(url, folder, str(wanted.variables.get(MIG_MANAGER_SHA256, "")))
        packages += 1
    return Downloaded(folder, packages, fresh, streams)


def fetch_known(url: str, folder: Path, sha256: str) -> bool:
    """Have a package that is in no repository, known by its checksum; whether it came just now."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise MirrorError(
            f"Nothing vouches for {url}.", f"Declare its SHA-256 as {MIG_MANAGER_SHA256}."
        )
    target = folder / url.rpartition("/")[2]
    if target.exists() and hashlib.sha256(target.read_bytes()).hexdigest() == sha256.lower():
        return False
    content = read(url, sha256=sha256.lower())
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return True


def fabric_manager(kind: str, version: str) -> dict[str, str]:
    """The fabric manager's package for a driver, at the driver's version."""
    branch = version.partition(".")[0]
    if int(branch) >= _ONE_NAME:
        return {"nvidia-fabricmanager": version}
    old = "nvidia-fabric-manager" if kind == "rpm" else f"nvidia-fabricmanager-{branch}"
    return {old: version}


def _listed(packages: Iterable[Offered]) -> str:
    return ", ".join(sorted(f"{package.name} {package.version}" for package in packages))


def _declared(system: System, wanted: Wanted) -> Mapping[str, Any]:
    """What the roles declare for a host of the system."""
    with tempfile.TemporaryDirectory(prefix="gpuhost-mirror-") as scratch:
        hosts = Path(scratch, "hosts.yml")
        content = {"all": {"hosts": {_HOST: wanted.of_roles()}}}
        hosts.write_text(yaml.safe_dump(content))
        facts = _facts(system, wanted.modules)
        declared, unresolved = inventory.load(hosts).declare(_HOST, ROLES, facts)
    if unresolved:
        role, why = next(iter(unresolved.items()))
        raise MirrorError(f"What {role} installs cannot be told: {why}", "Correct --variables.")
    return declared


def _facts(system: System, flavour: str) -> dict[str, Any]:
    number = system.number
    return {
        "distribution": _DISTRIBUTIONS[system.vendor],
        "distribution_version": number,
        "distribution_major_version": number.partition(".")[0],
        "distribution_release": system.codename,
        "os_family": "RedHat" if system.kind == "rpm" else "Debian",
        "machine": "x86_64",
        "nvidia_driver_state": {
            "modules": flavour,
            "kernel": "",
            # Headers are the distribution's, and not among what is mirrored.
            "headers_present": True,
            "headers_meta_packages": [],
            "on_disk_is_wanted": False,
        },
    }


def _index(role: str, system: System, url: str, key: Path) -> Index:
    if system.kind == "rpm":
        below = {
            "docker_ce": f"/{system.docker_pool}",
            "nvidia_container_toolkit": "/x86_64",
        }
        return indices.rpm_index(url.rstrip("/") + below.get(role, ""), key)
    if role == "docker_ce":
        return indices.dists_index(url, system, key)
    return indices.flat_index(f"{url.rstrip('/')}/amd64" if "toolkit" in role else url, key)


def _pins(role: str, index: Index, packages: Mapping[str, str]) -> dict[str, str]:
    """The package that keeps apt on the driver's branch or version, where there is one."""
    if role != "nvidia_driver":
        return {}
    version = next(iter(packages.values())).rstrip("*").rstrip(".-")
    name = f"nvidia-driver-pinning-{version}"
    return {name: ""} if any(package.name == name for package in index.packages) else {}
