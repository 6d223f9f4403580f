"""Ansible module: install a repository's signing key, checked by its fingerprint."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from ansible.module_utils import run_lock
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.files import differs_in_mode, write
from ansible.module_utils.openpgp_armour import ArmourError, dearmour, enarmour, is_armoured
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

MODE = 0o644


class KeyRefusedError(Exception):
    """A key that must not be installed; the message says why."""


def normalized(fingerprint: str) -> str:
    """A fingerprint without spaces and ``0x``, in capitals."""
    return fingerprint.replace(" ", "").upper().replace("0X", "", 1)


def primary_fingerprints(listing: str) -> list[str]:
    """Fingerprints of the primary keys in the output of ``gpg --show-keys --with-colons``."""
    found = []
    in_primary_key = False
    for line in listing.splitlines():
        fields = line.split(":")
        if fields[0] in ("pub", "sub"):
            in_primary_key = fields[0] == "pub"
        elif fields[0] == "fpr" and in_primary_key:
            found.append(fields[9])
            in_primary_key = False
    return found


def has_expired(listing: str) -> bool:
    """Whether a primary key in such an output has expired."""
    return any(line.startswith("pub:e:") for line in listing.splitlines())


def fingerprints(key: bytes) -> list[str]:
    """Fingerprints of the primary keys in ``key`` (bytes), none of which has expired."""
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            ["gpg", "--homedir", home, "--batch", "--with-colons", "--show-keys"],
            input=dearmour(key),
            capture_output=True,
            check=False,
        )
    listing = done.stdout.decode(errors="replace")
    found = primary_fingerprints(listing)
    if not found:
        words = done.stderr.decode(errors="replace").strip()
        raise KeyRefusedError(f"it holds no OpenPGP public key ({words or 'gpg found none'})")
    if has_expired(listing):
        raise KeyRefusedError(f"it has expired ({' and '.join(found)})")
    return found


def check(key: bytes, expected: str) -> None:
    """Raise :class:`KeyRefusedError` unless ``expected`` is the only primary key in ``key``."""
    try:
        found = fingerprints(key)
    except ArmourError as error:
        raise KeyRefusedError(str(error)) from error
    if not expected:
        raise KeyRefusedError(
            f"no fingerprint is declared for it. It has {' and '.join(found)}: compare that with "
            "what the publisher says and declare it"
        )
    if set(found) != {expected}:
        raise KeyRefusedError(
            f"its fingerprint is {' and '.join(found)}, and {expected} was expected"
        )


def as_installed(key: bytes, dest: str) -> bytes:
    """``key`` in the form that the name of ``dest`` asks for."""
    return dearmour(key) if Path(dest).suffix == ".gpg" else enarmour(key)


def is_installed(dest: str, expected: str) -> bool:
    """Whether ``dest`` holds the expected key, in the right form and readable."""
    path = Path(dest)
    if not path.is_file() or differs_in_mode(path, MODE):
        return False
    key = path.read_bytes()
    try:
        check(key, expected)
    except KeyRefusedError:
        return False
    return is_armoured(key) == (path.suffix != ".gpg")


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
