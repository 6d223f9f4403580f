"""Faults of the driver: its module, its files, and what the next boot makes of them."""

from __future__ import annotations

import shlex

from gpuhost.lab.faults.registry import TRIALS, Fault, kernel, report

_NO_NVML = (
    "driver.*",
    "gpu.*",
    "smi.*",
    "health.*",
    "speed.*",
    "cdi.*",
    "upkeep.next_boot",
    *TRIALS,
)
_NEW_KERNEL = "6.99.0-1-amd64"

_SMI = "/etc/gpuhost-lab/smi"
_SMI_BACK = f"[ ! -e {_SMI} ] || {{ f=$(cat {_SMI}); mv $f.fault $f; rm {_SMI}; }}"

_WRAPPER = "/usr/local/bin/nvidia-smi"
_YESTERDAY = "/etc/gpuhost-lab/yesterday.xml"
# Not twice: in a container the wrapper lies where it looks for the program.
_WRAPPING = shlex.quote(
    f'#!/bin/sh\n[ "$*" != "-q -x" ] || exec cat {_YESTERDAY}\n'
    '[ -z "$wrapped" ] || exit 127\nwrapped=yes exec /usr/bin/nvidia-smi "$@"\n'
)
_AUTO, _UNATTENDED = "/etc/apt/apt.conf.d/20auto-upgrades", "/usr/bin/unattended-upgrade"
_NOT_UNATTENDED = f"rm -f {_AUTO} {_UNATTENDED}"
_OLD_NEWS = report(1, ecc_pending="0")
_CTYPES = "/usr/lib*/python3*/lib-dynload/_ctypes.*.so"


def _in_place_of_smi(script: str) -> str:
    """A script that puts another one in the place of nvidia-smi, for containers as well."""
    text = shlex.quote(f"#!/bin/sh\n{script}\n")
    return (
        f"f=$(readlink -f /usr/bin/nvidia-smi); echo $f >{_SMI}; mv $f $f.fault; "
        f"printf %s {text} >$f; chmod 755 $f"
    )


def _unattended(origin: str) -> str:
    """A script that has unattended upgrades take packages from an origin, too."""
    lines = (
        'APT::Periodic::Unattended-Upgrade "1";\n'
        f'Unattended-Upgrade::Origins-Pattern {{ "origin=Debian"; "origin={origin}"; }};\n'
    )
    return (
        f"printf %s {shlex.quote(lines)} >{_AUTO}; printf '#!/bin/sh\\n' >{_UNATTENDED}; "
        f"chmod 755 {_UNATTENDED}"
    )


