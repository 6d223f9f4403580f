"""Ansible module: take and release a host's lock, and keep the record of what runs change."""

from __future__ import annotations

import time
from typing import Any

from ansible.module_utils import ledger_store, run_lock, snapshot, stamp_files
from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: ledger
short_description: Take and release a host's lock, and keep the record of what runs change
description:
  - C(begun) takes the lock of the host, or fails and says who holds it. It notes what is there
    before the first change, takes away the stamps of roles that begin anew, and says if an earlier
    run did not come to its end.
  - C(ended) notes which packages changed, leaves stamps, and releases the lock.
  - C(renewed) keeps the lock while nothing will be heard of the run, as during a reboot.
  - C(read) returns the history of changes.
  - An action plugin of the same name fills in who runs this, and finds out about holders that died
    on the controller's own machine.
options:
  state:
    description: What to do.
    type: str
    choices: [begun, renewed, ended, read]
    required: true
  run:
    description: Identity of the run. Filled in.
    type: str
    default: ""
  holder:
    description: Who runs this. Filled in.
    type: dict
    default: {}
  kind:
    description: What the run does to versions. Filled in. With C(survive) it does nothing to them,
      and whatever changes meanwhile is somebody else's.
    type: str
    choices: [provision, rollback, remove, survive]
    default: provision
  dead:
    description: A run that is known to have died. Filled in.
    type: str
    default: ""
  quiet_s:
    description: With C(renewed), for how many seconds nothing may be heard.
    type: int
    default: 0
  forget:
    description: With C(begun), roles whose stamps are taken away.
    type: list
    elements: str
    default: []
  stamps:
    description: With C(ended), the stamps to leave, by role.
    type: dict
    default: {}
  watched:
    description: Files, and folders of files, whose state is noted in each stamp that is left.
    type: list
    elements: path
    default: []
  patience_s:
    description: How long to wait for processes that a dead run left at work on the host.
    type: int
    default: 600
author: gpuhost
"""

EXAMPLES = r"""
- name: Take the host's lock
  ledger:
    state: begun
"""

RETURN = r"""
lock:
  description: The run that holds the lock, with C(free_at), when it counts as dead.
  returned: when another run holds it
  type: dict
unfinished:
  description: The run that had not come to its end, with C(at), the role that it was at.
  returned: with begun, if there was one
  type: dict
version_changes:
  description: Old and new version of each package that the run changed.
  returned: with ended
  type: dict
history:
  description: What each run changed, oldest first.
  returned: with read
  type: list
  elements: dict
