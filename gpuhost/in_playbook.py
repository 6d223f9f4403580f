"""What a playbook asks of gpuhost where no gpuhost command drives it: in AWX, by ansible-runner.

The actions of ``playbooks/verify.yml`` call this in Ansible's own process, so
gpuhost has to be installed beside Ansible (``execution-environment.yml``).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuhost import inventory, probe_archive, runs
from gpuhost.checks.registry import requirements, select
from gpuhost.collect import asking
from gpuhost.errors import ExitCode, UsageError
from gpuhost.inventory import Host
from gpuhost.model import Desired, HostReport, Suite
from gpuhost.probe.schema import Evidence, Spec
from gpuhost.report import WRITERS
from gpuhost.verify import finished, judge_host


@dataclass(frozen=True)
class Judged:
    """A host's report, and the lines in which `gpuhost verify` would print it."""

    report: HostReport
    lines: tuple[str, ...]

    @property
    def is_well(self) -> bool:
        """Whether nothing failed and nothing is unknown."""
        return self.report.exit_code is ExitCode.OK


def prefixes() -> tuple[str, ...]:
    """How the variables begin that say what a host should be."""
    return inventory.declared().prefixes


def question(host: str, variables: Mapping[str, Any], suite: str) -> tuple[Path, Spec]:
    """The probe's archive on this machine, and what to ask it on ``host``.

    Raises:
        UsageError: there is no such suite, or a variable of the host is wrong.
        GpuhostError: the archive cannot be built.
    """
    spec_for = asking(*requirements(select((), _suite(suite))))
    return probe_archive.build(), spec_for(_desired(host, variables))


def judge(
    host: str, evidence: Evidence, variables: Mapping[str, Any], suite: str, folder: Path | None
) -> Judged:
    """Judge what the probe answered; evidence and declaration are kept in ``folder``, if any.

    Raises:
        UsageError: there is no such suite, or a variable of the host is wrong.
        OSError: ``folder`` cannot be written.
    """
    desired = _desired(host, variables)
    names = [check.info.name for check in select((), _suite(suite))]
    report = judge_host(host, evidence, desired, names)
    run = runs.begin(folder or Path())
    if folder is not None:
        kept = runs.Run(run.run_id, run.started, folder)
        runs.keep_evidence(kept, {host: evidence})
        runs.keep_desired(kept, {host: desired})
    stream = io.StringIO()
    WRITERS["table"](finished(run, "verify", [report]), stream)
    return Judged(report, tuple(stream.getvalue().splitlines()))


def _desired(host: str, variables: Mapping[str, Any]) -> Desired:
    return inventory.desired(Host(host, host, variables))


def _suite(name: str) -> Suite:
    try:
        return Suite(name)
    except ValueError:
        raise UsageError(
            f"There is no suite {name!r}.", f"Suites are: {', '.join(Suite)}."
        ) from None
