"""The driver's packages, under the names that NVIDIA's repositories have.

What differs on Ubuntu is in :mod:`ubuntu`.

nvidia-smi is the real one, taken from Debian; everything else is simulated.
As with the real packages, installing one changes files and nothing else: what
is loaded follows at the next boot or modprobe.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from gpuhost.lab.commands import run
from gpuhost.lab.debian import Archive
from gpuhost.lab.gpu import build as native
from gpuhost.lab.gpu import ubuntu
from gpuhost.lab.gpu.deb import Entry, Package, pack
from gpuhost.lab.gpu.models import Model
from gpuhost.lab.keyed import ensure_built, key_of, locked
from gpuhost.mirror.debrepo import place

FIRST_WITH_PLAIN_FABRIC_MANAGER = 580
MIG_MANAGER_VERSION = "0.14.2-1"


@dataclass(frozen=True)
class Driver:
    """A driver version, the CUDA it comes with (12040 is 12.4), and where its nvidia-smi is from.

    ``smi_suite`` and ``smi_version`` name Debian's package of it.
    """

    version: str
    cuda: int
    smi_suite: str
    smi_version: str

    @property
    def package_version(self) -> str:
        """The version of all its packages."""
        return f"{self.version}-1"

    @property
    def branch(self) -> int:
        """The number that its version begins with."""
        return int(self.version.partition(".")[0])

    @property
    def fabric_manager(self) -> str:
        """The name of the fabric manager's package, which had the branch in it once."""
        own = self.branch >= FIRST_WITH_PLAIN_FABRIC_MANAGER
        return "nvidia-fabricmanager" if own else f"nvidia-fabricmanager-{self.branch}"

    @property
    def has_own_smi(self) -> bool:
        """Whether the nvidia-smi in its packages is of the very same version."""
        return self.smi_version.startswith(f"{self.version}-")


DRIVERS = (
    Driver("535.261.03", 12020, "bookworm", "535.261.03-1"),
    Driver("550.163.01", 12040, "trixie", "550.163.01-2"),
    # For GPUs that are too new for the others. Debian has no nvidia-smi of it.
    Driver("580.178.04", 13000, "trixie", "550.163.01-2"),
)
VERSIONS = tuple(driver.version for driver in DRIVERS if driver.has_own_smi)
"""The versions whose nvidia-smi is their own, oldest first."""

LIBRARY_FOLDER = "usr/lib/x86_64-linux-gnu"
FLAVOURS = {"nvidia-kernel-open-dkms": "Dual MIT/GPL", "nvidia-kernel-dkms": "NVIDIA"}


@dataclass(frozen=True)
class Library:
    """A library of the driver: its package, its name up to .so, and what its SONAME ends with."""

    package: str
    stem: str
    number: int

    @property
    def soname(self) -> str:
        """The name that programs ask for."""
        return f"{self.stem}.so.{self.number}"


MANAGEMENT_LIBRARY = Library("libnvidia-ml1", "libnvidia-ml", 1)
CUDA_LIBRARY = Library("libcuda1", "libcuda", 1)
EMPTY_LIBRARIES = (
    Library("libcudadebugger1", "libcudadebugger", 1),
    Library("libnvidia-allocator1", "libnvidia-allocator", 1),
    Library("libnvidia-cfg1", "libnvidia-cfg", 1),
    Library("libnvidia-nvvm4", "libnvidia-nvvm", 4),
    Library("libnvidia-opencl1", "libnvidia-opencl", 1),
    Library("libnvidia-ptxjitcompiler1", "libnvidia-ptxjitcompiler", 1),
)
LIBRARIES = (MANAGEMENT_LIBRARY, CUDA_LIBRARY, *EMPTY_LIBRARIES)


@dataclass(frozen=True)
class KernelModule:
    """A kernel module and the one that it depends on."""

    name: str
    depends: str = ""

    @property
    def symbol(self) -> str:
        """The symbol that others depend on it through."""
        return f"{self.name}_lab_interface"

    @property
    def needs(self) -> str:
        """The symbol that it needs of the module that it depends on."""
        return f"{self.depends}_lab_interface" if self.depends else ""


