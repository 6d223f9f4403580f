"""Ansible module: see to it that the CDI specification describes the driver and GPUs there are."""

from __future__ import annotations

import stat
from pathlib import Path

from ansible.module_utils import driver_state, run_lock
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.cdi_staleness import staleness
from ansible.module_utils.files import read_text

DOCUMENTATION = r"""
module: cdi_spec
short_description: See to it that the CDI specification describes the driver and GPUs there are
description:
  - Enables the units that keep it up to date (NVIDIA Container Toolkit 1.18 and later).
  - Restarts nvidia-cdi-refresh.service if the specification is missing, was made for another
    driver version or lacks a GPU, and fails if that does not mend it.
options:
  path:
    description: The specification.
    type: path
    default: /var/run/cdi/nvidia.yaml
author: gpuhost
"""

EXAMPLES = r"""
- name: Refresh the CDI specification where it is out of date
  cdi_spec:
"""

RETURN = r"""
reason:
  description: Why the specification was made anew; empty if it was not.
  returned: always
  type: str
enabled:
  description: Units that were enabled.
  returned: always
  type: list
  elements: str
"""

SERVICE = "nvidia-cdi-refresh.service"
UNITS = (SERVICE, "nvidia-cdi-refresh.path")


def gpu_nodes() -> list[str]:
    """The nodes of the GPUs, ``/dev/nvidia0`` and so on, and of the rights to MIG devices."""
    rights = [node for node in Path("/dev/nvidia-caps").glob("nvidia-cap*") if is_for_all(node)]
    return sorted(str(node) for node in (*Path("/dev").glob("nvidia[0-9]*"), *rights))


def is_for_all(node: Path) -> bool:
    """Whether others may open a node: those of MIG's configuration and monitoring are root's."""
    return bool(node.stat().st_mode & stat.S_IROTH)


def disabled_units(module: AnsibleModule) -> list[str]:
    """The units that do not start at boot; fails the module if there are none at all."""
    _, out, _ = module.run_command(["systemctl", "is-enabled", *UNITS])
    states = out.split()
    if len(states) != len(UNITS) or "not-found" in states:
        module.fail_json(
            msg=f"This host has no {SERVICE}: NVIDIA Container Toolkit 1.18 or later is needed. "
            "Correct nvidia_container_toolkit_version."
        )
    return [unit for number, unit in enumerate(UNITS) if states[number] == "disabled"]


def refresh(module: AnsibleModule, path: str) -> None:
    """Have the specification made anew; fails the module if it is not right then."""
    status, _, err = module.run_command(["systemctl", "restart", SERVICE])
    remains = reason_to_refresh(path)
    if status == 0 and not remains:
        return
    _, journal, _ = module.run_command(
        ["journalctl", "--no-pager", "--lines=20", "--output=cat", f"--unit={SERVICE}"]
    )
    module.fail_json(
        msg=f"The CDI specification {path} is not right ({remains or err.strip()}) and {SERVICE} "
        f"did not mend it. It says:\n{journal.strip()}"
    )


def reason_to_refresh(path: str) -> str:
    """Why the specification at ``path`` does not describe this host; empty if it does."""
    return staleness(read_text(path), driver_state.loaded_version(), gpu_nodes())


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={"path": {"type": "path", "default": "/var/run/cdi/nvidia.yaml"}},
        supports_check_mode=True,
    )
    run_lock.require(module)
    path = module.params["path"]
    disabled = disabled_units(module)
    reason = reason_to_refresh(path)
    if not module.check_mode:
        if disabled:
            module.run_command(["systemctl", "enable", "--now", *disabled], check_rc=True)
        if reason:
            refresh(module, path)
    module.exit_json(changed=bool(disabled or reason), reason=reason, enabled=disabled)


if __name__ == "__main__":
    main()
