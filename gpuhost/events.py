"""What happens during a run: ansible-runner's dictionaries as typed events. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gpuhost.ssh_words import unwrapped

# Results that gpuhost's own modules hand back to it; all others stay with Ansible.
HANDED_BACK = (
    "evidence",
    "lock",
    "unfinished",
    "version_changes",
    "removal",
    "left",
    "workload",
    "proofs",
    "images",
)
TAIL_LINES = 10
LINE_LENGTH = 300
# In the words of ansible-core 2.19, and of 2.21.
EXITED_WITH_ANOTHER_CODE = (
    "non-zero return code",
    "The command exited with a non-zero return code.",
)
HIDDEN = "its output is hidden (no_log)"
# What playbooks/action_plugins/fetch_outputs.py says while it works.
PROGRESS = re.compile(r"gpuhost progress of (?P<host>\S+): (?P<words>.+)")
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class PlayStarted:
    """A play began."""

    play: str


@dataclass(frozen=True)
class TaskStarted:
    """A task began, on some or all of the play's hosts. ``role`` is empty outside roles."""

    play: str
    task: str
    role: str = ""


@dataclass(frozen=True)
class HostStarted:
    """A task began on one host."""

    host: str
    task: str
    role: str = ""


@dataclass(frozen=True)
class HostResult:
    """A task ended on one host.

    ``status``: ok, changed, failed, unreachable or skipped; a failure that
    the playbook ignores counts as ok, as it does with Ansible. ``message``
    says why it failed. ``data`` is what a module of gpuhost's own handed
    back, by key.
    """

    host: str
    task: str
    status: str
    message: str = ""
    duration_s: float = 0.0
    role: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """How far a task has come on one host, in words."""

    host: str
    words: str


@dataclass(frozen=True)
class FileDiff:
    """How a task changes, or would change, a file: a unified diff."""

    host: str
    task: str
    text: str


@dataclass(frozen=True)
class HostStats:
    """How often tasks ended in which way on one host, over the whole run."""

    ok: int = 0
    changed: int = 0
    failures: int = 0
    dark: int = 0  # Ansible's word for unreachable
    skipped: int = 0
    rescued: int = 0
    ignored: int = 0


@dataclass(frozen=True)
class Stats:
    """The run came to its end; the hosts that took part, each with its counts."""

    hosts: Mapping[str, HostStats]


@dataclass(frozen=True)
class Message:
    """Something that Ansible said outside any host's result.

    ``level``: error, warning or info.
    """

    level: str
    text: str


Event = PlayStarted | TaskStarted | HostStarted | HostResult | Progress | FileDiff | Stats | Message


def translate(raw: Mapping[str, Any]) -> Event | None:
    """The event that one of ansible-runner's dictionaries stands for; None if it is of no use."""
    make = _MAKERS.get(raw.get("event", ""))
    return make(raw, raw.get("event_data") or {}) if make else None


def failure_words(result: Mapping[str, Any], shown: str = "") -> str:
    """Why a task failed, from its module's ``result`` and what Ansible ``shown`` of it.

    The module's own words and the end of its error output; nothing of a
    result that is marked ``no_log``.
    """
    if "censored" in result:
        return HIDDEN
    failed_items = [item for item in result.get("results") or () if _has_failed(item)]
    if failed_items:
        item = failed_items[0]
        return f"{item.get('_ansible_item_label', item.get('item'))}: {failure_words(item)}"
    outputs = (result.get(name) for name in ("stderr", "module_stderr", "stdout", "module_stdout"))
    tail = next((_tail(output) for output in outputs if output), "")
    if tail in str(result.get("msg")):
        tail = ""
    words = "\n".join(filter(None, [_message(result, shown), tail]))
    return words or str(result.get("msg") or "").strip() or "it did not say why"


def _has_failed(item: Mapping[str, Any]) -> bool:
    # ansible-core 2.21 does not mark the items of a loop as failed any more.
    return bool(item.get("failed") or item.get("exception"))


