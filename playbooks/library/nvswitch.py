"""Ansible module: whether a host's GPUs are joined by NVSwitches, and what drives them."""

from __future__ import annotations

import os

from ansible.module_utils import driver_state, run_lock
from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: nvswitch
short_description: Whether a host's GPUs are joined by NVSwitches, and what drives them
description:
  - Reads the PCI bus, the driver on disk and the names of the fabric managers that are installed.
  - Changes nothing.
author: gpuhost
"""

EXAMPLES = r"""
- name: Find out whether there are NVSwitches
  nvswitch:
  register: board
"""

RETURN = r"""
switches:
  description: PCI addresses of the NVSwitches.
  returned: always
  type: list
  elements: str
driver_version:
  description: Version of the driver on disk; empty if none is installed.
  returned: always
  type: str
installed:
  description: Names of the packages of fabric managers that are installed.
  returned: always
  type: list
  elements: str
"""

QUERIES = (
    ("dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\n", "nvidia-fabric*"),
    ("rpm", "-qa", "--qf", "installed %{NAME}\n", "nvidia-fabric*"),
)


def installed_packages() -> list[str]:
    """The names of the packages that have the fabric manager in them."""
    answers = [driver_state.run(*query)[1] for query in QUERIES]
    listed = [line.split() for answer in answers for line in answer.splitlines()]
    names = {words[-1] for words in listed if words and words[0] == "installed"}
    return sorted(name for name in names if "-dev" not in name)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    run_lock.require(module)
    version, _ = driver_state.on_disk(os.uname().release)
    module.exit_json(
        changed=False,
        switches=driver_state.nvswitches(),
        driver_version=version or "",
        installed=installed_packages(),
    )


if __name__ == "__main__":
    main()
