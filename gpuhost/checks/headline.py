"""The few facts that stand over a host's report."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from gpuhost.checks.facts import Facts
from gpuhost.model import Desired
from gpuhost.parse.versions import upstream
from gpuhost.probe.schema import Evidence

SHORT = 12


def headline(evidence: Evidence) -> Mapping[str, str]:
    """What the host is, as a person writes it: ``os``, ``gpus``, ``driver``, ``docker`` and more.

    A change in one of these between two runs may be why a check fails in the
    second. What is not known is left out. Never raises.
    """
    facts = Facts(evidence, Desired())
    readers: Mapping[str, Callable[[Facts], str]] = {
        "os": lambda f: f.system["os_pretty_name"],
        "gpus": _gpus,
        "driver": lambda f: f.driver["loaded_version"] or "",
        "docker": _docker,
        "toolkit": lambda f: _package(f.toolkit["packages"], "nvidia-container-toolkit"),
        "kernel": lambda f: f.system["kernel"],
        "driver_on_disk": lambda f: f.driver["on_disk_version"] or "",
        "containerd": lambda f: _package(f.docker["packages"], "containerd.io"),
        "cuda_image": lambda f: _image(f, "cuda"),
        "ngc_image": lambda f: _image(f, "ngc"),
        "daemon_json": lambda f: _digest(f.docker["daemon_json"]["text"]),
        "boot": lambda f: f.system["boot_id"] or "",
    }
    return {name: text for name, reader in readers.items() if (text := _read(reader, facts))}


def _read(reader: Callable[[Facts], str], facts: Facts) -> str:
    try:
        return str(reader(facts) or "")
    except Exception:  # noqa: BLE001  (a heading must not stop the report)
        return ""


def _gpus(facts: Facts) -> str:
    names = Counter(gpu["name"] or "GPU" for gpu in facts.nvml["gpus"])
    return " + ".join(f"{count} × {name}" for name, count in names.items())


def _docker(facts: Facts) -> str:
    info = facts.docker["info"]
    return info["server_version"] if info else _package(facts.docker["packages"], "docker-ce")


def _image(facts: Facts, role: str) -> str:
    """The image's name and, since tags move, the beginning of its id."""
    image = next(image for image in facts.containers["images"] if image["role"] == role)
    found = image["id"] or ""
    return f"{image['reference']} ({found.removeprefix('sha256:')[:SHORT]})" if found else ""


def _digest(text: str | None) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:SHORT] if text else ""


def _package(packages: list[Any], name: str) -> str:
    return next((upstream(p["version"]) for p in packages if p["name"] == name), "")