def _message(result: Mapping[str, Any], shown: str) -> str:
    words = result.get("msg") or ""
    text = unwrapped("\n".join(map(str, words)) if isinstance(words, list) else str(words))
    if text in EXITED_WITH_ANOTHER_CODE:
        command = result.get("cmd")
        command = " ".join(command) if isinstance(command, list) else command
        return f"{command} exited with {result.get('rc')}"
    # Ansible shows the reason of some errors that the result only hints at.
    fuller = unwrapped(shown.removeprefix("[ERROR]: ").split("\n", 1)[0])
    return fuller if text and fuller.startswith(text.rstrip(".")) else text


def _tail(output: str) -> str:
    lines = [line[:LINE_LENGTH] for line in unwrapped(output).splitlines()]
    dropped = ["…"] if len(lines) > TAIL_LINES else []
    return "\n".join([*dropped, *lines[-TAIL_LINES:]])


def _shown(raw: Mapping[str, Any]) -> str:
    return ANSI.sub("", raw.get("stdout") or "").replace("\r\n", "\n").strip("\n")


def _play_started(_raw: Mapping[str, Any], data: Mapping[str, Any]) -> PlayStarted:
    return PlayStarted(data.get("name") or data.get("play") or "")


def _task_started(_raw: Mapping[str, Any], data: Mapping[str, Any]) -> TaskStarted:
    return TaskStarted(data.get("play") or "", data.get("task") or "", data.get("role") or "")


def _host_started(_raw: Mapping[str, Any], data: Mapping[str, Any]) -> HostStarted:
    return HostStarted(data["host"], data.get("task") or "", data.get("role") or "")


def _result(status: str) -> Callable[[Mapping[str, Any], Mapping[str, Any]], HostResult]:
    def make(raw: Mapping[str, Any], data: Mapping[str, Any]) -> HostResult:
        result = data.get("res") or {}
        failed = status in ("failed", "unreachable")
        ended = "ok" if data.get("ignore_errors") else status
        return HostResult(
            host=data["host"],
            task=data.get("task") or "",
            status="changed" if ended == "ok" and result.get("changed") else ended,
            message=failure_words(result, _shown(raw)) if failed else "",
            duration_s=float(data.get("duration") or 0.0),
            role=data.get("role") or "",
            data={key: result[key] for key in HANDED_BACK if key in result},
        )

    return make


def _file_diff(raw: Mapping[str, Any], data: Mapping[str, Any]) -> FileDiff | None:
    text = _shown(raw)
    return FileDiff(data["host"], data.get("task") or "", text) if text else None


def _stats(_raw: Mapping[str, Any], data: Mapping[str, Any]) -> Stats:
    kinds = HostStats.__dataclass_fields__
    return Stats(
        {
            host: HostStats(**{kind: data.get(kind, {}).get(host, 0) for kind in kinds})
            for host in data.get("processed") or {}
        }
    )


def _message_of(
    level: str,
) -> Callable[[Mapping[str, Any], Mapping[str, Any]], Message | None]:
    def make(raw: Mapping[str, Any], _data: Mapping[str, Any]) -> Message | None:
        text = _shown(raw)
        return Message(level, text) if text.strip() else None

    return make


def _verbose(raw: Mapping[str, Any], data: Mapping[str, Any]) -> Progress | Message | None:
    told = PROGRESS.fullmatch(_shown(raw))
    return Progress(told["host"], told["words"]) if told else _message_of("info")(raw, data)


_MAKERS: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Event | None]] = {
    "playbook_on_play_start": _play_started,
    "playbook_on_task_start": _task_started,
    "runner_on_start": _host_started,
    "runner_on_ok": _result("ok"),
    "runner_on_failed": _result("failed"),
    "runner_on_unreachable": _result("unreachable"),
    "runner_on_skipped": _result("skipped"),
    "runner_on_file_diff": _file_diff,
    "playbook_on_stats": _stats,
    "playbook_on_no_hosts_matched": _message_of("error"),
    "error": _message_of("error"),
    "warning": _message_of("warning"),
    "system_warning": _message_of("warning"),
    "deprecated": _message_of("warning"),
    "verbose": _verbose,
}