FAULTS = (
    Fault(
        name="driver-mismatch",
        area="driver",
        about="the driver was upgraded and an older module is still loaded",
        make=kernel("loaded", "525.147.05"),
        mend=kernel("loaded"),
        check="driver.versions",
        cause="old module stayed loaded",
        remedy="systemctl reboot",
        consequences=_NO_NVML,
    ),
    Fault(
        name="library-mismatch",
        area="driver",
        about="libnvidia-ml is of another version than the module, on disk and loaded",
        make=kernel("library", "999.99.99"),
        mend=kernel("library"),
        check="driver.versions",
        cause="different versions",
        remedy="gpuhost provision",
        consequences=_NO_NVML,
    ),
    Fault(
        name="module-not-loaded",
        area="driver",
        about="the nvidia modules were unloaded",
        make="systemctl stop nvidia-persistenced.service; modprobe -r nvidia_drm nvidia_modeset "
        "nvidia_uvm nvidia || rmmod nvidia_drm nvidia_modeset nvidia_uvm nvidia",
        mend="modprobe nvidia; systemctl start nvidia-persistenced.service",
        check="driver.loaded",
        cause="not loaded since",
        remedy="modprobe nvidia",
        consequences=_NO_NVML,
    ),
    Fault(
        name="nouveau-waiting",
        area="driver",
        about="nouveau is not blacklisted any more: at the next boot it may come first",
        make="for f in $(grep -ls nouveau /etc/modprobe.d/*.conf /usr/lib/modprobe.d/*.conf); "
        "do mv -f $f $f.fault; done",
        mend="for f in /etc/modprobe.d/*.fault /usr/lib/modprobe.d/*.fault; do "
        "[ ! -e $f ] || mv -f $f ${f%.fault}; done",
        check="driver.nouveau",
        cause="next boot",
        remedy="blacklist nouveau",
        verdict="WARN",
    ),
    Fault(
        name="hold-missing",
        area="driver",
        about="the driver's packages are not on hold",
        make="apt-mark showhold | grep -E 'nvidia|cuda' >/etc/gpuhost-lab/held; "
        "xargs apt-mark unhold </etc/gpuhost-lab/held",
        mend="[ ! -e /etc/gpuhost-lab/held ] || { xargs apt-mark hold </etc/gpuhost-lab/held; "
        "rm /etc/gpuhost-lab/held; }",
        check="driver.held",
        cause="nobody held them",
        remedy="apt-mark hold",
        verdict="WARN",
    ),
    Fault(
        name="persistence-off",
        area="driver",
        about="nvidia-persistenced does not run and persistence mode is off",
        make="systemctl stop nvidia-persistenced.service; nvidia-smi -pm 0",
        mend="systemctl start nvidia-persistenced.service",
        check="driver.persistence",
        cause="does not run",
        remedy="enable --now nvidia-persistenced",
        verdict="WARN",
    ),
    Fault(
        name="persistence-by-hand",
        area="driver",
        about="persistence mode was set by hand, and is lost at the next reboot",
        make="systemctl stop nvidia-persistenced.service; nvidia-smi -pm 1",
        mend="systemctl start nvidia-persistenced.service",
        check="driver.persistence",
        cause="by hand",
        remedy="enable --now nvidia-persistenced",
        verdict="WARN",
    ),
    Fault(
        name="smi-gone",
        area="driver",
        about="nvidia-smi is not installed",
        make=f"f=$(readlink -f /usr/bin/nvidia-smi); echo $f >{_SMI}; mv $f $f.fault",
        mend=_SMI_BACK,
        check="smi.list",
        cause="",
        remedy="gpuhost provision",
        consequences=("smi.*", "cdi.*", *TRIALS),
    ),
    Fault(
        name="smi-hangs",
        area="driver",
        about="nvidia-smi never ends, on the host and in containers",
        make=_in_place_of_smi("exec sleep 86400"),
        mend=_SMI_BACK,
        check="smi.list",
        cause="hangs",
        remedy="dmesg",
        consequences=("smi.*", "cdi.*", *TRIALS),
    ),
    Fault(
        name="smi-floods",
        area="driver",
        about="nvidia-smi prints 100 MB of what is no answer",
        make=_in_place_of_smi("yes nvidia-smi: ERROR in a loop | head -c 100000000"),
        mend=_SMI_BACK,
        check="smi.list",
        cause="another form",
        remedy="Report it",
        consequences=("smi.*", "cdi.*", *TRIALS),
        verdict="UNKNOWN",
    ),
    Fault(
        name="smi-garbled",
        area="driver",
        about="nvidia-smi prints bytes that are no text",
        make=_in_place_of_smi("printf '\\377\\376\\000GPU \\200\\n'"),
        mend=_SMI_BACK,
        check="smi.list",
        cause="another form",
        remedy="Report it",
        consequences=("smi.*", "cdi.*", *TRIALS),
        verdict="UNKNOWN",
    ),
    Fault(
        name="smi-cached",
        area="driver",
        about="a wrapper in /usr/local/bin answers nvidia-smi -q -x with what it was yesterday",
        make=f"nvidia-smi -q -x >{_YESTERDAY}; printf %s {_WRAPPING} >{_WRAPPER}; "
        f"chmod 755 {_WRAPPER}; {_OLD_NEWS[0]}",
        mend=f"rm -f {_WRAPPER} {_YESTERDAY}; {_OLD_NEWS[1]}",
        check="smi.agrees",
        cause="a wrapper",
        remedy="type -a nvidia-smi",
        # What NVML tells today; and the toolkit gives containers the wrapper without the program.
        consequences=("health.ecc", *TRIALS),
    ),
    Fault(
        name="python-without-ctypes",
        area="driver",
        about="the host's Python lost its ctypes: NVML can't be asked, nvidia-smi can",
        make=f"for f in {_CTYPES}; do mv $f $f.fault; done",
        mend=f"for f in {_CTYPES}.fault; do [ ! -e $f ] || mv $f ${{f%.fault}}; done",
        check="driver.nvml",
        cause="has no ctypes",
        remedy="libpython3-stdlib",
        # The lab's toolkit is in Python, too.
        consequences=(
            *("driver.*", "gpu.*", "smi.*", "cdi.*"),
            *("health.inforom", "speed.nvlink", *TRIALS),
        ),
        verdict="UNKNOWN",
    ),
    Fault(
        name="kernel-without-module",
        area="upkeep",
        about="a new kernel was installed, and the driver was not built for it",
        make=f"mkdir -p /lib/modules/{_NEW_KERNEL} && depmod {_NEW_KERNEL} && "
        f"touch /boot/vmlinuz-{_NEW_KERNEL}",
        mend=f"rm -rf /lib/modules/{_NEW_KERNEL} /boot/vmlinuz-{_NEW_KERNEL}",
        check="upkeep.next_boot",
        cause="not built for it",
        remedy="dkms autoinstall",
    ),
    Fault(
        name="upgrade-tonight",
        area="upkeep",
        about="unattended upgrades are on, and hold, pin and exclusion of the driver are gone",
        make="apt-mark showhold | grep -E 'nvidia|cuda' >/etc/gpuhost-lab/held; "
        "xargs apt-mark unhold </etc/gpuhost-lab/held; "
        "for f in $(grep -lsrE 'nvidia' /etc/apt/preferences.d /etc/apt/apt.conf.d); do "
        "mv $f /etc/gpuhost-lab/; echo $f >>/etc/gpuhost-lab/moved; done; "
        f"{_unattended('NVIDIA')}",
        mend=f"{_NOT_UNATTENDED}; "
        "[ ! -e /etc/gpuhost-lab/moved ] || { while read f; do "
        "mv /etc/gpuhost-lab/${f##*/} $f; done </etc/gpuhost-lab/moved; "
        "rm /etc/gpuhost-lab/moved; }; "
        "[ ! -e /etc/gpuhost-lab/held ] || { xargs apt-mark hold </etc/gpuhost-lab/held; "
        "rm /etc/gpuhost-lab/held; }",
        check="upkeep.upgrades",
        cause="neither held nor excluded",
        remedy="apt-mark hold",
        consequences=("driver.held",),
        verdict="WARN",
    ),
    Fault(
        name="upgrade-some-night",
        area="upkeep",
        about="unattended upgrades take from docker's repository, and docker is not on hold",
        make=_unattended("Docker"),
        mend=_NOT_UNATTENDED,
        check="upkeep.upgrades",
        cause="take from these packages' repositories",
        remedy="apt-mark hold containerd.io docker-ce",
        verdict="WARN",
    ),
    Fault(
        name="reboot-pending",
        area="upkeep",
        about="an update waits for a reboot",
        make="touch /run/reboot-required",
        mend="rm -f /run/reboot-required",
        check="host.reboot",
        cause="only after a reboot",
        remedy="systemctl reboot",
        verdict="WARN",
    ),
)
