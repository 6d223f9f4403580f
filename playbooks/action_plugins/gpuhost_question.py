"""Says what gpuhost's probe is to be asked on a host, where no gpuhost command says it."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

DOCUMENTATION = """
name: gpuhost_question
short_description: What gpuhost's probe is to be asked on a host
description:
  - Returns archive and spec for gpuhost_probe, from the host's variables; asks the host nothing.
  - The Python package gpuhost has to be installed beside Ansible.
options:
  suite:
    description: How much is to be checked, quick, standard or full.
    type: str
    required: true
"""


class ActionModule(ActionBase):  # type: ignore[misc]
    """The action; see the module's documentation."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Compose the question."""
        from gpuhost import in_playbook  # noqa: PLC0415  (Ansible reads this file without gpuhost)
        from gpuhost.errors import GpuhostError  # noqa: PLC0415
        from gpuhost.inventory_reader import plain  # noqa: PLC0415

        result: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec({"suite": {"type": "str", "required": True}})
        given = task_vars or {}
        host = given["inventory_hostname"]
        names = [name for name in given if name.startswith(in_playbook.prefixes())]
        variables = {name: plain(self._templar.template(given[name])) for name in names}
        try:
            archive, spec = in_playbook.question(host, variables, arguments["suite"])
        except GpuhostError as error:
            return result | {"failed": True, "msg": f"{error.message} {error.remedy}"}
        return result | {"changed": False, "archive": str(archive), "spec": spec}
