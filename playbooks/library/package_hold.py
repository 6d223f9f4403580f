"""Ansible module: hold packages at their installed versions, all in one task."""

from __future__ import annotations

from ansible.module_utils import holds, run_lock
from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: package_hold
short_description: Hold packages at their installed versions, all in one task
description:
  - With dpkg, sets the selection of every matching installed package that has it otherwise, where
    M(ansible.builtin.dpkg_selections) would take one task for each.
  - With rpm, adds to or deletes from the version lock of dnf; a package that is held has one entry.
options:
  names:
    description: Names or shell patterns of packages.
    type: list
    elements: str
    required: true
  excluding:
    description: Names or shell patterns of packages to leave alone.
    type: list
    elements: str
    default: []
  state:
    description: Whether the packages are held.
    type: str
    choices: [held, released]
    default: held
author: gpuhost
"""

EXAMPLES = r"""
- name: Hold the driver
  package_hold:
    names: ["nvidia-*", "libnvidia-*"]
    excluding: ["*container*"]
"""

RETURN = r"""
packages:
  description: Packages whose hold was changed.
  returned: always
  type: list
  elements: str
"""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "required": True},
            "excluding": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["held", "released"], "default": "held"},
        },
        supports_check_mode=True,
    )
    run_lock.require(module)
    manager = holds.manager(module)
    wanted = module.params["state"] == "held"
    candidates = holds.matching(
        manager.installed, module.params["names"], module.params["excluding"]
    )
    packages = [package for package in candidates if manager.is_held(package) != wanted]
    if packages and not module.check_mode:
        if wanted:
            manager.hold(packages)
        else:
            manager.release(packages)
    module.exit_json(changed=bool(packages), packages=packages)


if __name__ == "__main__":
    main()
