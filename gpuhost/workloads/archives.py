"""A user's own source for a workload: an archive or a folder, checked and put beside a Dockerfile.

What an image is built from is looked at before anything is sent to a host: an
archive that is broken there would end a build after minutes, with Docker's words.
"""

from __future__ import annotations

import shutil
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from gpuhost.errors import UsageError
from gpuhost.suggest import did_you_mean
from gpuhost.workloads.definition import COMPOSE, Definition
from gpuhost.workloads.parameters import ARCHIVE, Parameter

# Where a Dockerfile finds them: ADD tells from the content whether it is compressed.
CONTEXT = "context"
SUFFIXES = (".tar", ".tar.gz", ".tgz")
LEFT_OUT = frozenset((".git", "__pycache__"))
BROKEN = (tarfile.TarError, EOFError, OSError, zlib.error)


def lay_out(definition: Definition, values: Mapping[str, Any], files: Path) -> None:
    """Copy a definition's files to ``files``, all but its template, with the archives it takes.

    Raises:
        UsageError: an archive cannot be used: see :func:`place`.
    """
    shutil.copytree(definition.folder, files, ignore=shutil.ignore_patterns(*LEFT_OUT, COMPOSE))
    try:
        place(definition, values, files)
    except UsageError:
        shutil.rmtree(files)
        raise


def place(definition: Definition, values: Mapping[str, Any], files: Path) -> None:
    """Put each archive that the workload takes into ``files``, the copy of its definition.

    A parameter that is empty stands for the folder of its name in the definition.

    Raises:
        UsageError: an archive cannot be read, or should not be unpacked, or lacks
            what it has to have.
    """
    for parameter in definition.parameters.values():
        if parameter.type == ARCHIVE:
            given = str(values[parameter.name])
            source = Path(given).expanduser() if given else definition.folder / parameter.name
            target = files / CONTEXT / f"{parameter.name}.tar"
            target.parent.mkdir(exist_ok=True)
            try:
                _put(source, target)
            except OSError as error:
                raise UsageError(f"{source} cannot be packed: {error}.") from None
            _check(source, target, parameter, values)
            # What was not asked for stays here.
            shutil.rmtree(files / parameter.name, ignore_errors=True)


def _put(source: Path, target: Path) -> None:
    if source.is_dir():
        pack(source, target)
    elif not source.is_file():
        raise UsageError(
            f"There is no archive or folder {source}.",
            f"Name a folder, or a file that ends in {', '.join(SUFFIXES)}.",
        )
    elif not source.name.endswith(SUFFIXES):
        raise UsageError(
            f"{source} is not named like an archive that can be used.",
            f"Name a folder, or a file that ends in {', '.join(SUFFIXES)}.",
        )
    else:
        shutil.copyfile(source, target)


def pack(folder: Path, target: Path) -> None:
    """Pack a folder so that the same files give the same archive, whoever owns them."""
    with tarfile.open(target, "w") as archive:
        for path in _paths(folder):
            member = archive.gettarinfo(path, str(path.relative_to(folder)))
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            if member.isreg():
                with path.open("rb") as content:
                    archive.addfile(member, content)
            else:
                archive.addfile(member)


def _paths(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in LEFT_OUT or path.is_socket():
            continue
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _paths(path)


def _check(source: Path, archive: Path, parameter: Parameter, values: Mapping[str, Any]) -> None:
    try:
        files = frozenset(_files(archive))
    except BROKEN as error:
        raise UsageError(
            f"{source} is broken: {error}.", "Pack it anew, for example with: tar -czf"
        ) from None
    except ValueError as error:
        raise UsageError(
            f"{source} {error}.", "Pack it from inside its folder: tar -czf ../source.tar.gz ."
        ) from None
    if parameter.contains:
        _require(source, files, parameter.contains, str(values[parameter.contains]))


def _files(path: Path) -> Iterator[str]:
    """The files in an archive, which is read to its end.

    Raises:
        ValueError: something in it is no file, folder or link of the archive's own folder.
    """
    with tarfile.open(path) as archive:
        for member in archive:
            name = PurePosixPath(member.name)
            if name.is_absolute() or ".." in name.parts:
                raise ValueError(f"has {member.name!r} in it, which leads out of its folder")
            if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
                raise ValueError(f"has {member.name!r} in it, which is a device or a pipe")
            if not member.isdir():
                yield str(name)
        # The checksum of compressed archives comes last.
        while archive.fileobj is not None and archive.fileobj.read(1 << 20):
            pass


def _require(source: Path, files: frozenset[str], parameter: str, wanted: str) -> None:
    if str(PurePosixPath(wanted)) in files:
        return
    same_name = sorted(f for f in files if PurePosixPath(f).name == PurePosixPath(wanted).name)
    remedy = f"Name one that it has with: --set {parameter}=NAME"
    if same_name:
        remedy = f"It has this one: --set {parameter}={same_name[0]}"
    raise UsageError(f"{source} has no {wanted!r} in it.{did_you_mean(wanted, files)}", remedy)