KERNEL_MODULES = (
    KernelModule("nvidia"),
    KernelModule("nvidia_uvm", "nvidia"),
    KernelModule("nvidia_modeset", "nvidia"),
    KernelModule("nvidia_drm", "nvidia_modeset"),
    KernelModule("nvidia_peermem", "nvidia"),
)

_HERE = Path(__file__).parent
_DEBIAN = _HERE / "debian"
_MAKERS = tuple(_HERE / name for name in ("build.py", "deb.py", "packages.py", "ubuntu.py"))
_LDCONFIG = "activate-noawait ldconfig\n"


def branch_for(model: Model) -> str:
    """The branch to install on hosts with GPUs of a model.

    The newest whose nvidia-smi is its own; of one that none of those drives,
    the newest that does.
    """
    first, last = model.drivers["first"], model.drivers["last"]
    fitting = [d for d in DRIVERS if first <= d.branch and (last is None or d.branch <= last)]
    return str(max(fitting, key=lambda driver: (driver.has_own_smi, driver.branch)).branch)


def build(cache: Path, out: Path, vendor: str) -> list[Path]:
    """Put all versions of all packages into ``out``, for hosts of a vendor (debian, ubuntu).

    They are the same for all of its releases, and made once: ``cache`` is the lab's
    cache folder. Raises LabError where gcc or the download of nvidia-smi fails.
    """
    kernel = os.uname().release
    key = key_of(native.NATIVE, _DEBIAN, *_MAKERS, kernel, vendor)
    made = cache / "parts" / f"driver-packages-{vendor}-{key[:12]}"
    with locked(cache, "driver-packages"):
        ensure_built(made, key, lambda scratch: _build(cache, scratch, kernel, vendor))
        debs = sorted(made.glob("*.deb"))
        place(debs, out)
    return [out / deb.name for deb in debs]


def _build(cache: Path, scratch: Path, kernel: str, vendor: str) -> Path:
    packages = [_dkms(), _headers(kernel), _mig_manager()]
    binaries = _compile(scratch / "native")
    for driver in DRIVERS:
        smi = _nvidia_smi(cache, driver, scratch / f"smi-{driver.version}")
        made = _driver(driver, binaries, smi, scratch / driver.version)
        packages += _of_vendor(vendor, driver, made)
    out = scratch / "packages"
    out.mkdir()
    for package in packages:
        pack(package, scratch / "trees", out)
    return out


def _of_vendor(vendor: str, driver: Driver, packages: list[Package]) -> list[Package]:
    if vendor == "debian":
        return packages
    made = ubuntu.packages(driver.branch, driver.version, packages)
    return [*made, *ubuntu.pins(driver.branch, driver.version)]


def _compile(folder: Path) -> Path:
    """What is the same for all versions: libraries and the persistence daemon."""
    management = native.management_library(folder / "libnvidia-ml.so")
    native.persistence_daemon(folder / "nvidia-persistenced", management)
    native.cuda_library(folder / "libcuda.so")
    for library in EMPTY_LIBRARIES:
        native.empty_library(folder / f"{library.stem}.so", library.soname)
    return folder


def _nvidia_smi(cache: Path, driver: Driver, folder: Path) -> Path:
    """The real nvidia-smi, unpacked from Debian's package of it."""
    archive = Archive(cache, driver.smi_suite, ("non-free",))
    (deb,) = archive.download([f"nvidia-smi={driver.smi_version}"])
    run(["dpkg-deb", "--extract", deb, folder], purpose=f"Unpacking {deb.name}")
    return folder


def _driver(driver: Driver, binaries: Path, smi: Path, scratch: Path) -> list[Package]:
    """All packages of one driver version."""
    scratch.mkdir(parents=True)
    stamped = native.stamp_library(
        binaries / "libnvidia-ml.so", scratch / "libnvidia-ml.so", driver.version, driver.cuda
    )
    return [
        _meta(driver),
        _management_library(driver, stamped),
        *(
            _library(driver, library, Entry(binaries / f"{library.stem}.so"))
            for library in (CUDA_LIBRARY, *EMPTY_LIBRARIES)
        ),
        *(_kernel(driver, name, scratch / name) for name in FLAVOURS),
        _kernel_support(driver),
        _firmware(driver),
        _tools(driver, smi),
        _persistenced(driver, binaries / "nvidia-persistenced"),
        _modprobe(driver),
        _fabric_manager(driver),
    ]


