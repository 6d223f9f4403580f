"""The few facts that stand over a host's report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from gpuhost.checks.facts import Facts
from gpuhost.model import Desired
from gpuhost.parse.versions import upstream
from gpuhost.probe.schema import Evidence


def headline(evidence: Evidence) -> Mapping[str, str]:
    """The keys ``os``, ``gpus``, ``driver``, ``docker`` and ``toolkit``, as a person writes them.

    What is not known is left out. Never raises.
    """
    facts = Facts(evidence, Desired())
    readers: Mapping[str, Callable[[Facts], str]] = {
        "os": lambda f: f.system["os_pretty_name"],
        "gpus": _gpus,
        "driver": lambda f: f.driver["loaded_version"] or "",
        "docker": _docker,
        "toolkit": lambda f: _package(f.toolkit["packages"], "nvidia-container-toolkit"),
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


def _package(packages: list[Any], name: str) -> str:
    return next((upstream(p["version"]) for p in packages if p["name"] == name), "")
