"""The machine itself: operating system, disks and pending reboots."""

from __future__ import annotations

from gpuhost.checks.facts import Facts
from gpuhost.checks.finding import Finding, failed, passed, undetermined, warned
from gpuhost.checks.registry import check
from gpuhost.checks.remedies import REBOOT, VERIFY
from gpuhost.checks.words import listed
from gpuhost.probe.schema import Disk

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

MIB, GIB = 1 << 20, 1 << 30
# Of bytes: what is too little to work, and what is soon too little. A kernel with its initramfs
# takes 100 MiB of /boot.
LEAST_FREE = {"/boot": (50 * MIB, 150 * MIB)}
LEAST_FREE_ELSEWHERE = (1 * GIB, 5 * GIB)
LEAST_INODES_PERCENT = 1


def _supported() -> str:
    return "; ".join(f"{name} {', '.join(versions)}" for name, versions in SUPPORTED.items())


@check("host.os", "The operating system is one that gpuhost supports", needs=("system",))
def operating_system(facts: Facts) -> Finding:
    """Docker and NVIDIA publish packages for some releases only; the roles know those.

    Install a release of the list, or take the host out of the inventory. Everything else may
    still work, but nobody has tried it.
    """
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
    """What was updated and not yet loaded takes effect at the next reboot, planned or not.

    Drain the host, reboot it at a time that suits, and verify it again.
    """
    system = facts.system
    if not system["reboot_required"]:
        return passed(f"none pending on kernel {system['kernel']}")
    return warned(
        "the host waits for a reboot",
        seen=f"a reboot is required; running kernel {system['kernel']}",
        expected="no reboot pending",
        cause="updates were installed that take effect only after a reboot",
        remedy=f"{REBOOT}  # at a time that suits; then: {VERIFY}",
    )


@check("host.disk", "There is space left for images, packages and logs", needs=("system",))
def disk(facts: Facts) -> Finding:
    """A full disk stops pulls, upgrades and dockerd itself, each with another error.

    Free space where the check says so: `docker system df` shows what images and containers
    take, `journalctl --disk-usage` what logs do.
    """
    disks = _file_systems(facts.system["disks"])
    if not disks:
        return undetermined(
            "how much space is left is unknown",
            seen="no file system in the evidence",
            expected="sizes of /, /var and docker's folders",
            cause="the file systems do not answer, or the evidence is damaged",
            remedy=f"df -h; then: {VERIFY}",
        )
    full = [each for each in disks if _free(each) < _least(each)[0] or _inodes_are_out(each)]
    short = [each for each in disks if _free(each) < _least(each)[1]]
    if not full and not short:
        tightest = min(disks, key=_free)
        return passed(f"{_size(tightest['free_bytes'])} or more free")
    meant = full or short
    paths = [each["path"] for each in meant]
    say = failed if full else warned
    return say(
        f"{listed(paths)} {'is' if len(paths) == 1 else 'are'} {'' if full else 'nearly '}full",
        seen=listed(_shown(each) for each in meant),
        expected=listed(f"{_size(_least(each)[1])} free on {each['path']}" for each in meant),
        cause="images, containers, logs or old kernels have used it up",
        remedy=_make_room(paths),
    )


def _file_systems(disks: list[Disk]) -> list[Disk]:
    """Each file system once, by the first of its paths."""
    return list({(d["total_bytes"], d["free_bytes"]): d for d in reversed(disks)}.values())[::-1]


def _free(disk: Disk) -> int:
    return disk["free_bytes"]


def _least(disk: Disk) -> tuple[int, int]:
    return LEAST_FREE.get(disk["path"], LEAST_FREE_ELSEWHERE)


def _inodes_are_out(disk: Disk) -> bool:
    total = disk.get("total_inodes", 0)
    return total > 0 and disk["free_inodes"] * 100 < total * LEAST_INODES_PERCENT


def _shown(disk: Disk) -> str:
    space = f"{disk['path']}: {_size(disk['free_bytes'])} of {_size(disk['total_bytes'])} free"
    return f"{space}, {disk['free_inodes']} inodes free" if _inodes_are_out(disk) else space


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / MIB:.0f} MiB"


def _make_room(paths: list[str]) -> str:
    if paths == ["/boot"]:
        return "apt-get autoremove --purge || dnf remove --oldinstallonly  # removes old kernels"
    return "docker system df; docker system prune; journalctl --vacuum-size=500M; df -h; df -i"
