"""Brings a workload's outputs from a host to the controller.

The files are root's, and the login is often somebody else's: Ansible's own fetch
would send them through base64 and memory. Here root packs pieces of files for the
login to take by sftp, so many at a time that the host needs little room, and each
file grows beside its place until it is whole: a fetch that was cut short goes on.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

DOCUMENTATION = """
name: fetch_outputs
short_description: Bring a workload's outputs from a host to the controller
description:
  - Tells what a workload left in its folder of outputs, and brings the files that are not in
    C(dest) yet, with their times of change. A file in C(dest) that differs is an error.
options:
  name:
    description: Name of the workload.
    type: str
    required: true
  folder:
    description: The folder where the host has no Compose file of the workload any more.
    type: path
  dest:
    description: The folder of the controller; without it nothing is brought.
    type: path
  overwrite:
    description: Whether files in C(dest) that differ are replaced.
    type: bool
    default: false
"""

PARCEL = 256 << 20
# How often files that change under our hands are tried.
ROUNDS = 3
CHUNK = 1 << 20
SHOWN = 5


class Found(NamedTuple):
    """A file on the host: its path in the folder, size, and time of change in nanoseconds."""

    name: str
    size: int
    changed: int


class Piece(NamedTuple):
    """A part of a file."""

    file: Found
    offset: int
    length: int


class ActionModule(ActionBase):  # type: ignore[misc]
    """The action; see the module's documentation."""

    _requires_connection = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Look, and bring what is not there."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        self._variables = task_vars or {}
        _, asked = self.validate_argument_spec(
            {
                "name": {"type": "str", "required": True},
                "folder": {"type": "path", "default": ""},
                "dest": {"type": "path", "default": ""},
                "overwrite": {"type": "bool", "default": False},
            }
        )
        self._outputs = {"name": asked["name"], "folder": asked["folder"]}
        found = self.look_and_bring(asked)
        return result | {"changed": bool(found["brought"]), "workload": found}

    def look_and_bring(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What the host has, and what of it was brought."""
        listed = self._ask(state="listed")
        files, brought = files_of(listed), []
        if asked["dest"]:
            dest = Path(asked["dest"])
            try:
                brought = self._bring(files, dest, overwrite=asked["overwrite"])
            except OSError as error:
                raise AnsibleError(f"{dest} cannot be written to: {error}") from None
        return {
            "folder": listed["folder"],
            "files": [(file.name, file.size) for file in files],
            "brought": brought,
            "skipped": listed["skipped"],
        }

    def _bring(self, files: list[Found], dest: Path, *, overwrite: bool) -> list[str]:
        missing = [file for file in files if not is_there(file, dest)]
        others = [file.name for file in missing if os.path.lexists(dest / file.name)]
        if others and not overwrite:
            raise AnsibleError(
                f"{dest} has other files of these names: {some(others)}. Nothing was brought"
            )
        dest.mkdir(parents=True, exist_ok=True)
        require_room(missing, dest)
        brought = []
        for _ in range(ROUNDS):
            unsteady = self._bring_all(missing, dest)
            brought += [file.name for file in missing if file.name not in unsteady]
            if not unsteady:
                return brought
            missing = [f for f in files_of(self._ask(state="listed")) if f.name in unsteady]
        names = some([file.name for file in missing])
        raise AnsibleError(f"These files change while they are read: {names}. The others are here")

    def _bring_all(self, files: list[Found], dest: Path) -> set[str]:
        """Bring files; the names of those that were not any more as they had been listed."""
        unsteady: set[str] = set()
        whole, here = sum(file.size for file in files), sum(there(file, dest) for file in files)
        # Always the same, so that no more than one is ever left behind.
        parcel = dest / ".gpuhost-parcel"
        owner = int(self._low_level_execute_command("id -u", sudoable=False)["stdout"].strip())
        for pieces in parcels(pieces_of(files, dest)):
            self._tell(here, whole)
            packed = self._ask(
                state="packed",
                owner=owner,
                pieces=[[*piece.file, piece.offset, piece.length] for piece in pieces],
            )
            left_out = set(packed["left_out"])
            unsteady |= {pieces[number].file.name for number in left_out}
            try:
                self._connection.fetch_file(packed["file"], str(parcel))
                came = [p for number, p in enumerate(pieces) if number not in left_out]
                unpack(parcel, came, dest)
                here += sum(piece.length for piece in came)
            finally:
                parcel.unlink(missing_ok=True)
                self._ask(state="absent", parcel=packed["parcel"])
        for file in files:
            if file.name not in unsteady:
                finish(file, dest)
        return unsteady

    def _tell(self, here: int, whole: int) -> None:
        """Say how much is here; gpuhost shows it with the task (see its events.py)."""
        host = self._variables["inventory_hostname"]
        Display().display(f"gpuhost progress of {host}: {here >> 20} of {whole >> 20} MiB")

    def _ask(self, **arguments: Any) -> dict[str, Any]:
        answer = self._execute_module(
            module_name="workload_outputs",
            module_args={**self._outputs, **arguments},
            task_vars=self._variables,
        )
        if answer.get("failed") or "workload" not in answer:
            raise AnsibleError(str(answer.get("msg", "the host gave no answer")).rstrip("."))
        found: dict[str, Any] = answer["workload"]
        return found


def files_of(listed: dict[str, Any]) -> list[Found]:
    """The files that a host told of; none of them leads out of the folder."""
    files = [Found(*row) for row in listed["files"]]
    for file in files:
        path = PurePosixPath(file.name)
        if path.is_absolute() or ".." in path.parts or "\\0" in file.name:
            raise AnsibleError(f"The host tells of a file that cannot be: {file.name!r}")
    return files


def is_there(file: Found, dest: Path) -> bool:
    """Whether the controller has the file as the host has it."""
    path = dest / file.name
    if path.is_symlink() or not path.is_file():
        return False
    state = path.stat()
    # Not every file system keeps more than seconds.
    return state.st_size == file.size and int(state.st_mtime) == file.changed // 10**9


def unfinished(file: Found, dest: Path) -> Path:
    """Where a file grows; another version of it has another place."""
    path = dest / file.name
    return path.with_name(f".{path.name}.{file.changed}-{file.size}.part")


def there(file: Found, dest: Path) -> int:
    """How many bytes of a file an earlier fetch has brought."""
    part = unfinished(file, dest)
    return min(part.stat().st_size, file.size) if part.exists() else 0


def pieces_of(files: Iterable[Found], dest: Path, largest: int = PARCEL) -> Iterator[Piece]:
    """What is missing of each file, in pieces."""
    for file in files:
        offset = there(file, dest)
        while offset < file.size:
            length = min(largest, file.size - offset)
            yield Piece(file, offset, length)
            offset += length


def parcels(pieces: Iterable[Piece], largest: int = PARCEL) -> Iterator[list[Piece]]:
    """The pieces in order, as many together as are brought at a time."""
    parcel: list[Piece] = []
    room = largest
    for piece in pieces:
        if parcel and piece.length > room:
            yield parcel
            parcel, room = [], largest
        parcel.append(piece)
        room -= piece.length
    if parcel:
        yield parcel


def unpack(parcel: Path, pieces: Sequence[Piece], dest: Path) -> None:
    """Append each piece of a parcel to its file."""
    wanted = sum(piece.length for piece in pieces)
    if parcel.stat().st_size != wanted:
        raise AnsibleError(f"{parcel.stat().st_size} bytes came where {wanted} were sent")
    with parcel.open("rb") as source:
        for piece in pieces:
            path = unfinished(piece.file, dest)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as target:
                for length in chunks(piece.length):
                    target.write(source.read(length))


def chunks(length: int) -> Iterator[int]:
    """A length in handy parts."""
    for start in range(0, length, CHUNK):
        yield min(CHUNK, length - start)


def finish(file: Found, dest: Path) -> None:
    """Put a file that is whole in its place, and remove what is left of other versions of it."""
    path, part = dest / file.name, unfinished(file, dest)
    path.parent.mkdir(parents=True, exist_ok=True)
    part.touch()
    os.utime(part, ns=(file.changed, file.changed))
    part.replace(path)
    for other in path.parent.iterdir():
        if other.name.startswith(f".{path.name}.") and other.name.endswith(".part"):
            other.unlink()


def require_room(files: Iterable[Found], dest: Path) -> None:
    """Refuse to begin where the files do not fit."""
    wanted, free = sum(file.size for file in files) + PARCEL, shutil.disk_usage(dest).free
    if wanted > free:
        sizes = f"{free >> 20} MB free, and {wanted >> 20} MB are needed"
        raise AnsibleError(f"{dest} has {sizes}. Nothing was brought")


def some(names: Sequence[str]) -> str:
    """The first names of many."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
