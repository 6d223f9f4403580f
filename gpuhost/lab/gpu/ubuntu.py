"""The driver's packages, under the names that NVIDIA's repositories for Ubuntu have.

Their files are those of the packages for Debian, put together otherwise, and
branches have names of their own. As there, nvidia-persistenced is started
without persistence mode, and ``nvidia-driver-pinning-…`` keeps apt on a branch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from gpuhost.lab.gpu.deb import Entry, Package

_PERSISTENCED = "usr/lib/systemd/system/nvidia-persistenced.service"
# Name with the branch → what it is made of.
_PARTS: Mapping[str, tuple[str, ...]] = {
    "libnvidia-compute-{branch}": (
        "libcuda1",
        "libcudadebugger1",
        "libnvidia-allocator1",
        "libnvidia-cfg1",
        "libnvidia-ml1",
        "libnvidia-nvvm4",
        "libnvidia-opencl1",
        "libnvidia-ptxjitcompiler1",
    ),
    "nvidia-kernel-common-{branch}": ("nvidia-kernel-support", "nvidia-modprobe"),
    "nvidia-firmware-{branch}": ("firmware-nvidia-gsp",),
    "nvidia-utils-{branch}": ("nvidia-smi",),
    "nvidia-compute-utils-{branch}": ("nvidia-persistenced",),
    "nvidia-dkms-{branch}": ("nvidia-kernel-dkms",),
    "nvidia-dkms-{branch}-open": ("nvidia-kernel-open-dkms",),
}
# What every driver has, whatever its modules.
_COMMON = tuple(name for name in _PARTS if "-dkms-" not in name)
_PIN = (
    "Package: *nvidia* libnv* libcuda* cuda-drivers*\nPin: version {version}\nPin-Priority: 1001\n"
)


def packages(branch: int, version: str, debians: Iterable[Package]) -> list[Package]:
    """The packages of one driver version, made of Debian's."""
    by_name = {package.name: package for package in debians}
    revised = f"{version}-0ubuntu1"

    def named(pattern: str) -> str:
        return pattern.format(branch=branch)

    def exactly(*patterns: str) -> str:
        return ", ".join(f"{named(pattern)} (= {revised})" for pattern in patterns)

    made = [
        _merged(named(name), revised, [by_name[part] for part in parts], branch)
        for name, parts in _PARTS.items()
    ]
    for modules, meta in (("", "cuda-drivers"), ("-open", "nvidia-open")):
        driver = f"nvidia-driver-{{branch}}{modules}"
        needed = exactly(*_COMMON, f"nvidia-dkms-{{branch}}{modules}")
        made += [
            _meta(named(driver), revised, needed),
            _meta(f"{meta}-{branch}", revised, exactly(driver)),
            _meta(meta, revised, exactly(f"{meta}-{{branch}}")),
        ]
    return made


def pins(branch: int, version: str) -> list[Package]:
    """The packages that keep apt on a branch, and on one version of it."""
    return [
        Package(
            f"nvidia-driver-pinning-{pinned}",
            f"{version}-1ubuntu1",
            f"keeps the driver at {pinned}",
            architecture="all",
            fields={
                "Provides": "nvidia-driver-pinning",
                "Conflicts": "nvidia-driver-pinning",
                "Replaces": "nvidia-driver-pinning",
            },
            files={"etc/apt/preferences.d/nvidia-driver-pinning": Entry(text=text)},
        )
        for pinned, text in (
            (str(branch), _PIN.format(version=f"{branch}.*")),
            (version, _PIN.format(version=f"{version}-*")),
        )
    ]


def _meta(name: str, version: str, needed: str) -> Package:
    return Package(name, version, "NVIDIA driver", fields={"Depends": needed})


def _merged(name: str, version: str, parts: list[Package], branch: int) -> Package:
    """One package with the files, links and scripts of several, for one branch at a time."""
    others = name.replace(str(branch), "any")
    (scripts, *more) = [part.scripts for part in parts if "postinst" in part.scripts] or [{}]
    if more:
        raise ValueError(f"{name}: only one of its parts can have scripts")
    triggers = {k: v for part in parts for k, v in part.scripts.items() if k == "triggers"}
    files = {path: entry for part in parts for path, entry in part.files.items()}
    if _PERSISTENCED in files:
        files[_PERSISTENCED] = _without_persistence_mode(files[_PERSISTENCED])
    return replace(
        parts[0],
        name=name,
        version=version,
        fields={
            "Depends": "dkms, kmod, libc6" if "-dkms-" in name else "kmod, libc6",
            "Provides": others,
            "Conflicts": others,
            "Replaces": others,
        },
        files=files,
        links={path: target for part in parts for path, target in part.links.items()},
        scripts={**triggers, **scripts},
    )


def _without_persistence_mode(unit: Entry) -> Entry:
    text = unit.source.read_text() if unit.source else unit.text
    return Entry(text=text.replace(" --verbose", " --no-persistence-mode --verbose"))
