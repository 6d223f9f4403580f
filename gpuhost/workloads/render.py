"""From a definition to a Compose file for one host and its GPUs. Pure.

Parameters are put into the texts of the parsed template, so that no value can
become anything but a text, or the number that it is: there is no shell and no
YAML for it to break out of.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from gpuhost.errors import UsageError
from gpuhost.suggest import did_you_mean
from gpuhost.workloads.definition import COMPOSE, Definition
from gpuhost.workloads.parameters import WORDS
from gpuhost.workloads.probes import PATTERNS, Probe

# On a service: it works on the GPUs that were asked for.
GPUS_KEY = "x-gpuhost-gpus"
LABEL = "gpuhost.workload"
# How the names of workloads begin that a verification runs, beside those that somebody runs.
VERIFY_PREFIX = "verify-"
ALL, NONE = "all", "none"

_REFERENCE = re.compile(r"\$\$|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\}|\$")


def render(
    definition: Definition, values: Mapping[str, Any], gpus: Sequence[str]
) -> dict[str, Any]:
    """The Compose file: ``gpus`` are device ids, ``("all",)`` or empty for none.

    Raises:
        UsageError: the template names a parameter that is not declared.
    """
    compose: dict[str, Any] = _filled(definition, dict(definition.compose), values)
    compose["name"] = project_name(definition)
    for service in compose["services"].values():
        wants_gpus = service.pop(GPUS_KEY, False)
        _leave_out_unnamed(service)
        labels = service.get("labels") or {}
        service["labels"] = {**labels, LABEL: definition.name}
        if wants_gpus and gpus:
            _reserve(service, gpus)
        elif wants_gpus:
            # Images ask for all GPUs by themselves, which the nvidia runtime would grant.
            service["environment"] = {
                **(service.get("environment") or {}),
                "NVIDIA_VISIBLE_DEVICES": "void",
            }
    return compose


def project_name(definition: Definition) -> str:
    """What Compose calls the workload on a host."""
    return f"gpuhost-{definition.name}"


def gpu_services(definition: Definition) -> tuple[str, ...]:
    """The services that work on GPUs."""
    services = definition.compose["services"]
    return tuple(name for name, service in services.items() if service.get(GPUS_KEY))


def as_text(compose: Mapping[str, Any]) -> str:
    """The Compose file as people and ``docker compose`` read it."""
    return yaml.safe_dump(dict(compose), sort_keys=False, width=100)


def _leave_out_unnamed(service: dict[str, Any]) -> None:
    """A volume whose source is an empty parameter is one that nobody asked for."""
    volumes = service.get("volumes")
    if isinstance(volumes, list):
        named = [v for v in volumes if not (isinstance(v, dict) and v.get("source") == "")]
        service["volumes"] = named


def asked(definition: Definition, probe: Probe, values: Mapping[str, Any]) -> dict[str, Any]:
    """A probe as the module on the host takes it, with the parameters in it.

    In its patterns they stand for themselves.
    """
    literal = {name: re.escape(word(value)) for name, value in values.items()}
    if probe.how == "log":
        return {"name": probe.name, "log": _plain(definition, probe.asked, literal)}
    document: dict[str, Any] = _plain(definition, dict(probe.asked), values)
    for pattern in PATTERNS & probe.asked.keys():
        document[pattern] = _plain(definition, probe.asked[pattern], literal)
    return {"name": probe.name, probe.how: document}


def _plain(definition: Definition, part: Any, values: Mapping[str, Any]) -> Any:
    """A part of workload.yaml with the parameters in it; of no concern to Compose."""
    return _unescaped(_filled(definition, part, values))


def _unescaped(part: Any) -> Any:
    if isinstance(part, dict):
        return {key: _unescaped(value) for key, value in part.items()}
    if isinstance(part, list):
        return [_unescaped(item) for item in part]
    return part.replace("$$", "$") if isinstance(part, str) else part


def published_ports(definition: Definition, values: Mapping[str, Any]) -> frozenset[int]:
    """The ports of the host that the workload takes for itself."""
    found: set[int] = set()
    for service in _filled(definition, dict(definition.compose), values)["services"].values():
        for port in service.get("ports") or ():
            text = str(port.get("published", "")) if isinstance(port, dict) else _published(port)
            first, _, last = text.partition("-")
            if first.isdigit():
                found |= set(range(int(first), int(last or first) + 1))
    return frozenset(found)


def _published(short: str) -> str:
    """The host's part of Compose's short form, such as 127.0.0.1:8080:80/tcp."""
    parts = str(short).partition("/")[0].split(":")
    return parts[-2] if len(parts) > 1 else ""


def _reserve(service: dict[str, Any], gpus: Sequence[str]) -> None:
    device: dict[str, Any] = {"driver": "nvidia", "capabilities": ["gpu"]}
    device |= {"count": ALL} if tuple(gpus) == (ALL,) else {"device_ids": list(gpus)}
    deploy = service.setdefault("deploy", {})
    reservations = deploy.setdefault("resources", {}).setdefault("reservations", {})
    reservations["devices"] = [*reservations.get("devices", ()), device]


def _filled(definition: Definition, part: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(part, dict):
        return {key: _filled(definition, value, values) for key, value in part.items()}
    if isinstance(part, list):
        # Compose takes no numbers for arguments.
        filled = (one for item in part for one in _items(definition, item, values))
        return [item if isinstance(item, dict) else word(item) for item in filled]
    return _text(definition, part, values) if isinstance(part, str) else part


def _items(definition: Definition, item: Any, values: Mapping[str, Any]) -> Iterator[Any]:
    """What an item of a list becomes: one, or as many as its parameter has words."""
    whole = _REFERENCE.fullmatch(item) if isinstance(item, str) else None
    parameter = definition.parameters.get(whole["name"]) if whole and whole["name"] else None
    if parameter is None or parameter.type != WORDS:
        yield _filled(definition, item, values)
        return
    for one in shlex.split(str(values[parameter.name])):
        yield _text(definition, one, values)


def _text(definition: Definition, text: str, values: Mapping[str, Any]) -> Any:
    whole = _REFERENCE.fullmatch(text)
    if whole and whole["name"]:
        value = _value(definition, whole["name"], values)
        return value if isinstance(value, int | float) else escaped(str(value))

    def one(match: re.Match[str]) -> str:
        if match["name"]:
            return escaped(word(_value(definition, match["name"], values)))
        return "$$"

    return _REFERENCE.sub(one, text)


def _value(definition: Definition, name: str, values: Mapping[str, Any]) -> Any:
    if name not in values:
        raise UsageError(
            f"{definition.folder / COMPOSE} names ${{{name}}}, which is no parameter."
            f"{did_you_mean(name, values)}",
            "Declare it in workload.yaml, or write $${…} for a variable of the container's own.",
        )
    return values[name]


def word(value: Any) -> str:
    """A value as a program's argument."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def escaped(text: str) -> str:
    """Text in which Compose finds nothing to put in place of a ``$``."""
    return text.replace("$", "$$")
