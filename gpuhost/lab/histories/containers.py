"""Histories of container engines, and of what ran in them."""

from __future__ import annotations

import json
from pathlib import Path

from gpuhost.lab.gpu.deb import Entry, Package
from gpuhost.lab.histories.past import Past

IMAGE = "nvidia/cuda:13.0.3-base-ubuntu24.04"
WEB, BATCH, VOLUME = "web", "batch", "web-data"
TRAINER, DRIVER_VOLUME = "old-trainer", "nvidia_driver_535.261.03"
TREASURE = "kept since 2019"
FOREIGN_CONFIG = {
    "bip": "172.30.0.1/16",
    "features": {"buildkit": True},
    "log-driver": "journald",
    "runtimes": {"audited": {"path": "/usr/local/bin/audited-runc"}},
}
_FILES = Path(__file__).parent / "files"
_DOCKER = "docker-engine | docker-ce | docker.io"
_LIST = "deb https://nvidia.github.io/{name}/debian12/$(ARCH) /\n"
_LISTS = ("nvidia-docker", "nvidia-container-runtime", "libnvidia-container")
_PLUGIN_UNIT = """\
[Unit]
Description=NVIDIA Docker plugin
After=local-fs.target
Before=docker.service

[Service]
ExecStart=/usr/bin/nvidia-docker-plugin

[Install]
WantedBy=multi-user.target
"""
_DAEMON_JSON = {"runtimes": {"nvidia": {"path": "nvidia-container-runtime", "runtimeArgs": []}}}


def docker_io(past: Past) -> None:
    """Debian's Docker, a container that is always up, one that ended, and a volume."""
    if past.path("/usr/sbin/dockerd").exists() or past.path("/usr/bin/dockerd").exists():
        return
    past.install("docker.io", *(["docker-cli"] if past.suite == "trixie" else []))
    _containers(past)


def _containers(past: Past) -> None:
    past.run("docker", "pull", "--quiet", IMAGE)
    plain = ("--env", "NVIDIA_VISIBLE_DEVICES=void", "--volume", f"{VOLUME}:/data", IMAGE)
    # As first process of a container, sleep is deaf to SIGTERM.
    always = ("--detach", "--restart=always", "--stop-signal=KILL", "--name", WEB)
    past.run("docker", "run", *always, *plain, "sleep", "inf")
    past.run(
        "docker", "run", "--name", BATCH, *plain, "sh", "-c", f"echo {TREASURE} >/data/treasure"
    )


def nvidia_docker1(past: Past) -> None:
    """Version 1: a plugin that serves the driver as a volume, and a container that mounts it."""
    docker_io(past)
    past.dpkg(
        Package(
            "nvidia-docker",
            "1.0.1-1",
            "NVIDIA Docker container tools",
            fields={"Depends": f"adduser, {_DOCKER}"},
            files={
                "usr/bin/nvidia-docker": Entry(_FILES / "nvidia-docker", mode=0o755),
                "usr/bin/nvidia-docker-plugin": Entry(_FILES / "nvidia-docker-plugin", mode=0o755),
                "usr/lib/systemd/system/nvidia-docker.service": Entry(text=_PLUGIN_UNIT),
            },
            scripts={
                "postinst": "#!/bin/sh\nset -e\nsystemctl daemon-reload\n"
                "systemctl enable --quiet --now nvidia-docker.service\n",
                "prerm": "#!/bin/sh\nsystemctl disable -q --now nvidia-docker.service || true\n",
            },
        )
    )
    past.write("/etc/apt/sources.list.d/nvidia-docker.list", _LIST.format(name="nvidia-docker"))
    past.run("docker", "volume", "create", "--driver=nvidia-docker", "--name", DRIVER_VOLUME)
    mount = f"{DRIVER_VOLUME}:/usr/local/nvidia:ro"
    past.run(
        "docker",
        "create",
        "--name",
        TRAINER,
        "--volume-driver=nvidia-docker",
        "--volume",
        mount,
        IMAGE,
        "sleep",
        "inf",
    )


def nvidia_docker2(past: Past) -> None:
    """Version 2: a runtime that its daemon.json, a conffile, registers, and three list files."""
    docker_io(past)
    runtime = Package(
        "nvidia-container-runtime",
        "3.13.0-1",
        "NVIDIA container runtime",
        files={
            "usr/bin/nvidia-container-runtime": Entry(
                _FILES / "nvidia-container-runtime", mode=0o755
            )
        },
    )
    past.dpkg(
        runtime,
        Package(
            "nvidia-docker2",
            "2.13.0-1",
            "nvidia-docker CLI wrapper",
            fields={"Depends": f"nvidia-container-runtime, {_DOCKER}"},
            files={
                "usr/bin/nvidia-docker": Entry(_FILES / "nvidia-docker", mode=0o755),
                "etc/docker/daemon.json": Entry(text=json.dumps(_DAEMON_JSON, indent=4) + "\n"),
            },
            scripts={"conffiles": "/etc/docker/daemon.json\n"},
        ),
    )
    for name in _LISTS:
        past.write(f"/etc/apt/sources.list.d/{name}.list", _LIST.format(name=name))
    past.run("systemctl", "restart", "docker.service")


def foreign_daemon_json(past: Past) -> None:
    """Keys that only their owner knows the reason of."""
    docker_io(past)
    past.write("/usr/local/bin/audited-runc", '#!/bin/sh\nexec runc "$@"\n', 0o755)
    path = past.path("/etc/docker/daemon.json")
    before = json.loads(path.read_text()) if path.exists() else {}
    runtimes = {**before.get("runtimes", {}), **FOREIGN_CONFIG["runtimes"]}  # type: ignore[dict-item]
    config = {**before, **FOREIGN_CONFIG, "runtimes": runtimes}
    past.write("/etc/docker/daemon.json", json.dumps(config, indent=2))
    past.run("systemctl", "restart", "docker.service")


def podman(past: Past) -> None:
    """Podman as Debian packages it: content with crun or runc, and here it has runc."""
    past.install("runc")
    past.dpkg(
        Package(
            "podman",
            "4.3.1+ds1-8+deb12u1",
            "tool to manage containers and pods",
            fields={"Depends": "crun | runc"},
            files={
                "usr/bin/podman": Entry(text="#!/bin/sh\necho podman version 4.3.1\n", mode=0o755)
            },
        )
    )


def docker_snap(past: Past) -> None:
    """What snapd leaves of a snap of Docker, as far as can be told without snapd."""
    past.write("/var/lib/snapd/snaps/docker_2932.snap", "")
