"""Histories of GPU drivers."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from gpuhost.lab.commands import run
from gpuhost.lab.gpu.packages import DRIVERS, KERNEL_MODULES, LIBRARIES, LIBRARY_FOLDER
from gpuhost.lab.histories.past import Past

OLD = DRIVERS[0]
DEBIANS_REVISION = "~deb12u1"
DEBIANS_MAINTAINER = "Debian NVIDIA Maintainers <pkg-nvidia-devel@alioth-lists.debian.net>"
# Those that a user of Debian's own driver has, beside what they need.
DEBIANS_PACKAGES = ("nvidia-driver-cuda", "nvidia-kernel-dkms")
_BLACKLIST = "blacklist nouveau\noptions nouveau modeset=0\n"
_UNINSTALL = """\
#!/bin/sh
# nvidia-uninstall, as NVIDIA's .run installer leaves it.
set -e
while read -r file; do rm -f "$file"; done < /var/lib/nvidia/installed-files
rm -rf /var/lib/nvidia
depmod "$(uname -r)"
ldconfig
rm -f "$0"
"""
_TRAINING = """\
[Unit]
Description=Somebody's training
After=gpuhost-lab-kernel.service

[Service]
ExecStart=/usr/bin/python3 /opt/train.py
Restart=on-failure

[Install]
WantedBy=multi-user.target
"""
# O_PATH: there is no hardware behind the simulated node that could be opened for real.
_TRAIN = "import os, time\nos.open('/dev/nvidia0', os.O_PATH)\ntime.sleep(10**6)\n"


def nouveau(past: Past) -> None:
    """What a bare host has anyway, and an option that somebody once needed."""
    past.write("/etc/modprobe.d/nouveau-kms.conf", "options nouveau modeset=1\n")


def old_driver(past: Past) -> None:
    """NVIDIA's repository as its manual says, a branch of some years ago, and a reboot."""
    if past.path("/usr/bin/nvidia-smi").exists():
        return
    keyring = "/usr/share/keyrings/cuda-archive-keyring.gpg"
    url = f"{past.mirror.url}/cuda/{past.record.release}/x86_64"
    key = past.mirror.keys.driver.public.read_text()
    past.run("gpg", "--batch", "--dearmor", "--output", keyring, stdin=key)
    past.run("chmod", "644", keyring)
    past.write(
        f"/etc/apt/sources.list.d/cuda-{past.record.release}-x86_64.list",
        f"deb [signed-by={keyring}] {url}/ /\n",
    )
    pin = "/etc/apt/preferences.d/old-driver"
    past.write(
        pin, f"Package: *nvidia* libcuda*\nPin: version {OLD.package_version}\nPin-Priority: 1001\n"
    )
    past.write("/etc/modprobe.d/blacklist-nouveau.conf", _BLACKLIST)
    past.install(
        f"linux-headers-{os.uname().release}", "nvidia-driver-cuda", "nvidia-kernel-open-dkms"
    )
    past.path(pin).unlink()
    past.reboot()


def other_compiler(past: Past) -> None:
    """What somebody once told dkms: a compiler that is gone since the last release."""
    past.write("/etc/dkms/nvidia.conf", 'MAKE[0]="make CC=gcc-9 modules"\n')


def busy_gpus(past: Past) -> None:
    """A service that has a GPU open, from each boot on."""
    old_driver(past)
    past.write("/opt/train.py", _TRAIN)
    past.write("/etc/systemd/system/training.service", _TRAINING)
    past.run("systemctl", "enable", "--now", "training.service")


def distribution_driver(past: Past) -> None:
    """The same software as Debian packages it: other maintainer, other versions."""
    past.write("/etc/modprobe.d/nvidia-blacklists-nouveau.conf", _BLACKLIST)
    past.install("pciutils")
    headers = next(_folder(past).glob(f"linux-headers-{os.uname().release}_*.deb"))
    dkms = next(_folder(past).glob("dkms_*.deb"))
    with tempfile.TemporaryDirectory() as scratch:
        wanted = [
            _as_debians(package, Path(scratch))
            for package in past.driver_packages(OLD.version)
            if not package.name.startswith("nvidia-kernel-open-dkms")
        ]
        past.dpkg(headers, dkms, *wanted)
    past.reboot()


def _folder(past: Past) -> Path:
    return past.driver_packages(OLD.version)[0].parent


def _as_debians(package: Path, scratch: Path) -> Path:
    tree = scratch / package.stem
    run(["dpkg-deb", "--raw-extract", package, tree], purpose=f"Unpacking {package.name}")
    control = tree / "DEBIAN" / "control"
    version = OLD.package_version
    lines = [
        f"Maintainer: {DEBIANS_MAINTAINER}" if line.startswith("Maintainer:") else line
        for line in control.read_text().replace(version, version + DEBIANS_REVISION).splitlines()
    ]
    control.write_text("\n".join(lines) + "\n")
    made = scratch / package.name.replace(version, version + DEBIANS_REVISION)
    how = ["-Zzstd", "-z1", "--root-owner-group"]
    run(["dpkg-deb", *how, "--build", tree, made], purpose=f"Packing {made.name}")
    shutil.rmtree(tree)
    return made


def runfile_driver(past: Past) -> None:
    """The driver's files in their places, on nobody's list but the uninstaller's own."""
    names = {library.package for library in LIBRARIES} | {"nvidia-smi", "nvidia-kernel-open-dkms"}
    modules = Path("usr/lib/modules") / os.uname().release / "kernel/drivers/video"
    installed = []
    with tempfile.TemporaryDirectory() as scratch:
        for package in past.driver_packages(OLD.version):
            if package.name.partition("_")[0] in names:
                run(
                    ["dpkg-deb", "--extract", package, scratch], purpose=f"Unpacking {package.name}"
                )
        tree = Path(scratch)
        source = tree / "usr/src" / f"nvidia-{OLD.version}" / "prebuilt"
        (tree / modules).mkdir(parents=True)
        for module in KERNEL_MODULES:
            file = source / f"{module.name.replace('_', '-')}.ko"
            file.rename(tree / modules / file.name)
        for found in [
            *(tree / LIBRARY_FOLDER).iterdir(),
            *(tree / modules).iterdir(),
            tree / "usr/bin/nvidia-smi",
        ]:
            target = past.path(str(found.relative_to(tree)))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(found, target, follow_symlinks=False)
            installed.append(f"/{found.relative_to(tree)}")
    past.write("/var/lib/nvidia/installed-files", "".join(f"{name}\n" for name in installed))
    past.write("/usr/bin/nvidia-uninstall", _UNINSTALL, 0o755)
    past.write("/etc/modprobe.d/nvidia-installer-disable-nouveau.conf", _BLACKLIST)
    past.run("depmod", os.uname().release)
    past.run("ldconfig")
    past.reboot()
