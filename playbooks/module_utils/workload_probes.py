"""Probes of a workload: it is asked something, and the answer is right or it is not.

A probe is a dict as workload.yaml has it, with its parameters filled in: ``name`` and one
of ``http``, ``exec``, ``log`` and ``file``.
"""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils import compose_project
from ansible.module_utils.compose_project import Project

ASK_S = 60.0
SEEN_CHARACTERS = 1000
LOG_LINES = 10000
ANSWER_BYTES = 1 << 20
NOTHING = object()

Probe = Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """What came back: ``status`` of HTTP or of a program, and the text; or why nothing came."""

    status: int | None = None
    text: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Found:
    """What a probe found; ``wrong`` is empty where all is right."""

    name: str
    seen: str
    wrong: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """It as JSON takes it."""
        return asdict(self)


def look(project: Project, probes: Sequence[Probe]) -> list[Found]:
    """Ask each of the probes once."""
    return [judge(probe, ask(project, probe)) for probe in probes]


# ------------------------------------------------------------------------------- judging


def judge(probe: Probe, answer: Answer) -> Found:
    """Whether an answer is the right one. Pure."""
    seen = answer.problem or answer.text.strip()
    wrong = [answer.problem] if answer.problem else list(_wrong(probe, answer))
    return Found(probe["name"], seen[:SEEN_CHARACTERS], tuple(wrong))


def _wrong(probe: Probe, answer: Answer) -> Iterator[str]:
    if "http" in probe:
        yield from _wrong_http(probe["http"], answer)
    elif "exec" in probe:
        if answer.status != 0:
            *_, last = answer.text.strip().splitlines() or ["it said nothing"]
            yield f"the program ended with exit code {answer.status}: {last.strip()}"
        elif not matches(probe["exec"].get("output", ""), answer.text):
            yield f"no line of its output is like {probe['exec']['output']}"
    elif "log" in probe:
        if not matches(probe["log"], answer.text):
            yield f"no line of the log is like {probe['log']}"
    elif answer.status is not None and answer.status < probe["file"].get("minimum_bytes", 0):
        least = probe["file"]["minimum_bytes"]
        yield f"the file has {answer.status} bytes, and was to have {least} or more"


def _wrong_http(http: Mapping[str, Any], answer: Answer) -> Iterator[str]:
    wanted = http.get("status", 200)
    if answer.status != wanted:
        yield f"the HTTP status is {answer.status}, and was to be {wanted}"
        return
    if not matches(http.get("text", ""), answer.text):
        yield f"no line of the answer is like {http['text']}"
    if not http.get("json"):
        return
    try:
        document = json.loads(answer.text)
    except ValueError:
        yield "the answer is no JSON"
        return
    for path, value in http["json"].items():
        found = _at(document, path)
        if found is NOTHING:
            yield f"the answer has no {path}"
        elif found != value:
            yield f"{path} is {json.dumps(found)}, and was to be {json.dumps(value)}"


def matches(pattern: str, text: str) -> bool:
    """Whether a line of ``text`` matches."""
    return not pattern or any(re.search(pattern, line.strip()) for line in text.splitlines())


def _at(document: Any, path: str) -> Any:
    for key in path.split(".") if path else ():
        if isinstance(document, dict) and key in document:
            document = document[key]
        elif isinstance(document, list) and key.isdigit() and int(key) < len(document):
            document = document[int(key)]
        else:
            return NOTHING
    return document


# -------------------------------------------------------------------------------- asking


def ask(project: Project, probe: Probe) -> Answer:
    """Ask what a probe asks."""
    if "http" in probe:
        return _http(probe["http"], project.folder)
    if "exec" in probe:
        return _exec(project, probe["exec"])
    if "log" in probe:
        return Answer(text=project.log(LOG_LINES))
    return _file(Path(probe["file"]["path"]))


def _http(asked: Mapping[str, Any], folder: Path) -> Answer:
    data = None
    if asked.get("body_file"):
        try:
            data = (folder / asked["body_file"]).read_bytes()
        except OSError as error:
            return Answer(problem=f"{asked['body_file']} cannot be read: {error.strerror}")
    elif asked.get("body"):
        data = str(asked["body"]).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{asked['port']}{asked.get('path', '/')}",
        data=data,
        headers={name: str(value) for name, value in asked.get("headers", {}).items()},
        method=asked.get("method", "POST" if data else "GET"),
    )
    # Whatever proxy the host is told to use, this is about its own port.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=ASK_S) as answer:
            text = answer.read(ANSWER_BYTES).decode("utf-8", "replace")
            return Answer(status=answer.status, text=text)
    except urllib.error.HTTPError as error:
        return Answer(status=error.code, text=error.read(ANSWER_BYTES).decode("utf-8", "replace"))
    except OSError as error:
        reason = getattr(error, "reason", error)
        return Answer(problem=f"port {asked['port']} does not answer: {reason}")
    except (ValueError, http.client.HTTPException) as error:
        return Answer(problem=f"port {asked['port']} answers, but not in HTTP: {error}")


def _exec(project: Project, asked: Mapping[str, Any]) -> Answer:
    argv = ["compose", "--project-name", project.compose_name]
    argv += ["--project-directory", str(project.folder), "exec", "-T", asked["service"]]
    limit_s = float(asked.get("timeout", ASK_S))
    status, said, complaint = compose_project.run(["docker", *argv, *asked["command"]], limit_s)
    return Answer(status=status, text=f"{said}\n{complaint}")


def _file(path: Path) -> Answer:
    try:
        size = path.stat().st_size
    except OSError as error:
        return Answer(problem=f"{path}: {error.strerror}")
    return Answer(status=size, text=f"{path}: {size} bytes")
