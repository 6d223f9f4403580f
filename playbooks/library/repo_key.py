"""Ansible module: install a repository's signing key, checked by its fingerprint."""

from __future__ import annotations

import shutil

from ansible.module_utils import run_lock
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.files import write
from ansible.module_utils.signing_keys import (
    MODE,
    KeyRefusedError,
    as_installed,
    check,
    is_installed,
    normalized,
)
from ansible.module_utils.urls import open_url

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


def download(url: str, timeout: int) -> bytes:
    """The bytes at ``url``."""
    with open_url(url, timeout=timeout) as answer:
        return answer.read()


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
    url, dest = module.params["url"], module.params["dest"]
    expected = normalized(module.params["fingerprint"])
    if shutil.which("gpg") is None:
        module.fail_json(msg="gpg is not installed on this host: install the package gnupg.")
    if is_installed(dest, expected):
        module.exit_json(changed=False, fingerprint=expected)
    try:
        key = download(url, module.params["timeout"])
    except OSError as error:
        module.fail_json(
            msg=f"The signing key at {url} cannot be downloaded: {error}. "
            "Check the URL, and that this host reaches it (proxy, mirror)."
        )
    try:
        check(key, expected)
    except KeyRefusedError as error:
        module.fail_json(msg=f"The signing key at {url} was refused: {error}.")
    if not module.check_mode:
        write(module, dest, as_installed(key, dest), MODE)
    module.exit_json(changed=True, fingerprint=expected)


if __name__ == "__main__":
    main()
