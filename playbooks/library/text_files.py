"""Ansible module: make several small text files what they should be, in one task."""

from __future__ import annotations

from ansible.module_utils import declared_files, run_lock
from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: text_files
short_description: Make several small text files what they should be, in one task
description:
  - Writes files and removes others in one round trip, where M(ansible.builtin.copy) and
    M(ansible.builtin.file) would take one for each.
  - Files are written atomically with mode 0644; folders are made where they are missing.
options:
  present:
    description: Text of each file, by path.
    type: dict
    default: {}
  absent:
    description: Files to remove.
    type: list
    elements: path
    default: []
author: gpuhost
"""

EXAMPLES = r"""
- name: Configure
  text_files:
    present:
      /etc/modprobe.d/nouveau.conf: "blacklist nouveau\n"
    absent:
      - /etc/modprobe.d/old.conf
"""

RETURN = r"""
changed_paths:
  description: Files that were written or removed.
  returned: always
  type: list
  elements: str
apt_has_to_read:
  description: Whether apt has not read its sources since one of the files was written, in this run
    or in one that was cut short.
  returned: always
  type: bool
"""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "present": {"type": "dict", "default": {}},
            "absent": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    run_lock.require(module)
    done = declared_files.bring_about(module, module.params["present"], module.params["absent"])
    module.exit_json(changed=bool(done["changed_paths"]), **done)


if __name__ == "__main__":
    main()
