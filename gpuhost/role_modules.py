"""The roles' own pure code, for the controller and the probe to judge and read by too.

It lies in ``playbooks/module_utils``, where Ansible's modules find it. The
files named here import nothing but the standard library and each other, and go
by the name of a package: :data:`PACKAGE`.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from gpuhost import ansible_env

PACKAGE = "gpuhost_roles"
SHARED = (
    "cdi_staleness",
    "daemon_config",
    "driver_state",
    "host_checks",
    "host_state",
    "mig_geometry",
    "nvidia_pci",
    "openpgp_armour",
    "package_state",
    "signing_keys",
    "texts",
)


def folder() -> Path:
    """Where they lie."""
    return ansible_env.playbooks_dir() / "module_utils"


def load(name: str) -> Any:
    """One of :data:`SHARED`, as a Python module."""
    if PACKAGE not in sys.modules:
        package = ModuleType(PACKAGE)
        package.__path__ = [str(folder())]
        sys.modules[PACKAGE] = package
    return importlib.import_module(f"{PACKAGE}.{name}")
