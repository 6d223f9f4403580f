"""Telling MLflow: each host's verification becomes a run of the experiment ``gpuhost``.

MLflow's client works in a process of its own (:mod:`gpuhost.tracking_sender`):
it comes with the extra ``gpuhost[mlflow]`` only, takes a second to load and
waits for servers that do not answer. Whatever becomes of it, the verification
is kept already.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gpuhost.history.keeping import recall
from gpuhost.history.records import Trends
from gpuhost.model import HostReport, RunReport, Verdict
from gpuhost.report import html
from gpuhost.report import json as json_report
from gpuhost.settings import Settings
from gpuhost.tracking_sender import NOT_INSTALLED

SENDER = Path(__file__).with_name("tracking_sender.py")
EXPERIMENT = "gpuhost"
# A second a host is usual; a server that has not taken them in this time is told of and left.
LIMIT_S = 60.0
LIMIT_A_HOST_S = 5.0
# MLflow's own are minutes, and it tells its makers of its use. The user's environment goes first.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
LONGEST_WORDS = 300


def send(report: RunReport, settings: Settings, *, limit_s: float = 0.0) -> Iterator[str]:
    """Send the report to ``settings.mlflow``, if that is set; yields what went wrong, in words.

    ``limit_s`` is how long that may take; by default it goes by the number of hosts.
    """
    hosts = [host for host in report.hosts if not host.skipped]
    if not settings.mlflow or not hosts:
        return
    limit_s = limit_s or LIMIT_S + LIMIT_A_HOST_S * len(hosts)
    trends = recall(settings.state_dir, report)
    order = {
        "uri": settings.mlflow,
        "experiment": EXPERIMENT,
        "runs": [tracked(report, host, trends) for host in hosts],
    }
    # -P: the folder of gpuhost's modules is none to import MLflow's dependencies from.
    child = subprocess.Popen(
        [sys.executable, "-P", str(SENDER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT | os.environ,
    )
    try:
        sent, complaints = child.communicate(json.dumps(order), timeout=limit_s)
        why = _last_words(complaints)
    except subprocess.TimeoutExpired:
        child.kill()
        sent, _ = child.communicate()
        why = f"it took longer than {limit_s:.0f} s"
    if child.returncode == NOT_INSTALLED:
        yield (
            "MLflow was told nothing: its client is not installed. Install it with: "
            f"pip install 'gpuhost[mlflow]'. {_later(report)}"
        )
    elif child.returncode:
        yield (
            f"MLflow at {_place(settings.mlflow)} has {len(sent.splitlines())} of {len(hosts)} "
            f"hosts of this run: {_without_secrets(why, settings.mlflow)}. {_later(report)}"
        )


def tracked(report: RunReport, host: HostReport, trends: Mapping[str, Trends]) -> dict[str, Any]:
    """What MLflow is told of one host."""
    alone = replace(report, hosts=(host,))
    document, page = io.StringIO(), io.StringIO()
    json_report.write(alone, document)
    html.write(alone, page, {name: each for name, each in trends.items() if name == host.host})
    return {
        "host": host.host,
        "started": _milliseconds(report.started),
        "finished": _milliseconds(report.finished),
        "status": "FINISHED" if host.exit_code == 0 else "FAILED",
        "tags": _tags(report, host),
        "params": {"gpuhost": report.gpuhost_version, **host.facts},
        "metrics": _metrics(host),
        "artifacts": {"report.json": document.getvalue(), "report.html": page.getvalue()},
    }


def _tags(report: RunReport, host: HostReport) -> Mapping[str, str]:
    bad = [r for r in host.results if r.verdict not in (Verdict.PASS, Verdict.SKIP)]
    note = [host.error, *(f"- **{r.verdict}** {r.check}: {r.summary}" for r in bad)]
    tags = {
        "gpuhost.host": host.host,
        "gpuhost.run_id": report.run_id,
        "gpuhost.command": report.command,
        "gpuhost.complete": str(report.complete).lower(),
        "gpuhost.verdict": str(host.verdict),
        "gpuhost.error": host.error,
        "mlflow.source.name": f"gpuhost {report.command}",
        # MLflow shows it as the run's description.
        "mlflow.note.content": "\n".join(filter(None, note)),
    }
    return {name: value for name, value in tags.items() if value}


def _metrics(host: HostReport) -> Mapping[str, float]:
    """MLflow draws the metrics of one folder together: a slash after the GPU's name."""
    counts = Counter(result.verdict for result in host.results)
    return {
        **{f"checks/{verdict.lower()}": float(counts[verdict]) for verdict in Verdict},
        **{name.replace(".", "/", 1): value for name, value in host.measures.items()},
    }


def _milliseconds(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1000)


def _later(report: RunReport) -> str:
    return f"Send it later with: gpuhost verify --from {report.run_id} --mlflow URI"


def _place(uri: str) -> str:
    """A URI without the user and password that it may have."""
    account = urlsplit(uri).netloc.rpartition("@")[0]
    return uri.replace(f"{account}@", "", 1) if account else uri


def _without_secrets(words: str, uri: str) -> str:
    account = urlsplit(uri).netloc.rpartition("@")[0]
    for secret in filter(None, (account, urlsplit(uri).password)):
        words = words.replace(secret, "…")
    return words


def _last_words(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    words = lines[-1].rstrip(".") if lines else "it ended without a word"
    return words if len(words) <= LONGEST_WORDS else f"{words[:LONGEST_WORDS]}…"
