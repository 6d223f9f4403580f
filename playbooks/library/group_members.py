"""Ansible module: add users to a group, all in one task."""

from __future__ import annotations

import grp
import pwd

from ansible.module_utils import originals, run_lock
from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: group_members
short_description: Add users to a group, all in one task
description:
  - Adds users to a group and takes nobody out, where M(ansible.builtin.user) would take one task
    for each user and create those that do not exist.
  - Fails before it changes anything if users do not exist, and names them all.
options:
  group:
    description: Name of the group.
    type: str
    required: true
  users:
    description: Names of the users.
    type: list
    elements: str
    required: true
  create:
    description: Whether users that do not exist are created, with a home directory.
    type: bool
    default: false
author: gpuhost
"""

EXAMPLES = r"""
- name: Let alice use Docker
  group_members:
    group: docker
    users: [alice]
"""

RETURN = r"""
added:
  description: Users that were added to the group.
  returned: always
  type: list
  elements: str
created:
  description: Users that were created.
  returned: always
  type: list
  elements: str
"""


def exists(user: str) -> bool:
    """Whether the host knows ``user``, from any of its sources."""
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def is_member(user: str, group: grp.struct_group) -> bool:
    """Whether ``user`` is in ``group`` (an entry of the group database), also as primary group."""
    return user in group.gr_mem or (exists(user) and pwd.getpwnam(user).pw_gid == group.gr_gid)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "group": {"type": "str", "required": True},
            "users": {"type": "list", "elements": "str", "required": True},
            "create": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    run_lock.require(module)
    name, users = module.params["group"], module.params["users"]
    try:
        group = grp.getgrnam(name)
    except KeyError:
        if not module.check_mode:
            module.fail_json(msg=f"There is no group {name} on this host: install what makes it.")
        module.exit_json(changed=bool(users), added=users, created=[])
    missing = [user for user in users if not exists(user)]
    if missing and not module.params["create"]:
        module.fail_json(
            msg=f"There is no user {', '.join(missing)} on this host: create them, correct "
            "docker_users_names, or set docker_users_create.",
            missing=missing,
        )
    to_add = [user for user in users if not is_member(user, group)]
    if not module.check_mode:
        for user in missing:
            module.run_command(["useradd", "--create-home", user], check_rc=True)
        for user in to_add:
            # gpasswd also adds users of a directory service to a local group; usermod does not.
            originals.note_member(name, user)
            module.run_command(["gpasswd", "--add", user, name], check_rc=True)
    if to_add:
        module.warn(
            f"Members of the group {name} can become root on this host "
            f"(a container can mount its file system): added {', '.join(to_add)}."
        )
    module.exit_json(changed=bool(to_add or missing), added=to_add, created=missing)


if __name__ == "__main__":
    main()
