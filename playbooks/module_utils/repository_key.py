"""Installing a repository's signing key, checked by its fingerprint."""

from __future__ import annotations

import shutil
from typing import Any

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


def download(url: str, timeout: int) -> bytes:
    """The bytes at ``url``."""
    with open_url(url, timeout=timeout) as answer:
        return answer.read()


def bring_about(module: Any, url: str, dest: str, fingerprint: str, timeout: int = 30) -> bool:
    """Install the key unless ``dest`` has it; whether it had to be, or in check mode would.

    Fails the module where the key cannot be had, or is another than expected.
    """
    expected = normalized(fingerprint)
    if shutil.which("gpg") is None:
        module.fail_json(msg="gpg is not installed on this host: install the package gnupg.")
    if is_installed(dest, expected):
        return False
    try:
        key = download(url, timeout)
    except OSError as error:
        module.fail_json(
            msg=f"The signing key at {url} cannot be downloaded: {error}. "
            "Check the URL, and that this host reaches it: by itself, through a proxy "
            "(gpuhost_https_proxy), or from a mirror of yours."
        )
    try:
        check(key, expected)
    except KeyRefusedError as error:
        module.fail_json(msg=f"The signing key at {url} was refused: {error}.")
    if not module.check_mode:
        write(module, dest, as_installed(key, dest), MODE)
    return True
