"""What a history does things with: one running lab host and what the lab has for it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gpuhost.lab import base, inside, power, releases
from gpuhost.lab.gpu.deb import Package, pack
from gpuhost.lab.mirror import Mirror, folder
from gpuhost.lab.settings import LabSettings
from gpuhost.lab.state import HostRecord

_TIMEOUT_S = 180.0
_LEFT = Path("root/history")


@dataclass(frozen=True)
class Past:
    """A running host and the lab's mirror."""

    record: HostRecord
    where: LabSettings
    mirror: Mirror

    @property
    def suite(self) -> str:
        """Debian's name of the host's release."""
        return releases.find(self.record.release).suite

    def run(self, *argv: str, stdin: str | None = None) -> str:
        """Run a command as root in the host; it must succeed."""
        return inside.execute(self.record.name, argv, stdin=stdin, timeout_s=_TIMEOUT_S)

    def attempt(self, *argv: str) -> int:
        """Run a command as root in the host, however it ends; its exit status."""
        return inside.attempt(self.record.name, argv, timeout_s=_TIMEOUT_S).returncode

    def path(self, name: str) -> Path:
        """A path in the host, as seen from here."""
        return self.record.part("root") / name.lstrip("/")

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        """Write a file in the host."""
        base.write(self.path(name), text, mode)

    def install(self, *packages: str, options: Sequence[str] = ()) -> None:
        """Install packages from the host's own sources."""
        self.run("apt-get", "update", "-qq")
        self.run("apt-get", "install", "-qq", "--no-install-recommends", *options, *packages)

    def deliver(self, *packages: Package | Path) -> list[str]:
        """Put package files into the host, built where they are not yet; their paths there."""
        folder = self.path(str(_LEFT))
        folder.mkdir(parents=True, exist_ok=True)
        names = []
        with tempfile.TemporaryDirectory() as scratch:
            for package in packages:
                if isinstance(package, Package):
                    built = pack(package, Path(scratch), Path(scratch))
                    names.append(shutil.copy(built, folder))
                else:
                    names.append(shutil.copy(package, folder))
        return [f"/{_LEFT / Path(name).name}" for name in names]

    def dpkg(self, *packages: Package | Path) -> None:
        """Install package files that no repository has (any more)."""
        files = self.deliver(*packages)
        self.run(
            "apt-get", "install", "-qq", "--no-install-recommends", "--allow-downgrades", *files
        )

    def driver_packages(self, version: str) -> list[Path]:
        """The lab's package files of one driver version."""
        served = folder(self.where.state) / "cuda" / self.record.release / "x86_64"
        return sorted(served.glob(f"*_{version}-1_*.deb"))

    def reboot(self) -> None:
        """Reboot the host and wait for it."""
        power.reboot(self.record.name)
