"""A fixture that builds packages small enough for a test."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gpuhost.programs import run

MakeDeb = Callable[..., Path]


@pytest.fixture(scope="session")
def make_deb(tmp_path_factory: pytest.TempPathFactory) -> MakeDeb:
    """Builds ``NAME_VERSION_amd64.deb`` in a folder, with files given by path and content."""

    def make(folder: Path, name: str, version: str, files: dict[str, bytes] | None = None) -> Path:
        tree = tmp_path_factory.mktemp("tree")
        (tree / "DEBIAN").mkdir(mode=0o755)
        tree.chmod(0o755)
        (tree / "DEBIAN/control").write_text(
            f"Package: {name}\nVersion: {version}\nArchitecture: amd64\n"
            "Maintainer: nobody <nobody@localhost>\nDescription: for a test\n"
        )
        for path, content in (files or {}).items():
            target = tree / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(0o755 if "bin/" in path or "libexec/" in path else 0o644)
        folder.mkdir(parents=True, exist_ok=True)
        deb = folder / f"{name}_{version.replace(':', '%3a')}_amd64.deb"
        run(["dpkg-deb", "-Znone", "--build", tree, deb], purpose="Packing a test's package")
        return deb

    return make
