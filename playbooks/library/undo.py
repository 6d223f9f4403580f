"""Ansible module: take back what gpuhost did on a host, a part at a time."""

from __future__ import annotations

import grp
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils import (
    driver_state,
    ledger_store,
    mig_division,
    offers,
    originals,
    removal,
    run_lock,
    snapshot,
)
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.daemon_config import InvalidConfigError, parse, render

DOCUMENTATION = r"""
module: undo
short_description: Take back what gpuhost did on a host, a part at a time
description:
  - Works by the ledger, and by what there is on the host, so that each part can be done again.
  - C(looked) says what would be done and changes nothing.
  - C(division) divides the GPUs as they were divided before, while there is what divides them.
  - C(files) puts back files as they were and takes merged keys out of daemon.json.
  - C(packages) reads the package lists and says what has to be removed and installed.
  - C(rest) is for after that - members of groups, marks, links of units, copies, folders.
  - C(traces) removes the ledger, stamps and the probe, and with them the lock. The outputs of
    workloads stay.
options:
  state:
    description: The part.
    type: str
    choices: [looked, division, files, packages, rest, traces]
    required: true
  left:
    description: With C(rest), what earlier parts returned as such.
    type: list
    elements: str
    default: []
  reboot:
    description: With C(rest), whether the host may be rebooted.
    type: bool
    default: true
author: gpuhost
"""

EXAMPLES = r"""
- name: Put back files as they were
  undo:
    state: files
"""

RETURN = r"""
removal:
  description: What would be done; with C(nothing) where gpuhost has not been here.
  returned: with looked
  type: dict
purge:
  description: Packages that are there only because of gpuhost.
  returned: with packages
  type: list
  elements: str
install:
  description: Packages to put back, as the package manager takes them.
  returned: with packages
  type: list
  elements: str
release:
  description: Packages that gpuhost holds and nobody held before.
  returned: with packages
  type: list
  elements: str
hold:
  description: Packages that are to be held again.
  returned: with rest
  type: list
  elements: str
left:
  description: In words, what is otherwise than before and stays so.
  returned: with division, packages and rest
  type: list
  elements: str
reboot_required:
  description: Whether a driver is loaded that is not on disk.
  returned: with rest
  type: bool
"""

HOME = Path("/var/lib/gpuhost")
MIG_CONFIG = "/etc/nvidia-mig-manager/gpuhost.yaml"
# Belongs to whoever had it computed.
OUTPUTS = "outputs"
MODPROBE = "/etc/modprobe.d/"
UNITS = re.compile(r"(docker|containerd|nvidia-[a-z-]+)\.(service|socket|path)")
HELD_BY_ROLES = re.compile(
    r"nvidia-|libnvidia-|libcuda|firmware-nvidia-|kmod-nvidia-|cuda-drivers|xserver-xorg-video-nvidia"
    r"|docker-ce|containerd\.io"
)
KERNEL_MODULES = re.compile(r"nvidia-(kernel|open|dkms|driver)|kmod-nvidia|cuda-drivers")
# What every host has had from the beginning: if the ledger says otherwise, it is wrong.
NEVER_OURS = ("required", "important")
PROTECTED = (Path("/etc/dnf/protected.d"), Path("/etc/yum/protected.d"))


def history() -> list[dict[str, Any]]:
    """What runs changed, with that of the run that is at work or died."""
    entries: list[dict[str, Any]] = list(ledger_store.read(ledger_store.HISTORY) or [])
    record = ledger_store.read(ledger_store.RUN)
    if record and record["before"]:
        changed = snapshot.changes(record["before"], snapshot.packages())
        entries.append({"packages": changed})
    return entries


def noted_files() -> dict[str, Any]:
    """The files that were changed, without gpuhost's own and those that keys were merged into."""
    noted = originals.index()
    return {
        path: how
        for path, how in noted["files"].items()
        if path not in noted["declared"] and HOME not in Path(path).parents
    }


