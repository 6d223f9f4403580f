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

BASE_PACKAGES = (
    "base-files",
    "base-passwd",
    "bash",
    "coreutils",
    "dash",
    "grep",
    "libc-bin",
    "sed",
)
PYTHON_PACKAGES = ("python3",)
_UNNEEDED = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "var/cache/ldconfig",
    "var/lib/dpkg",
)
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BRANDS = ("unknown", "grid", "tesla", "nvidia", "quadro", "quadrortx", "nvidiartx")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Image:
    """One image: where it is served, its environment and whether Python is in it.

    ``run_as`` are words of the OCI configuration in place of those that such an image has.
    """

    names: Sequence[str]
    environment: Mapping[str, str]
    framework: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    run_as: Mapping[str, Any] = field(default_factory=dict)


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
        environment=cuda_environment(version, branches),
        labels={"org.opencontainers.image.version": version},
    )


def cuda_environment(version: str, branches: Sequence[int]) -> dict[str, str]:
    """The environment of upstream's images with CUDA."""
    return {
        "PATH": f"/usr/local/nvidia/bin:/usr/local/cuda/bin:{SYSTEM_PATH}",
        "LD_LIBRARY_PATH": "/usr/local/nvidia/lib:/usr/local/nvidia/lib64",
        "CUDA_VERSION": version,
        "NVARCH": "x86_64",
        "NVIDIA_REQUIRE_CUDA": _requirement(version.rpartition(".")[0], branches),
        "NVIDIA_VISIBLE_DEVICES": "all",
        "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
    }


def pytorch(release: str, pytorch: str, cuda: str, branches: Sequence[int], *also: str) -> Image:
    """NGC's PyTorch image of a release."""
    environment = {
        **cuda_environment(cuda, branches),
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
        labels={"com.nvidia.pytorch.version": pytorch},
    )


IMAGES = (
    _cuda("12.4.1", "ubuntu22.04", (470, 525, 535)),
    _cuda("13.0.3", "ubuntu24.04", (535, 550, 565, 570)),
    pytorch(
        "24.04", "2.3.0a0+6ddf5cf", "12.4.1", (470, 525, 535, 545), "nvstaging/pytorch:24.04-py3"
    ),
    pytorch("26.08", "2.12.0a0+lab", "13.0.3", (535, 550, 565, 570)),
)


def ensure(cache: Path, progress: Progress = lambda _: None) -> Path:
    """The storage folder of a registry that holds all images, made where it is not there yet.

    About 15 s on two cores, once.
    """
    target = cache / f"registry-{key()[:12]}"

    def build(scratch: Path) -> Path:
        progress("Building the lab's container images")
        layout = scratch / "layout"
        layout.mkdir()
        write_images(layout, IMAGES, layers(cache, scratch))
        publish(IMAGES, layout, scratch / "storage", scratch)
        shutil.rmtree(layout)
        return scratch

    ensure_built(target, key(), build)
    return target / "storage"


def repositories(images: Sequence[Image] = IMAGES) -> tuple[str, ...]:
    """The names, without tags, that images are served under."""
    return tuple(dict.fromkeys(name.partition(":")[0] for image in images for name in image.names))


def key() -> str:
    """What the images are made from; it changes when they would come out differently."""
    return key_of(Path(__file__), ENTRYPOINT)


@dataclass(frozen=True)
class Layer:
    """A compressed layer in a layout, and the digest of what it holds uncompressed."""

    descriptor: Mapping[str, Any]
    diff_id: str


def layers(cache: Path, scratch: Path) -> Sequence[Layer]:
    """Into the layout in ``scratch``: a layer of the base system, and one of Python on top."""
    archive = Archive(cache, SUITE)
    base = archive.collect(BASE_PACKAGES)
    python = [deb for deb in archive.collect(PYTHON_PACKAGES) if deb not in base]
    layout = scratch / "layout"
    return (
        layer(layout, _base_tree(base, scratch / "base")),
        layer(layout, _framework_tree(python, scratch / "framework")),
    )


def _base_tree(debs: Sequence[Path], root: Path) -> Path:
    # base-files first: it has the links (/bin to usr/bin …) that the others are unpacked through.
    for deb in sorted(debs, key=lambda deb: not deb.name.startswith("base-files_")):
        unpack(deb, root)
    for name in ("passwd", "group"):
        shutil.copy(root / "usr/share/base-passwd" / f"{name}.master", root / "etc" / name)
    run(["ldconfig", "-r", root], purpose="Indexing the libraries of the lab's images")
    thin_out(root)
    return root


def _framework_tree(debs: Sequence[Path], root: Path) -> Path:
    for deb in debs:
        unpack(deb, root)
    (root / "usr/bin/python").symlink_to("python3")
    entrypoint = root / "opt/nvidia/nvidia_entrypoint.sh"
    entrypoint.parent.mkdir(parents=True)
    shutil.copy(ENTRYPOINT, entrypoint)
    entrypoint.chmod(0o755)
    thin_out(root)
    return root


def unpack(deb: Path, root: Path) -> None:
    """Put a package's files under ``root``; it is not configured."""
    run(["dpkg-deb", "--extract", deb, root], purpose=f"Unpacking {deb.name}")


def thin_out(root: Path) -> None:
    """Remove what nobody reads in an image."""
    for folder in _UNNEEDED:
        shutil.rmtree(root / folder, ignore_errors=True)


def layer(layout: Path, root: Path) -> Layer:
    """Pack a tree into a layer of the layout; the tree is gone then."""
    tar = root.with_suffix(".tar")
    options = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0"]
    run(["tar", *options, "-C", root, "-cf", tar, "."], purpose="Packing an image layer")
    content = tar.read_bytes()
    tar.unlink()
    shutil.rmtree(root)
    packed = gzip.compress(content, compresslevel=1, mtime=0)
    media_type = "application/vnd.oci.image.layer.v1.tar+gzip"
    return Layer(_blob(layout, packed, media_type), _digest(content))


def write_images(layout: Path, images: Sequence[Image], layers: Sequence[Layer]) -> None:
    """Complete a layout: those without a framework have only the first of the layers."""
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
    run_as |= image.run_as
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


def publish(images: Sequence[Image], layout: Path, storage: Path, scratch: Path) -> None:
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
