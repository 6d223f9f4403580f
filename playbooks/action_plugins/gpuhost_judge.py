"""Judges what gpuhost's probe read, where no gpuhost command does; fails for a host that is bad."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

DOCUMENTATION = """
name: gpuhost_judge
short_description: Judge what gpuhost's probe read on a host
description:
  - Fails where a check fails or is unknown, with the report that gpuhost verify prints.
  - The Python package gpuhost has to be installed beside Ansible.
options:
  evidence:
    description: What gpuhost_probe returned.
    type: dict
    required: true
  suite:
    description: How much is judged, as gpuhost_question was told.
    type: str
    required: true
  keep:
    description: Folder beside Ansible in which the evidence is kept, for gpuhost verify --from.
    type: path
"""
# Where ansible-runner collects what a job leaves behind, to bring it back.
ARTIFACTS = "AWX_ISOLATED_DATA_DIR"


class ActionModule(ActionBase):  # type: ignore[misc]
    """The action; see the module's documentation."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Judge, and say it in the task's result."""
        from gpuhost import in_playbook  # noqa: PLC0415  (Ansible reads this file without gpuhost)
        from gpuhost.errors import GpuhostError  # noqa: PLC0415
        from gpuhost.inventory_reader import plain  # noqa: PLC0415

        result: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            {
                "evidence": {"type": "dict", "required": True},
                "suite": {"type": "str", "required": True},
                "keep": {"type": "path"},
            }
        )
        given = task_vars or {}
        host = given["inventory_hostname"]
        names = [name for name in given if name.startswith(in_playbook.prefixes())]
        variables = {name: plain(self._templar.template(given[name])) for name in names}
        evidence = plain(arguments["evidence"])
        try:
            judged = in_playbook.judge(
                host, evidence, variables, arguments["suite"], folder(arguments["keep"])
            )
        except GpuhostError as error:
            return result | {"failed": True, "msg": f"{error.message} {error.remedy}"}
        found = {"changed": False, "verdict": str(judged.report.verdict), "report": judged.lines}
        if judged.is_well:
            return result | found
        return result | found | {"failed": True, "msg": "\n".join(judged.lines)}


def folder(named: str | None) -> Path | None:
    """Where evidence is kept: what was named, else among the artifacts of an ansible-runner."""
    if named:
        return Path(named)
    artifacts = os.environ.get(ARTIFACTS)
    return Path(artifacts) / "gpuhost" if artifacts else None
