"""The report as one JSON document, for programs; ``docs/report.schema.json`` describes it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, TextIO

from gpuhost.model import CheckResult, HostReport, RunReport, worst_verdict


def write(report: RunReport, stream: TextIO) -> None:
    """Write the report, indented, with a final newline."""
    json.dump(document(report), stream, indent=2, ensure_ascii=False)
    stream.write("\n")


def document(report: RunReport) -> dict[str, Any]:
    """The report as JSON's own types."""
    return {
        "schema_version": report.schema_version,
        "run_id": report.run_id,
        "command": report.command,
        "started": report.started,
        "finished": report.finished,
        "gpuhost_version": report.gpuhost_version,
        "verdict": str(worst_verdict(host.verdict for host in report.hosts)),
        "exit_code": int(report.exit_code),
        "hosts": [_host(host) for host in report.hosts],
    }


def _host(host: HostReport) -> dict[str, Any]:
    ran, total = host.coverage
    return {
        "host": host.host,
        "verdict": str(host.verdict),
        "exit_code": int(host.exit_code),
        "coverage": {"ran": ran, "total": total},
        "duration_s": host.duration_s,
        "facts": dict(host.facts),
        "evidence_path": host.evidence_path or None,
        "error": {"message": host.error, "remedy": host.error_remedy} if host.error else None,
        "skipped": {"reason": host.skipped, "remedy": host.error_remedy} if host.skipped else None,
        "checks": [_check(result) for result in host.results],
    }


def _check(result: CheckResult) -> dict[str, Any]:
    return asdict(result) | {"verdict": str(result.verdict)}
