"""Runs gpuhost's probe on a host and gives its Evidence back.

One remote command where the probe's archive is on the host already: the spec
goes in by standard input (without pipelining, as an argument). Where it is
not, it is shipped first and kept.
"""

from __future__ import annotations

import base64
import json
import shlex
from pathlib import Path
from typing import Any

from ansible import constants as C  # noqa: N812 — Ansible's own name for it
from ansible.plugins.action import ActionBase

DOCUMENTATION = """
name: gpuhost_probe
short_description: Read a GPU host with gpuhost's probe
description:
  - Runs the probe on the host and returns what it read; changes nothing but the probe's own folder.
options:
  archive:
    description: The probe's archive on the controller, as gpuhost.probe_archive builds it.
    type: path
    required: true
  spec:
    description: What the probe is asked, as in gpuhost.probe.schema.Spec.
    type: dict
    required: true
"""

NOT_SHIPPED = 99
NO_PYTHON = 98
PYTHONS = "/usr/bin/python3 python3 python3.13 python3.12 python3.11 python3.10 python3.9"
IS_NEW_ENOUGH = "import sys; sys.exit(sys.version_info < (3, 9))"
KEEP_MINUTES = 24 * 60
EXCERPT = 2000
FOLDER = (
    'if [ "$(id -u)" = 0 ]; then d=/var/lib/gpuhost;'
    ' else d="${XDG_CACHE_HOME:-$HOME/.cache}/gpuhost"; fi'
)


class ActionModule(ActionBase):  # type: ignore[misc]
    """The action; see the module's documentation."""

    _supports_check_mode = True
    _requires_connection = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the probe, shipping it first if need be."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            {"archive": {"type": "path", "required": True}, "spec": {"type": "dict"}}
        )
        archive = Path(arguments["archive"])
        spec = json.dumps(arguments["spec"]).encode()
        python = self._python(task_vars or {})
        answer = self._ask(archive.name, python, spec)
        if answer["rc"] == NOT_SHIPPED:
            shipped = self._ship(archive)
            answer = shipped if shipped["rc"] else self._ask(archive.name, python, spec)
        return result | outcome(answer)

    def _python(self, task_vars: dict[str, Any]) -> str | None:
        """The interpreter named for the host; None: look for one there."""
        named = self._templar.template(task_vars.get("ansible_python_interpreter"))
        named = named or C.config.get_config_value("INTERPRETER_PYTHON")
        return None if str(named).startswith("auto") else str(named)

    def _ask(self, name: str, python: str | None, spec: bytes) -> dict[str, Any]:
        # Where it is off, sudo may want a terminal, and then standard input is not ours.
        can_pipe = self._connection.is_pipelining_enabled()
        command = probe_command(name, python, None if can_pipe else spec)
        answer: dict[str, Any] = self._low_level_execute_command(
            command, in_data=spec if can_pipe else None
        )
        return answer

    def _ship(self, archive: Path) -> dict[str, Any]:
        folder = self._make_tmp_path()
        try:
            remote = self._connection._shell.join_path(folder, archive.name)  # noqa: SLF001
            self._transfer_file(str(archive), remote)
            self._fixup_perms2((folder, remote), execute=False)
            answer: dict[str, Any] = self._low_level_execute_command(
                install_command(remote, archive.name)
            )
        finally:
            self._remove_tmp_path(folder)
        return answer


def probe_command(name: str, python: str | None, spec: bytes | None) -> str:
    """The shell command that runs archive ``name``; the spec is an argument if it is given.

    Ends with NOT_SHIPPED where the archive is missing, with NO_PYTHON where there is no Python.
    """
    test = f'"$p" -I -S -c {shlex.quote(IS_NEW_ENOUGH)} </dev/null >/dev/null 2>&1'
    find = f"for p in {PYTHONS}; do {test} && break; p=; done"
    choose = find if python is None else f"p={shlex.quote(python)}"
    argument = "" if spec is None else f" {base64.b64encode(spec).decode()}"
    # -I and -S: nothing of the host's own packages or start-up files is loaded.
    return (
        f'{FOLDER}; f="$d"/{shlex.quote(name)}; [ -f "$f" ] || exit {NOT_SHIPPED}; {choose};'
        f' command -v "$p" >/dev/null 2>&1 || exit {NO_PYTHON}; exec "$p" -I -S "$f"{argument}'
    )


def install_command(remote: str, name: str) -> str:
    """The shell command that puts the shipped archive in its place and removes old ones."""
    stem = shlex.quote(f"{Path(name).stem}*")
    return (
        f'{FOLDER}; umask 022; mkdir -p "$d" && t="$d/.shipped-$$"'
        f' && cp {shlex.quote(remote)} "$t" && chmod 644 "$t"'
        f' && mv -f "$t" "$d"/{shlex.quote(name)} || {{ rm -f "$t"; exit 1; }};'
        f' find "$d" -maxdepth 1 ! -path "$d" ! -name {stem} -mmin +{KEEP_MINUTES}'
        " \\( -name 'gpuhost-probe-*' -o -name '.gpuhost-probe-*' -o -name '.shipped-*' \\)"
        " -exec rm -rf {} + 2>/dev/null || :"
    )


def outcome(answer: dict[str, Any]) -> dict[str, Any]:
    """The task's result for what the remote command printed."""
    evidence = find_evidence(answer["stdout"])
    if evidence is not None:
        return {"changed": False, "evidence": evidence}
    if answer["rc"] == NO_PYTHON:
        words = (
            "There is no Python 3.9 or later on the host. Install one, and name it in"
            " ansible_python_interpreter if it is not in the PATH."
        )
    else:
        printed = (answer["stderr"].strip() + "\n" + answer["stdout"].strip()).strip()
        words = f"The probe gave no Evidence (exit status {answer['rc']}): {printed[-EXCERPT:]}"
        if "No space left on device" in printed:
            words += "\nFree some space on the host; look with: df -h /var/lib /tmp"
        if "must have a tty" in printed:
            words += "\nSet ansible_pipelining to false for this host, or drop sudo's requiretty."
    return {"changed": False, "failed": True, "msg": words, "rc": answer["rc"]}


def find_evidence(text: str) -> dict[str, Any] | None:
    """The Evidence document in an output that sudo or a login shell may have added to."""
    start = text.find('{"schema_version":')
    while start >= 0:
        try:
            found: dict[str, Any] = json.JSONDecoder().raw_decode(text, start)[0]
        except ValueError:
            start = text.find('{"schema_version":', start + 1)
        else:
            return found
    return None
