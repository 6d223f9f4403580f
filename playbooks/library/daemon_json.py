"""Ansible module: merge keys into Docker's daemon.json, or put an earlier one back."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils import originals, run_lock
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.daemon_config import InvalidConfigError, merge, parse, render
from ansible.module_utils.files import diff, differs_in_mode, read_utf8, write

DOCUMENTATION = r"""
module: daemon_json
short_description: Merge keys into Docker's daemon.json, or put an earlier one back
description:
  - Sets the declared keys and keeps all others. Objects are merged key by key at every depth;
    everything else, lists included, is replaced.
  - A key that is no longer declared stays in the file, because nobody can tell whose it is.
  - Refuses a file that is not a JSON object, and a result that dockerd does not accept
    (C(dockerd --validate), where there is a dockerd that can).
  - Leaves a file that already says what is declared exactly as it is.
  - Where the running dockerd has to be restarted, lets systemd do so however often it was started.
options:
  config:
    description: Keys that are declared.
    type: dict
    default: {}
  path:
    description: The file.
    type: path
    default: /etc/docker/daemon.json
  read_at_start:
    description: Other files that dockerd only takes notice of when it starts.
    type: list
    elements: path
    default: []
  state:
    description: C(merged), or C(restored) to what the file was before.
    type: str
    choices: [merged, restored]
    default: merged
  backup_file:
    description: With C(restored), what an earlier task returned; empty if there was no file.
    type: str
    default: ""
author: gpuhost
"""

EXAMPLES = r"""
- name: Limit the size of container logs
  daemon_json:
    config:
      log-opts: {max-size: 10m, max-file: "3"}
"""

RETURN = r"""
backup_file:
  description: Copy of what the file was before; empty if there was no file.
  returned: when changed
  type: str
restart_reason:
  description: Why the running dockerd has to be restarted; empty if it has not.
  returned: always
  type: str
"""

MODE = 0o644
SERVICE = "docker.service"


class RefusedError(Exception):
    """A configuration that must not be installed; the message says why."""


def validate(module: AnsibleModule, text: str, path: Path) -> None:
    """Ask dockerd whether it would start with ``text`` as its configuration at ``path``."""
    dockerd = shutil.which("dockerd")
    if dockerd is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        candidate = Path(folder, "daemon.json")
        candidate.write_text(text, encoding="utf-8")
        status, out, err = module.run_command([dockerd, "--validate", f"--config-file={candidate}"])
        words = (err or out).strip().replace(str(candidate), str(path))
    # Docker Engine before 23.0 cannot tell.
    if status != 0 and "unknown flag: --validate" not in words:
        raise RefusedError(f"dockerd would not start with it: {words}")


def backed_up(module: AnsibleModule, path: Path) -> str:
    """The name of a copy of the file at ``path``; empty if there is no file."""
    return module.backup_local(str(path)) if path.exists() else ""


def started_at(module: AnsibleModule) -> float | None:
    """When the running dockerd was started, in seconds since the epoch; ``None`` if none runs."""
    status, out, _ = module.run_command(
        ["systemctl", "show", SERVICE, "--property=ActiveState,ExecMainStartTimestampMonotonic"]
    )
    found = dict(line.partition("=")[::2] for line in out.splitlines())
    if status != 0 or found.get("ActiveState") != "active":
        return None
    since_boot = int(found["ExecMainStartTimestampMonotonic"]) / 1e6
    return time.time() - time.monotonic() + since_boot


def restart_reason(started: float | None, paths: Sequence[Path]) -> str:
    """Which of ``paths`` changed after ``started``, in words; empty if none did."""
    if started is None:
        return ""
    newer = [
        str(path)
        for path in paths
        # The change time: dpkg sets the modification time to when the package was built.
        if path.exists() and path.stat().st_ctime > started
    ]
    return f"changed since dockerd started: {', '.join(newer)}" if newer else ""


def merged(module: AnsibleModule, path: Path) -> dict[str, Any]:
    """Merge, validate and write; what the module returns."""
    before = read_utf8(path)
    existing = parse(before or "")
    wanted = merge(existing, module.params["config"])
    mode_differs = before is not None and differs_in_mode(path, MODE)
    if wanted == existing and not mode_differs:
        return {"changed": False}
    after = before if wanted == existing else render(wanted)
    validate(module, after, path)
    result = {"changed": True, "diff": diff(path, before, after), "backup_file": ""}
    if not module.check_mode:
        originals.note_declared(path, lambda noted: merge(noted, module.params["config"]))
        result["backup_file"] = backed_up(module, path)
        originals.note_copy(result["backup_file"])
        write(module, path, after, MODE)
    return result


def restored(module: AnsibleModule, path: Path) -> dict[str, Any]:
    """Put the backup back, or remove the file if there was none; what the module returns."""
    backup = module.params["backup_file"]
    before, after = read_utf8(path), read_utf8(backup) if backup else None
    if not module.check_mode:
        if backup:
            write(module, path, after, MODE)
        elif path.exists():
            path.unlink()
    return {"changed": before != after, "diff": diff(path, before, after)}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "config": {"type": "dict", "default": {}},
            "path": {"type": "path", "default": "/etc/docker/daemon.json"},
            "read_at_start": {"type": "list", "elements": "path", "default": []},
            "state": {"type": "str", "choices": ["merged", "restored"], "default": "merged"},
            "backup_file": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    run_lock.require(module)
    path = Path(module.params["path"])
    act = restored if module.params["state"] == "restored" else merged
    try:
        result = act(module, path)
    except (InvalidConfigError, UnicodeDecodeError) as error:
        module.fail_json(
            msg=f"{path} was left as it is because {error}. Correct the file or move it away."
        )
    except RefusedError as error:
        module.fail_json(msg=f"{path} was left as it is: {error}. Correct what is declared.")
    paths = [path, *map(Path, module.params["read_at_start"])]
    reason = restart_reason(started_at(module), paths)
    if reason and not module.check_mode:
        # Its unit allows few starts a minute, and installing and configuring makes several.
        module.run_command(["systemctl", "reset-failed", SERVICE])
    module.exit_json(restart_reason=reason, **result)


if __name__ == "__main__":
    main()
