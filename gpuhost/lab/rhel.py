"""The vendors' packages for Red Hat's family: the lab's own for Debian, as .rpm.

Names, epochs, dependencies and module streams are upstream's; the files are
where Debian's programs look for them, since those are what runs on such a host.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from gpuhost.lab import docker_packages
from gpuhost.lab.commands import run
from gpuhost.lab.debian import Archive
from gpuhost.lab.gpu import packages as gpu_packages
from gpuhost.lab.releases import Release
from gpuhost.lab.rpm import Rpm, pack
from gpuhost.lab.toolkit import packages as toolkit_packages

DRIVER_EPOCH = "3"
PLUGIN = "python3-dnf-plugin-versionlock"
PLUGIN_FILES = (
    "etc/dnf/plugins/versionlock.conf",
    "etc/dnf/plugins/versionlock.list",
    "usr/lib/python3/dist-packages/dnf-plugins/versionlock.py",
)

_LIBRARIES = tuple(library.package for library in gpu_packages.LIBRARIES)
_FLAVOURS = {"open": "nvidia-kernel-open-dkms", "latest": "nvidia-kernel-dkms"}
_REFRESH = "/usr/lib/gpuhost-lab/kernel refresh || :\nldconfig"
_DKMS_ADD = """\
dkms add -m nvidia -v {version}
dkms install -m nvidia -v {version} -k "$(uname -r)" || :
"""
_DKMS_REMOVE = "dkms remove -m nvidia -v {version} --all || :"
_RELOAD = "systemctl daemon-reload || :"
_GROUP = f"getent group docker >/dev/null || groupadd --system docker\n{_RELOAD}"
_STOP = 'if [ "$1" = 0 ]; then systemctl disable --now {units} || :; fi'
_BEFORE_THE_TOOLKIT = (
    "nvidia-container-runtime <= 3.5.0-1",
    "nvidia-container-runtime-hook <= 1.4.0-2",
)
_RESTART = '{reload}\nif [ "$1" != 0 ]; then systemctl try-restart {units} || :; fi'


@dataclass(frozen=True)
class Recipe:
    """An .rpm: its name, the Debian packages whose files it has, and what is said of it.

    In relations and scripts, ``{version}`` is the package's own version and
    ``{evr}`` that with the epoch.
    """

    name: str
    sources: Sequence[str] = ()
    epoch: str = ""
    relations: Mapping[str, Sequence[str]] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)
    configs: Sequence[str] = ()


def _service(*units: str, post: str = _RELOAD) -> dict[str, str]:
    words = " ".join(units)
    return {
        "post": post,
        "preun": _STOP.format(units=words),
        "postun": _RESTART.format(reload=_RELOAD, units=words),
    }


DOCKER = (
    Recipe(
        "docker-ce",
        ("docker-ce",),
        epoch="3",
        relations={
            "Requires": ("containerd.io >= 1.6.24", "docker-ce-cli", "iptables"),
            "Conflicts": ("docker", "docker-io", "docker-engine"),
        },
        scripts=_service("docker.service", "docker.socket", post=_GROUP),
    ),
    Recipe("docker-ce-cli", ("docker-ce-cli",), epoch="1"),
    Recipe(
        "containerd.io",
        ("containerd.io",),
        relations=dict.fromkeys(("Provides", "Conflicts", "Obsoletes"), ("containerd", "runc")),
        scripts=_service("containerd.service"),
        configs=("/etc/containerd/config.toml",),
    ),
    Recipe("docker-buildx-plugin", ("docker-buildx-plugin",)),
    Recipe("docker-compose-plugin", ("docker-compose-plugin",)),
    Recipe(
        "docker-ce-rootless-extras",
        ("docker-ce-rootless-extras",),
        relations={"Requires": ("docker-ce",)},
    ),
)

MIG_MANAGER = "nvidia-mig-manager"

DRIVER = (
    Recipe(
        "nvidia-driver-cuda",
        ("nvidia-smi",),
        relations={
            "Requires": (
                "nvidia-driver-cuda-libs = {evr}",
                "nvidia-persistenced = {evr}",
                "nvidia-kmod-common = {evr}",
            )
        },
    ),
    Recipe("nvidia-driver-cuda-libs", _LIBRARIES, scripts={"post": _REFRESH, "postun": "ldconfig"}),
    Recipe(
        "nvidia-persistenced",
        ("nvidia-persistenced",),
        relations={"Requires": ("nvidia-driver-cuda-libs = {evr}",)},
        scripts=_service("nvidia-persistenced.service"),
    ),
    Recipe("nvidia-modprobe", ("nvidia-modprobe",)),
    Recipe(
        "nvidia-kmod-common",
        ("nvidia-kernel-support", "firmware-nvidia-gsp"),
        relations={"Requires": ("nvidia-kmod = {evr}", "nvidia-modprobe = {evr}")},
    ),
    *(
        Recipe(
            f"kmod-nvidia-{flavour}-dkms",
            (source,),
            relations={
                "Requires": ("dkms", "nvidia-kmod-common = {evr}"),
                "Provides": ("nvidia-kmod = {evr}",),
                "Conflicts": tuple(
                    f"kmod-nvidia-{other}-dkms" for other in _FLAVOURS if other != flavour
                ),
            },
            scripts={"posttrans": _DKMS_ADD, "preun": _DKMS_REMOVE},
        )
        for flavour, source in _FLAVOURS.items()
    ),
)

TOOLKIT = (
    Recipe(
        "libnvidia-container1",
        ("libnvidia-container1",),
        scripts={
            "post": "python3 -m compileall -q /usr/lib/gpuhost-lab/toolkit/standin",
            "preun": 'if [ "$1" = 0 ]; then '
            "rm -rf /usr/lib/gpuhost-lab/toolkit/standin/__pycache__; fi",
        },
    ),
    Recipe(
        "libnvidia-container-tools",
        ("libnvidia-container-tools",),
        relations={"Requires": ("libnvidia-container1 = {evr}-1",)},
    ),
    Recipe(
        "nvidia-container-toolkit-base",
        ("nvidia-container-toolkit-base",),
        relations={
            "Requires": ("libnvidia-container1 = {evr}-1",),
            "Obsoletes": _BEFORE_THE_TOOLKIT,
            "Provides": ("nvidia-container-runtime",),
            "Conflicts": ("nvidia-container-toolkit <= 1.10.0-1",),
        },
        scripts={
            **_service("nvidia-cdi-refresh.path", "nvidia-cdi-refresh.service"),
            # Debian's does the same work when it is called to configure.
            "post": "set -- configure\n"
            + (Path(toolkit_packages.__file__).parent / "debian/base.postinst").read_text(),
        },
        configs=("/etc/nvidia-container-toolkit/nvidia-cdi-refresh.env",),
    ),
    Recipe(
        "nvidia-container-toolkit",
        ("nvidia-container-toolkit",),
        relations={
            "Requires": (
                "nvidia-container-toolkit-base = {evr}-1",
                "libnvidia-container-tools = {evr}-1",
            ),
            "Obsoletes": _BEFORE_THE_TOOLKIT,
            "Provides": ("nvidia-container-runtime", "nvidia-container-runtime-hook"),
        },
    ),
)


def docker(cache: Path, out: Path, release: Release) -> None:
    """Docker's packages for a release, two versions of each."""
    with _Room(out) as room:
        docker_packages.build(cache, room.debs, release)
        for recipe in DOCKER:
            for deb in room.find(recipe.sources[0]):
                version = docker_packages.upstream_version(deb)
                room.make(recipe, version, f"1.el{release.number}", [deb])


