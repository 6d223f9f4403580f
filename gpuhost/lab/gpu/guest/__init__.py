"""What plays the kernel inside a lab host, and how it gets there."""

from __future__ import annotations

import shutil
from pathlib import Path

from gpuhost.lab.commands import run

FOLDER = Path("usr/lib/gpuhost-lab")
UNIT = "gpuhost-lab-kernel.service"
# By the package that brings them.
TOOLS = {
    "kmod": ("modprobe", "rmmod", "lsmod"),
    "systemd": ("journalctl", "timedatectl"),
    "util-linux": ("dmesg",),
}


def install(root: Path) -> None:
    """Put the kernel player into a host's root file system; repeating it is harmless.

    The root needs python3 and kmod. The tools' own files are diverted, so that
    an upgrade of their packages does not bring them back.
    """
    here = Path(__file__).parent
    folder = root / FOLDER
    shutil.copytree(
        here / "kernel_player",
        folder / "kernel_player",
        ignore=shutil.ignore_patterns("__pycache__"),
        dirs_exist_ok=True,
    )
    launcher = folder / "kernel"
    shutil.copyfile(here / "kernel", launcher)
    launcher.chmod(0o755)
    for package, tools in TOOLS.items():
        for tool in tools:
            _replace_tool(root, package, tool)
    units = root / "etc/systemd/system"
    wanted = units / "sysinit.target.wants" / UNIT
    wanted.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(here / UNIT, units / UNIT)
    wanted.unlink(missing_ok=True)
    wanted.symlink_to(f"../{UNIT}")


def _replace_tool(root: Path, package: str, tool: str) -> None:
    # As its package has it: in /bin, /sbin, /usr/sbin or also /usr/bin, with the release.
    listed = (root / f"var/lib/dpkg/info/{package}.list").read_text().splitlines()
    for path in (line for line in listed if line.endswith(f"bin/{tool}")):
        _divert(root, path)
        link = root / path.lstrip("/")
        link.unlink(missing_ok=True)
        link.symlink_to(f"/{FOLDER}/kernel")


def _divert(root: Path, path: str) -> None:
    options = [f"--root={root}", "--quiet", "--local", "--rename", f"--divert={path}.gpuhost-lab"]
    run(["dpkg-divert", *options, "--add", path], purpose=f"Diverting {path} in {root}")
