"""The lab's container images: small stand-ins under the names and tags of the real ones.

Made of Debian packages without a Docker daemon: an OCI layout is written here
and copied by skopeo into the storage folder of a registry. They have the
environment and entry points of upstream's images and glibc (the driver's
programs are put into them), but neither CUDA nor PyTorch.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpuhost.lab import daemon
from gpuhost.lab.commands import run
from gpuhost.lab.debian import Archive
from gpuhost.lab.keyed import ensure_built, key_of

SUITE = "trixie"
CREATED = "2026-01-01T00:00:00Z"
ENTRYPOINT = Path(__file__).parent / "nvidia_entrypoint.sh"

_BASE_PACKAGES = (
    "base-files",
    "base-passwd",
    "bash",
    "coreutils",
    "dash",
    "grep",
    "libc-bin",
    "sed",
)
_PYTHON_PACKAGES = ("python3",)
_UNNEEDED = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "var/cache/ldconfig",
    "var/lib/dpkg",
)
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BRANDS = ("unknown", "grid", "tesla", "nvidia", "quadro", "quadrortx", "nvidiartx")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Image:
    """One image: where it is served, its environment and whether Python is in it.

    ``packages`` are Debian's, in a layer of their own; such images are large,
    and made only when they are asked for.
    """

    names: Sequence[str]
    environment: Mapping[str, str]
    framework: bool = False
    packages: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


def _requirement(cuda: str, branches: Sequence[int]) -> str:
    # Upstream's form: the driver's CUDA version, or a data-center driver of an older branch.
    alternatives = (
        f"brand={brand},driver>={branch},driver<{branch + 1}"
        for branch in branches
        for brand in _BRANDS
    )
    return " ".join((f"cuda>={cuda}", *alternatives))


def _cuda(version: str, system: str, branches: Sequence[int]) -> Image:
    return Image(
        names=(f"nvidia/cuda:{version}-base-{system}",),
        environment=_cuda_environment(version, branches),
        labels={"org.opencontainers.image.version": version},
    )


def _cuda_environment(version: str, branches: Sequence[int]) -> dict[str, str]:
    return {
        "PATH": f"/usr/local/nvidia/bin:/usr/local/cuda/bin:{_SYSTEM_PATH}",
        "LD_LIBRARY_PATH": "/usr/local/nvidia/lib:/usr/local/nvidia/lib64",
        "CUDA_VERSION": version,
        "NVARCH": "x86_64",
        "NVIDIA_REQUIRE_CUDA": _requirement(version.rpartition(".")[0], branches),
        "NVIDIA_VISIBLE_DEVICES": "all",
        "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
    }


def _pytorch(
    release: str,
    pytorch: str,
    cuda: str,
    branches: Sequence[int],
    *also: str,
    packages: Sequence[str] = (),
) -> Image:
    environment = {
        **_cuda_environment(cuda, branches),
        "NVIDIA_DRIVER_CAPABILITIES": "compute,utility,video",
        "NVIDIA_PRODUCT_NAME": "PyTorch",
        "NVIDIA_PYTORCH_VERSION": release,
        "PYTORCH_VERSION": pytorch,
        "PYTORCH_BUILD_VERSION": pytorch,
    }
    return Image(
        names=(f"nvidia/pytorch:{release}-py3", *also),
        environment=environment,
        framework=True,
        packages=packages,
        labels={"com.nvidia.pytorch.version": pytorch},
    )


IMAGES = (
    _cuda("12.4.1", "ubuntu22.04", (470, 525, 535)),
    _cuda("13.0.3", "ubuntu24.04", (535, 550, 565, 570)),
    _pytorch(
        "24.04", "2.3.0a0+6ddf5cf", "12.4.1", (470, 525, 535, 545), "nvstaging/pytorch:24.04-py3"
    ),
    _pytorch("26.08", "2.12.0a0+lab", "13.0.3", (535, 550, 565, 570)),
)

# With the framework itself in it, Debian's, which computes on the CPU: 0.8 GB.
LARGE_IMAGES = {
    "pytorch": _pytorch(
        "24.05",
        "2.4.0a0+07cecf4168",
        "12.4.1",
        (470, 525, 535, 545),
        # Upstream's has git and pip as well, which trainings are built with.
        packages=("python3-torch", "python3-numpy", "libopenblas0-pthread", "git", "python3-pip"),
    ),
}


def ensure(cache: Path, progress: Progress = lambda _: None) -> Path:
    """The storage folder of a registry that holds all images, made where it is not there yet.

    About 15 s on two cores, once.
    """
    target = cache / f"registry-{key()[:12]}"

    def build(scratch: Path) -> Path:
        progress("Building the lab's container images")
        layout = scratch / "layout"
        layout.mkdir()
        _write_images(layout, IMAGES, _layers(cache, scratch))
        _publish(IMAGES, layout, scratch / "storage", scratch)
        shutil.rmtree(layout)
        return scratch

    ensure_built(target, key(), build)
    return target / "storage"


def ensure_large(cache: Path, name: str, progress: Progress = lambda _: None) -> str:
    """Add one of :data:`LARGE_IMAGES` to what :func:`ensure` made; its name and tag.

    A registry that serves the folder has it from then on. About a minute on
    two cores, once, and 200 MB of Debian packages.
    """
    image, storage = LARGE_IMAGES[name], ensure(cache, progress)
    target = storage.parent / f"large-{name}"

    def build(scratch: Path) -> Path:
        progress(f"Building the lab's large image {name}")
        layout = scratch / "layout"
        layout.mkdir()
        _write_images(
            layout, [image], [*_layers(cache, scratch), _package_layer(cache, scratch, image)]
        )
        _publish([image], layout, storage, scratch)
        shutil.rmtree(layout)
        return scratch

    ensure_built(target, key(), build)
    return image.names[0]


def repositories() -> tuple[str, ...]:
    """The names, without tags, that images are served under."""
    return tuple(dict.fromkeys(name.partition(":")[0] for image in IMAGES for name in image.names))


def key() -> str:
    """What the images are made from; it changes when they would come out differently."""
    return key_of(Path(__file__), ENTRYPOINT)


@dataclass(frozen=True)
class Layer:
    """A compressed layer in a layout, and the digest of what it holds uncompressed."""

    descriptor: Mapping[str, Any]
    diff_id: str


def _layers(cache: Path, scratch: Path) -> Sequence[Layer]:
    archive = Archive(cache, SUITE)
    base = archive.collect(_BASE_PACKAGES)
    python = [deb for deb in archive.collect(_PYTHON_PACKAGES) if deb not in base]
    layout = scratch / "layout"
    return (
        _layer(layout, _base_tree(base, scratch / "base")),
        _layer(layout, _framework_tree(python, scratch / "framework")),
    )


def _package_layer(cache: Path, scratch: Path, image: Image) -> Layer:
    archive = Archive(cache, SUITE)
    below = {deb.name for deb in archive.collect((*_BASE_PACKAGES, *_PYTHON_PACKAGES))}
    root = scratch / "packages"
    for deb in archive.collect((*_BASE_PACKAGES, *image.packages)):
        if deb.name not in below:
            _unpack(deb, root)
    _link_alternatives(root)
    _thin_out(root)
    return _layer(scratch / "layout", root)


def _link_alternatives(root: Path) -> None:
    """What update-alternatives would do, had the packages been configured."""
    libraries = root / "usr/lib/x86_64-linux-gnu"
    for library in ("libblas.so.3", "liblapack.so.3", "libopenblas.so.0"):
        for provider in sorted(libraries.glob(f"openblas-*/{library}")):
            (libraries / library).symlink_to(provider.relative_to(libraries))


def _base_tree(debs: Sequence[Path], root: Path) -> Path:
    # base-files first: it has the links (/bin to usr/bin …) that the others are unpacked through.
    for deb in sorted(debs, key=lambda deb: not deb.name.startswith("base-files_")):
        _unpack(deb, root)
    for name in ("passwd", "group"):
        shutil.copy(root / "usr/share/base-passwd" / f"{name}.master", root / "etc" / name)
    run(["ldconfig", "-r", root], purpose="Indexing the libraries of the lab's images")
    _thin_out(root)
    return root


def _framework_tree(debs: Sequence[Path], root: Path) -> Path:
    for deb in debs:
        _unpack(deb, root)
    (root / "usr/bin/python").symlink_to("python3")
    entrypoint = root / "opt/nvidia/nvidia_entrypoint.sh"
    entrypoint.parent.mkdir(parents=True)
    shutil.copy(ENTRYPOINT, entrypoint)
    entrypoint.chmod(0o755)
    _thin_out(root)
    return root


def _unpack(deb: Path, root: Path) -> None:
    run(["dpkg-deb", "--extract", deb, root], purpose=f"Unpacking {deb.name}")


def _thin_out(root: Path) -> None:
    for folder in _UNNEEDED:
        shutil.rmtree(root / folder, ignore_errors=True)


def _layer(layout: Path, root: Path) -> Layer:
    tar = root.with_suffix(".tar")
    options = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0"]
    run(["tar", *options, "-C", root, "-cf", tar, "."], purpose="Packing an image layer")
    content = tar.read_bytes()
    tar.unlink()
    shutil.rmtree(root)
    packed = gzip.compress(content, compresslevel=1, mtime=0)
    media_type = "application/vnd.oci.image.layer.v1.tar+gzip"
    return Layer(_blob(layout, packed, media_type), _digest(content))


def _write_images(layout: Path, images: Sequence[Image], layers: Sequence[Layer]) -> None:
    manifests = []
    for image in images:
        used = layers if image.framework else layers[:1]
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _blob(
                layout,
                json.dumps(configuration(image, [layer.diff_id for layer in used])).encode(),
                "application/vnd.oci.image.config.v1+json",
            ),
            "layers": [layer.descriptor for layer in used],
        }
        content = json.dumps(manifest).encode()
        descriptor = _blob(layout, content, str(manifest["mediaType"]))
        for name in image.names:
            annotations = {"org.opencontainers.image.ref.name": name}
            manifests.append({**descriptor, "annotations": annotations})
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))
    (layout / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))


def configuration(image: Image, diff_ids: Sequence[str]) -> dict[str, Any]:
    """The OCI configuration of an image made of these layers."""
    run_as = {
        "Env": [f"{name}={value}" for name, value in image.environment.items()],
        "Labels": {**image.labels, "gpuhost.lab": "stand-in, without CUDA"},
        "WorkingDir": "/workspace" if image.framework else "/",
    }
    if image.framework:
        run_as["Entrypoint"] = ["/opt/nvidia/nvidia_entrypoint.sh"]
    else:
        run_as["Cmd"] = ["/bin/bash"]
    return {
        "created": CREATED,
        "architecture": "amd64",
        "os": "linux",
        "config": run_as,
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        "history": [{"created": CREATED, "created_by": "gpuhost lab"} for _ in diff_ids],
    }


def _blob(layout: Path, content: bytes, media_type: str) -> dict[str, Any]:
    digest = _digest(content)
    path = layout / "blobs" / digest.replace(":", "/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _publish(images: Sequence[Image], layout: Path, storage: Path, scratch: Path) -> None:
    """Copy the images of the layout into ``storage``, through a registry on loopback."""
    port = daemon.free_port("127.0.0.1")
    config = scratch / "publish.yml"
    settings = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(storage)}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    config.write_text(json.dumps(settings))
    argv = ["docker-registry", "serve", str(config)]
    daemon.ensure("publish", argv, state=scratch, address="127.0.0.1", port=port)
    try:
        for name in (name for image in images for name in image.names):
            target = f"docker://127.0.0.1:{port}/{name}"
            copy = ["copy", "--quiet", "--dest-tls-verify=false", "--format=v2s2"]
            run(
                ["skopeo", "--insecure-policy", *copy, f"oci:{layout}:{name}", target],
                purpose=f"Publishing {name} in the lab's registry",
            )
    finally:
        daemon.stop(scratch, "publish")
