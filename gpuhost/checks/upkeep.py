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
_NOTHING = "nothing of driver, docker and toolkit that upgrades by itself"
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

    Hold the packages that the finding names (provisioning does that for the driver), or take
    their repository out of what unattended upgrades take from.
    """
    found = facts.upkeep["upgrades"]
    pending = found["pending"]
    if pending is None:
        return undetermined(
            "which upgrades wait is unknown",
            seen=found["error"] or "no answer",
            expected=_NOTHING,
            cause="the package manager does not answer, or its database is damaged",
            remedy="apt-get -s dist-upgrade || dnf check-update",
        )
    # Evidence from before that was read has only what waits.
    exposed = found.get("exposed", [upgrade["name"] for upgrade in pending])
    tonight = [upgrade for upgrade in pending if upgrade["name"] in exposed]
    if found["automatic"] and tonight:
        names = [upgrade["name"] for upgrade in tonight]
        return _by_itself(f"the next unattended upgrade replaces {_kinds(names)}", tonight, names)
    if found["automatic"] and exposed:
        return _by_itself(f"an unattended upgrade may replace {_kinds(exposed)}", (), exposed)
    spared = "; unattended upgrades leave them alone" if found["automatic"] else ""
    if not pending:
        return passed(f"none waits{spared}")
    many = counted(len(pending), "upgrade")
    return passed(
        f"{many} available; {'none is installed by itself' if not spared else spared[2:]}"
    )


def _by_itself(summary: str, tonight: Sequence[Upgrade], names: Sequence[str]) -> Finding:
    then = (
        "then the GPUs fail until the host is rebooted"
        if any(map(_is_driver, names))
        else "then docker is restarted, with all that runs in it"
    )
    return warned(
        summary,
        seen=_shown(tonight) or f"none waits now; not held: {listed(names)}",
        expected=_NOTHING,
        cause="unattended upgrades are on and take from these packages' repositories, and the "
        f"packages are neither held nor excluded; {then}",
        remedy=f"apt-mark hold {' '.join(names)} || dnf versionlock add {' '.join(names)}  "
        f"# or: {PROVISION}",
    )


def _is_driver(name: str) -> bool:
    return bool(_DRIVER.search(name)) and not _TOOLKIT.search(name)


def _kinds(names: Sequence[str]) -> str:
    kinds = {
        "the driver": any(map(_is_driver, names)),
        "the toolkit": any(_TOOLKIT.search(name) for name in names),
        "docker": any(re.search("docker|containerd", name) for name in names),
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
