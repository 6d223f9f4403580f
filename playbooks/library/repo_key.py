"""Ansible module: install a repository's signing key, checked by its fingerprint."""

from __future__ import annotations

from ansible.module_utils import repository_key, run_lock
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.signing_keys import normalized

DOCUMENTATION = r"""
module: repo_key
short_description: Install a repository's signing key, checked by its fingerprint
description:
  - Downloads an OpenPGP public key, armoured or binary, and installs it only if every primary key
    in it has the expected fingerprint and has not expired.
  - Does not use the network when the file on disk is that key already.
  - The key is written in binary form to a file named C(.gpg), armoured to any other.
options:
  url:
    description: Where the key is.
    type: str
    required: true
  dest:
    description: File to install it as.
    type: path
    required: true
  fingerprint:
    description: Fingerprint of the primary key in hexadecimal; spaces and case do not matter.
    type: str
    required: true
  timeout:
    description: Seconds to wait for the download.
    type: int
    default: 30
author: gpuhost
"""

EXAMPLES = r"""
- name: Install Docker's signing key
  repo_key:
    url: https://download.docker.com/linux/debian/gpg
    dest: /etc/apt/keyrings/docker.asc
    fingerprint: 9DC8 5822 9FC7 DD38 854A E2D8 8D81 803C 0EBF CD88
"""

RETURN = r"""
fingerprint:
  description: Fingerprint of the installed key.
  returned: success
  type: str
"""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "dest": {"type": "path", "required": True},
            "fingerprint": {"type": "str", "required": True},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    run_lock.require(module)
    changed = repository_key.bring_about(module, **module.params)
    module.exit_json(changed=changed, fingerprint=normalized(module.params["fingerprint"]))


if __name__ == "__main__":
    main()
