"""Ansible module: start, look after and end workloads, through Docker Compose."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: workload
short_description: Start, look after and end workloads, through Docker Compose
description:
  - C(started) builds the images that the workload builds, proves for each service with GPUs that a
    container of it sees those that were asked for and no others, and starts it.
  - C(finished) does the same and then waits for every container to end.
  - C(logs) and C(listed) read; C(stopped) ends the containers, C(absent) removes them with their
    volumes and files.
  - What could not be done is told in C(workload) and fails the task.
options:
  state:
    description: What to do.
    type: str
    choices: [started, finished, logs, listed, stopped, absent]
    required: true
  name:
    description: Name of the workload. Of no use with C(listed).
    type: str
    default: ""
  gpu_services:
    description: The services that work on GPUs.
    type: list
    elements: str
    default: []
  gpus:
    description: UUIDs of the GPUs that these have to see, no more and no fewer.
    type: list
    elements: str
    default: []
  tail:
    description: How many lines of its log to read.
    type: int
    default: 200
  base:
    description: Where workloads have their files.
    type: path
    default: /var/lib/gpuhost/workloads
author: gpuhost
"""

EXAMPLES = r"""
- name: Train
  workload:
    state: finished
    name: training
    gpu_services: [training]
    gpus: [GPU-03d91bdd-e1b1-e418-7862-000000000000]
"""

RETURN = r"""
workload:
  description: C(log) has the last lines, C(exit_codes) those of containers that ended, C(seen) the
    GPUs that each service saw, C(containers) what there is.
  returned: always
  type: dict
"""

UUID = re.compile(r"UUID: ((?:GPU|MIG)-[0-9a-fA-F-]+)")
# Compose wipes the line before each of a log, whatever it is told.
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
LABEL = "gpuhost.workload"
SHOWN_LINES = 20
READING = ("logs", "listed")


class Workload:
    """One workload on this host."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._name = module.params["name"]
        self._folder = Path(module.params["base"], self._name)
        self.found: dict[str, Any] = {"name": self._name}

    def started(self) -> bool:
        """Build, prove and start it, anew where it ended before."""
        if self._ids("--status", "running"):
            self._fail("it runs already; end it with gpuhost workload stop, or look at it", "")
        folder = ["--project-directory", str(self._folder)]
        self._compose([*folder, "build"], "its image could not be built")
        for service in self._module.params["gpu_services"]:
            self._prove(folder, service)
        self._compose([*folder, "up", "--detach", "--force-recreate"], "it could not be started")
        return True

    def finished(self) -> bool:
        """Start it and wait for its end."""
        self.started()
        containers = self._ids()
        codes = self._docker(["wait", *containers], "it could not be waited for").split()
        self.found["exit_codes"] = [int(code) for code in codes]
        self.logs()
        return True

    def logs(self) -> bool:
        """Read the end of its log."""
        tail = str(self._module.params["tail"])
        logs = ["logs", "--no-color", "--no-log-prefix", "--tail", tail]
        self.found["log"] = ANSI.sub("", self._compose(logs, "its log could not be read"))
        return False

    def listed(self) -> bool:
        """Every workload's containers."""
        argv = ["ps", "--all", "--filter", f"label={LABEL}", "--format", "{{json .}}"]
        lines = self._docker(argv, "containers could not be listed").splitlines()
        self.found["containers"] = [_row(json.loads(line)) for line in lines]
        return False

    def stopped(self) -> bool:
        """End its containers; they stay to be looked at."""
        running = self._ids("--status", "running")
        if running:
            self._compose(["stop"], "it could not be stopped")
        return bool(running)

    def absent(self) -> bool:
        """Remove its containers, networks, volumes and files."""
        there = bool(self._ids("--all")) or self._folder.exists()
        if there:
            self._compose(["down", "--volumes", "--remove-orphans"], "it could not be removed")
            shutil.rmtree(self._folder, ignore_errors=True)
        return there

    def _prove(self, folder: Sequence[str], service: str) -> None:
        wanted = sorted(self._module.params["gpus"])
        if not wanted:
            return
        argv = ["run", "--rm", "--no-deps", "-T", "--entrypoint", "nvidia-smi", service, "-L"]
        said = self._compose([*folder, *argv], f"{service} got no GPU")
        seen = sorted(UUID.findall(said))
        self.found.setdefault("seen", {})[service] = seen
        if seen != wanted:
            self._fail(
                f"{service} sees {', '.join(seen) or 'no GPU'}, and was to see {', '.join(wanted)}",
                said,
            )

    def _ids(self, *options: str) -> list[str]:
        return self._compose(["ps", *(options or ("--all",)), "--quiet"], "it is unknown").split()

    def _compose(self, argv: Sequence[str], otherwise: str) -> str:
        project = ["compose", "--project-name", f"gpuhost-{self._name}"]
        return self._docker([*project, *argv], otherwise)

    def _docker(self, argv: Sequence[str], otherwise: str) -> str:
        status, said, complaint = self._module.run_command(["docker", *argv])
        if status != 0:
            self._fail(otherwise, f"{said}\n{complaint}")
        return str(said)

    def _fail(self, why: str, words: str) -> None:
        lines = [line for line in words.strip().splitlines() if line.strip()]
        last = "\n".join(lines[-SHOWN_LINES:])
        subject = f"The workload {self._name}: " if self._name else ""
        self._module.fail_json(msg=f"{subject}{why}.\n{last}", workload=self.found)


def _row(container: dict[str, Any]) -> dict[str, str]:
    labels = dict(pair.partition("=")[::2] for pair in container["Labels"].split(","))
    return {
        "workload": labels.get(LABEL, ""),
        "container": container["Names"],
        "image": container["Image"],
        "status": container["Status"],
    }


def main() -> None:
    """Run the module."""
    states = ["started", "finished", "logs", "listed", "stopped", "absent"]
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": states, "required": True},
            "name": {"type": "str", "default": ""},
            "gpu_services": {"type": "list", "elements": "str", "default": []},
            "gpus": {"type": "list", "elements": "str", "default": []},
            "tail": {"type": "int", "default": 200},
            "base": {"type": "path", "default": "/var/lib/gpuhost/workloads"},
        },
        supports_check_mode=True,
    )
    if module.check_mode and module.params["state"] not in READING:
        module.exit_json(changed=True, workload={"name": module.params["name"]})
    workload = Workload(module)
    changed = getattr(workload, module.params["state"])()
    module.exit_json(changed=changed, workload=workload.found)


if __name__ == "__main__":
    main()
