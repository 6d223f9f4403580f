"""Building an air-gapped site's mirror out of a folder of .deb or .rpm files.

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
from gpuhost.mirror import debrepo, layout, modules, rpmrepo
from gpuhost.mirror.debrepo import Release
from gpuhost.mirror.layout import System, VendorKeys
from gpuhost.mirror.signing import SigningKey, signing_key
from gpuhost.programs import run

DRIVER_KEY = "site-cuda.asc"
_DOCKER = ("docker-*", "containerd.io")
_TOOLKIT = ("nvidia-container-toolkit*", "libnvidia-container*")
_ARCHITECTURES = ("amd64", "all", "x86_64", "noarch")
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


def build(folder: Path, system: System, packages: Path, url: str, streams: str = "") -> Built:
    """Add the packages in a folder to the mirror in ``folder``, and sign it anew.

    What was in the mirror stays in it, so that pins and roll-backs still find
    their versions. ``streams`` is the YAML of the driver's modules, for dnf. Raises
    MirrorError where there is no package to serve.
    """
    found = _sorted_by_repository(packages, system)
    keys = VendorKeys(
        **{name: signing_key(folder / "keys", f"site-{name}") for name in found},
    )
    www = folder / "www"
    if system.kind == "rpm":
        _publish_rpms(
            www,
            system,
            keys,
            found,
            modules.kept(folder / "modules" / f"{system.name}.yaml", streams),
        )
    else:
        _publish_debs(www, system, keys, found)
    _publish_keys(www, system, keys)
    group_vars = folder / "group_vars" / f"{system.name}.yml"
    _write_variables(group_vars, system, layout.variables(url, system, keys, DRIVER_KEY))
    return Built(www, group_vars, **{name: len(debs) for name, debs in found.items()})


def _sorted_by_repository(folder: Path, system: System) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {"docker": [], "driver": [], "toolkit": []}
    for file in sorted(folder.rglob(f"*.{system.kind}")):
        name, architecture = _identity(file)
        if architecture in _ARCHITECTURES:
            found[repository_of(name)].append(file)
    if not any(found.values()):
        raise MirrorError(
            f"{folder} has no .{system.kind} file for amd64.",
            "Leave --packages out to have them downloaded from the vendors, or name the folder "
            "that holds them.",
        )
    return found


def repository_of(package: str) -> str:
    """The repository that a package belongs in; with the driver lies whatever it depends on."""
    for repository, patterns in (("docker", _DOCKER), ("toolkit", _TOOLKIT)):
        if any(fnmatchcase(package, pattern) for pattern in patterns):
            return repository
    return "driver"


def _identity(file: Path) -> tuple[str, str]:
    show = ["dpkg-deb", "--show", "--showformat=${Package} ${Architecture}"]
    if file.suffix == ".rpm":
        show = ["rpm", "--nosignature", "--query", "--queryformat", "%{NAME} %{ARCH}", "--package"]
    printed = run(
        [*show, file],
        purpose=f"Reading what {file} is",
        remedy="Remove the file where it is no package, or download it again.",
    )
    name, architecture = printed.split()
    return name, architecture


def _publish_rpms(
    www: Path, system: System, keys: VendorKeys, found: dict[str, list[Path]], streams: str
) -> None:
    for key, root, packages, yaml_of_modules in (
        (keys.docker, system.docker / system.docker_pool, found["docker"], ""),
        (keys.driver, system.driver, found["driver"], streams),
        (keys.toolkit, system.toolkit, found["toolkit"], ""),
    ):
        debrepo.place(packages, www / root)
        rpmrepo.sign_packages([www / root / package.name for package in packages], key)
        rpmrepo.publish(www / root, key, yaml_of_modules)


def _publish_debs(
    www: Path, system: System, keys: VendorKeys, found: dict[str, list[Path]]
) -> None:
    docker = www / system.docker
    debrepo.place(found["docker"], docker / system.docker_pool)
    release = Release("Docker", "Docker CE", system.codename, "stable")
    debrepo.publish_dists(docker, system.docker_pool, release, keys.docker)
    _publish_flat(
        www / system.driver, Release("NVIDIA", "NVIDIA CUDA"), keys.driver, found["driver"]
    )
    toolkit = Release("NVIDIA", "NVIDIA Container Toolkit")
    _publish_flat(www / system.toolkit, toolkit, keys.toolkit, found["toolkit"])


def _publish_keys(www: Path, system: System, keys: VendorKeys) -> None:
    for key, target in (
        (keys.docker, www / system.docker / "gpg"),
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
