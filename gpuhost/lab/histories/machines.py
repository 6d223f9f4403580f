"""Histories of machines: firmware, hardware, disks."""

from __future__ import annotations

import json
from dataclasses import asdict

from gpuhost.lab.gpu import inventory, models
from gpuhost.lab.histories.past import Past

KERNEL = "/usr/lib/gpuhost-lab/kernel"
_SECURE_BOOT = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_FIRMWARE = f"""\
#!/bin/sh
# What UEFI firmware shows of Secure Boot; systemd-nspawn gives a host only part of sysfs.
set -e
mount -o remount,rw /sys
mkdir -p /sys/firmware/efi/efivars
printf '\\006\\000\\000\\000\\001' > /sys/firmware/efi/efivars/{_SECURE_BOOT}
mount -o remount,ro /sys
"""
_FIRMWARE_UNIT = """\
[Unit]
Description=UEFI firmware of this lab host, with Secure Boot
DefaultDependencies=no
Before=gpuhost-lab-kernel.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/lib/gpuhost-lab/firmware

[Install]
WantedBy=sysinit.target
"""
_BOOT_MIB, _KERNELS_MIB = 128, 110


def secure_boot(past: Past) -> None:
    """Secure Boot, as the kernel shows it from the next boot on, and now."""
    unit = "gpuhost-lab-firmware.service"
    past.write("/usr/lib/gpuhost-lab/firmware", _FIRMWARE, 0o755)
    past.write(f"/etc/systemd/system/{unit}", _FIRMWARE_UNIT)
    past.run("systemctl", "enable", "--now", unit)


def disk_full(past: Past) -> None:
    """A /boot of its own, as installers once made them, with every kernel since."""
    past.write("/etc/fstab", f"tmpfs /boot tmpfs size={_BOOT_MIB}m,mode=755 0 0\n")
    past.run("systemctl", "daemon-reload")
    past.run("mount", "/boot")
    kernels = "/boot/vmlinuz-of-years"
    past.run("dd", "if=/dev/zero", f"of={kernels}", "bs=1M", f"count={_KERNELS_MIB}", "status=none")


def stranger(past: Past) -> None:
    """The last GPU was replaced by one of another generation."""
    record = past.record
    last = models.find(record.model).drivers["modules"] == ["open"]
    other = inventory.plan(host=record.name, gpus=record.gpus, model="V100" if last else "B200")
    own = inventory.plan(host=record.name, gpus=record.gpus, model=record.model)
    mixed = {**asdict(own), "gpus": [*map(asdict, own.gpus[:-1]), asdict(other.gpus[-1])]}
    past.write(f"/{inventory.FILE}", json.dumps({"schema": inventory.SCHEMA_VERSION, **mixed}))
    past.run(KERNEL, "refresh")