def driver(cache: Path, out: Path, release: Release) -> str:
    """The driver's packages for a release, every version; the YAML of their modules."""
    modules = []
    with _Room(out) as room:
        gpu_packages.build(cache, room.debs, "debian")
        for one in gpu_packages.DRIVERS:
            made = {}
            for recipe in DRIVER:
                debs = [
                    deb
                    for source in recipe.sources
                    for deb in room.debs.glob(f"{source}_{one.package_version}_*.deb")
                ]
                revised = replace(recipe, epoch=DRIVER_EPOCH)
                made[recipe.name] = room.make(revised, one.version, f"1.el{release.number}", debs)
            modules += [_module(one.branch, flavour, made) for flavour in _FLAVOURS]
        version, _, revision = gpu_packages.MIG_MANAGER_VERSION.partition("-")
        room.make(Recipe(MIG_MANAGER), version, revision, room.find(MIG_MANAGER))
    return "".join(modules)


def toolkit(cache: Path, out: Path) -> None:
    """The toolkit's packages, two versions of each."""
    with _Room(out) as room:
        toolkit_packages.build(cache, room.debs)
        for recipe in TOOLKIT:
            for deb in room.find(recipe.sources[0]):
                room.make(recipe, deb.name.split("_")[1].rpartition("-")[0], "1", [deb])


