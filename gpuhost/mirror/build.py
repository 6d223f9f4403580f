"""Building an air-gapped site's mirror out of a folder of .deb files.

``DIR/www`` is what is served, ``DIR/keys`` holds the site's signing keys and
stays private, ``DIR/group_vars/<system>.yml`` is for the inventory.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

from gpuhost.errors import MirrorError
from gpuhost.mirror import debrepo, layout
from gpuhost.mirror.debrepo import Release
from gpuhost.mirror.layout import System, VendorKeys
from gpuhost.mirror.signing import SigningKey, signing_key
from gpuhost.programs import run

DRIVER_KEY = "site-cuda.asc"
_DOCKER = ("docker-*", "containerd.io")
_TOOLKIT = ("nvidia-container-toolkit*", "libnvidia-container*")
_ARCHITECTURES = ("amd64", "all")
_HEADER = """\
# Written by `gpuhost mirror build`: point the hosts of {system} at the site's mirror.
"""


@dataclass(frozen=True)
class Built:
    """A mirror that was built: where it is, and how many packages each repository got."""

    www: Path
    group_vars: Path
    docker: int
    driver: int
    toolkit: int


def build(folder: Path, system: System, packages: Path, url: str) -> Built:
    """Add the packages in a folder to the mirror in ``folder``, and sign it anew.

    What was in the mirror stays in it, so that pins and roll-backs still find
    their versions. Raises MirrorError where there is no package to serve.
    """
    found = _sorted_by_repository(packages)
    keys = VendorKeys(
        **{name: signing_key(folder / "keys", f"site-{name}") for name in found},
    )
    www = folder / "www"
    _publish(www, system, keys, found)
    group_vars = folder / "group_vars" / f"{system.name}.yml"
    _write_variables(group_vars, system, layout.variables(url, system, keys, DRIVER_KEY))
    return Built(www, group_vars, **{name: len(debs) for name, debs in found.items()})


def _sorted_by_repository(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {"docker": [], "driver": [], "toolkit": []}
    for deb in sorted(folder.rglob("*.deb")):
        name, architecture = _identity(deb)
        if architecture in _ARCHITECTURES:
            found[repository_of(name)].append(deb)
    if not any(found.values()):
        raise MirrorError(
            f"{folder} has no .deb file for amd64.",
            "Download the packages on a host with the internet (apt-get download …) and name "
            "the folder that holds them.",
        )
    return found


def repository_of(package: str) -> str:
    """The repository that a package belongs in; with the driver lies whatever it depends on."""
    for repository, patterns in (("docker", _DOCKER), ("toolkit", _TOOLKIT)):
        if any(fnmatchcase(package, pattern) for pattern in patterns):
            return repository
    return "driver"


def _identity(deb: Path) -> tuple[str, str]:
    printed = run(
        ["dpkg-deb", "--show", "--showformat=${Package} ${Architecture}", deb],
        purpose=f"Reading what {deb} is",
        remedy="Remove the file where it is no package, or download it again.",
    )
    name, architecture = printed.split()
    return name, architecture


def _publish(www: Path, system: System, keys: VendorKeys, found: dict[str, list[Path]]) -> None:
    docker = www / system.docker
    debrepo.place(found["docker"], docker / system.docker_pool)
    release = Release("Docker", "Docker CE", system.codename, "stable")
    debrepo.publish_dists(docker, system.docker_pool, release, keys.docker)
    _publish_flat(
        www / system.driver, Release("NVIDIA", "NVIDIA CUDA"), keys.driver, found["driver"]
    )
    toolkit = Release("NVIDIA", "NVIDIA Container Toolkit")
    _publish_flat(www / system.toolkit, toolkit, keys.toolkit, found["toolkit"])
    for key, target in (
        (keys.docker, docker / "gpg"),
        (keys.driver, www / system.driver / DRIVER_KEY),
        (keys.toolkit, www / layout.TOOLKIT / "gpgkey"),
    ):
        shutil.copy(key.public, target)


def _publish_flat(root: Path, release: Release, key: SigningKey, debs: Sequence[Path]) -> None:
    debrepo.place(debs, root)
    debrepo.publish_flat(root, release, key)


def _write_variables(file: Path, system: System, variables: dict[str, str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(variables, sort_keys=False)
    file.write_text("---\n" + _HEADER.format(system=system.name) + text)