def original(how: Mapping[str, Any]) -> bytes | None:
    """What a file was before; ``None`` if there was none."""
    if how["copy"] is None:
        return None
    return (ledger_store.place(originals.FOLDER) / how["copy"]).read_bytes()


def is_as_before(path: Path, how: Mapping[str, Any]) -> bool:
    """Whether a file is as it was."""
    before = original(how)
    if before is None or not path.is_file():
        return before is None and not path.exists()
    status = path.stat()
    same = (status.st_mode & 0o7777, status.st_uid, status.st_gid)
    return path.read_bytes() == before and same == (how["mode"], how["uid"], how["gid"])


def put_back(path: Path, how: Mapping[str, Any], data: bytes | None) -> None:
    """Make a file have this content, and the mode and owner that it had; ``None``: no file."""
    if data is None:
        path.unlink()
        return
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    candidate = path.with_name(f".{path.name}.gpuhost")
    candidate.write_bytes(data)
    candidate.chmod(how.get("mode", 0o644))
    if "uid" in how:
        os.chown(candidate, how["uid"], how["gid"])
    candidate.replace(path)


def unmerged(module: AnsibleModule, path: Path) -> tuple[bytes | None, bool]:
    """A JSON file without the keys that were merged into it, and whether that changes it."""
    noted = originals.index()
    how = noted["files"].get(str(path), {"copy": None})
    before, now = original(how), path.read_bytes() if path.is_file() else None
    if now is None:
        return None, False
    try:
        config = parse((before or b"").decode("utf-8-sig"))
        kept = removal.without(parse(now.decode("utf-8-sig")), noted["declared"][str(path)], config)
    except (InvalidConfigError, UnicodeDecodeError) as error:
        module.fail_json(msg=f"{path} cannot be read: {error}. Correct it, then run this again.")
    if kept == config:
        return before, before != now
    data = render(kept).encode()
    return data, kept != parse(now.decode("utf-8-sig"))


def look(module: AnsibleModule) -> dict[str, Any]:
    """What would be done; what the module returns."""
    if ledger_store.read(ledger_store.BASELINE) is None:
        return {"removal": {"nothing": True}}
    installed, entries, noted = snapshot.packages(), history(), originals.index()
    purge = removal.to_purge(entries, installed)
    pending = {p: how for p, how in noted_files().items() if not is_as_before(Path(p), how)}
    merged = [path for path in noted["declared"] if unmerged(module, Path(path))[1]]
    found = {
        "nothing": False,
        "purge": [name for name in purge if not is_key(name)],
        "keys": list(filter(is_key, purge)),
        "put_back": removal.to_put_back(entries, installed),
        "delete_files": [path for path, how in pending.items() if how["copy"] is None],
        "restore_files": [path for path, how in pending.items() if how["copy"] is not None],
        "merged_files": merged,
        "members": {group: present(group, users) for group, users in noted["members"].items()},
        "needed_by": needed_by(module, purge),
        "never_ours": never_ours(module, purge),
        "division": mig_division.words(),
        "reboot": driver_state.is_loaded("nvidia") and any(map(KERNEL_MODULES.match, purge)),
        "logins": str(HOME / "registry-logins.json") in noted["files"],
    }
    return {"removal": found}


def is_key(name: str) -> bool:
    """Whether a package is a key that rpm trusts."""
    return name.startswith(f"{snapshot.KEY}-")


def present(group: str, users: Sequence[str]) -> list[str]:
    """Those of ``users`` that are members of a group."""
    try:
        members = grp.getgrnam(group).gr_mem
    except KeyError:
        return []
    return [user for user in users if user in members]


