"""The machine itself: operating system and pending reboots."""

from __future__ import annotations

from gpuhost.checks.facts import Facts
from gpuhost.checks.finding import Finding, failed, passed, warned
from gpuhost.checks.registry import check
from gpuhost.checks.remedies import REBOOT

_RHEL = ("8", "9", "10")
SUPPORTED = {
    "debian": ("12", "13"),
    "ubuntu": ("22.04", "24.04", "26.04"),
    "rhel": _RHEL,
    "rocky": _RHEL,
    "almalinux": _RHEL,
    "centos": ("9", "10"),
}
ARCHITECTURES = ("x86_64", "aarch64")


def _supported() -> str:
    return "; ".join(f"{name} {', '.join(versions)}" for name, versions in SUPPORTED.items())


@check("host.os", "The operating system is one that gpuhost supports", needs=("system",))
def operating_system(facts: Facts) -> Finding:
    """Docker and NVIDIA publish packages for some releases only; the roles know those."""
    system = facts.system
    name, version = system["os_id"], system["os_version_id"]
    seen = f"{system['os_pretty_name']} on {system['arch']}"
    if name not in SUPPORTED or system["arch"] not in ARCHITECTURES:
        return failed(
            f"{seen} is not supported",
            seen=f"{name} {version}, {system['arch']}",
            expected=f"{_supported()}; on {' or '.join(ARCHITECTURES)}",
            cause="Docker or NVIDIA publish no packages for it, or the roles do not know them",
            remedy="Install a supported release.",
        )
    # RHEL and its kin have minor releases: 9.6 is a 9.
    release = version.partition(".")[0] if SUPPORTED[name] in (_RHEL, ("9", "10")) else version
    if release in SUPPORTED[name]:
        return passed(seen)
    return warned(
        f"{seen} is not a release that gpuhost is tested on",
        seen=f"{name} {version}",
        expected=f"{name} {', '.join(SUPPORTED[name])}",
        cause="packages for this release may be missing or lag behind",
        remedy="Plan an upgrade to a release of the list.",
    )


@check("host.reboot", "No reboot is pending", needs=("system",))
def pending_reboot(facts: Facts) -> Finding:
    """What was updated and not yet loaded takes effect at the next reboot, planned or not."""
    system = facts.system
    if not system["reboot_required"]:
        return passed(f"none pending on kernel {system['kernel']}")
    return warned(
        "the host waits for a reboot",
        seen=f"a reboot is required; running kernel {system['kernel']}",
        expected="no reboot pending",
        cause="updates were installed that take effect only after a reboot",
        remedy=f"{REBOOT}  # at a time that suits; then: gpuhost verify <host>",
    )
