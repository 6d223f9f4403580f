"""Ansible module: log root in to container registries, and out of those no longer declared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.docker_logins import account, config_key, stored
from ansible.module_utils.files import differs_in_mode, read_text, write

DOCUMENTATION = r"""
module: registry_login
short_description: Log root in to container registries
description:
  - Logs in through C(docker login), so that the daemon's certificates, proxies and credential
    stores count. The password goes in by standard input.
  - Tries every login at its registry, also one that is stored already. Changes nothing where all
    are stored as declared.
  - Logs out of registries that an earlier run of this module logged in to, that are no longer
    declared, and whose account is still the one that it logged in.
  - Does not fail for a registry that refuses or cannot be reached, but says so in C(problems), so
    that its task can be hidden and the reason told nevertheless.
options:
  registries:
    description: The logins that are declared.
    type: list
    elements: dict
    required: true
    options:
      registry:
        description: Name of the registry, with its port if it has one.
        type: str
        required: true
      username:
        description: Name of the account.
        type: str
        required: true
      password:
        description: The account's password; empty if it is in O(asked).
        type: str
        default: ""
        no_log: true
  asked:
    description: Passwords that were typed in, by "USER@REGISTRY".
    type: dict
    default: {}
    no_log: true
  config_dir:
    description: Docker's configuration folder.
    type: path
    default: /root/.docker
  record:
    description: Where the module keeps which logins are its own.
    type: path
    default: /var/lib/gpuhost/registry-logins.json
author: gpuhost
"""

EXAMPLES = r"""
- name: Log in to NGC
  registry_login:
    registries:
      - registry: nvcr.io
        username: $oauthtoken
        password: "{{ ngc_api_key }}"
  no_log: true
"""

RETURN = r"""
logged_in:
  description: Registries whose stored login is new or another than before.
  returned: always
  type: list
  elements: str
logged_out:
  description: Registries whose login was taken away.
  returned: always
  type: list
  elements: str
problems:
  description: What went wrong, each with its registry.
  returned: always
  type: list
  elements: str
"""

FOLDER_MODE = 0o700
FILE_MODE = 0o600
RECORD_MODE = 0o644


class Logins:
    """Root's logins on this host, and which of them are ours."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._config = Path(module.params["config_dir"], "config.json")
        self._record = Path(module.params["record"])
        self.logged_in: list[str] = []
        self.logged_out: list[str] = []
        self.problems: list[str] = []

    def log_in(self, registry: str, username: str, password: str) -> None:
        """Try the login, store it, and say whether what is stored is another than before."""
        before = self._stored(registry)
        if not password and before is not None and before[0] in ("", username):
            return  # nothing new was given: what is stored stays
        if not password:
            self.problems.append(
                f"There is no password for {username} at {registry}: give one in "
                "registry_login_registries, or run gpuhost on a terminal, which asks for it."
            )
            return
        if self._module.check_mode:
            if before != (username, password):
                self.logged_in.append(registry)
            return
        status, _, words = self._docker(
            "login", "--username", username, "--password-stdin", registry, data=password
        )
        if status != 0:
            self.problems.append(
                f"{registry} did not let {username} in: {reason(words, password)}. "
                "Correct the name or the password in registry_login_registries."
            )
            return
        if before != self._stored(registry):
            self.logged_in.append(registry)

    def log_out(self, registry: str) -> None:
        """Take a login away."""
        if not self._module.check_mode:
            self._docker("logout", registry)
        self.logged_out.append(registry)

    def protect(self) -> bool:
        """Let nobody but root read what is stored; whether anybody else could."""
        opened = False
        for path, mode in ((self._config.parent, FOLDER_MODE), (self._config, FILE_MODE)):
            if path.exists() and differs_in_mode(path, mode):
                opened = True
                if not self._module.check_mode:
                    path.chmod(mode)
        return opened

    def no_longer_declared(self, declared: Sequence[str]) -> list[str]:
        """Registries where the login is still the one that this module made, and not wanted."""
        return [
            registry
            for registry, username in self._ours().items()
            if registry not in declared and (self._stored(registry) or ("",))[0] == username
        ]

    def remember(self, declared: Mapping[str, str]) -> None:
        """Keep which logins are ours: registry and account, and no password."""
        refused = {registry for registry in declared if self._stored(registry) is None}
        ours = {name: user for name, user in declared.items() if name not in refused}
        if ours != self._ours() and not self._module.check_mode:
            write(self._module, self._record, json.dumps(ours, indent=2) + "\n", RECORD_MODE)

    def _ours(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(read_text(self._record) or "{}")
        return found

    def _stored(self, registry: str) -> tuple[str, str] | None:
        entry = stored(read_text(self._config)).get(config_key(registry))
        return None if entry is None else account(entry)

    def _docker(self, *words: str, data: str | None = None) -> tuple[int, str, str]:
        argv = ["docker", "--config", str(self._config.parent), *words]
        result: tuple[int, str, str] = self._module.run_command(argv, data=data, binary_data=True)
        return result


def reason(words: str, password: str) -> str:
    """Docker's own words about a login that failed, on one line, without what is secret."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith("WARNING")] or ["it did not say why"]
    return told[-1].replace(password, "********").rstrip(".")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "registries": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "registry": {"type": "str", "required": True},
                    "username": {"type": "str", "required": True},
                    "password": {"type": "str", "default": "", "no_log": True},
                },
            },
            "asked": {"type": "dict", "default": {}, "no_log": True},
            "config_dir": {"type": "path", "default": "/root/.docker"},
            "record": {"type": "path", "default": "/var/lib/gpuhost/registry-logins.json"},
        },
        supports_check_mode=True,
    )
    declared = {one["registry"]: one["username"] for one in module.params["registries"]}
    logins = Logins(module)
    for registry in logins.no_longer_declared(list(declared)):
        logins.log_out(registry)
    for one in module.params["registries"]:
        asked = module.params["asked"].get(f"{one['username']}@{one['registry']}", "")
        logins.log_in(one["registry"], one["username"], one["password"] or asked)
    opened = logins.protect() if declared else False
    logins.remember(declared)
    module.exit_json(
        changed=bool(logins.logged_in or logins.logged_out or opened),
        logged_in=logins.logged_in,
        logged_out=logins.logged_out,
        problems=logins.problems,
    )


if __name__ == "__main__":
    main()
