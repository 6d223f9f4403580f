"""What a host is, read by the probe before it is in any inventory."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from gpuhost.checks.facts import Facts
from gpuhost.checks.host import operating_system
from gpuhost.collect import asking, collect
from gpuhost.errors import GpuhostError, UnreachableError
from gpuhost.inventory import Host
from gpuhost.model import Desired, Verdict
from gpuhost.onboard.access import UnfitError
from gpuhost.parse.pci import is_gpu
from gpuhost.probe.schema import Evidence, Nvml
from gpuhost.targets import Targets
from gpuhost.ui import Ui

SECTIONS = ("system", "pci", "nvml")


@dataclass(frozen=True)
class Found:
    """A host as it was found; ``models`` are the GPUs', as far as a driver tells them."""

    os: str
    kernel: str
    secure_boot: bool | None
    gpus: int
    models: tuple[str, ...] = ()

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Found:
        """The same from its JSON form."""
        return cls(**{**fields, "models": tuple(fields["models"])})

    def fields(self) -> dict[str, Any]:
        """Its JSON form."""
        return asdict(self)

    @property
    def words(self) -> str:
        """The host in a line."""
        boot = {True: "on", False: "off", None: "unknown"}[self.secure_boot]
        models = f" ({', '.join(self.models)})" if self.models else ""
        gpus = f"{self.gpus} NVIDIA GPU{'' if self.gpus == 1 else 's'}{models}"
        return f"{self.os}, kernel {self.kernel}, Secure Boot {boot}, {gpus}"


def look(name: str, variables: Mapping[str, Any], ui: Ui) -> Found:
    """Read the host through Ansible, as every later command will.

    Raises:
        UnfitError: its operating system is not supported, or it has no GPU.
        UnreachableError: it could not be read.
    """
    with tempfile.TemporaryDirectory(prefix="gpuhost-onboard-") as folder:
        inventory = Path(folder) / "hosts.yml"
        inventory.write_text(yaml.safe_dump({"all": {"hosts": {name: dict(variables)}}}))
        targets = Targets(inventory, (Host(name, ""),), {name: Desired()})
        with ui.stage("look", (name,)):
            collected = collect(targets, asking(SECTIONS, ()), ui.listen, forks=1)
    if name not in collected.evidence:
        failure = collected.failures[name]
        raise _unread(failure.error, failure.error_remedy)
    return judged(collected.evidence[name])


def judged(evidence: Evidence) -> Found:
    """What was found; raises UnfitError where nothing can be made of it."""
    facts = Facts(evidence, Desired())
    system = facts.system
    finding = operating_system(facts)
    if finding.verdict is not Verdict.PASS:
        raise UnfitError(f"{finding.summary}.", f"{finding.remedy} Supported: {finding.expected}.")
    gpus = sum(is_gpu(device["class_code"]) for device in facts.pci["devices"])
    if not gpus:
        raise UnfitError(
            "There is no NVIDIA GPU on the host's PCI bus.",
            "Check that it is seated and powered and that the firmware lists it "
            "(lspci -d 10de:). A host without one cannot be made a GPU container host.",
        )
    return Found(
        os=system["os_pretty_name"],
        kernel=system["kernel"],
        secure_boot=system["secure_boot"],
        gpus=gpus,
        models=models(facts.nvml),
    )


def models(nvml: Nvml) -> tuple[str, ...]:
    """The names of the GPUs' models; none where not every GPU tells its own."""
    names = [gpu["name"] for gpu in nvml["gpus"]]
    return tuple(sorted({name for name in names if name})) if all(names) else ()


def _unread(error: str, remedy: str) -> GpuhostError:
    return UnreachableError(f"The host could not be read: {error}", remedy)
