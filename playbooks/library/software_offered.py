"""Ansible module: whether repositories have what roles declare, before any of it is installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.module_utils import declared_files, offers, repository_key, run_lock
from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: software_offered
short_description: Make sure that dnf's repositories have the versions that roles declare
description:
  - Takes the C(__ROLE_declared) of one or more roles. Installs the keys of their repositories,
    writes and removes their files, and asks dnf for the packages that are declared in a version.
  - Fails where no repository has one of them, and tells the versions that there are.
  - In check mode dnf is not asked, because the repositories may not be configured yet.
options:
  declared:
    description: What each role declares, by role.
    type: dict
    required: true
author: gpuhost
"""

EXAMPLES = r"""
- name: Make sure that the declared versions can be had
  software_offered:
    declared:
      docker_ce: "{{ __docker_ce_declared }}"
"""

RETURN = r"""
changed_paths:
  description: Keys and files that were not as declared.
  returned: success
  type: list
  elements: str
"""


def configure(module: AnsibleModule, declared: Mapping[str, Any]) -> list[str]:
    """Bring about the keys and files of a role; those that were not as declared."""
    key = declared["key"]
    is_new = repository_key.bring_about(module, key["url"], key["path"], key["fingerprint"])
    files = declared_files.bring_about(module, declared["files"], declared["absent"])
    return [*([key["path"]] if is_new else []), *files["changed_paths"]]


def not_offered(module: AnsibleModule, declared: Mapping[str, Any]) -> list[str]:
    """What no repository has of a role's packages, in words."""
    pinned = {name: version for name, version in declared["packages"].items() if version}
    lacking = offers.missing_for_dnf(module, pinned) if pinned else {}
    offered = offers.versions(module, lacking)
    # As they can be declared: the packages of one version differ in their epochs.
    bare = {name: [each.rpartition(":")[2] for each in offered[name]] for name in lacking}
    return offers.words(lacking, bare, declared["chosen_by"])


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={"declared": {"type": "dict", "required": True}}, supports_check_mode=True
    )
    run_lock.require(module)
    roles: list[Mapping[str, Any]] = list(module.params["declared"].values())
    changed_paths = [path for each in roles for path in configure(module, each)]
    said = [] if module.check_mode else [w for each in roles for w in not_offered(module, each)]
    if said:
        module.fail_json(msg="\n".join([offers.NOTHING_DONE, *said]))
    module.exit_json(changed=bool(changed_paths), changed_paths=changed_paths)


if __name__ == "__main__":
    main()
