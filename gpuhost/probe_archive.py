"""Builds the probe's archive: one file that runs on any host with Python 3.9 or later."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from gpuhost import role_modules
from gpuhost.errors import GpuhostError

# What the probe imports, and what docker-py in turn cannot do without. Left out is
# charset_normalizer: requests does without it, and the Engine answers in UTF-8.
LIBRARIES = ("docker", "requests", "urllib3", "idna", "certifi", "pynvml")
RENAMED = {
    "gpuhost/probe/bootstrap.py": "__main__.py",
    "gpuhost/probe/backport.py": "gpuhost_backport.py",
}
SUFFIXES = (".py", ".pem")
HASH_LENGTH = 16
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def build() -> Path:
    """The archive of what is installed, built unless the cache has it already.

    Raises:
        GpuhostError: a library is not installed, or the cache cannot be written.
    """
    content = dict(sorted(_content()))
    digest = hashlib.sha256()
    for name, data in content.items():
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    archive = cache_dir() / f"gpuhost-probe-{digest.hexdigest()[:HASH_LENGTH]}.pyz"
    if not archive.is_file():
        try:
            _write(archive, content)
        except OSError as error:
            raise GpuhostError(
                f"Could not build the probe's archive {archive}: {error}.",
                "Make that folder writable, or set XDG_CACHE_HOME to one that is.",
            ) from error
    return archive


def cache_dir() -> Path:
    """``$XDG_CACHE_HOME/gpuhost``, by default ``~/.cache/gpuhost``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpuhost"


def _content() -> Iterator[tuple[str, bytes]]:
    """Names inside the archive and what is there."""
    gpuhost = Path(__file__).parent
    yield "gpuhost/__init__.py", (gpuhost / "__init__.py").read_bytes()
    yield from _modules(gpuhost.parent, gpuhost / "probe")
    # What the roles judge a host by is read by their own code.
    yield f"{role_modules.PACKAGE}/__init__.py", b""
    for name in role_modules.SHARED:
        path = role_modules.folder() / f"{name}.py"
        yield f"{role_modules.PACKAGE}/{path.name}", path.read_bytes()
    for library in LIBRARIES:
        location = _location(library)
        yield from _modules(location.parent, location)


def _modules(base: Path, location: Path) -> Iterator[tuple[str, bytes]]:
    paths = location.rglob("*") if location.is_dir() else [location]
    for path in paths:
        if path.suffix in SUFFIXES:
            name = path.relative_to(base).as_posix()
            yield RENAMED.get(name, name), path.read_bytes()


def _location(library: str) -> Path:
    """The folder of a package, or the file of a module."""
    spec = importlib.util.find_spec(library)
    if spec is None or spec.origin is None:
        raise GpuhostError(
            f"The Python package {library} is not installed beside gpuhost.",
            "Install gpuhost again, with its dependencies.",
        )
    origin = Path(spec.origin)
    return origin.parent if spec.submodule_search_locations else origin


def _write(archive: Path, content: dict[str, bytes]) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=archive.parent, delete=False) as stream:
        try:
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
                for name, data in content.items():
                    packed.writestr(_entry(name), data)
            stream.flush()
            Path(stream.name).replace(archive)
        except BaseException:
            Path(stream.name).unlink(missing_ok=True)
            raise


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, ZIP_EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry
