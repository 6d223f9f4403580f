"""The archive that travels to hosts, on every Python that they may have."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from support.probe import evidence_of, spec, trials_asked

from gpuhost import probe_archive
from gpuhost.errors import GpuhostError
from gpuhost.probe.schema import SECTIONS

MINORS = (9, 10, 11, 12, 13)
READ_ONLY = [name for name in SECTIONS if name != "containers"]


def interpreter(version: str) -> str:
    """A Python of that version on this machine; skips the test where there is none."""
    candidates = [
        *Path.home().glob(f".pyenv/versions/{version}.*/bin/python"),
        Path(f"/usr/bin/python{version}"),
        Path(f"/usr/local/bin/python{version}"),
    ]
    if sys.version.startswith(f"{version}."):
        candidates.insert(0, Path(sys.executable))
    found = next((path for path in candidates if path.exists()), None)
    if found is None:
        pytest.skip(f"there is no Python {version} on this machine")
    return str(found)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """The archive as it lies on a host."""
    archive = probe_archive.build()
    (tmp_path / "host").mkdir()
    return archive.rename(tmp_path / "host" / archive.name)


def run(python: str, archive: Path, **changes: Any) -> subprocess.CompletedProcess[str]:
    asked = spec(sections=READ_ONLY, command_timeout_s=20.0, section_timeout_s=60.0) | changes
    return subprocess.run(
        [python, "-I", "-S", str(archive)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("minor", MINORS)
def test_every_section_can_be_read_on_this_python(minor: int, shipped: Path) -> None:
    python = interpreter(f"3.{minor}")
    for attempt in ("unpacking", "unpacked"):
        done = run(python, shipped)
        assert (done.returncode, done.stderr) == (0, ""), attempt
        evidence = evidence_of(done.stdout)
        errors = {name: section["error"] for name, section in evidence["sections"].items()}
        assert errors == dict.fromkeys(READ_ONLY)
        assert evidence["sections"]["system"]["data"]["python"].startswith(f"3.{minor}.")
        # docker-py was loaded and asked a daemon, whether or not there is one.
        docker = evidence["sections"]["docker"]["data"]
        assert docker["info"] is not None or "Error while fetching" in docker["connect_error"]
    assert shipped.with_name(f"{shipped.stem}-py3.{minor}").is_dir()
    assert sorted(p.name for p in shipped.parent.iterdir() if p.name.startswith(".")) == []


@pytest.mark.parametrize("minor", MINORS)
def test_the_trials_get_as_far_as_the_daemon_on_this_python(minor: int, shipped: Path) -> None:
    asked = trials_asked(cuda_image="gpuhost.invalid/no-such-image:1", paths=["gpus"])
    done = run(interpreter(f"3.{minor}"), shipped, sections=["containers"], trials=asked)
    section = evidence_of(done.stdout)["sections"]["containers"]
    if section["data"] is None:
        assert "Error while fetching server API version" in section["error"]
    else:
        assert section["data"]["trials"][0]["outcome"] == "error"


@pytest.mark.parametrize("version", ["3.6", "3.8"])
def test_a_python_that_is_too_old_says_so(version: str, shipped: Path) -> None:
    done = run(interpreter(version), shipped)
    assert done.returncode == 3
    assert f"Python {version} is too old, 3.9 or later is needed" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_written_to_is_no_obstacle(shipped: Path) -> None:
    # Where the folder should be there is a file: nothing can be unpacked.
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shipped.with_name(f"{shipped.stem}-py{version}").write_text("")
    done = run(sys.executable, shipped)
    assert done.returncode == 0
    assert evidence_of(done.stdout)["sections"]["docker"]["error"] is None


def test_what_was_unpacked_can_be_read_by_a_user_without_rights(shipped: Path) -> None:
    run(sys.executable, shipped)
    folder = next(path for path in shipped.parent.iterdir() if path.is_dir())
    assert folder.stat().st_mode & 0o777 == 0o755
    assert (folder / "docker" / "__init__.py").stat().st_mode & 0o444 == 0o444


def test_the_same_content_makes_the_same_archive(cache: Path) -> None:
    first = probe_archive.build()
    content = first.read_bytes()
    first.unlink()
    second = probe_archive.build()
    assert second == first
    assert second.read_bytes() == content
    assert first.parent == cache / "gpuhost"


def test_an_archive_in_the_cache_is_not_built_again() -> None:
    first = probe_archive.build()
    before = first.stat().st_ino
    assert probe_archive.build().stat().st_ino == before


def test_other_content_makes_another_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    first = probe_archive.build()
    monkeypatch.setattr(probe_archive, "LIBRARIES", ("pynvml",))
    assert probe_archive.build() != first


def test_nothing_that_is_bound_to_this_machine_travels() -> None:
    with zipfile.ZipFile(probe_archive.build()) as archive:
        names = archive.namelist()
    assert {Path(name).suffix for name in names} == {".py", ".pem"}
    assert "__main__.py" in names
    ours = {name for name in names if name.startswith("gpuhost/")}
    assert all(name.startswith("gpuhost/probe/") for name in ours - {"gpuhost/__init__.py"})


def test_a_cache_that_cannot_be_written_is_explained(tmp_path: Path, cache: Path) -> None:
    cache.write_text("a file, not a folder")
    with pytest.raises(GpuhostError, match="Could not build the probe's archive") as caught:
        probe_archive.build()
    assert "XDG_CACHE_HOME" in caught.value.remedy
    assert tmp_path.exists()


def test_a_library_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_archive, "LIBRARIES", ("no_such_library",))
    with pytest.raises(GpuhostError, match="no_such_library is not installed"):
        probe_archive.build()
