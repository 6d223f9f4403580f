"""The environment that Ansible gets from gpuhost: the same for inventories and for playbooks."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

# What stands beside an inventory in the same folder and is none.
NO_INVENTORY = (
    r"(^|/)site_checks(/|$)",
    r"(^|/)known_hosts",
    r"\.pub$",
    r"(^|/)id_[a-z0-9]+$",
    r"\.pem$",
    r"\.key$",
)


def playbooks_dir() -> Path:
    """The folder of the playbooks and roles: in a checkout ``playbooks/``, else the wheel's."""
    package = Path(str(resources.files("gpuhost")))
    inside = package / "playbooks"
    return inside if inside.is_dir() else package.parent / "playbooks"


def variables(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What to set on top of ``environ`` for every Ansible program.

    Whatever makes Ansible work at a site (vault password files, connection
    plugins, jump hosts, an ``ANSIBLE_CONFIG`` of its own) is left as it is.
    """
    # Ansible's programs are looked for in PATH; a virtual environment need not be in it.
    own_programs = str(Path(sys.executable).parent)
    found = {
        "PATH": os.pathsep.join([own_programs, environ.get("PATH", os.defpath)]),
        # A warning would be lost, and the run would go on without the hosts that were meant.
        "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "True",
        "ANSIBLE_HOST_PATTERN_MISMATCH": "error",
        "ANSIBLE_NOCOLOR": "True",
        "ANSIBLE_FORCE_COLOR": "False",
        "ANSIBLE_CONFIG": environ.get("ANSIBLE_CONFIG") or str(playbooks_dir() / "ansible.cfg"),
        "ANSIBLE_INVENTORY_IGNORE_REGEX": environ.get("ANSIBLE_INVENTORY_IGNORE_REGEX")
        or ", ".join(NO_INVENTORY),
    }
    if not _has_utf8(environ):
        found["LC_ALL"] = "C.UTF-8"
    return found


def _has_utf8(environ: Mapping[str, str]) -> bool:
    # Ansible refuses to start in any other locale, and cron jobs often have none.
    locale = environ.get("LC_ALL") or environ.get("LC_CTYPE") or environ.get("LANG") or ""
    return locale.lower().replace("-", "").endswith("utf8")
