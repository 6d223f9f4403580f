"""The Debian packages of the toolkit's stand-in, under the four upstream names.

================================  ==================================================
``libnvidia-container1``          the Python code that all of the programs share
``libnvidia-container-tools``     nvidia-container-cli
``nvidia-container-toolkit-base`` nvidia-ctk, the runtime, the CDI hook and the refresh
``nvidia-container-toolkit``      the prestart hook that ``docker run --gpus`` needs
================================  ==================================================

As upstream's since 1.18, the four are held to one version by their dependencies.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gpuhost.lab.commands import run
from gpuhost.lab.toolkit.standin.release import RELEASES

VERSIONS = tuple(f"{release.version}-1" for release in RELEASES)

_HERE = Path(__file__).parent
_ARCHITECTURE = "amd64"
_PROGRAMS = "usr/lib/gpuhost-lab/toolkit/bin"
_STANDIN = "usr/lib/gpuhost-lab/toolkit/standin"
_UNITS = "usr/lib/systemd/system"
_EXECUTABLE = 0o755
_PLAIN = 0o644

_LAUNCHER = """\
#!/usr/bin/python3 -IS
import sys

sys.path.insert(0, "/usr/lib/gpuhost-lab/toolkit")
from standin.{module} import main

sys.exit(main("{version}", sys.argv))
"""


@dataclass(frozen=True)
class Recipe:
    """How one package is made.

    ``launchers``: path in the package → module of ``standin`` whose main it runs. ``natives``:
    path → C source in ``native``. ``files``: path → file beside this one. ``scripts``:
    maintainer script → file in ``debian``. In ``depends``, ``{version}`` is the package's own.
    """

    name: str
    summary: str
    depends: str
    launchers: Mapping[str, str] = field(default_factory=dict)
    natives: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)
    relations: Mapping[str, str] = field(default_factory=dict)


RECIPES = (
    Recipe(
        "libnvidia-container1",
        "NVIDIA container runtime library",
        "python3 (>= 3.9)",
        files={
            f"{_STANDIN}/{path.name}": f"standin/{path.name}"
            for path in sorted((_HERE / "standin").glob("*.py"))
        },
        scripts={"postinst": "library.postinst", "prerm": "library.prerm"},
    ),
    Recipe(
        "libnvidia-container-tools",
        "NVIDIA container runtime library (command-line tools)",
        "libnvidia-container1 (= {version})",
        launchers={"usr/bin/nvidia-container-cli": "container_cli"},
    ),
    Recipe(
        "nvidia-container-toolkit-base",
        "NVIDIA Container Toolkit Base",
        # Upstream's needs no library: here it holds the shared code.
        "libnvidia-container1 (= {version})",
        launchers={
            f"{_PROGRAMS}/nvidia-ctk": "ctk",
            f"{_PROGRAMS}/nvidia-container-runtime": "runtime",
        },
        natives={
            "usr/bin/nvidia-ctk": "launch.c",
            "usr/bin/nvidia-container-runtime": "launch.c",
            "usr/bin/nvidia-cdi-hook": "cdi_hook.c",
        },
        files={
            f"{_UNITS}/nvidia-cdi-refresh.service": "debian/nvidia-cdi-refresh.service",
            f"{_UNITS}/nvidia-cdi-refresh.path": "debian/nvidia-cdi-refresh.path",
            "etc/nvidia-container-toolkit/nvidia-cdi-refresh.env": "debian/nvidia-cdi-refresh.env",
        },
        scripts={"postinst": "base.postinst", "prerm": "base.prerm", "postrm": "base.postrm"},
        relations={
            "Breaks": "nvidia-container-runtime (<= 3.5.0-1)",
            "Replaces": "nvidia-container-runtime (<= 3.5.0-1)",
        },
    ),
    Recipe(
        "nvidia-container-toolkit",
        "NVIDIA Container toolkit",
        "nvidia-container-toolkit-base (= {version}), libnvidia-container-tools (= {version})",
        launchers={"usr/bin/nvidia-container-runtime-hook": "hook"},
        links={"usr/bin/nvidia-container-toolkit": "nvidia-container-runtime-hook"},
        relations={
            "Breaks": "nvidia-container-runtime-hook",
            "Replaces": "nvidia-container-runtime-hook",
        },
    ),
)


def build(cache: Path, out: Path) -> list[Path]:
    """Make all packages in ``out``, two versions of each; returns the .deb files.

    ``cache`` lends the room to work in. It takes about two seconds. Raises LabError where gcc or
    dpkg-deb is missing.
    """
    cache.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    made = []
    with tempfile.TemporaryDirectory(prefix="toolkit-", dir=cache) as scratch:
        for package_version in VERSIONS:
            natives = _compile(Path(scratch), package_version)
            made += [_make(recipe, package_version, natives, out) for recipe in RECIPES]
    return made


def _compile(scratch: Path, package_version: str) -> Path:
    """The folder with the C programs: static, so that they run on every suite."""
    folder = scratch / package_version
    folder.mkdir()
    for source in sorted((_HERE / "native").glob("*.c")):
        argv = ["gcc", "-O2", "-static", "-s", f'-DVERSION="{_upstream(package_version)}"']
        run(
            [*argv, "-o", folder / source.name, source],
            purpose=f"Compiling {source.name}",
            remedy="Install the Debian packages gcc and libc6-dev.",
        )
    return folder


def _upstream(package_version: str) -> str:
    return package_version.rpartition("-")[0]


def _make(recipe: Recipe, package_version: str, natives: Path, out: Path) -> Path:
    root = natives / recipe.name
    root.mkdir(mode=_EXECUTABLE)
    for path, source in recipe.files.items():
        _place(root, path, (_HERE / source).read_bytes(), _PLAIN)
    for path, source in recipe.natives.items():
        _place(root, path, (natives / source).read_bytes(), _EXECUTABLE)
    for path, module in recipe.launchers.items():
        text = _LAUNCHER.format(module=module, version=_upstream(package_version))
        _place(root, path, text.encode(), _EXECUTABLE)
    for path, target in recipe.links.items():
        (root / path).symlink_to(target)
    for name, source in recipe.scripts.items():
        _place(root, f"DEBIAN/{name}", (_HERE / "debian" / source).read_bytes(), _EXECUTABLE)
    _write_control(recipe, package_version, root)
    deb = out / f"{recipe.name}_{package_version}_{_ARCHITECTURE}.deb"
    # zstd at its fastest: the default compression takes twenty times as long.
    how = ["-Zzstd", "-z1", "--root-owner-group"]
    run(["dpkg-deb", *how, "--build", root, deb], purpose=f"Packing {deb.name}")
    return deb


def _place(root: Path, path: str, content: bytes, mode: int) -> None:
    target = root / path
    for folder in reversed(target.relative_to(root).parents[:-1]):
        (root / folder).mkdir(exist_ok=True)
        (root / folder).chmod(_EXECUTABLE)
    target.write_bytes(content)
    target.chmod(mode)


def _write_control(recipe: Recipe, package_version: str, root: Path) -> None:
    fields = {
        "Package": recipe.name,
        "Version": package_version,
        "Architecture": _ARCHITECTURE,
        "Maintainer": "gpuhost rehearsal lab <root@localhost>",
        "Section": "utils",
        "Priority": "optional",
        "Depends": recipe.depends.format(version=package_version),
        **recipe.relations,
        "Description": f"{recipe.summary}\n A stand-in for gpuhost's lab, not NVIDIA's program.",
    }
    text = "".join(f"{name}: {value}\n" for name, value in fields.items())
    _place(root, "DEBIAN/control", text.encode(), _PLAIN)
    conffiles = [path for path in recipe.files if path.startswith("etc/")]
    if conffiles:
        listing = "".join(f"/{path}\n" for path in conffiles)
        _place(root, "DEBIAN/conffiles", listing.encode(), _PLAIN)
