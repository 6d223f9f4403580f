"""Ansible module: prove workloads on this host: start, ask, end and remove them."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible.module_utils import compose_project, workload_probes
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.compose_project import Project, TroubleError
from ansible.module_utils.workload_probes import Found

DOCUMENTATION = r"""
module: workload_proof
short_description: Prove workloads on this host
description:
  - Starts all of O(works) at the same time, waits until each has ended (C(job)) or its probes find
    all right (C(service)), and removes it again with its volumes and files, whatever came of it.
  - Does not fail for a workload that does not work, but says so in C(proofs).
  - Ends and removes everything as well when the controller hangs up.
options:
  works:
    description: The workloads.
    type: list
    elements: dict
    required: true
    options:
      name:
        description: Name of its folder.
        type: str
        required: true
      kind:
        description: Whether it ends by itself.
        type: str
        choices: [job, service]
        required: true
      within:
        description: Seconds that it has.
        type: float
        required: true
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
        description: What it is asked.
        type: list
        elements: dict
        default: []
      ports:
        description: Ports of the host that have to be free, besides those that it publishes.
        type: list
        elements: int
        default: []
  base:
    description: Where workloads have their files.
    type: path
    default: /var/lib/gpuhost/workloads
author: gpuhost
"""

EXAMPLES = r"""
- name: Prove that training works
  workload_proof:
    works:
      - name: verify-training
        kind: job
        within: 600
        gpu_services: [training]
        gpus: [GPU-03d91bdd-e1b1-e418-7862-000000000000]
        probes: [{name: the loss fell, log: "^converged"}]
"""

RETURN = r"""
proofs:
  description: By name of the workload - C(problem) why it did not work, C(words) the last ones of
    who said so, C(probes) what was found and what of it is wrong, C(log) its last lines,
    C(duration_s).
  returned: always
  type: dict
"""

LOG_LINES = 10000
OUTPUTS = "outputs"
LOCK = ".proof.lock"


def prove(project: Project, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Start one, ask it, and remove it; what was found."""
    began = time.monotonic()
    found: dict[str, Any] = {"problem": "", "words": "", "probes": [], "log": ""}
    try:
        leave_nothing(project)
        project.start(asked["gpu_services"], asked["gpus"], asked["ports"])
        looked = run(project, asked)
        found["probes"] = [one.document() for one in looked]
        failed = project.failed()
        if failed:
            told = ", ".join(f"{name} with exit code {code}" for name, code in failed.items())
            found["problem"] = f"it ended: {told}"
    except TroubleError as trouble:
        found.update(problem=trouble.why, words=trouble.words)
    finally:
        with compose_project.undisturbed():
            with suppress(TroubleError):
                found["log"] = project.log(LOG_LINES)
            found["left"] = remove(project)
    return {**found, "duration_s": round(time.monotonic() - began, 3)}


def leave_nothing(project: Project) -> None:
    """Remove what a proof left that was killed in the middle."""
    project.compose(["down", "--volumes", "--remove-orphans"], "what an earlier proof left")
    shutil.rmtree(project.folder / OUTPUTS, ignore_errors=True)


def run(project: Project, asked: Mapping[str, Any]) -> list[Found]:
    """Let it do its work; what the probes find in the end."""
    if asked["kind"] == "job":
        project.wait(asked["within"])
        return workload_probes.look(project, asked["probes"])
    deadline = time.monotonic() + asked["within"]
    while True:
        looked = workload_probes.look(project, asked["probes"])
        is_over = time.monotonic() > deadline or project.failed() or not project.is_running()
        if is_over or not any(one.wrong for one in looked):
            return looked
        compose_project.pause()


def remove(project: Project) -> str:
    """Remove it; why it could not be, empty if it was."""
    try:
        project.remove()
    except TroubleError as trouble:
        return str(trouble)
    return ""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "works": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "kind": {"type": "str", "choices": ["job", "service"], "required": True},
                    "within": {"type": "float", "required": True},
                    "gpu_services": {"type": "list", "elements": "str", "default": []},
                    "gpus": {"type": "list", "elements": "str", "default": []},
                    "probes": {"type": "list", "elements": "dict", "default": []},
                    "ports": {"type": "list", "elements": "int", "default": []},
                },
            },
            "base": {"type": "path", "default": str(compose_project.BASE)},
        },
        supports_check_mode=True,
    )
    works = module.params["works"]
    if module.check_mode:
        module.exit_json(changed=False, proofs={})
    base = Path(module.params["base"])
    projects = [Project(work["name"], base) for work in works]
    base.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (base / LOCK).open("w") as lock, ThreadPoolExecutor(max(1, len(works))) as pool:
        try:
            # The kernel frees it, whatever becomes of this process.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            module.fail_json(
                msg="Another verification is proving workloads on this host right now. "
                "Wait for its end, then run this again."
            )
        found = list(pool.map(prove, projects, works))
    proofs = {work["name"]: found[place] for place, work in enumerate(works)}
    module.exit_json(changed=bool(works), proofs=proofs)


if __name__ == "__main__":
    main()
