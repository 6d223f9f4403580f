"""What a GPU container host is made of: one row a component. Everything else is derived from it.

A component is a role with a row here and a line in ``playbooks/provision.yml``
(a test holds the two together). The row says how the plan calls it, which
checks are its own and what it builds on.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Component:
    """One component. ``after`` are roles that it builds on: when one of them runs, so does it.

    ``areas`` are the areas of checks that say whether the component works, and
    ``packages`` the packages whose candidates a plan of it may need, under
    every operating system. ``reboots``: it is its role that reboots the host.
    """

    role: str
    label: str
    areas: tuple[str, ...]
    after: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    reboots: bool = False


# In the order in which a host is built up, which is that of provision.yml.
COMPONENTS = (
    Component(
        role="nvidia_driver",
        label="driver",
        areas=("driver", "smi"),
        reboots=True,
        packages=(
            "cuda-drivers",
            "nvidia-open",
            "nvidia-driver-cuda",
            "nvidia-kernel-dkms",
            "nvidia-kernel-open-dkms",
            "kmod-nvidia-latest-dkms",
            "kmod-nvidia-open-dkms",
            "nvidia-persistenced",
        ),
    ),
    Component(
        role="nvidia_fabric_manager",
        label="fabric",
        areas=(),
        after=("nvidia_driver",),
    ),
    Component(
        role="nvidia_mig",
        label="mig",
        areas=(),
        after=("nvidia_driver",),
        packages=("nvidia-mig-manager",),
    ),
    Component(
        role="docker_ce",
        label="docker",
        areas=("docker",),
        packages=(
            "docker-ce",
            "docker-ce-cli",
            "containerd.io",
            "docker-buildx-plugin",
            "docker-compose-plugin",
        ),
    ),
    Component(
        role="nvidia_container_toolkit",
        label="toolkit",
        areas=("toolkit", "cdi"),
        after=("nvidia_driver", "docker_ce"),
        packages=(
            "nvidia-container-toolkit",
            "nvidia-container-toolkit-base",
            "libnvidia-container-tools",
            "libnvidia-container1",
        ),
    ),
    Component(role="docker_users", label="users", areas=("users",), after=("docker_ce",)),
    Component(role="registry_login", label="logins", areas=(), after=("docker_ce",)),
)
ROLES = tuple(component.role for component in COMPONENTS)
PACKAGES = tuple(package for component in COMPONENTS for package in component.packages)
