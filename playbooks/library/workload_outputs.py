"""Ansible module: what a workload left in its folder of outputs, and parts of it, packed."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: workload_outputs
short_description: Tell and hand over what a workload left in its folder of outputs
description:
  - C(listed) tells the folder, which the workload's Compose file on the host names, and the files
    in it. C(packed) writes pieces of files one after the other into one file, which only C(owner)
    can read; a file that is not any more as it was listed is left out and told. C(absent) removes
    that file.
  - The action C(fetch_outputs) does all of it, and brings the files to the controller.
options:
  state:
    description: What to do.
    type: str
    choices: [listed, packed, absent]
    default: listed
  name:
    description: Name of the workload.
    type: str
    required: true
  folder:
    description: The folder where the host has no Compose file of the workload any more.
    type: path
    default: ""
  pieces:
    description: What to pack, as lists of a file's path in the folder, its size and time of change
      in nanoseconds, and the offset and length of the piece.
    type: list
    elements: list
    default: []
  owner:
    description: The id of the user who comes for what is packed.
    type: int
    default: 0
  parcel:
    description: The folder that C(packed) told, for C(absent).
    type: path
    default: ""
  base:
    description: Where workloads have their files.
    type: path
    default: /var/lib/gpuhost/workloads
  parcels:
    description: Where what is packed lies until it was taken away.
    type: path
    default: /var/lib/gpuhost/parcels
author: gpuhost
"""

EXAMPLES = r"""
- name: Look at a training's outputs
  workload_outputs:
    name: training
"""

RETURN = r"""
workload:
  description: C(folder) and its C(files) (path, size, time of change), C(skipped) for what is no
    file; or C(parcel), C(file) and C(left_out), the numbers of the pieces whose files have changed.
  returned: always
  type: dict
"""

KEY = "x-gpuhost-outputs"
CHUNK = 1 << 20
# What a controller that was killed left here is removed by the next one, if it is this old.
STALE_S = 3600
SPARE = 64 << 20


class Outputs:
    """The outputs of one workload on this host."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._name = module.params["name"]

    def listed(self) -> dict[str, Any]:
        """The folder, with every file in it."""
        folder = self._folder()
        files, skipped = [], []
        for path in sorted(_walk(folder, self._unreadable)):
            state, name = path.lstat(), str(path.relative_to(folder))
            if stat.S_ISREG(state.st_mode) and _is_text(name):
                files.append([name, state.st_size, state.st_mtime_ns])
            else:
                skipped.append(name.encode(errors="backslashreplace").decode())
        return {"folder": str(folder), "files": files, "skipped": skipped}

    def packed(self) -> dict[str, Any]:
        """Pieces of files, in one file of their own."""
        folder, parcels = self._folder(), Path(self._module.params["parcels"])
        parcels.mkdir(mode=0o711, parents=True, exist_ok=True)
        _remove_stale(parcels)
        wanted = sum(piece[4] for piece in self._module.params["pieces"])
        free = shutil.disk_usage(parcels).free
        if free < wanted + SPARE:
            self._fail(
                f"{parcels} has {free >> 20} MB free, and {wanted >> 20} MB are needed for a while"
            )
        parcel = Path(tempfile.mkdtemp(dir=parcels))
        try:
            left_out = self._pack(folder, parcel / "parcel")
        except OSError as error:
            shutil.rmtree(parcel)
            self._fail(f"its outputs cannot be packed: {error}")
        for path in (parcel / "parcel", parcel):
            os.chown(path, self._module.params["owner"], -1)
        return {"parcel": str(parcel), "file": str(parcel / "parcel"), "left_out": left_out}

    def absent(self) -> dict[str, Any]:
        """The packed file is gone."""
        parcel = Path(self._module.params["parcel"])
        if parcel.parent != Path(self._module.params["parcels"]):
            self._fail(f"{parcel} is no parcel")
        shutil.rmtree(parcel, ignore_errors=True)
        return {}

    def _pack(self, folder: Path, target: Path) -> list[int]:
        left_out = []
        with target.open("xb") as parcel:
            pieces = self._module.params["pieces"]
            for number, (name, size, changed, offset, length) in enumerate(pieces):
                start = parcel.tell()
                if not _append(parcel, folder / name, (size, changed), offset, length):
                    left_out.append(number)
                    parcel.seek(start)
                    parcel.truncate()
        return left_out

    def _folder(self) -> Path:
        folder = self._declared() or self._module.params["folder"]
        if not folder:
            self._fail("it has no folder of outputs")
        if not Path(folder).is_dir():
            self._fail(f"its folder of outputs {folder} is not there")
        return Path(folder).resolve()

    def _declared(self) -> str:
        """The folder that the Compose file on this host names; empty if there is none."""
        project = Path(self._module.params["base"], self._name)
        if not (project / "compose.yaml").exists():
            return ""
        argv = ["docker", "compose", "--project-directory", str(project), "config"]
        status, said, complaint = self._module.run_command([*argv, "--format", "json"])
        if status != 0:
            self._fail(f"its Compose file in {project} cannot be read: {complaint.strip()}")
        return str(json.loads(said).get(KEY) or "").replace("$$", "$")

    def _unreadable(self, error: OSError) -> None:
        self._fail(f"its outputs cannot be read: {error}")

    def _fail(self, why: str) -> None:
        self._module.fail_json(msg=f"The workload {self._name}: {why}.", workload={})


def _walk(folder: Path, unreadable: Any) -> Iterator[Path]:
    """Everything below a folder but folders; links are not followed."""
    for base, folders, names in os.walk(folder, onerror=unreadable):
        yield from (Path(base, name) for name in names)
        yield from (Path(base, name) for name in folders if Path(base, name).is_symlink())


def _is_text(name: str) -> bool:
    return name == name.encode(errors="replace").decode()


def _append(parcel: BinaryIO, path: Path, known: tuple[int, int], offset: int, length: int) -> bool:
    """Append a piece of a file; False if the file is not any more as it is known."""
    try:
        source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    with os.fdopen(source, "rb") as content:
        # A container that writes here could lead us out of the folder by a link.
        if Path(f"/proc/self/fd/{source}").readlink() != path:
            return False
        content.seek(offset)
        while length:
            part = content.read(min(CHUNK, length))
            if not part:
                return False
            parcel.write(part)
            length -= len(part)
        state = os.fstat(source)
    return (state.st_size, state.st_mtime_ns) == known


def _remove_stale(parcels: Path) -> None:
    for parcel in parcels.iterdir():
        if parcel.stat().st_mtime < time.time() - STALE_S:
            shutil.rmtree(parcel, ignore_errors=True)


def main() -> None:
    """Run the module."""
    states = ["listed", "packed", "absent"]
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": states, "default": "listed"},
            "name": {"type": "str", "required": True},
            "folder": {"type": "path", "default": ""},
            "pieces": {"type": "list", "elements": "list", "default": []},
            "owner": {"type": "int", "default": 0},
            "parcel": {"type": "path", "default": ""},
            "base": {"type": "path", "default": "/var/lib/gpuhost/workloads"},
            "parcels": {"type": "path", "default": "/var/lib/gpuhost/parcels"},
        },
        supports_check_mode=True,
    )
    outputs = Outputs(module)
    state = module.params["state"]
    if module.check_mode and state != "listed":
        module.exit_json(changed=True, workload={})
    # What there is for a while is no change of the host.
    module.exit_json(changed=False, workload=getattr(outputs, state)())


if __name__ == "__main__":
    main()
