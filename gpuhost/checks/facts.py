"""What a check function is given: the sections of one host's evidence, and its desired state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from gpuhost.model import Desired
from gpuhost.parse.errors import ParseError
from gpuhost.parse.smi_health import parse_health
from gpuhost.probe.schema import (
    SCHEMA_VERSION,
    Containers,
    Docker,
    Driver,
    Evidence,
    Health,
    KernelLog,
    NvidiaSmi,
    Nvml,
    Pci,
    Preflight,
    Provisioning,
    System,
    Throughput,
    Toolkit,
    Trials,
    Upkeep,
    Users,
)

# Of NVML where the probe could not load it: the library, or a function in it, was not found.
NOT_LOADED = (12, 13)


class SectionMissingError(Exception):
    """A section that the evidence lacks; ``words`` say why, the probe's own where it has some."""

    def __init__(self, section: str, words: str) -> None:
        self.section = section
        self.words = words
        super().__init__(f"{section}: {words}")


class SectionFailedError(SectionMissingError):
    """A section that the probe tried to read and could not."""


class SectionNotAskedError(SectionMissingError):
    """A section that this run did not ask the probe for."""


@dataclass(frozen=True)
class Facts:
    """One host's evidence, section by section.

    Each property raises :class:`SectionMissingError` where the section could
    not be read, so that no check can mistake "not read" for "not there".
    """

    evidence: Evidence
    desired: Desired

    def section(self, name: str) -> Any:
        """The data of one section; health that NVML could not tell is what nvidia-smi tells."""
        if name == "health":
            return self._health_by_smi or self.read(name)
        return self.read(name)

    @property
    def is_second_hand(self) -> bool:
        """Whether nvidia-smi has to speak for NVML about the GPUs' health."""
        return self._health_by_smi is not None

    @cached_property
    def _health_by_smi(self) -> Health | None:
        """The health as nvidia-smi tells it; None where NVML told it, or nobody does."""
        if not self._lacks_nvml():
            return None
        try:
            command = self.read("nvidia_smi")["query_xml"]
            told = parse_health(command["stdout"]) if command and command["rc"] == 0 else None
        except (SectionMissingError, ParseError):
            return None
        return told if told and told["gpus"] else None

    def _lacks_nvml(self) -> bool:
        """Whether the probe tried to ask NVML about health and could not load it."""
        try:
            failure = self.read("health")["failure"]
        except SectionFailedError:
            return True
        except SectionMissingError:
            return False
        return failure is not None and failure["code"] in NOT_LOADED

    def read(self, name: str) -> Any:
        """The data of one section, as the probe gave it."""
        if not isinstance(self.evidence, Mapping):
            raise SectionMissingError(name, "the evidence is not a document")
        version = self.evidence.get("schema_version")
        if version != SCHEMA_VERSION:
            raise SectionMissingError(
                name,
                f"the evidence has schema version {version}, this gpuhost reads {SCHEMA_VERSION}",
            )
        sections = self.evidence.get("sections")
        section = sections.get(name) if isinstance(sections, Mapping) else None
        if not isinstance(section, Mapping):
            raise self._absent(name)
        if section.get("error"):
            raise SectionFailedError(name, str(section["error"]))
        if section.get("data") is None:
            raise SectionMissingError(name, "the probe returned no data")
        return section["data"]

    def _absent(self, name: str) -> SectionMissingError:
        asked = self._spec().get("sections")
        if isinstance(asked, list) and asked and name not in asked:
            return SectionNotAskedError(name, "this run did not read it")
        return SectionMissingError(name, "it is not in the evidence")

    def _spec(self) -> Mapping[str, Any]:
        spec = self.evidence.get("spec")
        return spec if isinstance(spec, Mapping) else {}

    @property
    def trials_asked(self) -> Trials | None:
        """The container trials that the probe was asked for, if it was."""
        return cast("Trials | None", self._spec().get("trials"))

    @property
    def trials_declined(self) -> bool:
        """Whether the probe was told, in so many words, to start no containers."""
        return "trials" in self._spec() and self.trials_asked is None

    def require_trials(self, group: str) -> None:
        """Raise :class:`SectionNotAskedError` where the probe was told to leave this group out."""
        asked = self.trials_asked
        wanted = asked.get("groups") if isinstance(asked, Mapping) else None
        if wanted and group not in wanted:
            raise SectionNotAskedError("containers", "this run did not try it")

    @property
    def system(self) -> System:
        """Operating system, kernel, disks."""
        return cast(System, self.section("system"))

    @property
    def pci(self) -> Pci:
        """NVIDIA's devices on the PCI bus."""
        return cast(Pci, self.section("pci"))

    @property
    def driver(self) -> Driver:
        """The kernel module, its files and packages."""
        return cast(Driver, self.section("driver"))

    @property
    def nvml(self) -> Nvml:
        """The GPUs as the driver's library shows them."""
        return cast(Nvml, self.section("nvml"))

    @property
    def nvidia_smi(self) -> NvidiaSmi:
        """What nvidia-smi printed on the host."""
        return cast(NvidiaSmi, self.section("nvidia_smi"))

    @property
    def docker(self) -> Docker:
        """The docker daemon, its configuration and packages."""
        return cast(Docker, self.section("docker"))

    @property
    def toolkit(self) -> Toolkit:
        """NVIDIA's container toolkit and the CDI specifications."""
        return cast(Toolkit, self.section("toolkit"))

    @property
    def users(self) -> Users:
        """The docker group and the users that should be in it."""
        return cast(Users, self.section("users"))

    @property
    def health(self) -> Health:
        """How the GPUs are, as NVML tells; where it could not be loaded, as nvidia-smi does."""
        return cast(Health, self.section("health"))

    @property
    def kernel_log(self) -> KernelLog:
        """What the kernel said of NVIDIA's devices."""
        return cast(KernelLog, self.section("kernel_log"))

    @property
    def upkeep(self) -> Upkeep:
        """The clock, the upgrades that wait, and the next boot."""
        return cast(Upkeep, self.section("upkeep"))

    @property
    def provisioning(self) -> Provisioning:
        """What the roles have left on the host."""
        return cast(Provisioning, self.section("provisioning"))

    @property
    def preflight(self) -> Preflight:
        """What the roles decide by."""
        return cast(Preflight, self.section("preflight"))

    @property
    def containers(self) -> Containers:
        """The container trials."""
        return cast(Containers, self.section("containers"))

    @property
    def throughput(self) -> Throughput:
        """The synthetic training inside the framework image."""
        return cast(Throughput, self.section("throughput"))
