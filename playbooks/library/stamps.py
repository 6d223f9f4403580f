"""Ansible module: what gpuhost notes on a host about the roles that came to their end."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.files import write

DOCUMENTATION = r"""
module: stamps
short_description: What gpuhost notes on a host about the roles that came to their end
description:
  - Takes stamps away or leaves them, so that gpuhost can tell which roles need not run again.
  - Stamps are notes about a host and no part of it, so neither counts as a change.
options:
  present:
    description: Each stamp to leave, by role.
    type: dict
    default: {}
  absent:
    description: Roles whose stamps are taken away first.
    type: list
    elements: str
    default: []
  watched:
    description: Files, and folders of files, whose state is noted in each stamp that is left.
    type: list
    elements: path
    default: []
  folder:
    description: Where stamps are.
    type: path
    default: /var/lib/gpuhost/stamps
author: gpuhost
"""

EXAMPLES = r"""
- name: Forget that the role docker_ce came to its end
  stamps:
    absent: [docker_ce]
"""

RETURN = r"""
taken:
  description: Roles whose stamps were taken away.
  returned: always
  type: list
  elements: str
"""

# They say which variables a host was made with, if only by a hash.
FOLDER_MODE = 0o700
MODE = 0o600


def states(watched: list[str]) -> dict[str, str]:
    """Mode and hash of every file that is, or is in a folder, of ``watched``."""
    places = [Path(place) for place in watched]
    paths = [path for place in places for path in ([place] if place.is_file() else place.glob("*"))]
    return {
        str(path): f"{path.stat().st_mode & 0o7777:04o} "
        + hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if path.is_file()
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "present": {"type": "dict", "default": {}},
            "absent": {"type": "list", "elements": "str", "default": []},
            "watched": {"type": "list", "elements": "path", "default": []},
            "folder": {"type": "path", "default": "/var/lib/gpuhost/stamps"},
        },
        supports_check_mode=True,
    )
    folder, present = Path(module.params["folder"]), module.params["present"]
    taken = [role for role in module.params["absent"] if (folder / f"{role}.json").exists()]
    if not module.check_mode:
        for role in taken:
            (folder / f"{role}.json").unlink()
        files = states(module.params["watched"]) if present else {}
        if present:
            folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        for role, stamp in present.items():
            write(module, folder / f"{role}.json", module.jsonify({**stamp, "files": files}), MODE)
    module.exit_json(changed=False, taken=taken)


if __name__ == "__main__":
    main()
