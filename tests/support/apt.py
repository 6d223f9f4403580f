"""The real apt, with a state of its own and nothing but the sources that a test gives it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gpuhost.lab.commands import run


class Apt:
    """``sources`` are deb822 stanzas, each with the armoured key that signs the repository.

    ``status`` is the dpkg status file of a system that already has packages.
    """

    def __init__(
        self, root: Path, sources: Sequence[tuple[str, Path]], status: Path | None = None
    ) -> None:
        for folder in ("state/lists/partial", "cache/archives/partial", "etc"):
            (root / folder).mkdir(parents=True)
        (root / "state/status").touch()
        stanzas = (f"{source}Signed-By: {key}\n" for source, key in sources)
        (root / "etc/test.sources").write_text("\n".join(stanzas))
        options = {
            "Dir::State": root / "state",
            "Dir::State::status": status or root / "state/status",
            "Dir::Cache": root / "cache",
            "Dir::Etc::sourcelist": root / "etc/test.sources",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "APT::Sandbox::User": "root",
            "APT::Architecture": "amd64",
        }
        self._options = [w for name, value in options.items() for w in ("-o", f"{name}={value}")]

    def __call__(self, program: str, *words: str) -> str:
        """Run apt-get or apt-cache; what it printed."""
        return run([program, *self._options, *words], purpose="The test's apt")

    def versions(self, package: str) -> list[str]:
        """The versions on offer, newest first."""
        lines = self("apt-cache", "madison", package).splitlines()
        return [line.split("|")[1].strip() for line in lines]

    def resolve(self, *packages: str) -> list[str]:
        """What installing would take, as ``name=version``; LabError where it cannot be had."""
        printed = self("apt-get", "--simulate", "--no-install-recommends", "install", *packages)
        lines = (line.split() for line in printed.splitlines() if line.startswith("Inst "))
        return [f"{words[1]}={words[2].lstrip('(')}" for words in lines]
