"""What stands against making a GPU container host of a machine. No I/O.

Each check takes the state that :mod:`driver_state` reads and what is wanted,
and yields reasons: what is in the way, and how to get it out of the way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.nvidia_pci import Gpu, choose_modules

State = Mapping[str, Any]

ARCHITECTURES = ("x86_64", "aarch64")


@dataclass(frozen=True)
class Wanted:
    """What the inventory asks for, as far as it can be impossible."""

    supported: Mapping[str, Sequence[str]]  # os-release ID → list of versions
    branch: str
    version: str = ""
    modules: str = "auto"
    free_mib: Mapping[str, int] = field(default_factory=dict)  # path → MiB


def reasons(state: State, wanted: Wanted) -> tuple[str | None, list[str]]:
    """Every reason not to begin, and the flavour of kernel modules to install.

    Returns ``(flavour, reasons)``; the flavour is ``None`` if none is possible.
    """
    gpus = [Gpu(gpu["address"], gpu["device"]) for gpu in state["gpus"]]
    flavour, of_modules = _modules(gpus, wanted)
    found = [
        *_operating_system(state, wanted),
        *_bus(gpus),
        *of_modules,
        *_exact_version(wanted),
        *_secure_boot(state),
        *_headers(state),
        *_disk(state, wanted),
        *_daemon_json(state),
    ]
    if not found:
        found = list(_busy(state, wanted, flavour))
    return flavour, found


def _operating_system(state: State, wanted: Wanted) -> Iterator[str]:
    release = state["os"]
    version = release.get("version_id", "")
    versions = wanted.supported.get(release.get("id", ""), [])
    if version not in versions and version.partition(".")[0] not in versions:
        offered = "; ".join(
            f"{name} {', '.join(versions)}" for name, versions in wanted.supported.items()
        )
        yield (
            f"{release.get('pretty_name', 'This operating system')} is not supported: "
            f"install one of {offered}."
        )
    if state["machine"] not in ARCHITECTURES:
        yield (
            f"There are no packages for {state['machine']}: "
            f"use a machine of {' or '.join(ARCHITECTURES)}."
        )


def _bus(gpus: Sequence[Gpu]) -> Iterator[str]:
    if not gpus:
        yield (
            "There is no NVIDIA GPU on the PCI bus: check that it is seated and powered, that "
            "the firmware lists it (lspci -d 10de:), or take the host out of this inventory."
        )


def _modules(gpus: Sequence[Gpu], wanted: Wanted) -> tuple[str | None, list[str]]:
    if not wanted.branch.isdigit():
        problem = (
            f"nvidia_driver_branch is {wanted.branch!r}: set it to the first number of the "
            'driver\'s version, such as "580".'
        )
        return None, [problem]
    return choose_modules(gpus, int(wanted.branch), wanted.modules)


def _exact_version(wanted: Wanted) -> Iterator[str]:
    if wanted.version and not wanted.version.startswith(f"{wanted.branch}."):
        yield (
            f"nvidia_driver_version {wanted.version} is not of nvidia_driver_branch "
            f"{wanted.branch}: make the two agree."
        )


def _secure_boot(state: State) -> Iterator[str]:
    if state["secure_boot"] and not state["signing_key_enrolled"] and not state["loaded_version"]:
        yield (
            "Secure Boot is on and no key that DKMS signs with is enrolled, so the kernel would "
            'refuse the driver ("Key was rejected by service"): enrol one at the console '
            "(mokutil --import /var/lib/dkms/mok.pub, reboot, confirm), or turn Secure Boot off."
        )


def _headers(state: State) -> Iterator[str]:
    if not state["headers_present"] and state["headers_installable"] is False:
        kernel = state["kernel"]
        yield (
            f"The headers of the running kernel {kernel} are neither installed nor in the "
            "package lists: install a current kernel and reboot into it, or install "
            f"linux-headers-{kernel}."
        )


def _disk(state: State, wanted: Wanted) -> Iterator[str]:
    for path, needed in wanted.free_mib.items():
        free = state["free_mib"][path]
        if free < int(needed):
            yield f"{path} has {free} MiB free and {needed} MiB are needed: make room there."


def _daemon_json(state: State) -> Iterator[str]:
    if state["daemon_json_error"]:
        yield (
            f"/etc/docker/daemon.json cannot be merged into because {state['daemon_json_error']}: "
            "correct the file or move it away."
        )


def _busy(state: State, wanted: Wanted, flavour: str | None) -> Iterator[str]:
    """Busy GPUs stand in the way only of what has to unload the driver under them."""
    loaded_is_wanted = (
        state["loaded_version"] == state["on_disk_version"]
        and state["loaded_modules"] in (flavour, None)
        and on_disk_is_wanted(state, wanted, flavour)
    )
    if not state["gpu_users"] or loaded_is_wanted:
        return
    yield (
        f"The driver has to be replaced (loaded: {state['loaded_version']}), and GPUs are in use "
        f"by {', '.join(state['gpu_users'])}: drain the host or stop them."
    )


def on_disk_is_wanted(state: State, wanted: Wanted, flavour: str | None) -> bool:
    """Whether the driver on disk is of the wanted version, or branch, and flavour."""
    version = state["on_disk_version"] or ""
    exact = wanted.version.partition("-")[0]
    matches = version == exact if exact else version.startswith(f"{wanted.branch}.")
    return matches and state["on_disk_modules"] == flavour
