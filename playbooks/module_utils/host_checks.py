"""What stands against making a GPU container host of a machine. No I/O.

Each check takes the state that :mod:`driver_state` reads and what is wanted,
and yields reasons. The role preflight judges by it on the host before anything
is touched. It imports its neighbours by relative names and nothing else, so that
the controller could judge by this very file too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import mig_geometry
from .nvidia_pci import Gpu, choose_modules

State = Mapping[str, Any]

ARCHITECTURES = ("x86_64", "aarch64")
SEVERAL = 2


@dataclass(frozen=True)
class Reason:
    """One thing in the way: what was found, why that stops, and what to do about it.

    ``override`` says which variable goes on in spite of it; empty where nothing can.
    """

    name: str
    found: str
    why: str
    remedy: str
    override: str = ""

    @property
    def lines(self) -> list[str]:
        """The reason as people read it."""
        said = [
            f"- {self.name}: {self.found}",
            f"· why: {self.why}",
            f"· remedy: {self.remedy}",
        ]
        return said + ([f"· or set: {self.override}"] if self.override else [])


def message(found: Sequence[Reason]) -> str:
    """What an operator reads where there are reasons."""
    count = f"{len(found)} things stand" if len(found) >= SEVERAL else "one thing stands"
    head = f"Nothing was changed, because {count} against provisioning this host:"
    return "\n".join([head, *(line for reason in found for line in reason.lines)])


@dataclass(frozen=True)
class Wanted:
    """What the inventory asks for, as far as it can be impossible.

    ``override`` names reasons that the operator goes on in spite of.
    """

    supported: Mapping[str, Sequence[str]]  # os-release ID → list of versions
    branch: str
    version: str = ""
    modules: str = "auto"
    free_mib: Mapping[str, int] = field(default_factory=dict)  # path → MiB
    users: Sequence[str] = ()
    create_users: bool = False
    replace_foreign: bool = False
    remove_podman: bool = False
    override: Sequence[str] = ()
    mig_entries: Sequence[mig_geometry.Entry] = ()


def reasons(state: State, wanted: Wanted) -> tuple[str | None, list[Reason]]:
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
        *_foreign_driver(state, wanted),
        *_busy(state, wanted, flavour),
        *_disk(state, wanted),
        *_packages(state),
        *_package_sources(state),
        *_needed_packages(state, wanted),
        *_docker_snap(state),
        *_daemon_json(state),
        *_users(state, wanted),
        *_mig(state, wanted),
    ]
    return flavour, [reason for reason in found if not _is_overridden(reason, wanted)]


def _is_overridden(reason: Reason, wanted: Wanted) -> bool:
    return reason.override == _by_name(reason.name) and reason.name in wanted.override


def _by_name(name: str) -> str:
    """The override of a reason that has no variable of its own."""
    return f"preflight_override: [{name}]"


def _operating_system(state: State, wanted: Wanted) -> Iterator[Reason]:
    release = state["os"]
    version = release.get("version_id", "")
    versions = wanted.supported.get(release.get("id", ""), [])
    if version not in versions and version.partition(".")[0] not in versions:
        offered = "; ".join(
            f"{name} {', '.join(versions)}" for name, versions in wanted.supported.items()
        )
        yield Reason(
            "operating-system",
            f"{release.get('pretty_name', 'this operating system')} is not supported",
            "nobody has tried these roles on it",
            f"install one of {offered}",
        )
    if state["machine"] not in ARCHITECTURES:
        yield Reason(
            "architecture",
            f"this is a machine of {state['machine']}",
            f"there are no packages for {state['machine']}",
            f"use a machine of {' or '.join(ARCHITECTURES)}",
        )
    if state["gpg_missing"]:
        yield Reason(
            "no-gnupg",
            "gpg is not installed",
            "the fingerprints of the repositories' keys are checked with it",
            "apt-get install gnupg (dnf install gnupg2)",
        )


def _bus(gpus: Sequence[Gpu]) -> Iterator[Reason]:
    if not gpus:
        yield Reason(
            "no-gpu",
            "there is no NVIDIA GPU on the PCI bus",
            "a driver would have nothing to drive",
            "check that it is seated and powered and that the firmware lists it "
            "(lspci -d 10de:), or take the host out of this inventory",
        )


def _modules(gpus: Sequence[Gpu], wanted: Wanted) -> tuple[str | None, list[Reason]]:
    if not wanted.branch.isdigit():
        reason = Reason(
            "driver-version",
            f"nvidia_driver_branch is {wanted.branch!r}",
            "it is no branch",
            'set it to the first number of the driver\'s version, such as "580"',
        )
        return None, [reason]
    flavour, problems = choose_modules(gpus, int(wanted.branch), wanted.modules)
    return flavour, [
        Reason("unsupported-gpu", problem.found, problem.why, problem.remedy)
        for problem in problems
    ]


def _exact_version(wanted: Wanted) -> Iterator[Reason]:
    if wanted.version and not wanted.version.startswith(f"{wanted.branch}."):
        yield Reason(
            "driver-version",
            f"nvidia_driver_version is {wanted.version}",
            f"it is not of nvidia_driver_branch {wanted.branch}",
            "make the two agree",
        )


def _secure_boot(state: State) -> Iterator[Reason]:
    if state["secure_boot"] and not state["signing_key_enrolled"] and not state["loaded_version"]:
        yield Reason(
            "secure-boot",
            "Secure Boot is on, and no key that DKMS signs with is enrolled",
            'the kernel would refuse the driver ("Key was rejected by service")',
            "enrol one at the console (mokutil --import /var/lib/dkms/mok.pub, reboot, confirm), "
            "or turn Secure Boot off in the firmware",
            _by_name("secure-boot"),
        )


def _headers(state: State) -> Iterator[Reason]:
    if not state["headers_present"] and state["headers_installable"] is False:
        kernel = state["kernel"]
        yield Reason(
            "no-headers",
            f"the headers of the running kernel {kernel} are neither installed nor in the "
            "package lists",
            "the driver's modules could not be built",
            "install a current kernel and reboot into it, or install "
            f"linux-headers-{kernel} by hand",
            _by_name("no-headers"),
        )


def _foreign_driver(state: State, wanted: Wanted) -> Iterator[Reason]:
    if wanted.replace_foreign:
        return
    by_hand = "nvidia_driver_replace_foreign: true"
    packages = state["distribution_driver"]
    if packages:
        yield Reason(
            "distribution-driver",
            f"a driver of the distribution's own is installed ({_shortened(packages)})",
            "its packages have the names of NVIDIA's and another layout, and must not be mixed",
            f"remove it: apt-get purge {' '.join(packages)}",
            by_hand,
        )
    if state["runfile_driver"]:
        yield Reason(
            "runfile-driver",
            f"NVIDIA's .run installer has been here ({state['runfile_driver']} belongs to no "
            "package)",
            "its files would shadow those of the packages",
            f"{state['runfile_driver']} --silent, and then run this again",
            by_hand,
        )


def _disk(state: State, wanted: Wanted) -> Iterator[Reason]:
    for path, needed in wanted.free_mib.items():
        free = state["free_mib"].get(path)
        if free is not None and free < int(needed):
            yield Reason(
                "disk-full",
                f"{path} has {free} MiB free and {needed} MiB are needed",
                "an installation that runs out of space leaves packages half installed",
                f"make room there (du -xh --max-depth=2 {path} | sort -h)",
                f"preflight_free_mib: {{{path}: …}}",
            )
    for path in state["read_only"]:
        yield Reason(
            "read-only",
            f"{path} is mounted read-only",
            "nothing can be installed there",
            f"see why (dmesg, /etc/fstab), then mount -o remount,rw {path}",
        )


def _packages(state: State) -> Iterator[Reason]:
    if state["packages_broken"]:
        yield Reason(
            "broken-packages",
            f"packages lack what they depend on: {'; '.join(state['packages_broken'])}",
            "apt installs nothing until that is mended",
            "apt-get --fix-broken install",
        )
    lock = state["package_lock"]
    if lock:
        yield Reason(
            "packages-locked",
            f"the package manager is locked by {lock['process']} ({lock['path']})",
            "nothing can be installed while it works",
            f"wait until it has ended, or see what it waits for (systemctl status {lock['pid']})",
            f"preflight_lock_timeout: … (it was waited for {lock['waited_s']} s)"
            if lock["waited_s"]
            else "",
        )


def _package_sources(state: State) -> Iterator[Reason]:
    for source in state["unusable_sources"]:
        yield Reason(
            "expired-key" if source["problem"] == "has expired" else "unusable-key",
            f"the key {source['key']} of the package source {source['file']} {source['problem']}",
            "apt refuses its repository, and with it every update of the package lists",
            f"install the publisher's current key, or remove {source['file']}",
        )


def _needed_packages(state: State, wanted: Wanted) -> Iterator[Reason]:
    """Packages that would go with those that conflict with Docker's."""
    going = [name for name in state["removed_with_conflicts"] if name != "podman"]
    if not wanted.remove_podman:
        going = state["removed_with_conflicts"]
    if going:
        podman = going == ["podman"]
        has_apt = state["os"]["id"] in ("debian", "ubuntu")
        installer = "apt-get" if has_apt else "dnf"
        who_needs = "apt-cache rdepends --installed" if has_apt else "rpm -q --whatrequires"
        yield Reason(
            "needed-packages",
            f"{' and '.join(going)} would be removed, with the packages that docker-ce replaces",
            "what runs by them would stop working",
            f"{installer} install crun, which podman takes in place of runc, or remove podman"
            if podman
            else f"find out who needs them ({who_needs} {' '.join(going)})",
            "docker_ce_remove_podman: true" if podman else _by_name("needed-packages"),
        )


