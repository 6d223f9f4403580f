"""Histories: what the past of a server leaves on it, so that a lab host need not be a bare one.

Each is made by what made it on real servers: packages, files, holds, running
containers, images and volumes. Several may be given to one host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from gpuhost.errors import UsageError
from gpuhost.lab.histories import containers, drivers, machines, packages
from gpuhost.lab.histories.past import Past
from gpuhost.suggest import did_you_mean


@dataclass(frozen=True)
class History:
    """A name, what it leaves in one line, and how it is lived through on a running host."""

    name: str
    about: str
    live: Callable[[Past], None]


# In the order in which they are lived through where a host has several.
_ALL = (
    History("nouveau", "nouveau has the GPUs, and was told to set modes", drivers.nouveau),
    History("old-driver", "an older branch of NVIDIA's driver, loaded", drivers.old_driver),
    History(
        "distribution-driver", "the driver from Debian's own non-free", drivers.distribution_driver
    ),
    History("runfile-driver", "a driver by NVIDIA's .run installer", drivers.runfile_driver),
    History("other-compiler", "dkms was told of a compiler that is gone", drivers.other_compiler),
    History("unsupported-gpu", "one GPU that the others' driver does not drive", machines.stranger),
    History("docker.io", "Debian's Docker, with containers and a volume", containers.docker_io),
    History(
        "nvidia-docker1",
        "nvidia-docker 1 with its plugin, volume and containers",
        containers.nvidia_docker1,
    ),
    History("nvidia-docker2", "nvidia-docker2, whose daemon.json it is", containers.nvidia_docker2),
    History(
        "foreign-daemon-json", "a daemon.json of somebody else's", containers.foreign_daemon_json
    ),
    History("podman", "podman, which needs Debian's runc", containers.podman),
    History("docker-snap", "Docker as a snap", containers.docker_snap),
    History("busy-gpus", "an older driver, and a training that uses it", drivers.busy_gpus),
    History("held-packages", "driver and docker-ce, older and on hold", packages.held_packages),
    History(
        "repo-key-expired", "Docker's repository with a key that expired", packages.key_expired
    ),
    History(
        "foreign-key-expired",
        "somebody's repository with a key that expired",
        packages.foreign_key_expired,
    ),
    History("broken-dpkg", "dpkg was interrupted between two packages", packages.broken_dpkg),
    History("failing-package", "a package that never gets configured", packages.failing_package),
    History(
        "unmet-dependency", "a package forced in without what it needs", packages.unmet_dependency
    ),
    History("apt-locked", "an unattended upgrade that does not end", packages.apt_locked),
    History("no-headers", "a kernel that the archive no longer has", packages.no_headers),
    History("secure-boot", "Secure Boot on, and no key enrolled", machines.secure_boot),
    History("disk-full", "/boot full of old kernels", machines.disk_full),
)
HISTORIES: Mapping[str, History] = {history.name: history for history in _ALL}


def check(names: Iterable[str]) -> tuple[str, ...]:
    """The names in the order in which they are lived through; UsageError for unknown ones."""
    wanted = set(names)
    for name in sorted(wanted - HISTORIES.keys()):
        raise UsageError(
            f"The lab knows no history {name!r}.{did_you_mean(name, HISTORIES)}",
            "gpuhost lab histories lists them.",
        )
    return tuple(name for name in HISTORIES if name in wanted)


__all__ = ["HISTORIES", "History", "Past", "check"]
