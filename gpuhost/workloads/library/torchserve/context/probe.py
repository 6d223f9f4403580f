"""Ask TorchServe from inside its container, where the keys are that it asks for.

Each question prints what was found in one line; a wrong answer ends with exit code 1.
Of Python's own library alone: upstream's images have no client for gRPC.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

GRPC = 7070
PORTS = {"inference": 8080, "management": 8081}
# The management API has no ping.
OPENINGS = {"inference": "/ping", "management": "/models"}
KEYS = Path("/home/model-server/key_file.json")
OPEN = os.environ.get("TS_DISABLE_TOKEN_AUTHORIZATION", "").lower() == "true"
DEVICES = {"cpu": "cpu", "gpu": "cuda"}
STORE = Path("/home/model-server/model-store")
TIMEOUT_S = 20
HEADERS, DATA, SETTINGS, GOAWAY = 1, 0, 4, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1


class WrongError(Exception):
    """An answer that is not the right one."""


def main() -> None:
    """Ask one question."""
    parser = argparse.ArgumentParser(description=__doc__)
    questions = parser.add_subparsers(dest="question", required=True)
    questions.add_parser("ping")
    questions.add_parser("keys")
    questions.add_parser("listed").add_argument("model")
    predict = questions.add_parser("predict")
    predict.add_argument("model")
    predict.add_argument("hardware", choices=DEVICES)
    questions.add_parser("grpc-ping")
    options = vars(parser.parse_args())
    question = options.pop("question")
    try:
        print(QUESTIONS[question](**options))
    except (WrongError, OSError, http.client.HTTPException) as error:
        sys.exit(f"{error or type(error).__name__}")


def ping() -> str:
    """Whether the server says over HTTP that it is healthy."""
    answer = ask("inference", "GET", "/ping")
    if answer.get("status") != "Healthy":
        raise WrongError(f"it says {answer.get('status', answer)}")
    return "healthy"


def keys() -> str:
    """Whether nobody is answered without a key; or everybody, where that is asked for."""
    for api, path in OPENINGS.items():
        status, _ = request(api, "GET", path, {})
        if OPEN and status != http.client.OK:
            raise WrongError(f"the {api} API was to answer without a key, and says {status}")
        if not OPEN and status == http.client.OK:
            raise WrongError(f"the {api} API answers without a key")
    return "anyone is answered" if OPEN else "nobody is answered without a key"


def listed(model: str) -> str:
    """Whether a model is there, with its workers ready."""
    names = [one["modelName"] for one in ask("management", "GET", "/models")["models"]]
    if model not in names:
        raise WrongError(
            f"the model {model} is not served, but {', '.join(names) or 'none'}; "
            "the log says why its archive could not be loaded"
        )
    (about,) = ask("management", "GET", f"/models/{model}")
    states = [worker["status"] for worker in about["workers"]]
    if not states or set(states) != {"READY"}:
        raise WrongError(f"the workers of {model} are {', '.join(states) or 'none'}; see the log")
    return f"{model} {about['modelVersion']} has {len(states)} ready"


def predict(model: str, hardware: str) -> str:
    """Whether each of the model's examples gets its answer, on the device that was asked for."""
    devices = set()
    given = examples(model)
    for number, example in enumerate(given, start=1):
        said = ask("inference", "POST", f"/predictions/{model}", json.dumps(example["body"]))
        wanted = example["answer"]
        got = {key: said.get(key) for key in wanted} if isinstance(said, dict) else said
        if got != wanted:
            raise WrongError(
                f"example {number} of {model} is to give {json.dumps(wanted)}, "
                f"and gives {json.dumps(said)}"
            )
        devices.add(said.get("device", "an unknown device"))
    used = ", ".join(sorted(devices))
    if not used.startswith((DEVICES[hardware], "an unknown")):
        raise WrongError(f"{model} computes on {used}, not on {DEVICES[hardware]}")
    words = f"{len(given)} of {len(given)} examples of {model} are right, computed on {used}"
    return f"{words} (CUDA not exercised)" if used == "cpu" else words


def examples(model: str) -> Any:
    """What the model is to answer, as its archive was made with."""
    path = STORE / f"{model}.examples.json"
    if not path.is_file():
        raise WrongError(f"the model store has no {path.name} to check predictions by")
    return json.loads(path.read_text())


def ask(api: str, method: str, path: str, body: str = "") -> Any:
    """What an API answers, with its key."""
    status, text = request(api, method, path, key_header(api), body)
    if status != http.client.OK:
        raise WrongError(f"{method} {path} of the {api} API: {status} {' '.join(text.split())}")
    return json.loads(text)


def request(
    api: str, method: str, path: str, headers: dict[str, str], body: str = ""
) -> tuple[int, str]:
    """Status and text of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", PORTS[api], timeout=TIMEOUT_S)
    headers = {"Content-Type": "application/json", **headers}
    connection.request(method, path, body.encode(), headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def key_header(api: str) -> dict[str, str]:
    """The header with the API's key."""
    if OPEN:
        return {}
    if not KEYS.is_file():
        raise WrongError(f"TorchServe has left no {KEYS.name}")
    return {"authorization": f"Bearer {json.loads(KEYS.read_text())[api]['key']}"}


def grpc_ping() -> str:
    """Whether the server says over gRPC that it is healthy."""
    answer = call(GRPC, "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Ping")
    if b"Healthy" not in answer:
        raise WrongError(f"it says {answer!r}")
    return "healthy"


def call(port: int, path: str) -> bytes:
    """The answer to one call without arguments, which is all of HTTP/2 that this needs."""
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        "content-type": "application/grpc",
        "te": "trailers",
        **key_header("inference"),
    }
    block = b"".join(b"\0" + text(name) + text(value) for name, value in headers.items())
    empty_message = struct.pack(">BI", 0, 0)
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, b""))
        connection.sendall(frame(HEADERS, END_HEADERS, 1, block))
        connection.sendall(frame(DATA, END_STREAM, 1, empty_message))
        return answered(connection)


def answered(connection: socket.socket) -> bytes:
    """The messages of stream 1, until it ends."""
    stream, found = connection.makefile("rb"), b""
    while head := stream.read(9):
        size = int.from_bytes(head[:3], "big")
        kind, flags, number = struct.unpack(">BBI", head[3:])
        content = stream.read(size)
        if kind == SETTINGS and not flags & ACK:
            connection.sendall(frame(SETTINGS, ACK, 0, b""))
        if kind == DATA and number == 1:
            found += content
        if kind == GOAWAY or (number == 1 and flags & END_STREAM and kind in (DATA, HEADERS)):
            break
    if not found:
        raise WrongError("the gRPC API answered without a message: refused, or no gRPC")
    return found


def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    """One frame of HTTP/2."""
    return len(content).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + content


def text(words: str) -> bytes:
    """A short text as HPACK has it, without compression."""
    return bytes([len(words)]) + words.encode()


QUESTIONS: dict[str, Callable[..., str]] = {
    "ping": ping,
    "keys": keys,
    "listed": listed,
    "predict": predict,
    "grpc-ping": grpc_ping,
}

if __name__ == "__main__":
    main()
