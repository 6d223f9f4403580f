"""Ansible module: make the loaded NVIDIA kernel module the one that is on disk."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils import driver_state, run_lock
from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: nvidia_module
short_description: Make the loaded NVIDIA kernel module the one that is on disk
description:
  - Loads the module, or replaces the loaded one if nothing uses it. NVIDIA's own services are
    stopped for that and started again.
  - Says that a reboot is required where that is the only way; it does not reboot.
author: gpuhost
"""

EXAMPLES = r"""
- name: Load the driver
  nvidia_module:
  register: loaded
"""

RETURN = r"""
reboot_required:
  description: Whether only a reboot can load the driver.
  returned: always
  type: bool
reason:
  description: Why the module was loaded, replaced, or needs a reboot; empty if all is well.
  returned: always
  type: str
is_kept:
  description: Whether nvidia-persistenced runs, and starts at boot.
  returned: always
  type: bool
version:
  description: Version of the module on disk.
  returned: always
  type: str
"""

NOTHING = "nothing"
LOAD = "load"
RELOAD = "reload"
REBOOT = "reboot"

# What keeps the module loaded without doing work on a GPU.
FABRIC_MANAGER = "nvidia-fabricmanager"
PERSISTENCED = "nvidia-persistenced"
SERVICES = (PERSISTENCED, FABRIC_MANAGER, "nvidia-dcgm", "dcgm")


@dataclass(frozen=True)
class Step:
    """What to do, and why."""

    action: str
    reason: str = ""


def next_step(state: Mapping[str, Any], users: Sequence[str]) -> Step:
    """What brings the loaded module to the one on disk, for a state of :mod:`driver_state`.

    ``users`` are the processes that have a GPU open.
    """
    loaded, wanted = state["loaded_version"], state["on_disk_version"]
    if loaded is None:
        if state["nouveau_loaded"]:
            return Step(REBOOT, "nouveau is loaded and has the GPUs")
        return Step(LOAD, f"the driver {wanted} is not loaded")
    if loaded != wanted:
        reason = f"the loaded driver is {loaded} and the one on disk {wanted}"
    elif state["loaded_modules"] not in (None, state["on_disk_modules"]):
        reason = (
            f"the loaded kernel modules are {state['loaded_modules']} and the ones on disk "
            f"{state['on_disk_modules']}"
        )
    else:
        return Step(NOTHING)
    if users:
        return Step(REBOOT, f"{reason}, and GPUs are in use by {', '.join(users)}")
    return Step(RELOAD, reason)


def read_state() -> dict[str, Any]:
    """As much of the state as the next step depends on."""
    kernel = os.uname().release
    version, modules = driver_state.on_disk(kernel)
    return {
        "kernel": kernel,
        "loaded_version": driver_state.loaded_version(),
        "loaded_modules": driver_state.loaded_modules(),
        "on_disk_version": version,
        "on_disk_modules": modules,
        "nouveau_loaded": driver_state.is_loaded("nouveau"),
    }


def load(module: AnsibleModule) -> None:
    """Load the driver and its unified memory module."""
    status, out, err = module.run_command(["modprobe", "-a", "nvidia", "nvidia_uvm"])
    if status == 0:
        return
    words = (err or out).strip()
    remedy = "Look at the kernel's log: dmesg | grep -iE 'nvidia|nvrm'."
    if "Key was rejected" in words:
        remedy = (
            "Secure Boot refuses it: enrol the key that DKMS signs with "
            "(mokutil --import /var/lib/dkms/mok.pub, reboot, confirm at the console)."
        )
    module.fail_json(msg=f"The kernel does not load the driver: {words}. {remedy}")


def unload(module: AnsibleModule) -> str:
    """Unload every NVIDIA module; what stood against it, empty if nothing did."""
    loaded = [name for name in driver_state.MODULES if driver_state.is_loaded(name)]
    status, out, err = module.run_command(["modprobe", "-r", *loaded])
    still = [name for name in loaded if driver_state.is_loaded(name)]
    if not still:
        return ""
    return (err or out).strip() or f"{', '.join(still)} stayed loaded (exit status {status})"


def running_services(module: AnsibleModule) -> list[str]:
    """Those of NVIDIA's services that run."""
    return [
        service
        for service in SERVICES
        if module.run_command(["systemctl", "is-active", "--quiet", service])[0] == 0
    ]


def replace(module: AnsibleModule, reason: str) -> str:
    """Replace the loaded module; the reason for a reboot if that did not work, else empty."""
    services = running_services(module)
    if services:
        module.run_command(["systemctl", "stop", *services], check_rc=True)
    obstacle = unload(module)
    # After a partial unload as well, what is left must work again until the reboot.
    load(module)
    for service in services:
        # The fabric manager refuses another driver version than its own: its role brings the one
        # that fits.
        must = not obstacle and service != FABRIC_MANAGER
        module.run_command(["systemctl", "start", service], check_rc=must)
    return f"{reason}, and it cannot be unloaded: {obstacle}" if obstacle else ""


def is_kept(module: AnsibleModule) -> bool:
    """Whether nvidia-persistenced keeps the driver initialized, now and after a reboot."""
    return all(
        module.run_command(["systemctl", verb, "--quiet", PERSISTENCED])[0] == 0
        for verb in ("is-enabled", "is-active")
    )


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    run_lock.require(module)
    state = read_state()
    if state["on_disk_version"] is None and module.check_mode:
        reason = "the driver is not installed yet"
        module.exit_json(
            changed=True, reason=reason, reboot_required=False, is_kept=False, version=""
        )
    if state["on_disk_version"] is None:
        kernel = state["kernel"]
        module.fail_json(
            msg=f"There is no NVIDIA module for the running kernel {kernel}: DKMS did not build "
            "it. See dkms status, /var/lib/dkms/nvidia/*/build/make.log, and whether the kernel's "
            f"headers are installed (ls {Path('/lib/modules', kernel, 'build')})."
        )
    step = next_step(state, driver_state.users_of_gpus())
    result = {
        "changed": step.action in (LOAD, RELOAD),
        "reason": step.reason,
        "reboot_required": step.action == REBOOT,
        "version": state["on_disk_version"],
    }
    if not module.check_mode:
        if step.action == LOAD:
            load(module)
        elif step.action == RELOAD:
            obstacle = replace(module, step.reason)
            if obstacle:
                result.update(changed=False, reboot_required=True, reason=obstacle)
    module.exit_json(is_kept=is_kept(module), **result)


if __name__ == "__main__":
    main()
