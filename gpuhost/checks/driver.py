"""The NVIDIA driver: loaded, on disk, in user space, and what the next boot makes of it."""

from __future__ import annotations

from gpuhost.checks.facts import Facts
from gpuhost.checks.failure_words import explain
from gpuhost.checks.finding import (
    Finding,
    failed,
    not_applicable,
    not_declared,
    passed,
    undetermined,
    warned,
)
from gpuhost.checks.gpu import nvml_words, silence
from gpuhost.checks.registry import check
from gpuhost.checks.remedies import PROVISION, REBOOT
from gpuhost.checks.words import counted, listed
from gpuhost.parse.versions import branch, same
from gpuhost.probe.schema import Driver, Nvml, System

PERSISTENCED = "nvidia-persistenced.service"
OPEN, PROPRIETARY = "open", "proprietary"
# Compute capabilities: Turing (7.5) is the first that the open modules run on,
# Blackwell (10.0 and later) the first that nothing else runs.
FIRST_WITH_OPEN, FIRST_WITHOUT_PROPRIETARY = (7, 5), (10, 0)


@check("driver.present", "The NVIDIA driver is installed", needs=("driver",))
def present(facts: Facts) -> Finding:
    """A host that nobody has provisioned has no driver; everything else follows from that.

    Provision the host: gpuhost provision installs the driver of the declared branch.
    """
    driver = facts.driver
    places = {
        "loaded": driver["loaded_version"],
        "on disk": driver["on_disk_version"],
        "in user space": driver["userspace_version"],
    }
    found = [f"{version} {place}" for place, version in places.items() if version]
    if found:
        return passed(listed(found))
    if driver["packages"]:
        return passed(f"{counted(len(driver['packages']), 'package')}, without a module")
    branch_declared = facts.desired.driver_branch
    return failed(
        "the NVIDIA driver is not installed",
        seen="no kernel module, no libnvidia-ml and no package of it",
        expected=f"a driver of branch {branch_declared}" if branch_declared else "a driver",
        cause="the host was not provisioned yet, or the driver was removed",
        remedy=PROVISION,
    )


@check("driver.loaded", "The NVIDIA kernel module is loaded", needs=("driver", "system"))
def loaded(facts: Facts) -> Finding:
    """Without the module there is no GPU, whatever is installed.

    Run modprobe nvidia and read what it says; provision the host where the module is not
    installed, reboot it where another version was loaded.
    """
    version = facts.driver["loaded_version"]
    if version:
        return passed(version)
    cause, remedy = _why_not_loaded(facts.driver, facts.system)
    return failed(
        "the nvidia kernel module is not loaded",
        seen=f"no /sys/module/nvidia; on disk: {facts.driver['on_disk_version'] or 'no module'}",
        expected="a loaded nvidia module",
        cause=cause,
        remedy=remedy,
    )


def _why_not_loaded(driver: Driver, system: System) -> tuple[str, str]:
    if driver["on_disk_version"] is None:
        kernel = system["kernel"]
        return (
            f"the driver is not installed, or was not built for the running kernel {kernel}",
            f"{PROVISION}  # look with: dkms status",
        )
    if driver["nouveau_loaded"]:
        return "nouveau holds the GPUs", f"{PROVISION}  # or blacklist nouveau and: {REBOOT}"
    if system["secure_boot"]:
        return (
            "Secure Boot is on, and the kernel rejects modules whose key is not enrolled",
            "mokutil --import /var/lib/dkms/mok.pub  # then confirm at the console while it boots",
        )
    return "the module was not loaded since it was installed, or failed to", (
        "modprobe nvidia; dmesg | grep -iE 'nvidia|nvrm'"
    )


@check("driver.nvml", "The driver answers through NVML", needs=("nvml",))
def nvml(facts: Facts) -> Finding:
    """NVML is what nvidia-smi, the toolkit and every monitor ask.

    Mend what its words name: mostly a reboot after an upgrade, or the kernel module that does
    not load. All that follows depends on it.
    """
    words = nvml_words(facts.nvml)
    unread = {
        f"GPU {gpu['index']} {field}": why
        for gpu in facts.nvml["gpus"]
        for field, why in gpu["failures"].items()
    }
    if not words and not unread:
        return passed(f"driver {facts.nvml['driver_version'] or 'of unknown version'}")
    seen = words or "; ".join(f"{place}: {why}" for place, why in unread.items())
    cause, remedy = explain(seen, "nvidia-smi; dmesg | grep -iE 'nvidia|nvrm|xid'")
    return failed(
        "NVML does not answer" if words else f"{counted(len(unread), 'value')} could not be read",
        seen=seen,
        expected="NVML starts, and every value can be read",
        cause=cause,
        remedy=remedy,
    )


