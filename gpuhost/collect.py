"""Reading hosts: one play, one probe a host, one Evidence document each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from gpuhost import components, engine, probe_archive
from gpuhost.engine import HostOutcome
from gpuhost.errors import ExitCode
from gpuhost.events import Event
from gpuhost.model import Desired, HostReport
from gpuhost.probe.schema import SCHEMA_VERSION, Evidence, Spec, Trials
from gpuhost.targets import Targets

COMMAND_TIMEOUT_S = 20.0
SECTION_TIMEOUT_S = 60.0
CONTAINERS = "containers"
REQUEST_PATHS = ("gpus", "runtime", "cdi")

SpecFor = Callable[[Desired], Spec]


@dataclass(frozen=True)
class Collected:
    """What came back: Evidence of the hosts that answered, a report of those that did not."""

    evidence: Mapping[str, Evidence]
    failures: Mapping[str, HostReport] = field(default_factory=dict)


def reading(desired: Desired) -> Spec:
    """A Spec that reads the host and starts nothing on it."""
    return Spec(
        schema_version=SCHEMA_VERSION,
        sections=[
            "system",
            "pci",
            "driver",
            "nvml",
            "nvidia_smi",
            "docker",
            "toolkit",
            "users",
        ],
        users=list(desired.docker_users),
        packages=[],
        free_paths=[],
        command_timeout_s=COMMAND_TIMEOUT_S,
        section_timeout_s=SECTION_TIMEOUT_S,
        trials=None,
    )


def planning(desired: Desired) -> Spec:
    """A Spec that also reads what the plan compares with what the roles declare."""
    spec = reading(desired)
    spec["sections"] = [*spec["sections"], "provisioning", "preflight"]
    spec["packages"] = list(components.PACKAGES)
    spec["free_paths"] = list(desired.free_mib)
    return spec


def asking(sections: Collection[str], groups: Collection[str]) -> SpecFor:
    """Makes Specs that read these sections and run these groups of container trials."""

    def spec_for(desired: Desired) -> Spec:
        spec = reading(desired)
        spec["sections"] = list(sections)
        if CONTAINERS in sections:
            spec["trials"] = _trials(desired, groups)
        return spec

    return spec_for


def _trials(desired: Desired, groups: Collection[str]) -> Trials:
    return Trials(
        cuda_image=desired.cuda_image,
        ngc_image=desired.ngc_image,
        user=desired.docker_users[0] if desired.docker_users else None,
        paths=list(REQUEST_PATHS),
        groups=list(groups),
        pull=True,
        parallel=desired.trial_parallel,
        trial_timeout_s=float(desired.trial_timeout_s),
        pull_timeout_s=float(desired.pull_timeout_s),
    )


def collect(
    targets: Targets, spec_for: SpecFor, listen: Callable[[Event], None], *, forks: int
) -> Collected:
    """Run the probe once on every host of ``targets``.

    Raises:
        PlaybookError: Ansible could not run at all.
    """
    outcome = engine.run(
        "probe.yml",
        targets.inventory,
        targets.names,
        {
            "gpuhost_probe_archive": str(probe_archive.build()),
            "gpuhost_probe_specs": {
                name: spec_for(targets.desired[name]) for name in targets.names
            },
        },
        listen,
        forks=forks,
    )
    evidence: dict[str, Evidence] = {}
    failures: dict[str, HostReport] = {}
    for name in targets.names:
        host = outcome.hosts[name]
        found = host.results.get("evidence")
        if host.ok and found is not None:
            evidence[name] = found
        else:
            failures[name] = failed_report(host, ExitCode.UNREACHABLE)
    return Collected(evidence, failures)


def failed_report(host: HostOutcome, code: ExitCode) -> HostReport:
    """The report of a host that Ansible could not reach or finish."""
    return HostReport(
        host=host.name,
        error=host.message or "Ansible ended without a result for this host.",
        error_remedy=host.remedy,
        error_code=ExitCode.UNREACHABLE if host.unreachable else code,
    )