def _meta(driver: Driver) -> Package:
    needed = [library.package for library in LIBRARIES]
    needed += ["nvidia-smi", "nvidia-persistenced", "nvidia-modprobe"]
    kernel = " | ".join(_exactly(driver, name) for name in FLAVOURS)
    depends = ", ".join([*(_exactly(driver, name) for name in needed), kernel])
    about = "NVIDIA driver for computing"
    return _package(driver, "nvidia-driver-cuda", about, {"Depends": depends})


def _management_library(driver: Driver, file: Path) -> Package:
    package = _library(driver, MANAGEMENT_LIBRARY, Entry(file, changes=True))
    postinst = _text("library.postinst", driver)
    return replace(package, scripts={**package.scripts, "postinst": postinst})


def _library(driver: Driver, library: Library, entry: Entry) -> Package:
    file = f"{library.stem}.so.{driver.version}"
    return _package(
        driver,
        library.package,
        f"NVIDIA driver library {library.stem}",
        {"Depends": "libc6", "Multi-Arch": "same"},
        files={f"{LIBRARY_FOLDER}/{file}": entry},
        links={f"{LIBRARY_FOLDER}/{library.soname}": file},
        scripts={"triggers": _LDCONFIG},
    )


def _kernel(driver: Driver, package: str, folder: Path) -> Package:
    source = f"usr/src/nvidia-{driver.version}"
    files = {f"{source}/dkms.conf": Entry(text=_text("dkms.conf", driver))}
    for module in KERNEL_MODULES:
        file = native.kernel_module(
            folder / f"{module.name.replace('_', '-')}.ko",
            version=driver.version,
            licence=FLAVOURS[package],
            exports=module.symbol,
            needs=module.needs,
            depends=module.depends,
        )
        files[f"{source}/prebuilt/{file.name}"] = Entry(file)
    others = ", ".join(name for name in FLAVOURS if name != package)
    needed = ("nvidia-kernel-support", "firmware-nvidia-gsp")
    depends = ", ".join(["dkms", "kmod", *(_exactly(driver, name) for name in needed)])
    return _package(
        driver,
        package,
        "NVIDIA kernel modules, built by dkms",
        {
            "Depends": depends,
            "Conflicts": others,
            "Replaces": others,
            "Provides": f"nvidia-kernel-{driver.version}",
        },
        files=files,
        scripts={
            "postinst": _text("kernel.postinst", driver),
            "prerm": _text("kernel.prerm", driver),
        },
    )


def _kernel_support(driver: Driver) -> Package:
    return _package(
        driver,
        "nvidia-kernel-support",
        "modprobe configuration of the NVIDIA kernel modules",
        files={"usr/lib/modprobe.d/nvidia.conf": Entry(_DEBIAN / "modprobe.conf")},
    )


def _firmware(driver: Driver) -> Package:
    folder = f"usr/lib/firmware/nvidia/{driver.version}"
    text = f"simulated GSP firmware {driver.version}\n"
    return _package(
        driver,
        "firmware-nvidia-gsp",
        "firmware of the GPUs' system processor",
        files={f"{folder}/gsp_{chips}.bin": Entry(text=text) for chips in ("ga10x", "tu10x")},
    )


def _tools(driver: Driver, smi: Path) -> Package:
    return _package(
        driver,
        "nvidia-smi",
        "NVIDIA System Management Interface",
        {"Depends": f"libc6, {_exactly(driver, 'libnvidia-ml1')}"},
        files={
            "usr/bin/nvidia-smi": Entry(smi / "usr/lib/nvidia/current/nvidia-smi", mode=0o755),
            "usr/share/doc/nvidia-smi/copyright": Entry(smi / "usr/share/doc/nvidia-smi/copyright"),
        },
    )


def _persistenced(driver: Driver, program: Path) -> Package:
    unit = "nvidia-persistenced.service"
    return _package(
        driver,
        "nvidia-persistenced",
        "daemon that keeps the driver's state while no one uses a GPU",
        {"Depends": f"libc6, init-system-helpers, {_exactly(driver, 'libnvidia-ml1')}"},
        files={
            "usr/bin/nvidia-persistenced": Entry(program, mode=0o755),
            f"usr/lib/systemd/system/{unit}": Entry(_DEBIAN / unit),
        },
        scripts={
            "postinst": _text("persistenced.postinst", driver),
            "prerm": _text("persistenced.prerm", driver),
        },
    )


