"""Ansible module: make several small text files what they should be, in one task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ansible.module_utils import originals, run_lock
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.files import diff, differs_in_mode, read_text, write

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

APT_LISTS = Path("/var/lib/apt/lists")
MODE = 0o644


def is_as_wanted(path: str, content: str) -> bool:
    """Whether the file at ``path`` has ``content`` and mode 0644."""
    return read_text(path) == content and not differs_in_mode(path, MODE)


def apt_has_to_read(paths: Sequence[str]) -> bool:
    """Whether a file of apt's among ``paths`` was changed after apt's lists were."""
    if not APT_LISTS.is_dir():
        return False
    read = APT_LISTS.stat().st_mtime
    files = [Path(path) for path in paths if path.startswith("/etc/apt/")]
    return any(path.exists() and path.stat().st_ctime > read for path in files)


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
    present = module.params["present"]
    to_write = [path for path, content in present.items() if not is_as_wanted(path, content)]
    to_remove = [path for path in module.params["absent"] if Path(path).is_file()]
    diffs = [diff(path, read_text(path), present.get(path)) for path in [*to_write, *to_remove]]
    if not module.check_mode:
        for path in to_write:
            write(module, path, present[path], MODE)
        for path in to_remove:
            originals.keep(path)
            Path(path).unlink()
    changed_paths = [*to_write, *to_remove]
    module.exit_json(
        changed=bool(changed_paths),
        changed_paths=changed_paths,
        apt_has_to_read=bool(to_remove) or apt_has_to_read(list(present)),
        diff=diffs,
    )


if __name__ == "__main__":
    main()
