"""A healthy host, and what the checks say of it after a test has spoilt it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.evidence import healthy_desired, healthy_evidence

from gpuhost.checks import judge
from gpuhost.model import CheckResult, Desired
from gpuhost.probe.schema import Evidence


@dataclass
class Host:
    """Evidence and declaration of one host; a test changes either, then asks."""

    evidence: Evidence = field(default_factory=healthy_evidence)
    desired: Desired = field(default_factory=healthy_desired)

    def section(self, name: str) -> Any:
        """The data of a section, to be changed in place."""
        return self.evidence["sections"][name]["data"]

    def trial(self, identity: str) -> Any:
        """One container trial, to be changed in place."""
        return next(t for t in self.section("containers")["trials"] if t["id"] == identity)

    def check(self, name: str) -> CheckResult:
        """What one check says now."""
        (result,) = judge(self.evidence, self.desired, [name])
        return result


@pytest.fixture
def host() -> Host:
    """A healthy host with four GPUs."""
    return Host()


@pytest.fixture
def host_with() -> Callable[[int], Host]:
    """A healthy host with as many GPUs as one says."""
    return lambda gpus: Host(healthy_evidence(gpus), healthy_desired(gpus))