def _modprobe(driver: Driver) -> Package:
    return _package(
        driver,
        "nvidia-modprobe",
        "loads the NVIDIA kernel modules",
        {"Depends": "kmod"},
        files={"usr/bin/nvidia-modprobe": Entry(_DEBIAN / "nvidia-modprobe", mode=0o755)},
    )


def _fabric_manager(driver: Driver) -> Package:
    unit = "nvidia-fabricmanager.service"
    return _package(
        driver,
        driver.fabric_manager,
        "daemon that sets NVSwitches up",
        # Upstream's do not conflict by name, they share their files.
        {"Depends": "python3, init-system-helpers"},
        files={
            "usr/bin/nv-fabricmanager": Entry(text=_text("nv-fabricmanager", driver), mode=0o755),
            f"usr/lib/systemd/system/{unit}": Entry(_DEBIAN / unit),
            "usr/share/nvidia/nvswitch/fabricmanager.cfg": Entry(text="DAEMONIZE=1\n"),
        },
        scripts={"prerm": _text("fabricmanager.prerm", driver)},
    )


def _package(
    driver: Driver,
    name: str,
    description: str,
    fields: dict[str, str] | None = None,
    *,
    files: dict[str, Entry] | None = None,
    links: dict[str, str] | None = None,
    scripts: dict[str, str] | None = None,
) -> Package:
    return Package(
        name,
        driver.package_version,
        description,
        fields=fields or {},
        files=files or {},
        links=links or {},
        scripts=scripts or {},
    )


def _dkms() -> Package:
    hook = "etc/kernel/header_postinst.d/dkms"
    return Package(
        "dkms",
        "3.2.2-1",
        "dynamic kernel module system, as far as the lab needs one",
        architecture="all",
        fields={"Depends": "kmod"},
        files={
            "usr/sbin/dkms": Entry(_DEBIAN / "dkms", mode=0o755),
            hook: Entry(_DEBIAN / "dkms.header_postinst", mode=0o755),
        },
    )


def _headers(kernel: str) -> Package:
    number = re.match(r"[0-9.]*[0-9]", kernel)
    source = f"usr/src/linux-headers-{kernel}"
    postinst = (_DEBIAN / "headers.postinst").read_text().replace("@KERNEL@", kernel)
    return Package(
        f"linux-headers-{kernel}",
        f"{number.group() if number else 0}-1",
        "headers of the kernel that this host runs on, without any in it",
        fields={"Provides": "linux-headers-amd64"},
        files={f"{source}/Makefile": Entry(text=f"# {kernel}\n")},
        links={f"usr/lib/modules/{kernel}/build": f"/{source}"},
        scripts={"postinst": postinst},
    )


def _mig_manager() -> Package:
    folder, unit = "etc/nvidia-mig-manager", "nvidia-mig-manager.service"
    drop_in = f"etc/systemd/system/{unit}.d/override.conf"
    layouts = {"all-disabled": [{"devices": "all", "mig-enabled": False}]}
    config = json.dumps({"version": "v1", "mig-configs": layouts}) + "\n"
    return Package(
        "nvidia-mig-manager",
        MIG_MANAGER_VERSION,
        "divides GPUs as declared, at every boot",
        fields={"Depends": "python3"},
        files={
            "usr/bin/nvidia-mig-parted": Entry(_DEBIAN / "nvidia-mig-parted", mode=0o755),
            f"usr/lib/systemd/system/{unit}": Entry(_DEBIAN / unit),
            f"{folder}/service.sh": Entry(_DEBIAN / "mig-manager.sh"),
            f"{folder}/config.yaml": Entry(text=config),
            drop_in: Entry(text="[Service]\nEnvironment=MIG_PARTED_SELECTED_CONFIG=all-disabled\n"),
        },
    )


def _exactly(driver: Driver, package: str) -> str:
    return f"{package} (= {driver.package_version})"


def _text(name: str, driver: Driver) -> str:
    return (_DEBIAN / name).read_text().replace("@VERSION@", driver.version)