@check("driver.nouveau", "nouveau is neither loaded nor waiting", needs=("driver",))
def nouveau(facts: Facts) -> Finding:
    """The kernel's own driver holds the GPUs if it comes first, at this boot or the next.

    Blacklist nouveau, rebuild the initramfs and reboot: gpuhost provision does all three.
    """
    remedy = (
        "printf 'blacklist nouveau\\noptions nouveau modeset=0\\n' > "
        "/etc/modprobe.d/blacklist-nouveau.conf && update-initramfs -u"
    )
    if facts.driver["nouveau_loaded"]:
        return failed(
            "nouveau is loaded",
            seen="/sys/module/nouveau",
            expected="nouveau not loaded",
            cause="the kernel's own driver came first and holds the GPUs",
            remedy=f"{remedy} && {REBOOT}",
        )
    if not facts.driver["nouveau_blacklisted"]:
        return warned(
            "nouveau is not blacklisted",
            seen="no 'blacklist nouveau' in modprobe's configuration",
            expected="nouveau blacklisted",
            cause="at the next boot nouveau may come before the NVIDIA driver",
            remedy=remedy,
        )
    return passed("not loaded, blacklisted")


@check(
    "driver.versions",
    "Loaded module, module on disk and user space are one version",
    needs=("driver",),
)
def versions(facts: Facts) -> Finding:
    """An upgrade changes files at once and the kernel at the next boot; between, things break.

    Reboot, so that the kernel loads what is on disk; then hold the packages, or it will happen
    again.
    """
    driver = facts.driver
    found = {
        "loaded": driver["loaded_version"],
        "on disk": driver["on_disk_version"],
        "user space": driver["userspace_version"],
    }
    seen = listed(f"{place} {version or 'none'}" for place, version in found.items())
    expected = "one version in all three places"
    unread = [place for place, version in found.items() if not version]
    if unread:
        return undetermined(
            f"no version of what is {listed(unread)}",
            seen=seen,
            expected=expected,
            cause="the driver is not installed completely, or could not be read",
            remedy=PROVISION,
        )
    if len(set(found.values())) == 1:
        return passed(f"{found['loaded']} loaded, on disk and in user space")
    summary, cause, remedy = _mismatch(found["loaded"], found["on disk"], found["user space"])
    return failed(summary, seen=seen, expected=expected, cause=cause, remedy=remedy)


def _mismatch(
    loaded: str | None, on_disk: str | None, user_space: str | None
) -> tuple[str, str, str]:
    """Summary, cause and remedy: what breaks, and when."""
    if on_disk == user_space:
        return (
            "needs a reboot: the loaded module is not the installed one",
            "the driver was upgraded while the old module stayed loaded, as unattended upgrades do",
            f"{REBOOT}  # or stop what uses the GPUs and reload the module",
        )
    if loaded == user_space:
        return (
            "breaks at the next reboot: another module is on disk",
            "the module on disk was changed without the driver's libraries",
            f"{PROVISION}  # installs every driver package at one version",
        )
    return (
        "breaks at the next reboot: module and libraries on disk differ",
        "the driver's packages are installed in different versions",
        f"{PROVISION}  # look with: dpkg -l '*nvidia*'",
    )


@check("driver.branch", "The loaded driver is the declared one", needs=("driver",))
def declared_version(facts: Facts) -> Finding:
    """A branch upgrade that nobody asked for ends the support of GPUs and images.

    Provision the host to have the declared branch again, or declare the branch that is meant to
    stay.
    """
    wanted_version, wanted_branch = facts.desired.driver_version, facts.desired.driver_branch
    found = facts.driver["loaded_version"]
    if not wanted_version and not wanted_branch:
        return not_declared("nvidia_driver_branch", found or "no loaded driver")
    expected = wanted_version or f"branch {wanted_branch}"
    if not found:
        return failed(
            "no driver is loaded",
            seen=f"on disk: {facts.driver['on_disk_version'] or 'none'}",
            expected=expected,
            cause="the nvidia module is not loaded (see driver.loaded)",
            remedy=PROVISION,
        )
    is_declared = same(wanted_version, found) if wanted_version else branch(found) == wanted_branch
    if is_declared:
        return passed(f"{found}, as declared")
    return failed(
        f"driver {found} is not the declared one",
        seen=found,
        expected=expected,
        cause="the driver was changed by something else, or the declaration is newer than the host",
        remedy=PROVISION,
    )


@check("driver.held", "The driver's packages are held", needs=("driver",))
def held(facts: Facts) -> Finding:
    """Unattended upgrades are the usual cause of a driver mismatch in the morning.

    Put the packages on hold: apt-mark hold, or dnf versionlock. gpuhost provision does it.
    """
    packages = facts.driver["packages"]
    if not packages:
        return not_applicable("no driver package is installed, so there is nothing to hold")
    names = [package["name"] for package in packages if package["held"]]
    if names:
        return passed(f"{len(names)} of {counted(len(packages), 'package')} held")
    return warned(
        "an unattended upgrade can replace the driver",
        seen=f"{counted(len(packages), 'driver package')}, none of them held",
        expected="the driver's packages on hold",
        cause="nobody held them, or a hold was taken off for an upgrade and not put back",
        remedy=f"apt-mark hold {' '.join(package['name'] for package in packages)}",
    )


