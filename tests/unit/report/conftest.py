"""One run with a host of every kind."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.evidence import cdi_spec, healthy_desired, healthy_evidence, text_file

from gpuhost.checks import headline, judge
from gpuhost.checks.sight import partition
from gpuhost.errors import ExitCode
from gpuhost.model import HostReport, RunReport


def judged(name: str, **changes: object) -> HostReport:
    evidence, desired = healthy_evidence(), replace(healthy_desired(), **changes)  # type: ignore[arg-type]
    if name == "lab-02":
        sections = evidence["sections"]
        toolkit, nvml = sections["toolkit"]["data"], sections["nvml"]["data"]
        assert toolkit is not None
        assert nvml is not None
        toolkit["cdi_specs"] = [text_file("/var/run/cdi/nvidia.yaml", cdi_spec(3))]
        for gpu in nvml["gpus"]:
            gpu["persistence_mode"] = False
        sections["users"] = {"error": "timed out after 60 s", "duration_s": 60.0, "data": None}
    return HostReport(
        host=name,
        results=judge(evidence, desired),
        duration_s=8.25,
        facts=headline(evidence),
        partition=partition(evidence),
        evidence_path=f"/state/runs/r1/evidence/{name}.json",
    )


@pytest.fixture
def well() -> HostReport:
    """A host on which everything passed."""
    return judged("lab-01")


@pytest.fixture
def ill() -> HostReport:
    """A host with a FAIL, an UNKNOWN, a WARN and SKIPs."""
    return judged("lab-02", gpu_count=None, gpu_model=None)


@pytest.fixture
def away() -> HostReport:
    """A host that could not be reached."""
    return HostReport(
        host="lab-03",
        error="ssh: connect to host 198.18.0.13 port 22: No route to host",
        error_remedy="gpuhost lab up lab-03",
        error_code=ExitCode.UNREACHABLE,
    )


@pytest.fixture
def run(well: HostReport, ill: HostReport, away: HostReport) -> RunReport:
    """A run over all three."""
    return RunReport(
        run_id="20261122T010000Z-4f2a9c",
        command="verify",
        started="2026-11-22T01:00:00+00:00",
        finished="2026-11-22T01:00:12+00:00",
        gpuhost_version="0.1.0",
        hosts=(well, ill, away),
    )
