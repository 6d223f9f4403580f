"""The report as one JSON document, for programs; ``docs/report.schema.json`` describes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TextIO

from gpuhost.errors import ExitCode
from gpuhost.model import (
    CheckResult,
    HostReport,
    Partition,
    RunReport,
    Sight,
    Verdict,
    worst_verdict,
)


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
        "complete": report.complete,
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
        "measures": dict(host.measures),
        "partition": _partition(host.partition) if host.partition else None,
        "evidence_path": host.evidence_path or None,
        "error": _error(host) if host.error else None,
        "skipped": {"reason": host.skipped, "remedy": host.error_remedy} if host.skipped else None,
        "checks": [_check(result) for result in host.results],
    }


def _error(host: HostReport) -> dict[str, str]:
    return {"message": host.error, "state": host.error_state, "remedy": host.error_remedy}


def _check(result: CheckResult) -> dict[str, Any]:
    return asdict(result) | {"verdict": str(result.verdict)}


def _partition(partition: Partition) -> dict[str, Any]:
    return {
        "devices": dict(partition.devices),
        "containers": [
            asdict(sight) | {"verdict": str(sight.verdict)} for sight in partition.containers
        ],
    }


def read(document: Mapping[str, Any]) -> RunReport:
    """The report that a document was written from.

    Raises:
        KeyError, TypeError, ValueError: it is no such document.
    """
    return RunReport(
        run_id=document["run_id"],
        command=document["command"],
        started=document["started"],
        finished=document["finished"],
        gpuhost_version=document["gpuhost_version"],
        hosts=tuple(_host_of(host) for host in document["hosts"]),
        complete=document.get("complete", True),
        schema_version=document["schema_version"],
    )


def _host_of(host: Mapping[str, Any]) -> HostReport:
    error = host["error"] or {"message": "", "remedy": ""}
    skipped = host.get("skipped") or {"reason": "", "remedy": ""}
    return HostReport(
        host=host["host"],
        results=tuple(_result_of(check) for check in host["checks"]),
        error=error["message"],
        skipped=skipped["reason"],
        error_state=error.get("state", ""),
        error_remedy=error["remedy"] or skipped["remedy"],
        error_code=ExitCode(host["exit_code"] if host["error"] or host.get("skipped") else 0),
        duration_s=host["duration_s"],
        facts=host["facts"],
        measures=host.get("measures", {}),
        partition=_partition_of(host["partition"]) if host.get("partition") else None,
        evidence_path=host["evidence_path"] or "",
    )


def _result_of(check: Mapping[str, Any]) -> CheckResult:
    return CheckResult(**{**check, "verdict": Verdict(check["verdict"])})


def _partition_of(partition: Mapping[str, Any]) -> Partition:
    return Partition(
        devices=partition["devices"],
        containers=tuple(
            Sight(
                **sight
                | {
                    "asked": None if sight["asked"] is None else tuple(sight["asked"]),
                    "saw": tuple(sight["saw"]),
                    "verdict": Verdict(sight["verdict"]),
                }
            )
            for sight in partition["containers"]
        ),
    )