def needed_by(module: AnsibleModule, names: Sequence[str]) -> list[str]:
    """What else would be removed with these packages, because it needs them."""
    if not names:
        return []
    if shutil.which("apt-get"):
        _, out, _ = module.run_command(["apt-get", "--simulate", "purge", *names])
        going = re.findall(r"^(?:Remv|Purg) (\S+)", out, re.MULTILINE)
        ours = {removal.plain(name) for name in names}
        return sorted({name for name in going if removal.plain(name) not in ours})
    _, _, err = module.run_command(["rpm", "--erase", "--test", *names])
    return sorted(set(re.findall(r"is needed by \(installed\) (\S+)", err)))


def never_ours(module: AnsibleModule, names: Sequence[str]) -> list[str]:
    """Those of the packages that a host cannot have been without."""
    if not names:
        return []
    if not shutil.which("dpkg-query"):
        protected = {removal.plain(name) for name in protected_by_dnf()}
        return [name for name in names if removal.plain(name) in protected]
    fields = "${binary:Package} ${Essential} ${Priority}\n"
    _, out, _ = module.run_command(["dpkg-query", "-W", "-f", fields, *names])
    rows = [line.split() for line in out.splitlines()]
    return [row[0] for row in rows if "yes" in row[1:-1] or row[-1] in NEVER_OURS]


def protected_by_dnf() -> set[str]:
    """The packages that dnf refuses to remove, as it reads them, and rpm itself."""
    files = [file for folder in PROTECTED for file in folder.glob("*.conf")]
    lines = [line.strip() for file in files for line in file.read_text().splitlines()]
    return {"rpm", *(line for line in lines if line and not line.startswith(("#", "glob:")))}


def division(module: AnsibleModule) -> dict[str, Any]:
    """Divide the GPUs as they were; what the module returns."""
    noted = mig_division.layouts()
    if not noted:
        # An earlier gpuhost divided them without noting what was before.
        untold = MIG_CONFIG in originals.index()["files"] and Path(MIG_CONFIG).exists()
        words = "GPUs stay divided as they are: how they were before gpuhost is not on record"
        return {"left": [words] if untold else []}
    if not module.get_bin_path(mig_division.PROGRAM):
        return {"left": [f"GPUs stay divided as they are: {mig_division.PROGRAM} is gone"]}
    done = mig_division.has(module.run_command, mig_division.BEFORE)
    if not done and not mig_division.has(module.run_command, mig_division.MADE):
        return {"left": ["GPUs stay as somebody divided them after gpuhost"]}
    if module.check_mode:
        return {"changed": not done, "left": []}
    try:
        if not done:
            mig_division.put_back(module.run_command)
    except mig_division.DivisionError as error:
        before = "; ".join(mig_division.words())
        return {"left": [f"GPUs stay divided, though they were not so ({before}): {error}"]}
    # Later parts remove what divides GPUs: a removal that is begun anew has nothing to say.
    ledger_store.remove(mig_division.NOTE)
    return {"changed": not done, "left": []}


def files(module: AnsibleModule) -> dict[str, Any]:
    """Put files back; what the module returns."""
    changed = []
    for name, how in noted_files().items():
        path = Path(name)
        if not is_as_before(path, how):
            changed.append(name)
            if not module.check_mode:
                put_back(path, how, original(how))
    noted = originals.index()
    for name in noted["declared"]:
        data, differs = unmerged(module, Path(name))
        if differs:
            changed.append(name)
            if not module.check_mode:
                put_back(Path(name), noted["files"].get(name, {}), data)
    modprobe = any(name.startswith(MODPROBE) for name in noted["files"])
    return {"changed": bool(changed), "changed_paths": changed, "rebuild_initramfs": modprobe}


