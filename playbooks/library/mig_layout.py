"""Ansible module: have GPUs divided as nvidia-mig-parted's configuration says."""

from __future__ import annotations

from ansible.module_utils import driver_state, mig_division, mig_geometry, run_lock
from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: mig_layout
short_description: Have GPUs divided as nvidia-mig-parted's configuration says
description:
  - Refuses a layout that the GPUs cannot have, with every reason, before anything is changed.
  - Lets nvidia-mig-manager.service apply the layout if nvidia-mig-parted says that it is not
    there, and only while no process uses a GPU.
  - Before the first layout it notes in the ledger how the GPUs are divided, for C(undo).
options:
  entries:
    description: The entries of the layout, as in nvidia-mig-parted's configuration.
    type: list
    elements: dict
    required: true
  layout:
    description: Name of the layout.
    type: str
    required: true
  config:
    description: File with nvidia-mig-parted's configuration; needed to apply a layout.
    type: path
  state:
    description: Whether the layout has to be possible only, or applied.
    type: str
    choices: [possible, applied]
    default: applied
author: gpuhost
"""

EXAMPLES = r"""
- name: Divide the GPUs
  mig_layout:
    layout: halves
    entries: [{devices: all, mig-enabled: true, mig-devices: {3g.20gb: 2}}]
    config: /etc/nvidia-mig-manager/gpuhost.yaml
"""

RETURN = r"""
users:
  description: Processes that use GPUs.
  returned: when the layout has to be applied
  type: list
  elements: str
"""

SERVICE = "nvidia-mig-manager.service"


def refuse_the_impossible(module: AnsibleModule) -> None:
    """Fail if the GPUs cannot be divided like that."""
    layout = module.params["layout"]
    if not module.params["entries"]:
        module.fail_json(msg=f"nvidia_mig_config has no layout {layout}.")
    try:
        problems = mig_geometry.problems(module.params["entries"], mig_geometry.read())
    except mig_geometry.NvmlError as error:
        if module.check_mode and driver_state.loaded_version() is None:
            return
        module.fail_json(msg=f"What the GPUs can be divided into could not be read: {error}.")
    except (KeyError, TypeError, AttributeError) as error:
        module.fail_json(
            msg=f"The layout {layout} is not as nvidia-mig-parted has it ({error!r}): each entry "
            "needs devices and mig-enabled, and mig-devices says how many of which profile."
        )
    if problems:
        module.fail_json(
            msg=f"The GPUs cannot be divided as the layout {layout} says; nothing was changed:\n"
            + "\n".join(problems)
            + "\nCorrect nvidia_mig_config, or choose another nvidia_mig_layout."
        )


def is_applied(module: AnsibleModule) -> bool:
    """Whether nvidia-mig-parted finds the layout."""
    chosen = ["-f", module.params["config"], "-c", module.params["layout"]]
    return bool(module.run_command([mig_division.PROGRAM, "assert", *chosen])[0] == 0)


def note(module: AnsibleModule) -> None:
    """Note how the GPUs are divided, so that it can be put back; fails where it can't be read."""
    try:
        mig_division.keep(module.run_command, module.params["entries"])
    except mig_division.DivisionError as error:
        module.fail_json(
            msg=f"{mig_division.PROGRAM} does not tell how the GPUs are divided: {error}"
        )


def apply(module: AnsibleModule) -> None:
    """Have the layout applied, the way it is applied at boot; fails if that does not help."""
    status, _, err = module.run_command(["systemctl", "restart", SERVICE])
    if status == 0 and is_applied(module):
        return
    _, journal, _ = module.run_command(
        ["journalctl", "--no-pager", "--lines=30", "--output=cat", f"--unit={SERVICE}"]
    )
    module.fail_json(
        msg=f"{SERVICE} did not apply the layout {module.params['layout']}. {err.strip()}\n"
        f"It says:\n{journal.strip()}\nA GPU that is held may need a reset or a reboot."
    )


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "entries": {"type": "list", "elements": "dict", "required": True},
            "layout": {"type": "str", "required": True},
            "config": {"type": "path"},
            "state": {"type": "str", "choices": ["possible", "applied"], "default": "applied"},
        },
        required_if=[("state", "applied", ["config"])],
        supports_check_mode=True,
    )
    run_lock.require(module)
    refuse_the_impossible(module)
    if module.params["state"] == "possible":
        module.exit_json(changed=False)
    if module.get_bin_path(mig_division.PROGRAM) and is_applied(module):
        module.exit_json(changed=False, users=[])
    users = driver_state.users_of_gpus()
    if users:
        module.fail_json(
            msg=f"GPUs are in use by {', '.join(users)}, and dividing them needs them idle. Stop "
            "that, then run this again.",
            users=users,
        )
    if not module.check_mode:
        note(module)
        apply(module)
    module.exit_json(changed=True, users=[])


if __name__ == "__main__":
    main()
