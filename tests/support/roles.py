"""Running the roles' own Python as Ansible would, without a host to run it on."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import ansible.module_utils
from ansible.module_utils import _internal
from ansible.module_utils.common import warnings
from ansible.module_utils.testing import patch_module_args

PROJECT = Path(__file__).parents[2]
PLAYBOOKS = PROJECT / "playbooks"
ROLES = PLAYBOOKS / "roles"

# On a host, Ansible makes one package of its own module_utils and the playbooks'.
if str(PLAYBOOKS / "module_utils") not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(str(PLAYBOOKS / "module_utils"))


def util(name: str) -> Any:
    """One of the playbooks' module_utils."""
    return importlib.import_module(f"ansible.module_utils.{name}")


def library(name: str) -> Any:
    """One of the playbooks' modules, as a Python module."""
    spec = importlib.util.spec_from_file_location(
        f"library_{name}", PLAYBOOKS / "library" / f"{name}.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run(module: Any, *, check: bool = False, **parameters: Any) -> Mapping[str, Any]:
    """What a module (of :func:`library`) returns for these parameters, here on this machine."""
    arguments = {**parameters, "_ansible_check_mode": check, "_ansible_diff": True}
    output = io.StringIO()
    # On a host, each module is a process of its own.
    warnings._global_warnings.clear()
    with (
        # … and none is the controller, whatever else this process has imported of Ansible.
        mock.patch.object(_internal, "is_controller", new=False),
        patch_module_args(arguments),
        contextlib.redirect_stdout(output),
        contextlib.suppress(SystemExit),
    ):
        module.main()
    result: Mapping[str, Any] = json.loads(output.getvalue())
    return result