def packages(module: AnsibleModule) -> dict[str, Any]:
    """What has to be removed and installed; what the module returns."""
    installed, entries = snapshot.packages(), history()
    purge = removal.to_purge(entries, installed)
    wrong = never_ours(module, purge)
    needing = needed_by(module, purge)
    if wrong:
        module.fail_json(
            msg=f"The ledger says that gpuhost installed {', '.join(wrong)}, which every host has. "
            f"It is damaged; remove packages by hand, then {HOME}."
        )
    if needing:
        module.fail_json(
            msg=f"{', '.join(needing)} would be removed too, needing what gpuhost installed. "
            "Remove them yourself, or keep gpuhost's packages."
        )
    wanted = removal.to_put_back(entries, installed)
    left = update(module) if wanted else []
    chosen, words = removal.obtainable(
        wanted, installed, offers.versions(module, map(removal.plain, wanted))
    )
    separator = "=" if shutil.which("dpkg-query") else "-"
    return {
        "changed": False,
        "purge": [name for name in purge if not is_key(name)],
        "install": [f"{name}{separator}{version}" for name, version in chosen.items()],
        "release": to_release(entries),
        "left": [*left, *words],
    }


def update(module: AnsibleModule) -> list[str]:
    """Read the package lists of the sources that were put back; what went wrong, in words."""
    if not shutil.which("apt-get"):
        return []
    status, _, err = module.run_command(["apt-get", "update"])
    return [f"apt-get update failed: {err.strip()}"] if status else []


