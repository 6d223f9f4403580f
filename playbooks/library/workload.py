"""Ansible module: start, look after and end workloads, through Docker Compose."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from ansible.module_utils import compose_project, workload_probes
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.compose_project import Project, TroubleError

DOCUMENTATION = r"""
module: workload
short_description: Start, look after and end workloads, through Docker Compose
description:
  - C(started) builds the images that the workload builds, proves for each service with GPUs that a
    container of it sees those that were asked for and no others, and starts it.
  - C(finished) does the same and then waits for every container to end, C(ready) for the probes to
    find all right. What fails in this leaves nothing running.
  - C(logs) and C(listed) read; C(stopped) ends the containers, C(absent) removes them with their
    volumes and files.
  - What could not be done is told in C(workload) and fails the task.
options:
  state:
    description: What to do.
    type: str
    choices: [started, finished, ready, logs, listed, stopped, absent]
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
  probes:
    description: What it is asked with C(ready), and with C(finished) when it has ended.
    type: list
    elements: dict
    default: []
  within:
    description: Seconds that it has until every probe finds all right (C(ready)).
    type: int
    default: 120
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
    GPUs that each service saw, C(probes) what was found and what of it is wrong, C(containers) what
    there is.
  returned: always
  type: dict
"""

LABEL = "gpuhost.workload"
READING = ("logs", "listed")


class Workload:
    """One workload on this host."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        self._asked = parameters
        self._project = Project(parameters["name"], Path(parameters["base"]))
        self.found: dict[str, Any] = {"name": parameters["name"]}

    def started(self) -> bool:
        """Build, prove and start it, anew where it ended before."""
        if self._project.is_running():
            raise TroubleError("it runs already; end it with gpuhost workload stop, or look at it")
        asked = self._asked
        self.found["seen"] = self._project.start(asked["gpu_services"], asked["gpus"])
        return True

    def finished(self) -> bool:
        """Start it and wait for its end."""
        self.started()
        # What has begun ends by itself, also where nobody waits for it any more.
        with compose_project.undisturbed():
            while self._project.is_running():
                compose_project.pause()
            self.found["exit_codes"] = list(self._project.ended().values())
            self._look()
            self.logs()
        return True

    def ready(self) -> bool:
        """Start it and wait until its probes find all right; end it where they do not."""
        self.started()
        try:
            self._await_probes()
        except TroubleError:
            with compose_project.undisturbed():
                self._project.stop()
            raise
        self.logs()
        return True

    def _await_probes(self) -> None:
        deadline = time.monotonic() + self._asked["within"]
        while not self._look():
            failed = self._project.failed()
            if failed or not self._project.is_running():
                codes = ", ".join(f"{name} with exit code {code}" for name, code in failed.items())
                words = self._project.log(compose_project.SHOWN_LINES)
                raise TroubleError(f"it ended after its start: {codes or 'all of it'}", words)
            if time.monotonic() > deadline:
                first = next(one for one in self.found["probes"] if one["wrong"])
                why = f"{first['name']}: {'; '.join(first['wrong'])}"
                words = self._project.log(compose_project.SHOWN_LINES)
                raise TroubleError(
                    f"it is not ready after {self._asked['within']} s ({why})", words
                )
            compose_project.pause()

    def _look(self) -> bool:
        found = workload_probes.look(self._project, self._asked["probes"])
        self.found["probes"] = [one.document() for one in found]
        return not any(one.wrong for one in found)

    def logs(self) -> bool:
        """Read the end of its log."""
        self.found["log"] = self._project.log(self._asked["tail"])
        return False

    def listed(self) -> bool:
        """Every workload's containers."""
        argv = ["ps", "--all", "--filter", f"label={LABEL}", "--format", "{{json .}}"]
        lines = compose_project.docker(argv, "containers could not be listed").splitlines()
        self.found["containers"] = [_row(json.loads(line)) for line in lines]
        return False

    def stopped(self) -> bool:
        """End its containers; they stay to be looked at."""
        running = self._project.is_running()
        if running:
            self._project.stop()
        return running

    def absent(self) -> bool:
        """Remove its containers, networks, volumes and files."""
        return self._project.remove()


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
    states = ["started", "finished", "ready", "logs", "listed", "stopped", "absent"]
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": states, "required": True},
            "name": {"type": "str", "default": ""},
            "gpu_services": {"type": "list", "elements": "str", "default": []},
            "gpus": {"type": "list", "elements": "str", "default": []},
            "probes": {"type": "list", "elements": "dict", "default": []},
            "within": {"type": "int", "default": 120},
            "tail": {"type": "int", "default": 200},
            "base": {"type": "path", "default": str(compose_project.BASE)},
        },
        supports_check_mode=True,
    )
    if module.check_mode and module.params["state"] not in READING:
        module.exit_json(changed=True, workload={"name": module.params["name"]})
    workload = Workload(module.params)
    try:
        changed = getattr(workload, module.params["state"])()
    except TroubleError as trouble:
        subject = f"The workload {module.params['name']}: " if module.params["name"] else ""
        module.fail_json(msg=f"{subject}{trouble}", workload=workload.found)
    module.exit_json(changed=changed, workload=workload.found)


if __name__ == "__main__":
    main()