"""

INTERVAL_S = 1.0
SURVIVE = "survive"


def public(record: run_lock.Record) -> dict[str, Any]:
    """A record without the list of packages."""
    return {key: value for key, value in record.items() if key != "before"}


def refuse(module: AnsibleModule, record: run_lock.Record) -> None:
    """Fail, because the run of ``record`` holds the lock."""
    free_at = run_lock.free_at(record, run_lock.last_heard())
    when = time.strftime("%H:%M:%S UTC", time.gmtime(free_at))
    module.fail_json(
        msg=f"This host is being worked on by {run_lock.describe(record)}. Wait for it to end. "
        f"If it died, the host can be taken over from {when} on, and at once from the machine that "
        "it ran on.",
        lock={**public(record), "free_at": free_at},
    )


def wait_for_leftovers(module: AnsibleModule, record: run_lock.Record) -> None:
    """Wait for what a dead run left at work on the host; fails if it does not end."""
    deadline = time.monotonic() + module.params["patience_s"]
    while True:
        working = run_lock.processes_of(record["run"])
        if not working:
            return
        if time.monotonic() > deadline:
            module.fail_json(
                msg=f"{run_lock.describe(record)} died, and left at work on this host: "
                f"{', '.join(working)}. Wait for them to end, or end them, then run this again."
            )
        time.sleep(INTERVAL_S)


def begin(module: AnsibleModule) -> dict[str, Any]:
    """Take the lock; what the module returns."""
    run, dead = module.params["run"], module.params["dead"]
    found = ledger_store.read(ledger_store.RUN)
    if found and found["run"] not in (run, dead):
        working = run_lock.processes_of(found["run"])
        if run_lock.is_held(found, run_lock.last_heard(), time.time(), working):
            refuse(module, found)
    result: dict[str, Any] = {"changed": False, "ansible_facts": {"gpuhost_run": run}}
    if module.check_mode:
        return result
    if found:
        wait_for_leftovers(module, found)
    with ledger_store.alone():
        now = ledger_store.read(ledger_store.RUN)
        if now and (not found or now["run"] != found["run"]):
            refuse(module, now)
        if found and found["run"] != run:
            result["unfinished"] = {**public(found), "at": run_lock.at()}
        take(module, found)
    stamp_files.take_away(module.params["forget"])
    return result


def take(module: AnsibleModule, found: run_lock.Record | None) -> None:
    """Write this run's record; it goes on from what was there before the run that it ``found``."""
    changes_versions = module.params["kind"] != SURVIVE
    if changes_versions and ledger_store.read(ledger_store.BASELINE) is None:
        ledger_store.save(ledger_store.BASELINE, snapshot.baseline())
    before = found["before"] if found else None
    if changes_versions and before is None:
        before = snapshot.packages()
    record = {
        "run": module.params["run"],
        "holder": module.params["holder"],
        "kind": module.params["kind"],
        "since": time.time(),
        "before": before,
    }
    ledger_store.remove(ledger_store.AT)
    ledger_store.save(ledger_store.RUN, record)


def renew(module: AnsibleModule) -> dict[str, Any]:
    """Keep the lock over a time of silence; what the module returns."""
    with ledger_store.alone():
        record = ledger_store.read(ledger_store.RUN)
        if record and record["run"] == module.params["run"] and not module.check_mode:
            quiet_until = time.time() + module.params["quiet_s"]
            ledger_store.save(ledger_store.RUN, {**record, "quiet_until": quiet_until})
    return {"changed": False}


def end(module: AnsibleModule) -> dict[str, Any]:
    """Note what changed and release the lock; what the module returns."""
    with ledger_store.alone():
        record = ledger_store.read(ledger_store.RUN)
        if record is None or record["run"] != module.params["run"]:
            return {"changed": False, "version_changes": {}}
        before, changed = record["before"], {}
        if before is not None:
            changed = snapshot.changes(before, snapshot.packages())
        if not module.check_mode:
            if changed:
                history = ledger_store.read(ledger_store.HISTORY) or []
                entry = {**public(record), "ended": time.time(), "packages": changed}
                ledger_store.save(ledger_store.HISTORY, [*history, entry])
            stamp_files.leave(module.params["stamps"], module.params["watched"])
            ledger_store.remove(ledger_store.AT)
            ledger_store.remove(ledger_store.RUN)
    return {"changed": False, "version_changes": changed}


def read(_module: AnsibleModule) -> dict[str, Any]:
    """The history; what the module returns."""
    return {"changed": False, "history": ledger_store.read(ledger_store.HISTORY) or []}


ACTIONS = {"begun": begin, "renewed": renew, "ended": end, "read": read}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {
                "type": "str",
                "choices": ["begun", "renewed", "ended", "read"],
                "required": True,
            },
            "run": {"type": "str", "default": ""},
            "holder": {"type": "dict", "default": {}},
            "kind": {
                "type": "str",
                "choices": ["provision", "rollback", "remove", SURVIVE],
                "default": "provision",
            },
            "dead": {"type": "str", "default": ""},
            "quiet_s": {"type": "int", "default": 0},
            "forget": {"type": "list", "elements": "str", "default": []},
            "stamps": {"type": "dict", "default": {}},
            "watched": {"type": "list", "elements": "path", "default": []},
            "patience_s": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    module.exit_json(**ACTIONS[module.params["state"]](module))


if __name__ == "__main__":
    main()