def to_release(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """The packages that are held because of gpuhost."""
    before = set(baseline()["held"])
    ours = removal.touched(entries)
    return sorted(
        {
            removal.plain(name)
            for name in snapshot.held()
            if name not in before and (name in ours or HELD_BY_ROLES.match(name))
        }
    )


def baseline() -> dict[str, Any]:
    """What was there before the first run."""
    found: dict[str, Any] = ledger_store.read(ledger_store.BASELINE)
    return found


def rest(module: AnsibleModule) -> dict[str, Any]:
    """Whatever packages do not bring back by themselves; what the module returns."""
    done: list[str] = []
    left: list[str] = list(module.params["left"])
    for part in (keys, stream, members, groups, marks, links, leftovers):
        part(module, done, left)
    is_loaded, may_reboot = has_other_driver(), module.params["reboot"]
    if is_loaded and not may_reboot:
        left.append("the driver stays loaded until the host is rebooted")
    held = snapshot.held()
    hold = [removal.plain(name) for name in baseline()["held"] if name not in held]
    return {
        "changed": bool(done),
        "done": done,
        "left": left,
        "hold": hold,
        "reboot_required": is_loaded and may_reboot,
    }


def act(module: AnsibleModule, done: list[str], what: str, *argv: str) -> None:
    """Run one command, and note what it is for; in check mode only note it."""
    done.append(what)
    if not module.check_mode:
        module.run_command(list(argv), check_rc=True)


def keys(module: AnsibleModule, done: list[str], _left: list[str]) -> None:
    """Have rpm forget the keys that it was told to trust."""
    for name in filter(is_key, removal.to_purge(history(), snapshot.packages())):
        act(module, done, name, "rpm", "--erase", name)


def stream(module: AnsibleModule, done: list[str], left: list[str]) -> None:
    """Enable the stream of dnf's modules that the driver was from before, if any."""
    now, before = snapshot.stream(), baseline().get("stream", "")
    if now is None or now == before:
        return
    if before == "":
        left.append(f"{snapshot.STREAM} stays: what it was before gpuhost is not on record")
        return
    done.append(str(snapshot.STREAM))
    if module.check_mode:
        return
    if before is None:
        snapshot.STREAM.unlink()
    else:
        snapshot.STREAM.write_text(before, encoding="utf-8")


def members(module: AnsibleModule, done: list[str], _left: list[str]) -> None:
    """Take users out of groups that they were added to."""
    for group, users in originals.index()["members"].items():
        for user in present(group, users):
            act(module, done, f"{user} out of {group}", "gpasswd", "--delete", user, group)


def groups(module: AnsibleModule, done: list[str], left: list[str]) -> None:
    """Remove the group docker where it came with docker-ce and nobody is in it."""
    now = snapshot.groups()
    if "docker" not in now or "docker" in baseline()["groups"]:
        return
    if now["docker"]:
        left.append(f"the group docker stays: {', '.join(now['docker'])} is in it")
    else:
        act(module, done, "group docker", "groupdel", "docker")


def marks(module: AnsibleModule, done: list[str], _left: list[str]) -> None:
    """Mark packages as installed for others, or by hand, as they were marked."""
    if not shutil.which("apt-mark"):
        return
    before, now = set(baseline()["automatic"]), set(snapshot.automatic())
    there = {removal.plain(name) for name in snapshot.packages()}
    ours = {removal.plain(name) for name in removal.touched(history())}
    wanted = {
        "auto": sorted(n for n in before - now if removal.plain(n) in there),
        "manual": sorted(n for n in now - before if removal.plain(n) in ours & there),
    }
    for mark, names in wanted.items():
        if names:
            act(module, done, f"{mark}: {', '.join(names)}", "apt-mark", mark, *names)


def links(module: AnsibleModule, done: list[str], left: list[str]) -> None:
    """Enable the units that were enabled, and disable those that only gpuhost enabled."""
    before, now = set(baseline()["unit_links"]), set(snapshot.unit_links())
    for name in sorted(now - before):
        path = Path(name)
        if not UNITS.fullmatch(path.name):
            continue
        done.append(f"{path.name} not enabled")
        if not module.check_mode:
            path.unlink()
    for unit in sorted({Path(name).name for name in before - now if ".wants/" in name}):
        status, _, _ = module.run_command(["systemctl", "cat", unit])
        if status == 0:
            act(module, done, f"{unit} enabled", "systemctl", "enable", unit)
        else:
            left.append(f"{unit} was enabled and is not there any more")
    if done and not module.check_mode:
        module.run_command(["systemctl", "daemon-reload"])


def leftovers(module: AnsibleModule, done: list[str], _left: list[str]) -> None:
    """Remove copies that were left beside files, and folders that were made, where empty."""
    noted = originals.index()
    for name in noted["copies"]:
        if Path(name).is_file():
            done.append(name)
            if not module.check_mode:
                Path(name).unlink()
    for folder in sorted(map(Path, noted["folders"]), key=lambda path: -len(path.parts)):
        if HOME in (folder, *folder.parents) or not folder.is_dir() or any(folder.iterdir()):
            continue
        done.append(str(folder))
        if not module.check_mode:
            folder.rmdir()


def has_other_driver() -> bool:
    """Whether a driver is loaded that the host would not load again."""
    on_disk, _ = driver_state.on_disk(os.uname().release)
    return driver_state.is_loaded("nvidia") and driver_state.loaded_version() != on_disk


def traces(module: AnsibleModule) -> dict[str, Any]:
    """Remove gpuhost's own folder, but for what workloads computed; what the module returns."""
    if module.check_mode:
        return {"changed": True}
    # The ledger goes last: as long as it is there, a removal can be begun anew.
    for path in sorted(HOME.iterdir(), key=lambda path: path == ledger_store.FOLDER):
        if path.name == OUTPUTS and any(path.iterdir()):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    if not any(HOME.iterdir()):
        HOME.rmdir()
    return {"changed": True}


STATES: Mapping[str, Callable[[AnsibleModule], dict[str, Any]]] = {
    "looked": look,
    "division": division,
    "files": files,
    "packages": packages,
    "rest": rest,
    "traces": traces,
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {
                "type": "str",
                "choices": ["looked", "division", "files", "packages", "rest", "traces"],
                "required": True,
            },
            "left": {"type": "list", "elements": "str", "default": []},
            "reboot": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    state = module.params["state"]
    if state != "looked":
        run_lock.require(module)
    result = STATES[state](module)
    module.exit_json(**{"changed": False, **result})


if __name__ == "__main__":
    main()
