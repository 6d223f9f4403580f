"""Source archives: what is sent is the user's, and only what can be unpacked is."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gpuhost.errors import UsageError
from gpuhost.workloads import archives
from gpuhost.workloads.definition import Definition, find, load
from gpuhost.workloads.parameters import ARCHIVE, Parameter, resolve

TRAINING = Definition(
    "w",
    Path("/nonexistent"),
    "",
    {},
    {
        "source": Parameter("source", ARCHIVE, "", "Source.", contains="script"),
        "script": Parameter("script", "str", "train.py", "Script."),
    },
)


def placed(tmp_path: Path, source: Path, script: str = "train.py") -> Path:
    files = tmp_path / "files"
    files.mkdir(exist_ok=True)
    archives.place(TRAINING, {"source": str(source), "script": script}, files)
    return files / "context" / "source.tar"


def packed(path: Path, *members: tarfile.TarInfo, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for member in members:
            member.size = 4 if member.isreg() else 0
            archive.addfile(member, io.BytesIO(b"code"))
    return path


def names(path: Path) -> list[str]:
    with tarfile.open(path) as archive:
        return archive.getnames()


@pytest.mark.parametrize(
    ("name", "mode"), [("s.tar", "w"), ("s.tar.gz", "w:gz"), ("s.tgz", "w:gz")]
)
def test_an_archive_is_sent_as_it_is(tmp_path: Path, name: str, mode: str) -> None:
    source = packed(tmp_path / name, tarfile.TarInfo("./train.py"), mode=mode)
    assert placed(tmp_path, source).read_bytes() == source.read_bytes()


def test_a_folder_is_packed_without_what_git_and_python_keep_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    for name in (".git/config", "__pycache__/train.pyc", "models/__init__.py", "train.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    (folder / "data").symlink_to("/nas/data")
    target = placed(tmp_path, folder)
    assert names(target) == ["data", "models", "models/__init__.py", "train.py"]
    first = target.read_bytes()
    assert placed(tmp_path, folder).read_bytes() == first


def damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF  # in gzip's checksum
    path.write_bytes(content)


def no_archive(path: Path) -> None:
    path.write_text("this is no archive")


def random_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(b"no tar" * 1000))


@pytest.mark.parametrize(
    ("name", "mode", "harm"),
    [
        ("s.tar", "w", no_archive),
        ("s.tar.gz", "w:gz", no_archive),
        ("s.tar.gz", "w:gz", random_gzip),
        ("s.tar.gz", "w:gz", damaged),
    ],
)
def test_a_broken_archive_is_refused(
    tmp_path: Path, name: str, mode: str, harm: Callable[[Path], None]
) -> None:
    source = packed(tmp_path / name, tarfile.TarInfo("train.py"), mode=mode)
    harm(source)
    with pytest.raises(UsageError, match="is broken"):
        placed(tmp_path, source)


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_an_archive_that_was_cut_short_is_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "train.py").write_bytes(bytes(range(256)) * 400)
    whole = tmp_path / "whole.tar"
    archives.pack(tmp_path / "project", whole)
    content = whole.read_bytes()
    source = tmp_path / f"s{suffix}"
    source.write_bytes(
        content[: len(content) // 2]
        if suffix == ".tar"
        else gzip.compress(content, compresslevel=0)[: len(content) // 2]
    )
    with pytest.raises(UsageError, match="is broken"):
        placed(tmp_path, source)


@pytest.mark.parametrize("name", ["/etc/passwd", "../train.py", "a/../../train.py"])
def test_a_member_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    source = packed(tmp_path / "s.tar", tarfile.TarInfo("train.py"), tarfile.TarInfo(name))
    with pytest.raises(UsageError, match="leads out of its folder") as error:
        placed(tmp_path, source)
    assert repr(name) in error.value.message


def test_a_device_is_refused(tmp_path: Path) -> None:
    device = tarfile.TarInfo("null")
    device.type = tarfile.CHRTYPE
    source = packed(tmp_path / "s.tar", tarfile.TarInfo("train.py"), device)
    with pytest.raises(UsageError, match="a device or a pipe"):
        placed(tmp_path, source)


def test_the_script_has_to_be_in_it_and_is_found_where_it_is(tmp_path: Path) -> None:
    source = packed(tmp_path / "s.tar", tarfile.TarInfo("project-1.0/train.py"))
    with pytest.raises(UsageError, match=r"has no 'train\.py'") as error:
        placed(tmp_path, source)
    assert "--set script=project-1.0/train.py" in error.value.remedy
    placed(tmp_path, source, "./project-1.0/train.py")


def test_a_folder_of_the_scripts_name_is_no_script(tmp_path: Path) -> None:
    folder = tarfile.TarInfo("train.py")
    folder.type = tarfile.DIRTYPE
    with pytest.raises(UsageError, match=r"has no 'train\.py'"):
        placed(tmp_path, packed(tmp_path / "s.tar", folder))


@pytest.mark.parametrize(
    ("name", "words"), [("s.zip", "not named like"), ("gone.tar", "no archive")]
)
def test_what_is_no_archive_says_what_would_be(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "s.zip").write_text("x")
    with pytest.raises(UsageError, match=words) as error:
        placed(tmp_path, tmp_path / name)
    assert ".tar.gz" in error.value.remedy


def test_without_a_source_the_script_that_gpuhost_brings_is_sent(tmp_path: Path) -> None:
    training = find(tmp_path, "training")
    archives.place(training, resolve(training.parameters, ()), tmp_path)
    assert names(tmp_path / "context/source.tar") == ["tensorboard_log.py", "train.py"]


def test_a_definition_whose_archive_contains_no_parameter_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {a: {image: x}}\n")
    (tmp_path / "workload.yaml").write_text(
        "parameters: {s: {type: archive, default: '', help: x, contains: script}}\n"
    )
    with pytest.raises(UsageError, match="script, which s contains, is no parameter"):
        load(tmp_path)
