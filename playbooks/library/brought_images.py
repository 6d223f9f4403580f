"""Ansible module: list and remove the images that gpuhost brought to this host."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.module_utils import brought_images
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.brought_images import Brought

DOCUMENTATION = r"""
module: brought_images
short_description: List and remove the images that gpuhost brought to this host
description:
  - Goes by gpuhost's own record. Images that were here before are not on it; one that a container
    uses, or that somebody has built or named since, is kept.
options:
  state:
    description: C(listed) reads; C(absent) removes those in O(ids) that need not be kept.
    type: str
    choices: [listed, absent]
    default: listed
  ids:
    description: The images to remove; those that came since are not among them.
    type: list
    elements: str
    default: []
  record:
    description: Where the record is.
    type: path
    default: /var/lib/gpuhost/images.jsonl
author: gpuhost
"""

EXAMPLES = r"""
- name: List the images that gpuhost brought
  brought_images:
"""

RETURN = r"""
images:
  description: C(here) are the images as they were found, each with C(kept) where it is not to be
    removed; C(removed) are ids.
  returned: always
  type: dict
"""


class Images:
    """The images of this host's docker."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self.here = self._here()

    def _here(self) -> list[Brought]:
        recorded = brought_images.entries(Path(self._module.params["record"]))
        if not recorded:
            return []
        present = set(self._docker("image", "ls", "--all", "--quiet", "--no-trunc").split())
        wanted = [entry["id"] for entry in recorded if entry["id"] in present]
        images = {image["Id"]: image for image in self._inspect("image", wanted)}
        used_by: dict[str, list[str]] = {}
        for container in self._inspect("container", self._docker("ps", "-aq").split()):
            used_by.setdefault(container["Image"], []).append(container["Name"].lstrip("/"))
        return brought_images.still_here(recorded, images, used_by)

    def remove(self, ids: Sequence[str]) -> list[str]:
        """Remove those that need not be kept; the ids that are gone."""
        gone = [one for one in self.here if one.id in ids and not one.kept]
        if not self._module.check_mode:
            for one in gone:
                self._docker("image", "rm", one.reference)
        return [one.id for one in gone]

    def _inspect(self, kind: str, ids: Sequence[str]) -> list[dict[str, Any]]:
        if not ids:
            return []
        found: list[dict[str, Any]] = json.loads(self._docker(kind, "inspect", *ids))
        return found

    def _docker(self, *argv: str) -> str:
        status, said, complaint = self._module.run_command(["docker", *argv])
        if status != 0:
            self._module.fail_json(
                msg=f"docker {' '.join(argv[:2])} failed: {complaint.strip() or said.strip()}"
            )
        return str(said)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["listed", "absent"], "default": "listed"},
            "ids": {"type": "list", "elements": "str", "default": []},
            "record": {"type": "path", "default": str(brought_images.RECORD)},
        },
        supports_check_mode=True,
    )
    images = Images(module)
    removed = images.remove(module.params["ids"]) if module.params["state"] == "absent" else []
    here = [asdict(one) for one in images.here]
    module.exit_json(changed=bool(removed), images={"here": here, "removed": removed})


if __name__ == "__main__":
    main()
