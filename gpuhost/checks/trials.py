"""Examining one container trial: what it saw, by every witness there is, against what it asked.

Witnesses are ``nvidia-smi -L``, nvidia-smi's csv query, NVML read by a
program inside, and the device nodes inside. They must agree with the request
and so with each other; the exit code alone says nothing.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gpuhost.checks.failure_words import explain
from gpuhost.checks.remedies import CHANGE_TOOLKIT, REFRESH_CDI, VERIFY
from gpuhost.checks.words import counted, listed
from gpuhost.model import Verdict
from gpuhost.parse.docker import mechanism
from gpuhost.parse.errors import ParseError
from gpuhost.parse.nvidia_smi import NO_DEVICES, ListedGpu, parse_list, parse_query, troubles
from gpuhost.parse.pci import bus_id
from gpuhost.probe.schema import Nvml, NvmlGpu, Trial
from gpuhost.probe.trials import DIVIDED

_ANY_UUID = re.compile(r"(?:GPU|MIG)-[0-9a-f]{8}-[0-9a-f-]{27}", re.IGNORECASE)
_OWN_NODE = re.compile(r"/dev/nvidia\d+|/dev/nvidia-caps/nvidia-cap\d+")
_NVML_ERROR = re.compile(r"nvml\w+: NVML error \d+|libnvidia-ml\.so\.1: cannot open.*")
# How a container without a GPU says so: nvidia-smi is not even there, or has nothing to ask.
_NOTHING_THERE = re.compile(
    r"not found|no such file|couldn't find libnvidia-ml|Failed to initialize NVML|"
    r"couldn't communicate with the NVIDIA driver",
    re.IGNORECASE,
)

_STALE_OR_BROKEN = "the CDI specification is stale, or nvidia-container-toolkit has a fault"
_BROKEN = "nvidia-container-toolkit gave it other GPUs than it asked for"


@dataclass(frozen=True)
class HostGpus:
    """The host's own view of what can be handed out: GPUs, and MIG devices where one is divided.

    By UUID: the GPU that it is or is part of, its PCI address and its device
    nodes. ``divided`` are the UUIDs of the GPUs that are not handed out whole.
    """

    parents: Mapping[str, str]
    addresses: Mapping[str, str]
    nodes: Mapping[str, tuple[str, ...]]
    divided: frozenset[str]

    @classmethod
    def of(cls, nvml: Nvml) -> HostGpus:
        """From the section that NVML on the host filled in."""
        parents: dict[str, str] = {}
        addresses: dict[str, str] = {}
        nodes: dict[str, tuple[str, ...]] = {}
        for gpu in nvml["gpus"]:
            for uuid, capabilities in _units(gpu):
                parents[uuid] = str(gpu["uuid"])
                if gpu["bus_id"]:
                    addresses[uuid] = bus_id(gpu["bus_id"])
                if gpu["minor"] is not None and capabilities is not None:
                    nodes[uuid] = (f"/dev/nvidia{gpu['minor']}", *capabilities)
        divided = frozenset(str(gpu["uuid"]) for gpu in nvml["gpus"] if gpu["mig_current"])
        return cls(parents, addresses, nodes, divided)

    @property
    def uuids(self) -> tuple[str, ...]:
        """Everything that a container can be given."""
        return tuple(self.parents)

    @property
    def words(self) -> str:
        """How much that is: ``2 GPUs``, ``1 GPU and 3 MIG devices``."""
        parts = sum(uuid != parent for uuid, parent in self.parents.items())
        whole = len(self.parents) - parts
        amounts = [counted(whole, "GPU")] if whole or not parts else []
        return " and ".join([*amounts, *([counted(parts, "MIG device")] if parts else [])])


def _units(gpu: NvmlGpu) -> Iterator[tuple[str, tuple[str, ...] | None]]:
    """What a GPU is handed out as, with the nodes besides its own; None where they are unknown."""
    if not gpu["mig_current"]:
        if gpu["uuid"]:
            yield gpu["uuid"], ()
        return
    for device in gpu.get("mig_devices") or ():
        if device["uuid"]:
            # Evidence from before they were read has none.
            yield device["uuid"], tuple(device.get("nodes") or ()) or None


@dataclass(frozen=True)
class Examined:
    """A trial with its verdict: PASS (exactly what was asked), FAIL or UNKNOWN, and why.

    ``kind`` names the failure: leak, too few, swapped, refused, error,
    started; empty for PASS and UNKNOWN.
    """

    trial: Trial
    verdict: Verdict
    kind: str = ""
    seen: str = ""
    cause: str = ""
    remedy: str = ""


def examine(trial: Trial, host: HostGpus) -> Examined:
    """Judge one trial; never by its exit code alone."""
    if trial["selector"] == DIVIDED:
        return _examine_divided(trial, host)
    if trial["expected_uuids"] is None:
        return _examine_refusal(trial)
    if trial["outcome"] == "refused" or _is_denied(trial):
        cause, remedy = explain(trial["error"] or trial["output"], trial["docker_run"])
        seen = (trial["error"] or trial["output"] or "no words").strip()
        return Examined(trial, Verdict.FAIL, "refused", seen, cause, remedy)
    if trial["outcome"] != "ran":
        return _not_finished(trial)
    return _examine_sight(trial, host)


def _is_denied(trial: Trial) -> bool:
    """Whether a user was kept from docker itself, which is an answer and no accident."""
    words = trial["error"] or ""
    return trial["user"] is not None and bool(
        re.search("permission ?denied|PermissionError", words, re.I)
    )


def _examine_refusal(trial: Trial) -> Examined:
    if trial["outcome"] == "refused":
        return Examined(trial, Verdict.PASS)
    if trial["outcome"] != "ran":
        return _not_finished(trial)
    inside = listed(dict.fromkeys(_ANY_UUID.findall(trial["list_gpus"] + trial["query"])))
    return Examined(
        trial,
        Verdict.FAIL,
        "started",
        f"the container saw {inside or 'no GPU'}",
        "the toolkit takes a request for a GPU that does not exist for another request",
        trial["docker_run"],
    )


def _examine_divided(trial: Trial, host: HostGpus) -> Examined:
    """A divided GPU as a whole: refused, or there with nothing in it that could be worked on."""
    if trial["outcome"] == "refused":
        return Examined(trial, Verdict.PASS)
    if trial["outcome"] != "ran":
        return _not_finished(trial)
    seen = dict.fromkeys(_ANY_UUID.findall(trial["list_gpus"] + trial["query"]))
    useful = [uuid for uuid in seen if uuid not in host.divided]
    if not useful:
        return Examined(trial, Verdict.PASS)
    return Examined(
        trial,
        Verdict.FAIL,
        "leak",
        f"asked for a divided GPU as a whole, sees {listed(useful)}",
        "the toolkit hands out MIG devices that nobody asked for",
        trial["docker_run"],
    )


def _not_finished(trial: Trial) -> Examined:
    words = (trial["error"] or trial["output"] or "no words").strip()
    timed_out = trial["outcome"] == "timeout"
    what = "did not end in time" if timed_out else "could not be carried out"
    cause, remedy = explain(words, trial["docker_run"])
    if timed_out:
        cause, remedy = "a GPU or the driver hangs, or the host is overloaded", trial["docker_run"]
    return Examined(trial, Verdict.UNKNOWN, "", f"{what}: {words}", cause, remedy)


def _examine_sight(trial: Trial, host: HostGpus) -> Examined:
    expected = trial["expected_uuids"] or []
    words = _error_words(trial) if expected else ""
    if words:
        cause, remedy = explain(words, trial["docker_run"])
        return Examined(trial, Verdict.FAIL, "error", words, cause, remedy)
    try:
        deviations = list(_deviations(trial, expected, host))
    except ParseError as error:
        return _unreadable(trial, str(error))
    wrong = [each for each in deviations if each.verdict is Verdict.FAIL]
    unclear = [each for each in deviations if each.verdict is Verdict.UNKNOWN]
    return (wrong or unclear or [Examined(trial, Verdict.PASS)])[0]


def _error_words(trial: Trial) -> str:
    """What a container that was given GPUs says about them, if it is an error."""
    printed = "\n".join((trial["list_gpus"], trial["query"], trial["output"]))
    ill = [*troubles(printed), *_NVML_ERROR.findall(printed)]
    if ill:
        return listed(dict.fromkeys(ill))
    if trial["exit_code"] == 0:
        return ""
    return f"nvidia-smi -L exits {trial['exit_code']}: {printed.strip() or 'it printed nothing'}"


def _unreadable(trial: Trial, words: str) -> Examined:
    printed = trial["output"].strip()
    seen = f"{words}; it printed: {printed}" if printed else words
    cause, remedy = explain(printed, trial["docker_run"])
    return Examined(trial, Verdict.UNKNOWN, "", seen, cause, remedy)


def _deviations(trial: Trial, expected: Sequence[str], host: HostGpus) -> Iterator[Examined]:
    unknown = [uuid for uuid in expected if uuid not in host.addresses]
    if unknown:
        yield _unfit(trial, f"expected {listed(unknown)}, which NVML on the host does not show")
        return
    yield from _address_problems(trial, expected, host)
    nodes = [path for path in trial["device_nodes"] if _OWN_NODE.fullmatch(path)]
    if not expected:
        yield from _sees_nothing(trial, nodes)
        return
    pairs = [(uuid, host.addresses[uuid]) for uuid in expected]
    # The query knows GPUs only: MIG devices of one GPU are one line there.
    gpus = list(dict.fromkeys((host.parents[uuid], address) for uuid, address in pairs))
    yield from _compare(trial, "nvidia-smi -L", expected, _listed_uuids(trial, host))
    yield from _compare(trial, "nvidia-smi --query-gpu", gpus, _queried_pairs(trial))
    if trial["nvml"] is not None:
        yield from _compare(trial, "NVML inside", pairs, _nvml_pairs(trial["nvml"]))
    if all(uuid in host.nodes for uuid in expected):
        known_nodes = dict.fromkeys(node for uuid in expected for node in host.nodes[uuid])
        yield from _compare(trial, "device nodes", list(known_nodes), nodes)


def _address_problems(trial: Trial, expected: Sequence[str], host: HostGpus) -> Iterator[Examined]:
    addresses = trial["expected_bus_ids"]
    if addresses is None:
        yield _unfit(trial, "there are no expected PCI addresses")
    elif Counter(map(bus_id, addresses)) != Counter(host.addresses[uuid] for uuid in expected):
        yield _unfit(trial, f"expected addresses {listed(addresses)}, not those of the GPUs")


def _unfit(trial: Trial, problem: str) -> Examined:
    """The expectation itself has to fit to the host, or comparing with it proves nothing."""
    cause = "the GPUs changed while the trials ran, or the evidence is damaged"
    return Examined(trial, Verdict.UNKNOWN, "", problem, cause, VERIFY)


def _sees_nothing(trial: Trial, nodes: Sequence[str]) -> Iterator[Examined]:
    printed = "\n".join((trial["list_gpus"], trial["query"], trial["nvml"] or "", trial["output"]))
    visible = [*dict.fromkeys(_ANY_UUID.findall(printed)), *nodes]
    if visible:
        cause = (
            "nvidia is docker's default runtime and the image asks for all GPUs, or the toolkit "
            "hands out GPUs that nobody asked for"
        )
        seen = f"asked for none, sees {listed(visible)}"
        yield Examined(trial, Verdict.FAIL, "leak", seen, cause, trial["docker_run"])
    elif trial["exit_code"] is None or not _says_nothing_is_there(printed):
        yield _unreadable(trial, "it is not clear that no GPU is visible")


def _says_nothing_is_there(printed: str) -> bool:
    return bool(_NOTHING_THERE.search(printed)) or any(text in printed for text in NO_DEVICES)


def _listed_uuids(trial: Trial, host: HostGpus) -> list[str]:
    """What the list shows that could be worked on: of a divided GPU, its MIG devices."""
    return [uuid for gpu in parse_list(trial["list_gpus"]) for uuid in _usable(gpu, host)]


def _usable(gpu: ListedGpu, host: HostGpus) -> list[str]:
    if gpu.mig_devices or gpu.uuid in host.divided:
        return [device.uuid for device in gpu.mig_devices]
    return [gpu.uuid]


def _queried_pairs(trial: Trial) -> list[tuple[str, str]]:
    rows = parse_query(trial["query"])
    if any(row.bus_id is None for row in rows):
        raise ParseError("a GPU query", "a GPU has no PCI address", trial["query"].strip())
    return [(row.uuid, row.bus_id or "") for row in rows]


def _nvml_pairs(text: str) -> list[tuple[str, str]]:
    try:
        return [(str(uuid), bus_id(str(address))) for uuid, address in json.loads(text)]
    except (ValueError, TypeError) as error:
        raise ParseError("a JSON list of [uuid, bus id]", str(error), text) from error


def _compare(
    trial: Trial, witness: str, expected: Sequence[object], seen: Sequence[object]
) -> Iterator[Examined]:
    surplus = list((Counter(seen) - Counter(expected)).elements())
    missing = list((Counter(expected) - Counter(seen)).elements())
    if not surplus and not missing:
        return
    if surplus and missing:
        kind, words = "swapped", f"sees {_names(surplus)} instead of {_names(missing)}"
    elif surplus:
        kind, words = "leak", f"also sees {_names(surplus)}"
    else:
        kind, words = "too few", f"does not see {_names(missing)}"
    cause, remedy = _why_other_gpus(trial)
    shown = f"{remedy}\n{trial['docker_run']}  # shows whether it is mended"
    yield Examined(trial, Verdict.FAIL, kind, f"{words} ({witness})", cause, shown)


def _why_other_gpus(trial: Trial) -> tuple[str, str]:
    if mechanism(trial["path"], trial["served_by"]) == "hook":
        return _BROKEN, CHANGE_TOOLKIT
    return _STALE_OR_BROKEN, f"{REFRESH_CDI}; if that does not help: {CHANGE_TOOLKIT}"


def _names(items: Sequence[object]) -> str:
    return listed(" at ".join(item) if isinstance(item, tuple) else item for item in items)


def gpus_seen(trial: Trial, host: HostGpus) -> tuple[str, ...]:
    """What could be worked on inside, as ``nvidia-smi -L`` listed it; a divided GPU is not it."""
    listed_uuids = _ANY_UUID.findall(trial["list_gpus"])
    return tuple(uuid for uuid in listed_uuids if uuid not in host.divided)


def uuids_seen(trial: Trial, host: HostGpus) -> tuple[str, ...]:
    """Every GPU and MIG device that any witness saw inside; a divided GPU is not counted."""
    printed = "\n".join((trial["list_gpus"], trial["query"], trial["nvml"] or ""))
    opened = [uuid for uuid, nodes in host.nodes.items() if {*nodes} <= {*trial["device_nodes"]}]
    seen = dict.fromkeys([*_ANY_UUID.findall(printed), *opened])
    return tuple(uuid for uuid in seen if uuid not in host.divided)
