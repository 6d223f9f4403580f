"""Ask Triton for each example of a model: probe.py MODEL. A wrong answer ends with exit code 1."""

from __future__ import annotations

import json
import re
import sys
from http.client import OK, HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

MODELS = Path("/models")
PORT = 8000
TIMEOUT_S = 20


class WrongError(Exception):
    """An answer that is not the right one."""


def main() -> None:
    """Ask, and say what was found."""
    try:
        print(predict(sys.argv[1]))
    except (WrongError, OSError, HTTPException) as error:
        sys.exit(f"{error or type(error).__name__}")


def predict(model: str) -> str:
    """Whether each example gets an answer that matches."""
    path = MODELS / model / "examples.json"
    if not path.is_file():
        raise WrongError(f"the model repository has no {model}/{path.name} to check answers by")
    examples = json.loads(path.read_text())
    for number, example in enumerate(examples, start=1):
        wanted, said = example["answer"], answered(model, example["body"])
        if not re.search(wanted, said):
            raise WrongError(f"example {number} of {model} is to give {wanted!r}, and gives {said}")
    return f"{len(examples)} of {len(examples)} examples of {model} are right"


def answered(model: str, body: Any) -> str:
    """The values of all outputs."""
    connection = HTTPConnection("127.0.0.1", PORT, timeout=TIMEOUT_S)
    connection.request("POST", f"/v2/models/{model}/infer", json.dumps(body))
    answer = connection.getresponse()
    said = answer.read().decode()
    if answer.status != OK:
        raise WrongError(f"{model}: {answer.status} {said}")
    outputs = json.loads(said)["outputs"]
    return " ".join(str(value) for output in outputs for value in output["data"])


if __name__ == "__main__":
    main()
