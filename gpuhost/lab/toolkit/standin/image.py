"""What a container's environment asks of the toolkit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .selection import ALL

VISIBLE_DEVICES = "NVIDIA_VISIBLE_DEVICES"
DRIVER_CAPABILITIES = "NVIDIA_DRIVER_CAPABILITIES"
REQUIRE_PREFIX = "NVIDIA_REQUIRE_"
DEFAULT_CAPABILITIES = frozenset({"utility", "compute"})


class CapabilityError(Exception):
    """Driver capabilities that this host does not offer; the text says which."""


def environment(spec: dict[str, Any]) -> dict[str, str]:
    """The environment of an OCI spec; of a name given twice, the last counts."""
    pairs = (entry.partition("=") for entry in (spec.get("process") or {}).get("env") or [])
    return {name: value for name, _, value in pairs}


def is_legacy(env: dict[str, str]) -> bool:
    """Whether the image is from before NVIDIA_REQUIRE_CUDA: it wants every GPU unasked."""
    return bool(env.get("CUDA_VERSION")) and f"{REQUIRE_PREFIX}CUDA" not in env


def visible_devices(env: dict[str, str]) -> tuple[str, ...]:
    """The ids asked for, "all" and "none" among them; () if this is no GPU container."""
    asked = env.get(VISIBLE_DEVICES)
    if asked is None:
        return (ALL,) if is_legacy(env) else ()
    if asked in ("", "void"):
        return ()
    return tuple(name for name in asked.split(",") if name)


def is_privileged(spec: dict[str, Any]) -> bool:
    """Whether the container has CAP_SYS_ADMIN."""
    capabilities = (spec.get("process") or {}).get("capabilities") or {}
    return "CAP_SYS_ADMIN" in (capabilities.get("bounding") or [])


def capabilities(env: dict[str, str], supported: Iterable[str]) -> frozenset[str]:
    """The driver capabilities to offer; CapabilityError for one that is not supported."""
    offered = frozenset(supported)
    asked = env.get(DRIVER_CAPABILITIES, "")
    if not asked:
        legacy = DRIVER_CAPABILITIES not in env and is_legacy(env)
        return offered if legacy else offered & DEFAULT_CAPABILITIES
    wanted = frozenset(name for name in asked.split(",") if name)
    if ALL in wanted:
        return offered
    if not wanted <= offered:
        raise CapabilityError(
            f"unsupported capabilities found in '{asked}' (allowed '{','.join(sorted(offered))}')"
        )
    return wanted


def requirements(env: dict[str, str]) -> list[str]:
    """The NVIDIA_REQUIRE_* expressions that the driver must satisfy; [] if switched off."""
    if env.get("NVIDIA_DISABLE_REQUIRE", "").lower() in ("1", "t", "true"):
        return []
    expressions = [value for name, value in env.items() if name.startswith(REQUIRE_PREFIX)]
    if is_legacy(env):
        major_minor = ".".join(env["CUDA_VERSION"].split(".")[:2])
        expressions.append(f"cuda>={major_minor}")
    return expressions
