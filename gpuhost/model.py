"""The data that every room speaks: desired state, verdicts and reports.

Nothing here reads, prints or runs anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gpuhost.errors import ExitCode, worst

REPORT_SCHEMA_VERSION = 1


class Verdict(StrEnum):
    """How a check ended. Only PASS is a pass; UNKNOWN never counts as one."""

    PASS = "PASS"  # noqa: S105  (a verdict, not a password)
    SKIP = "SKIP"
    WARN = "WARN"
    UNKNOWN = "UNKNOWN"
    FAIL = "FAIL"


class Suite(StrEnum):
    """How much is checked; each suite holds the one before it."""

    QUICK = "quick"
    STANDARD = "standard"
    FULL = "full"


# What was skipped says nothing, so it takes nothing from what passed.
VERDICTS_BEST_FIRST = (Verdict.SKIP, Verdict.PASS, Verdict.WARN, Verdict.UNKNOWN, Verdict.FAIL)


def worst_verdict(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of several verdicts; of none, SKIP (nothing ran)."""
    return max(verdicts, key=VERDICTS_BEST_FIRST.index, default=Verdict.SKIP)


@dataclass(frozen=True)
class Login:
    """A login to a container registry; whoever needs its password asks the inventory."""

    registry: str
    username: str


@dataclass(frozen=True)
class Desired:
    """What one host should be, resolved from its Ansible variables.

    The names, types and defaults are declared once, in the roles'
    ``meta/argument_specs.yml``; :mod:`gpuhost.inventory` fills this in.
    ``None`` and empty mean "not declared": nothing is held against the host.
    """

    gpu_count: int | None = None
    gpu_model: str | None = None
    gpu_uuids: tuple[str, ...] = ()
    driver_branch: str = ""
    driver_version: str | None = None
    driver_modules: str = "auto"
    docker_version: str | None = None
    daemon_config: Mapping[str, Any] = field(default_factory=dict)
    toolkit_version: str | None = None
    mig_layout: str = ""
    mig_config: Mapping[str, Any] = field(default_factory=dict)
    docker_users: tuple[str, ...] = ()
    registry_logins: tuple[Login, ...] = ()
    free_mib: Mapping[str, int] = field(default_factory=dict)
    drained: bool = False
    drained_reason: str = ""
    cuda_image: str = ""
    ngc_image: str = ""
    workloads: Mapping[str, Any] = field(default_factory=dict)
    images_per_s: float | None = None
    images_per_s_tolerance: int = 10
    trial_timeout_s: int = 60
    trial_parallel: int = 16
    pull_timeout_s: int = 1800


# The cause of a failure whose words are not among those that are known.
UNKNOWN_CAUSE = "not a failure that gpuhost knows; its own words are all there is"


@dataclass(frozen=True)
class CheckResult:
    """One verdict on one host.

    Everything that is not PASS carries what was ``seen``, what was
    ``expected``, the likely ``cause`` and the ``remedy`` (a command where
    there is one).
    """

    check: str
    verdict: Verdict
    summary: str
    seen: str = ""
    expected: str = ""
    cause: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Sight:
    """What one container saw: the devices (UUIDs) that it asked for, and those that were there.

    ``asked`` None means that the request had to be refused. ``words`` say
    what was wrong, and are empty where nothing was.
    """

    trial: str
    asked: tuple[str, ...] | None
    saw: tuple[str, ...]
    verdict: Verdict
    words: str = ""
    docker_run: str = ""


@dataclass(frozen=True)
class Partition:
    """How the containers of a run shared a host's GPUs: ``devices`` gives each UUID its name."""

    devices: Mapping[str, str]
    containers: tuple[Sight, ...]


@dataclass(frozen=True)
class HostReport:
    """What one run found out about one host.

    ``error`` is set when the host could not be examined or provisioned at
    all (unreachable, no sudo, playbook failed), ``skipped`` when it was left
    alone on purpose; ``error_code`` then says how that counts, and
    ``error_state`` what had been changed until then. ``measures``
    are figures to follow over time, the unit in the name
    (``gpu0.temperature_c``); ``partition`` is None where no container was
    started.
    """

    host: str
    results: tuple[CheckResult, ...] = ()
    error: str = ""
    skipped: str = ""
    error_state: str = ""
    error_remedy: str = ""
    error_code: ExitCode = ExitCode.OK
    duration_s: float = 0.0
    facts: Mapping[str, str] = field(default_factory=dict)
    measures: Mapping[str, float] = field(default_factory=dict)
    partition: Partition | None = None
    evidence_path: str = ""

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the host; UNKNOWN where it could not be examined."""
        if self.skipped:
            return Verdict.SKIP
        if self.error:
            return Verdict.FAIL if self.error_code is ExitCode.FAILED else Verdict.UNKNOWN
        return worst_verdict(result.verdict for result in self.results)

    @property
    def coverage(self) -> tuple[int, int]:
        """Checks that reached a judgement, and checks there were."""
        ran = sum(r.verdict not in (Verdict.UNKNOWN, Verdict.SKIP) for r in self.results)
        return ran, len(self.results)

    @property
    def exit_code(self) -> ExitCode:
        """How this host counts towards the command's exit code."""
        if self.error or self.skipped:
            return self.error_code
        verdicts = {result.verdict for result in self.results}
        if Verdict.UNKNOWN in verdicts or verdicts <= {Verdict.SKIP}:
            return ExitCode.UNREACHABLE
        return ExitCode.FAILED if Verdict.FAIL in verdicts else ExitCode.OK


@dataclass(frozen=True)
class RunReport:
    """One run of a gpuhost command over its hosts; every report is written from it.

    ``complete`` is false where checks were left out on request: such a run
    cannot show that a host is well.
    """

    run_id: str
    command: str
    started: str
    finished: str
    gpuhost_version: str
    hosts: tuple[HostReport, ...]
    complete: bool = True
    schema_version: int = REPORT_SCHEMA_VERSION

    @property
    def exit_code(self) -> ExitCode:
        """5, 4, 3, 1 in that order of precedence, else 0, also where every host is drained."""
        return worst([host.exit_code for host in self.hosts])
