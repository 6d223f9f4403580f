"""Section ``preflight``: what the roles decide by, read by their own code.

The archive carries that code as the package ``gpuhost_roles``, so that a plan
and the role preflight cannot come to different ends.
"""

from __future__ import annotations

import importlib

from gpuhost.probe.context import Context
from gpuhost.probe.schema import Preflight


def collect(context: Context) -> Preflight:
    """Read the section."""
    host_state = importlib.import_module("gpuhost_roles.host_state")
    signing_keys = importlib.import_module("gpuhost_roles.signing_keys")
    spec = context.spec
    state = host_state.read(spec["free_paths"], spec["users"])
    state["mig_gpus"] = host_state.mig_gpus()
    keys = [] if state["gpg_missing"] else signing_keys.installed()
    return {"state": state, "keys": keys}
