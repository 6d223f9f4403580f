"""Ansible module: look at a host before anything is changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.daemon_config import InvalidConfigError, parse
from ansible.module_utils.driver_state import free_mib, read, run
from ansible.module_utils.files import read_text
from ansible.module_utils.host_checks import Wanted, on_disk_is_wanted, reasons

DOCUMENTATION = r"""
module: preflight
short_description: Find everything that stands against provisioning a GPU container host
description:
  - Reads the host without changing it and fails once, with every reason and what to do about it.
options:
  supported:
    description: Versions that are supported, by the ID of /etc/os-release.
    type: dict
    required: true
  branch:
    description: Driver branch that is wanted.
    type: str
    required: true
  version:
    description: Exact driver version that is wanted, if one is.
    type: str
    default: ""
  modules:
    description: Kernel modules that are wanted.
    type: str
    choices: [auto, open, proprietary]
    default: auto
  free_mib:
    description: Free space that is needed, in MiB, by path.
    type: dict
    default: {}
author: gpuhost
"""

EXAMPLES = r"""
- name: Look at the host before anything is changed
  preflight:
    supported: {debian: ["12", "13"]}
    branch: "580"
"""

RETURN = r"""
reasons:
  description: What is in the way, each with what to do; empty if the host can be provisioned.
  returned: always
  type: list
  elements: str
ansible_facts:
  description: C(nvidia_driver_state), what was read, with the kernel modules to install.
  returned: when nothing is in the way
  type: dict
"""

DAEMON_JSON = "/etc/docker/daemon.json"


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "supported": {"type": "dict", "required": True},
            "branch": {"type": "str", "required": True},
            "version": {"type": "str", "default": ""},
            "modules": {
                "type": "str",
                "choices": ["auto", "open", "proprietary"],
                "default": "auto",
            },
            "free_mib": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    wanted = Wanted(**module.params)
    state = read()
    state["headers_installable"] = headers_are_installable(state["kernel"])
    state["free_mib"] = {path: free_mib(path) for path in wanted.free_mib}
    state["daemon_json_error"] = daemon_json_error(DAEMON_JSON)
    flavour, found = reasons(state, wanted)
    if found:
        module.fail_json(
            msg="\n".join(["This host cannot be provisioned as it is:", *bulleted(found)]),
            reasons=found,
        )
    state["modules"] = flavour
    state["on_disk_is_wanted"] = on_disk_is_wanted(state, wanted, flavour)
    module.exit_json(changed=False, reasons=[], ansible_facts={"nvidia_driver_state": state})


def bulleted(lines: Sequence[str]) -> list[str]:
    """``lines`` as a list that people read."""
    return [f"- {line}" for line in lines]


def headers_are_installable(kernel: str) -> bool | None:
    """Whether apt's lists have the headers of ``kernel``.

    ``None`` if they cannot tell: there are none yet, or the kernel did not come
    from a package.
    """
    if not any(Path("/var/lib/apt/lists").glob("*_Packages*")):
        return None
    status, image = run("dpkg-query", "-W", "-f", "${db:Status-Status}", f"linux-image-{kernel}")
    if status != 0 or image != "installed":
        return None
    status, policy = run("apt-cache", "policy", f"linux-headers-{kernel}")
    return status == 0 and "Candidate: " in policy and "Candidate: (none)" not in policy


def daemon_json_error(path: str) -> str | None:
    """What is wrong with the daemon.json at ``path``; ``None`` if nothing is."""
    try:
        parse(read_text(path) or "")
    except InvalidConfigError as error:
        return str(error)
    except (OSError, UnicodeDecodeError) as error:
        return f"it cannot be read: {error}"
    return None


if __name__ == "__main__":
    main()
