"""Ansible module: look at a host before anything is changed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible.module_utils import package_state
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.host_checks import Wanted, message, on_disk_is_wanted, reasons
from ansible.module_utils.host_state import mig_gpus, read

DOCUMENTATION = r"""
module: preflight
short_description: Find everything that stands against provisioning a GPU container host
description:
  - Reads the host without changing it and fails once, with every reason and what to do about it.
options:
  supported:
    description: Versions that are supported, by the ID of /etc/os-release.
    type: dict
    required: true
  branch:
    description: Driver branch that is wanted.
    type: str
    required: true
  version:
    description: Exact driver version that is wanted, if one is.
    type: str
    default: ""
  modules:
    description: Kernel modules that are wanted.
    type: str
    choices: [auto, open, proprietary]
    default: auto
  free_mib:
    description: Free space that is needed, in MiB, by path.
    type: dict
    default: {}
  users:
    description: Users that are to run containers.
    type: list
    elements: str
    default: []
  create_users:
    description: Whether users that do not exist are created.
    type: bool
    default: false
  replace_foreign:
    description: Whether a driver that did not come from NVIDIA's repository is removed.
    type: bool
    default: false
  remove_podman:
    description: Whether podman may go with the packages that conflict with Docker's.
    type: bool
    default: false
  override:
    description: Names of reasons to go on in spite of.
    type: list
    elements: str
    default: []
  mig_entries:
    description: How the GPUs are to be divided, in nvidia-mig-parted's form; held against what they
      can be divided into, where a driver is loaded.
    type: list
    elements: dict
    default: []
  lock_timeout:
    description: Seconds to wait for another program to end its work with packages.
    type: int
    default: 300
author: gpuhost
"""

EXAMPLES = r"""
- name: Look at the host before anything is changed
  preflight:
    supported: {debian: ["12", "13"]}
    branch: "580"
"""

RETURN = r"""
reasons:
  description: What is in the way, each with its name, what was found, why that stops, the remedy
    and the variable that overrides it; empty if the host can be provisioned.
  returned: always
  type: list
  elements: dict
ansible_facts:
  description: C(nvidia_driver_state), what was read, with the kernel modules to install.
  returned: when nothing is in the way
  type: dict
"""

LOCK_POLL_S = 2.0

OPTIONS = {
    "supported": {"type": "dict", "required": True},
    "branch": {"type": "str", "required": True},
    "version": {"type": "str", "default": ""},
    "modules": {
        "type": "str",
        "choices": ["auto", "open", "proprietary"],
        "default": "auto",
    },
    "free_mib": {"type": "dict", "default": {}},
    "users": {"type": "list", "elements": "str", "default": []},
    "create_users": {"type": "bool", "default": False},
    "replace_foreign": {"type": "bool", "default": False},
    "remove_podman": {"type": "bool", "default": False},
    "override": {"type": "list", "elements": "str", "default": []},
    "mig_entries": {"type": "list", "elements": "dict", "default": []},
    "lock_timeout": {"type": "int", "default": 300},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    parameters = dict(module.params)
    patience = parameters.pop("lock_timeout")
    wanted = Wanted(**parameters)
    # The driver is asked only for who needs its answer: one that hangs would hang this too.
    divided = {"mig_gpus": mig_gpus() if wanted.mig_entries else None}
    state = {**read(list(wanted.free_mib), wanted.users), **divided}
    flavour, found = reasons(state, wanted)
    if [reason.name for reason in found] == ["packages-locked"]:
        # Everything else is well: an upgrade that is under way is worth waiting for.
        lock = awaited_lock(patience)
        state = {**read(list(wanted.free_mib), wanted.users), **divided, "package_lock": lock}
        flavour, found = reasons(state, wanted)
    if found:
        module.fail_json(msg=message(found), reasons=[vars(reason) for reason in found])
    state["modules"] = flavour
    state["on_disk_is_wanted"] = on_disk_is_wanted(state, wanted, flavour)
    module.exit_json(changed=False, reasons=[], ansible_facts={"nvidia_driver_state": state})


def awaited_lock(patience_s: float) -> Mapping[str, Any] | None:
    """Who holds the packages' lock after ``patience_s``; ``None`` as soon as nobody does."""
    give_up = time.monotonic() + patience_s
    while True:
        lock = package_state.lock()
        left = give_up - time.monotonic()
        if lock is None or left <= 0:
            return lock and {**lock, "waited_s": patience_s}
        time.sleep(min(LOCK_POLL_S, left))


if __name__ == "__main__":
    main()
