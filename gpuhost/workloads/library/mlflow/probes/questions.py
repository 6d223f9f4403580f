"""What the tracking server of this container is asked, as its users would ask it.

Each question takes away again what it made.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import numpy as np
import requests
from mlflow.tracking import MlflowClient
from sklearn.linear_model import LinearRegression

# A server that is ill has to be told of soon: MLflow's own limits are minutes.
ENVIRONMENT = {
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
EXPERIMENT = "gpuhost-probes"
MODEL = "gpuhost-probe"
PROJECT = Path(__file__).with_name("project")
MODEL_PORT = 5001
SERVED_WITHIN_S = 120


class WrongError(Exception):
    """An answer that is not the right one."""


def answer(question: str) -> str:
    """What was found, in a line.

    Raises:
        WrongError: it is not what was to be found; or MLflow's own errors, and the system's.
    """
    os.environ.update(ENVIRONMENT)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.set_experiment(EXPERIMENT)
    return {"run": run, "register": register, "serve": serve, "project": project}[question]()


def run() -> str:
    """A run with parameters, metrics and an artifact."""
    client, text = MlflowClient(), f"{secrets.token_hex()}\n"
    with mlflow.start_run() as made:
        mlflow.log_params({"lr": 0.1, "epochs": 3})
        for step, loss in enumerate((4.0, 2.0, 1.0)):
            mlflow.log_metric("loss", loss, step=step)
        mlflow.log_text(text, "notes/what.txt")
    key = made.info.run_id
    try:
        found = client.get_run(key)
        require("its status", found.info.status, "FINISHED")
        require("its parameters", found.data.params, {"lr": "0.1", "epochs": "3"})
        losses = [metric.value for metric in client.get_metric_history(key, "loss")]
        require("its losses", losses, [4.0, 2.0, 1.0])
        artifact = mlflow.artifacts.load_text(f"runs:/{key}/notes/what.txt")
        require("its artifact", artifact, text)
    finally:
        client.delete_run(key)
    return f"read back: 2 parameters, {len(losses)} losses and an artifact"


def register() -> str:
    """A model in the registry, and loaded from there by its alias."""
    with registered() as version:
        model = mlflow.pyfunc.load_model(f"models:/{MODEL}@champion")
        require("its prediction", round(float(model.predict(np.array([[3.0]]))[0]), 6), 7.0)
    return f"registered: {MODEL} version {version}, which was loaded by its alias"


def serve() -> str:
    """A model of the registry, behind a port of its own."""
    address = f"http://127.0.0.1:{MODEL_PORT}"
    argv = ["mlflow", "models", "serve", "--model-uri", f"models:/{MODEL}@champion"]
    argv += ["--env-manager", "local", "--port", str(MODEL_PORT), "--workers", "1"]
    with registered(), tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_for(f"{address}/ping", server)
            question = {"inputs": [[3.0], [-1.0]]}
            said = requests.post(f"{address}/invocations", json=question, timeout=30)
            require("its answer", said.status_code, 200)
        except (WrongError, OSError) as error:
            log.seek(0)
            last = " ".join(log.read().splitlines()[-3:])
            raise WrongError(f"{error}. The log of the model's server ends: {last}") from None
        finally:
            # The server itself is a child of the command.
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=30)
    predictions = [round(one, 6) for one in said.json()["predictions"]]
    require("its predictions", predictions, [7.0, -1.0])
    return "predicted: 7.0 for 3.0 and -1.0 for -1.0"


def project() -> str:
    """A project of two files, in the environment that is there."""
    submitted = mlflow.projects.run(
        str(PROJECT), parameters={"slope": 2}, env_manager="local", synchronous=True
    )
    key = submitted.run_id
    try:
        found = MlflowClient().get_run(key)
        require("its status", found.info.status, "FINISHED")
        require("its parameter", found.data.params, {"slope": "2"})
        require("its result", round(found.data.metrics["slope"], 6), 2.0)
    finally:
        MlflowClient().delete_run(key)
    return "ran: the project logged a slope of 2.0"


@contextmanager
def registered() -> Iterator[str]:
    """A model that knows y = 2x + 1, in the registry for a while."""
    client = MlflowClient()
    model = LinearRegression().fit(np.array([[0.0], [1.0], [2.0]]), np.array([1.0, 3.0, 5.0]))
    with mlflow.start_run() as made:
        logged = mlflow.sklearn.log_model(
            model, name="model", registered_model_name=MODEL, pip_requirements=[]
        )
    version = str(logged.registered_model_version)
    try:
        client.set_registered_model_alias(MODEL, "champion", version)
        yield version
    finally:
        client.delete_registered_model(MODEL)
        client.delete_logged_model(logged.model_id)
        client.delete_run(made.info.run_id)


def wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    """Until the model's server answers, or does not run any more."""
    until = time.monotonic() + SERVED_WITHIN_S
    while time.monotonic() < until:
        if server.poll() is not None:
            raise WrongError(f"the model's server ended with exit code {server.returncode}")
        try:
            requests.get(url, timeout=5).raise_for_status()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise WrongError(f"the model's server did not answer within {SERVED_WITHIN_S} s")


def require(what: str, found: object, wanted: object) -> None:
    """A comparison that says both sides."""
    if found != wanted:
        raise WrongError(f"{what}: {found!r}, and it was to be {wanted!r}")