def own(cache: Path, out: Path, release: Release, kernel: str) -> None:
    """What the roles take of the distribution itself, and of EPEL."""
    (plugin,) = Archive(cache, release.suite).download(["dnf-plugins-core"])
    number = re.match(r"[0-9.]*[0-9]", kernel)
    version = number.group() if number else "0"
    revision = f"1.el{release.number}"
    with _Room(out) as room:
        gpu_packages.build(cache, room.debs, "debian")
        room.make(Recipe(PLUGIN), "4.3.1", revision, [plugin], PLUGIN_FILES)
        room.make(Recipe("dkms"), "3.2.2", revision, room.find("dkms"), ("usr/sbin/dkms",))
        # A version cannot have every character that a kernel's name can.
        devel = Recipe("kernel-devel", relations={"Provides": (f"kernel-devel-{kernel}",)})
        room.make(devel, version, revision, room.find(f"linux-headers-{kernel}"))
        # Scripts of packages need it, and Debian's is not in rpm's books.
        room.make(Recipe("bash", relations={"Provides": ("/bin/sh",)}), version, revision, [])
        for name in ("kernel-headers", "epel-release", "iptables"):
            room.make(Recipe(name), version, revision, [])


def _module(branch: int, flavour: str, made: Mapping[str, Rpm]) -> str:
    names = [
        f"{rpm.name}-{rpm.epoch}:{rpm.version}-{rpm.release}.{rpm.architecture}"
        for rpm in made.values()
        if not rpm.name.startswith("kmod-") or rpm.name == f"kmod-nvidia-{flavour}-dkms"
    ]
    document = {
        "document": "modulemd",
        "version": 2,
        "data": {
            "name": "nvidia-driver",
            "stream": f"{branch}-{'open' if flavour == 'open' else 'dkms'}",
            "version": 20260101000000,
            "context": f"{branch}{flavour}",
            "arch": "x86_64",
            "summary": "NVIDIA driver",
            "description": f"The driver's branch {branch}, with {flavour} kernel modules.",
            "license": {"module": ["MIT"]},
            "artifacts": {"rpms": names},
        },
    }
    return str(yaml.safe_dump(document, explicit_start=True, explicit_end=True, sort_keys=False))


class _Room:
    """A place to make packages in: Debian's in ``debs``, trees beside them, .rpm into ``out``."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._scratch = out / ".rpm"
        self.debs = self._scratch / "debs"

    def __enter__(self) -> _Room:
        self.debs.mkdir(parents=True)
        return self

    def __exit__(self, *_error: object) -> None:
        shutil.rmtree(self._scratch)

    def find(self, package: str) -> list[Path]:
        """Debian's packages of a name, all versions."""
        return sorted(self.debs.glob(f"{package}_*.deb"))

    def make(
        self,
        recipe: Recipe,
        version: str,
        release: str,
        debs: Iterable[Path],
        only: Sequence[str] = (),
    ) -> Rpm:
        """Make one package of the files in ``debs``, or of ``only`` some of them."""
        tree = self._scratch / f"{recipe.name}-{version}"
        tree.mkdir()
        for deb in debs:
            run(["dpkg-deb", "--extract", deb, tree], purpose=f"Unpacking {deb.name}")
        if only:
            _keep(tree, only)
        words = {"version": version, "evr": f"{recipe.epoch}:{version}".lstrip(":")}
        rpm = Rpm(
            recipe.name,
            version,
            release,
            f"{recipe.name}, from the rehearsal lab",
            epoch=recipe.epoch,
            relations={
                tag: [_filled(value, words) for value in values]
                for tag, values in recipe.relations.items()
            },
            scripts={name: _filled(text, words) for name, text in recipe.scripts.items()},
            configs=recipe.configs,
        )
        pack(rpm, tree, self._scratch, self._out)
        shutil.rmtree(tree)
        return rpm


def _filled(text: str, words: Mapping[str, str]) -> str:
    for name, value in words.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _keep(tree: Path, only: Sequence[str]) -> None:
    """Remove every file of a tree but some."""
    for path in sorted(tree.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif str(path.relative_to(tree)) not in only:
            path.unlink()