def _docker_snap(state: State) -> Iterator[Reason]:
    if state["docker_snap"]:
        yield Reason(
            "docker-snap",
            f"Docker is installed as a snap ({state['docker_snap']})",
            "it has the socket and the command that docker-ce needs, and cannot use GPUs",
            "save its volumes (/var/snap/docker), then snap remove docker",
        )


def _daemon_json(state: State) -> Iterator[Reason]:
    if state["daemon_json_error"]:
        yield Reason(
            "daemon-json",
            f"/etc/docker/daemon.json cannot be merged into: {state['daemon_json_error']}",
            "keys that are in it would be lost",
            "correct the file or move it away",
        )


def _users(state: State, wanted: Wanted) -> Iterator[Reason]:
    missing = [name for name in wanted.users if name not in state["known_users"]]
    if missing and not wanted.create_users:
        yield Reason(
            "missing-users",
            f"there is no user {', '.join(missing)} on this host",
            "docker_users_names declares them",
            "create them, or correct docker_users_names",
            "docker_users_create: true",
        )


def _busy(state: State, wanted: Wanted, flavour: str | None) -> Iterator[Reason]:
    """Busy GPUs stand in the way only of what has to unload the driver under them."""
    loaded_is_wanted = (
        state["loaded_version"] == state["on_disk_version"]
        and state["loaded_modules"] in (flavour, None)
        and on_disk_is_wanted(state, wanted, flavour)
    )
    if not state["gpu_users"] or loaded_is_wanted or flavour is None:
        return
    yield Reason(
        "busy-gpus",
        f"GPUs are in use by {', '.join(state['gpu_users'])}",
        f"the driver has to be replaced under them (loaded: {state['loaded_version']})",
        "drain the host or stop them",
        _by_name("busy-gpus"),
    )


def _mig(state: State, wanted: Wanted) -> Iterator[Reason]:
    # Without a driver nobody can tell; the role nvidia_mig looks when there is one.
    gpus = [mig_geometry.from_document(gpu) for gpu in state.get("mig_gpus") or ()]
    if not gpus:
        return
    problems = mig_geometry.problems(wanted.mig_entries, gpus)
    if problems:
        yield Reason(
            "mig-layout",
            "; ".join(problems),
            "the GPUs cannot be divided as nvidia_mig_layout says",
            "choose another nvidia_mig_layout, or correct nvidia_mig_config "
            "(nvidia-smi mig -lgip lists what a GPU offers)",
        )


def on_disk_is_wanted(state: State, wanted: Wanted, flavour: str | None) -> bool:
    """Whether the driver on disk is of the wanted version, or branch, and flavour."""
    version = state["on_disk_version"] or ""
    exact = wanted.version.partition("-")[0]
    matches = version == exact if exact else version.startswith(f"{wanted.branch}.")
    return matches and state["on_disk_modules"] == flavour


def _shortened(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
