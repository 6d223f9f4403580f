"""What happens while nobody looks: the clock, upgrades at night, the next boot."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gpuhost.checks.facts import Facts
from gpuhost.checks.finding import Finding, failed, not_applicable, passed, undetermined, warned
from gpuhost.checks.registry import check
from gpuhost.checks.remedies import PROVISION
from gpuhost.checks.words import counted, listed
from gpuhost.probe.schema import Unit, Upgrade

_DRIVER = re.compile(r"nvidia|cuda-drivers|libcuda1|kmod-nvidia")
_TOOLKIT = re.compile(r"nvidia-container|libnvidia-container")
SHOWN = 6


@check("upkeep.clock", "The clock is kept right", needs=("upkeep",))
def clock(facts: Facts) -> Finding:
    """A wrong clock breaks certificates, tokens and every comparison of logs.

    Install and start a time service (chrony or systemd-timesyncd) that reaches its servers.
    """
    found = facts.upkeep["clock"]
    units = found["units"]
    seen_units = listed(f"{u['name']} {u['active_state']}" for u in units)
    expected = "a synchronised clock"
    if found["synchronised"] is None:
        return undetermined(
            "whether the clock is right is unknown",
            seen=found["error"] or "timedatectl does not tell",
            expected=expected,
            cause="systemd-timedated does not answer",
            remedy="timedatectl; chronyc tracking",
        )
    if found["synchronised"]:
        return passed(seen_units or "synchronised")
    cause, remedy = _why_loose(units)
    return warned(
        "the clock is not synchronised",
        seen=f"NTPSynchronized=no; {seen_units or 'no time service is installed'}",
        expected=expected,
        cause=cause,
        remedy=remedy,
    )


def _why_loose(units: Sequence[Unit]) -> tuple[str, str]:
    if not units:
        return (
            "nothing on the host keeps the clock right",
            "apt-get install chrony || dnf install chrony",
        )
    name = units[0]["name"]
    if not any(unit["active_state"] == "active" for unit in units):
        return "the time service does not run", f"systemctl enable --now {name}"
    return (
        "the time service reaches no time server",
        f"timedatectl timesync-status || chronyc sources  # then look at {name}'s servers",
    )


@check(
    "upkeep.upgrades", "No upgrade at night replaces driver, docker or toolkit", needs=("upkeep",)
)
def upgrades(facts: Facts) -> Finding:
    """An unattended upgrade is the usual reason why a host that worked does not in the morning.

    Hold the packages that the finding names; provisioning does that for the driver.
    """
    found = facts.upkeep["upgrades"]
    pending = found["pending"]
    expected = "nothing of driver, docker and toolkit that upgrades by itself"
    if pending is None:
        return undetermined(
            "which upgrades wait is unknown",
            seen=found["error"] or "no answer",
            expected=expected,
            cause="the package manager does not answer, or its database is damaged",
            remedy="apt-get -s dist-upgrade || dnf check-update",
        )
    if not pending:
        return passed("none waits")
    if not found["automatic"]:
        return passed(f"{counted(len(pending), 'upgrade')} available; none is installed by itself")
    is_driver = any(_is_driver(upgrade) for upgrade in pending)
    return warned(
        f"the next unattended upgrade replaces {_kinds(pending)}",
        seen=_shown(pending),
        expected=expected,
        cause="unattended upgrades are on, and these packages are neither held nor excluded; "
        + (
            "then the GPUs fail until the host is rebooted"
            if is_driver
            else "then docker is restarted, with all that runs in it"
        ),
        remedy=f"apt-mark hold {' '.join(each['name'] for each in pending)}  # or: {PROVISION}",
    )


def _is_driver(upgrade: Upgrade) -> bool:
    return bool(_DRIVER.search(upgrade["name"])) and not _TOOLKIT.search(upgrade["name"])


def _kinds(pending: Sequence[Upgrade]) -> str:
    kinds = {
        "the driver": any(map(_is_driver, pending)),
        "the toolkit": any(_TOOLKIT.search(upgrade["name"]) for upgrade in pending),
        "docker": any(re.search("docker|containerd", upgrade["name"]) for upgrade in pending),
    }
    return " and ".join(kind for kind, is_meant in kinds.items() if is_meant)


def _shown(pending: Sequence[Upgrade]) -> str:
    shown = [
        f"{u['name']} {u['installed'] or 'as installed'} → {u['candidate']}"
        for u in pending[:SHOWN]
    ]
    if len(pending) > SHOWN:
        shown.append(f"and {len(pending) - SHOWN} more")
    return "\n".join(shown)


@check(
    "upkeep.next_boot",
    "The kernel of the next boot has this very driver",
    needs=("upkeep", "driver", "system"),
)
def next_boot(facts: Facts) -> Finding:
    """A kernel without its nvidia module shows only when the host comes back without GPUs.

    Build the module for that kernel, with its headers and `dkms autoinstall`, before it boots.
    """
    boot, user_space = facts.upkeep["next_boot"], facts.driver["userspace_version"]
    kernel, module = boot["kernel"], boot["module_version"]
    if user_space is None and not facts.driver["on_disk_version"]:
        return not_applicable("no driver is installed")
    expected = f"driver {user_space} built for the kernel of the next boot"
    if kernel is None:
        return undetermined(
            "which kernel the next boot loads is unknown",
            seen="no kernel in /boot and no folder in /lib/modules",
            expected=expected,
            cause="the host boots in another way than from its own disk",
            remedy="ls /boot /lib/modules",
        )
    running = facts.system["kernel"]
    which = f"kernel {kernel}" + ("" if kernel == running else f" (running now: {running})")
    build = f"apt-get install -y linux-headers-{kernel}; dkms autoinstall -k {kernel}"
    if module is None:
        return failed(
            f"breaks at the next reboot: no nvidia module for kernel {kernel}",
            seen=f"next boot: {which}, without an nvidia module",
            expected=expected,
            cause="a kernel was installed and the module was not built for it: its headers are "
            "missing, or dkms failed",
            remedy=f"{build}  # look with: dkms status",
        )
    if module != user_space:
        return failed(
            f"breaks at the next reboot: kernel {kernel} has driver {module}",
            seen=f"next boot: {which} with {module}; user space {user_space or 'none'}",
            expected=expected,
            cause="the module for that kernel is of another version than the libraries",
            remedy=f"{PROVISION}  # installs every driver package at one version",
        )
    return passed(f"{which} with {module}")
