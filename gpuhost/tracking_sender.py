"""Sends runs to MLflow, in a process of its own: see :mod:`gpuhost.tracking`.

Reads one JSON document from standard input, and prints the name of each host
that was sent. What went wrong is the last line on standard error. Imports
nothing of gpuhost's.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
from contextlib import redirect_stdout
from typing import Any

NOT_INSTALLED = 3
# What MLflow takes in one request.
PARAMS_AT_ONCE = 100
NETWORK = (ConnectionError, TimeoutError, socket.gaierror, ssl.SSLError)


def main() -> int:
    """Send what standard input holds; 0 if all of it got there."""
    order = json.load(sys.stdin)
    out = sys.stdout
    # MLflow's client prints links.
    with redirect_stdout(sys.stderr):
        try:
            from mlflow import MlflowClient  # noqa: PLC0415  (it may be absent, and is slow)
        except ImportError:
            return NOT_INSTALLED
        try:
            client = MlflowClient(tracking_uri=order["uri"])
            experiment = experiment_id(client, order["experiment"])
            for run in order["runs"]:
                send(client, experiment, run)
                print(run["host"], file=out, flush=True)
        except Exception as error:  # noqa: BLE001  (stores raise what their libraries do)
            print(words_of(error), file=sys.stderr)  # noqa: T201  (how it reports)
            return 1
    return 0


def words_of(error: BaseException) -> str:
    """One line; where the network is behind it, that alone, for MLflow wraps it in pages."""
    chain = [error]
    while inner := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(inner)
    told = next((each for each in reversed(chain) if isinstance(each, NETWORK)), error)
    return f"{type(told).__name__}: {' '.join(str(told).split())}"


def experiment_id(client: Any, name: str) -> str:
    """The experiment of this name, made where there is none."""
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name))


def send(client: Any, experiment: str, run: dict[str, Any]) -> None:
    """One run, from its beginning to its end."""
    from mlflow.entities import Metric, Param  # noqa: PLC0415  (as above)

    made = client.create_run(
        experiment, start_time=run["started"], tags=run["tags"], run_name=run["host"]
    )
    key = made.info.run_id
    try:
        params = [Param(name, value) for name, value in run["params"].items()]
        client.log_batch(
            key,
            metrics=[
                Metric(name, value, run["finished"], 0) for name, value in run["metrics"].items()
            ],
            params=params[:PARAMS_AT_ONCE],
        )
        for name, text in run["artifacts"].items():
            client.log_text(key, text, name)
    finally:
        client.set_terminated(key, run["status"], run["finished"])


if __name__ == "__main__":
    raise SystemExit(main())