@check("driver.flavour", "The kernel modules are of the declared kind", needs=("driver", "nvml"))
def flavour(facts: Facts) -> Finding:
    """Blackwell runs on the open modules only, Volta and older on the proprietary ones only.

    Declare nvidia_driver_modules as the GPUs need it (auto knows), and provision the host.
    """
    allowed, why = _allowed(facts.desired.driver_modules, facts.nvml)
    found = _flavour(facts.driver)
    if not allowed:
        return silence(facts.nvml, why) or undetermined(
            "which modules these GPUs need is unknown",
            seen="no GPU tells its compute capability",
            expected=why,
            cause="NVML shows no GPU, or the driver does not tell",
            remedy="nvidia-smi --query-gpu=index,name,compute_cap --format=csv",
        )
    if found is None:
        return undetermined(
            "whether the modules are open or proprietary is unknown",
            seen=f"license {facts.driver['on_disk_license'] or 'unknown'}, "
            f"version {facts.driver['loaded_text'] or 'unknown'}",
            expected=why,
            cause="no module is on disk or loaded, or its license is not one that NVIDIA uses",
            remedy="modinfo -F license nvidia; cat /proc/driver/nvidia/version",
        )
    if found in allowed:
        return passed(f"{found} ({why})")
    return failed(
        f"the modules are {found}",
        seen=found,
        expected=why,
        cause="the packages of the other kind are installed",
        remedy=PROVISION,
    )


def _flavour(driver: Driver) -> str | None:
    if driver["loaded_text"]:
        return OPEN if "open kernel module" in driver["loaded_text"].lower() else PROPRIETARY
    license_name = driver["on_disk_license"] or ""
    if "GPL" in license_name:
        return OPEN
    return PROPRIETARY if license_name == "NVIDIA" else None


def _allowed(declared: str, nvml: Nvml) -> tuple[tuple[str, ...], str]:
    if declared in (OPEN, PROPRIETARY):
        return (declared,), f"{declared}, as declared"
    capabilities = [
        tuple(int(part) for part in gpu["compute_capability"].split("."))
        for gpu in nvml["gpus"]
        if gpu["compute_capability"]
    ]
    if not capabilities:
        return (), "modules of the kind that suits the GPUs"
    if any(capability >= FIRST_WITHOUT_PROPRIETARY for capability in capabilities):
        return (OPEN,), "open, which these GPUs need"
    if any(capability < FIRST_WITH_OPEN for capability in capabilities):
        return (PROPRIETARY,), "proprietary, which these GPUs need"
    return (OPEN, PROPRIETARY), "either suits these GPUs"


@check("driver.persistence", "The driver stays initialised between jobs", needs=("driver", "nvml"))
def persistence(facts: Facts) -> Finding:
    """Without it every first container waits for seconds, and settings are lost in between.

    Enable nvidia-persistenced.service; gpuhost provision does it.
    """
    gpus = facts.nvml["gpus"]
    off = [f"GPU {gpu['index']}" for gpu in gpus if gpu["persistence_mode"] is False]
    unread = [f"GPU {gpu['index']}" for gpu in gpus if gpu["persistence_mode"] is None]
    active = any(
        unit["name"] == PERSISTENCED and unit["active_state"] == "active"
        for unit in facts.driver["units"]
    )
    if off:
        return _persistence_off(off, active)
    if silent := silence(facts.nvml, "persistence mode on every GPU"):
        return silent
    if not gpus or unread:
        return undetermined(
            "persistence mode could not be read",
            seen=listed(unread) or "NVML shows no GPU",
            expected="persistence mode on every GPU",
            cause="the driver does not tell, or shows no GPU",
            remedy="nvidia-smi --query-gpu=index,persistence_mode --format=csv",
        )
    if not active:
        return warned(
            "persistence mode is lost at the next reboot",
            seen=f"on for now; {PERSISTENCED} is not active",
            expected=f"{PERSISTENCED} active",
            cause="the mode was set by hand (nvidia-smi -pm 1)",
            remedy=f"systemctl enable --now {PERSISTENCED}",
        )
    return passed(f"on for {counted(len(gpus), 'GPU')}")


def _persistence_off(off: list[str], active: bool) -> Finding:
    if active:
        cause = "the unit runs the daemon with --no-persistence-mode, as Ubuntu's does"
        remedy = f"systemctl edit {PERSISTENCED}  # ExecStart without --no-persistence-mode"
    else:
        cause = "nvidia-persistenced does not run"
        remedy = f"systemctl enable --now {PERSISTENCED}"
    return warned(
        f"persistence mode is off on {counted(len(off), 'GPU')}",
        seen=f"off: {listed(off)}; {PERSISTENCED} is {'active' if active else 'not active'}",
        expected="persistence mode on every GPU",
        cause=cause,
        remedy=remedy,
    )
