"""The report as metrics in Prometheus' text format, for the node exporter's textfile collector."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TextIO

from gpuhost.model import HostReport, RunReport, Verdict

# One sample: label names and values, and the value.
Sample = tuple[Mapping[str, str], float]


def write(report: RunReport, stream: TextIO, quarantined: Collection[str] = ()) -> None:
    """Write the metrics; ``quarantined`` names the hosts that work should be kept away from."""
    hosts = [host for host in report.hosts if not host.skipped]
    for name, help_text, samples in _families(report, hosts, quarantined):
        stream.write(f"# HELP {name} {help_text}\n# TYPE {name} gauge\n")
        for labels, value in samples:
            stream.write(f"{name}{_labels(labels)} {value:.17g}\n")


def _families(
    report: RunReport, hosts: Sequence[HostReport], quarantined: Collection[str]
) -> Iterator[tuple[str, str, list[Sample]]]:
    yield (
        "gpuhost_run_finished_timestamp_seconds",
        "When the last run came to its end.",
        [({}, datetime.fromisoformat(report.finished).timestamp())],
    )
    yield (
        "gpuhost_run_exit_code",
        "Exit code of the last run; 0 is all passed.",
        [({}, float(report.exit_code))],
    )
    yield (
        "gpuhost_host_passed",
        "1 if nothing spoke against the host, 0 if something did or it could not be examined.",
        [({"host": host.host}, float(host.exit_code == 0)) for host in hosts],
    )
    yield (
        "gpuhost_host_quarantined",
        "1 if the host failed and has not passed every check since.",
        [({"host": host.host}, float(host.host in quarantined)) for host in hosts],
    )
    yield (
        "gpuhost_host_checks",
        "Checks of the host by verdict.",
        [sample for host in hosts for sample in _checks(host)],
    )
    yield (
        "gpuhost_check_failing",
        "1 for a check that ended in FAIL, UNKNOWN or WARN.",
        [
            ({"host": host.host, "check": r.check, "verdict": str(r.verdict)}, 1.0)
            for host in hosts
            for r in host.results
            if r.verdict not in (Verdict.PASS, Verdict.SKIP)
        ],
    )
    yield (
        "gpuhost_measure",
        "A figure of the host, the unit in its name.",
        [
            ({"host": host.host, "name": name}, value)
            for host in hosts
            for name, value in host.measures.items()
        ],
    )


def _checks(host: HostReport) -> Iterator[Sample]:
    counts = Counter(result.verdict for result in host.results)
    for verdict in Verdict:
        yield {"host": host.host, "verdict": str(verdict)}, float(counts[verdict])


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
