"""Everything that decides whether a host can be provisioned, as a plain dict; changes nothing."""

from __future__ import annotations

import pwd
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import driver_state, mig_geometry, package_state
from .daemon_config import InvalidConfigError, parse
from .driver_state import run
from .texts import read_utf8

DAEMON_JSON = "/etc/docker/daemon.json"
WRITTEN_TO = ("/boot", "/etc", "/usr", "/var")


def read(free_paths: Sequence[str], users: Sequence[str]) -> dict[str, Any]:
    """The state that :mod:`host_checks` judges.

    ``free_paths`` are where room is needed, ``users`` those that should exist.
    """
    state = driver_state.read()
    sources = package_state.unusable_sources()
    replaced = package_state.replaced_packages()
    state.update(
        headers_installable=headers_are_installable(state["kernel"]),
        free_mib={path: driver_state.free_mib(path) for path in free_paths},
        read_only=package_state.read_only(WRITTEN_TO),
        daemon_json_error=daemon_json_error(DAEMON_JSON),
        gpg_missing=shutil.which("gpg") is None,
        package_lock=package_state.lock(),
        packages_broken=package_state.broken_packages(),
        replaced_packages=replaced,
        removed_with_conflicts=package_state.removed_with_conflicts(replaced),
        distribution_driver=package_state.distribution_driver(),
        runfile_driver=package_state.runfile_driver(),
        nvswitches=driver_state.nvswitches(),
        docker_snap=package_state.docker_snap(),
        unusable_sources=[source for source in sources if not source["replaced"]],
        replaced_sources=[source["file"] for source in sources if source["replaced"]],
        known_users=[name for name in users if is_user(name)],
    )
    return state


def mig_gpus() -> list[dict[str, Any]] | None:
    """What each GPU can be divided into; ``None`` where no driver is there to tell."""
    if driver_state.loaded_version() is None:
        return None
    try:
        return [asdict(gpu) for gpu in mig_geometry.read()]
    except mig_geometry.NvmlError:
        return None


def is_user(name: str) -> bool:
    """Whether the host knows a user, from its files or a directory."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def headers_are_installable(kernel: str) -> bool | None:
    """Whether apt's lists have the headers of ``kernel``.

    ``None`` if they cannot tell: there are none yet, or the kernel did not come
    from a package.
    """
    if not any(Path("/var/lib/apt/lists").glob("*_Packages*")):
        return None
    status, image = run("dpkg-query", "-W", "-f", "${db:Status-Status}", f"linux-image-{kernel}")
    if status != 0 or image != "installed":
        return None
    status, policy = run("apt-cache", "policy", f"linux-headers-{kernel}")
    return status == 0 and "Candidate: " in policy and "Candidate: (none)" not in policy


def daemon_json_error(path: str) -> str | None:
    """What is wrong with the daemon.json at ``path``; ``None`` if nothing is."""
    try:
        parse(read_utf8(path) or "")
    except InvalidConfigError as error:
        return str(error)
    except (OSError, UnicodeDecodeError) as error:
        return f"it cannot be read: {error}"
    return None
