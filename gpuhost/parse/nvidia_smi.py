"""What ``nvidia-smi`` prints: ``-L``, ``-q -x``, the csv query and the plain table.

The exit code is no part of this: nvidia-smi exits 0 while it prints ``ERR!``.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from gpuhost.parse.errors import ParseError
from gpuhost.parse.pci import bus_id

NO_DEVICES = ("No devices found.", "No devices were found")
NOT_AVAILABLE = (
    "N/A",
    "[N/A]",
    "[Not Supported]",
    "[Unknown Error]",
    "Requested functionality has been deprecated",
    "",
)

_GPU_LINE = re.compile(r"GPU (?P<index>\d+): (?P<name>.*?) \(UUID: (?P<uuid>[^)]+)\)")
_MIG_LINE = re.compile(
    r"\s+MIG (?P<profile>\S+)\s+Device\s+(?P<index>\d+): \(UUID: (?P<uuid>MIG-[^)]+)\)"
)
_GPU_UUID = re.compile(r"GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

# What nvidia-smi prints where a value should be, or instead of everything.
_TROUBLE = re.compile(
    r"ERR!|GPU is lost|Unknown Error|Unable to determine the device handle|"
    r"GPU requires reset|Failed to initialize NVML|couldn't communicate with the NVIDIA driver",
    re.IGNORECASE,
)


def is_trouble(text: str) -> bool:
    """Whether nvidia-smi says an error in it."""
    return _TROUBLE.search(text) is not None


def is_gpu_uuid(text: str | None) -> bool:
    """Whether ``text`` is the UUID of a whole GPU."""
    return text is not None and _GPU_UUID.fullmatch(text.strip()) is not None


@dataclass(frozen=True)
class MigDevice:
    """One MIG device as ``-L`` lists it beneath its GPU."""

    profile: str
    index: int
    uuid: str


@dataclass(frozen=True)
class ListedGpu:
    """One GPU of ``nvidia-smi -L``."""

    index: int
    name: str
    uuid: str
    mig_devices: tuple[MigDevice, ...] = ()


def parse_list(text: str) -> tuple[ListedGpu, ...]:
    """The GPUs of ``nvidia-smi -L``; none where it says that there are none.

    Raises:
        ParseError: any line is neither a GPU nor a MIG device, or there is
            no line at all.
    """
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    if len(lines) == 1 and lines[0].strip() in NO_DEVICES:
        return ()
    if not lines:
        raise ParseError("a GPU list", "nothing was printed")
    gpus: list[ListedGpu] = []
    for line in lines:
        _add_line(gpus, line)
    return tuple(gpus)


def _add_line(gpus: list[ListedGpu], line: str) -> None:
    if match := _GPU_LINE.fullmatch(line):
        gpus.append(ListedGpu(int(match["index"]), match["name"], match["uuid"]))
    elif gpus and (match := _MIG_LINE.fullmatch(line)):
        device = MigDevice(match["profile"], int(match["index"]), match["uuid"])
        last = gpus[-1]
        gpus[-1] = ListedGpu(last.index, last.name, last.uuid, (*last.mig_devices, device))
    else:
        raise ParseError("a GPU list", "a line is neither a GPU nor a MIG device", line)


@dataclass(frozen=True)
class QueriedGpu:
    """One line of ``--query-gpu=index,uuid,pci.bus_id,name --format=csv,noheader``.

    ``bus_id`` is normalised as :func:`gpuhost.parse.pci.bus_id` does, and
    None where nvidia-smi has none to tell.
    """

    index: int
    uuid: str
    bus_id: str | None
    name: str


_QUERY_COLUMNS = 4


def parse_query(text: str) -> tuple[QueriedGpu, ...]:
    """The GPUs of the csv query; none where it says that there are none.

    Raises:
        ParseError: a line has not the four columns, or nothing was printed.
    """
    if text.strip() in NO_DEVICES:
        return ()
    if not text.strip():
        raise ParseError("a GPU query", "nothing was printed")
    rows = csv.reader(text.strip().splitlines(), skipinitialspace=True)
    return tuple(_queried(row) for row in rows if row)


def _queried(row: list[str]) -> QueriedGpu:
    if len(row) != _QUERY_COLUMNS or not row[0].strip().isdecimal():
        raise ParseError(
            "a GPU query", "a line is not index, uuid, pci.bus_id, name", ", ".join(row)
        )
    index, uuid, address, name = (cell.strip() for cell in row)
    return QueriedGpu(int(index), uuid, None if address in NOT_AVAILABLE else bus_id(address), name)


@dataclass(frozen=True)
class XmlMigDevice:
    """One MIG device of ``-q -x``, named by its place on the GPU."""

    index: int
    gpu_instance: int
    compute_instance: int


@dataclass(frozen=True)
class XmlGpu:
    """One GPU of ``nvidia-smi -q -x``; what reads N/A there is None here.

    ``mig_mode`` is None where the GPU has no MIG; ``troubles`` are the
    values that say an error, each with its place: ``temperature/gpu_temp:
    ERR!``.
    """

    bus_id: str
    name: str | None
    architecture: str | None
    uuid: str | None
    minor: int | None
    serial: str | None
    device_id: str | None
    persistence_mode: bool | None
    mig_mode: bool | None
    mig_pending: bool | None
    mig_devices: tuple[XmlMigDevice, ...]
    memory_total_mib: int | None
    troubles: tuple[str, ...]


@dataclass(frozen=True)
class XmlLog:
    """The whole of ``nvidia-smi -q -x``; ``attached`` is nvidia-smi's own count."""

    driver_version: str | None
    cuda_version: str | None
    attached: int
    gpus: tuple[XmlGpu, ...]


def read_log(text: str) -> ET.Element:
    """The document that ``nvidia-smi -q -x`` prints.

    Raises:
        ParseError: it is not that document, or it was cut off.
    """
    what = "nvidia-smi's XML"
    if "<!ENTITY" in text:
        raise ParseError(what, "it declares entities, which nvidia-smi never does")
    try:
        root = ET.fromstring(text.strip())  # noqa: S314  (entities were refused above)
    except ET.ParseError as error:
        raise ParseError(what, str(error), text.strip()) from error
    if root.tag != "nvidia_smi_log":
        raise ParseError(what, f"its root is {root.tag}")
    return root


def parse_xml(text: str) -> XmlLog:
    """Read ``nvidia-smi -q -x``.

    Raises:
        ParseError: it is not that document, or it was cut off.
    """
    root = read_log(text)
    attached = _value(root, "attached_gpus")
    if attached is None or not attached.isdecimal():
        raise ParseError(
            "nvidia-smi's XML", "it does not say how many GPUs are attached", attached or ""
        )
    return XmlLog(
        driver_version=_value(root, "driver_version"),
        cuda_version=_value(root, "cuda_version"),
        attached=int(attached),
        gpus=tuple(_xml_gpu(gpu) for gpu in root.findall("gpu")),
    )


def _xml_gpu(gpu: ET.Element) -> XmlGpu:
    address = _value(gpu, "pci/pci_bus_id") or gpu.get("id") or ""
    return XmlGpu(
        bus_id=bus_id(address),
        name=_value(gpu, "product_name"),
        architecture=_value(gpu, "product_architecture"),
        uuid=_value(gpu, "uuid"),
        minor=_whole(_value(gpu, "minor_number")),
        serial=_value(gpu, "serial"),
        device_id=_value(gpu, "pci/pci_device_id"),
        persistence_mode=_enabled(_value(gpu, "persistence_mode")),
        mig_mode=_enabled(_value(gpu, "mig_mode/current_mig")),
        mig_pending=_enabled(_value(gpu, "mig_mode/pending_mig")),
        mig_devices=tuple(_xml_mig(mig) for mig in gpu.findall("mig_devices/mig_device")),
        memory_total_mib=_mebibytes(_value(gpu, "fb_memory_usage/total")),
        troubles=tuple(_troubles_below(gpu, "")),
    )


def _xml_mig(mig: ET.Element) -> XmlMigDevice:
    def number(tag: str) -> int:
        found = _whole(_value(mig, tag))
        if found is None:
            raise ParseError("nvidia-smi's XML", f"a mig_device has no {tag}")
        return found

    return XmlMigDevice(number("index"), number("gpu_instance_id"), number("compute_instance_id"))


def _troubles_below(element: ET.Element, path: str) -> Iterator[str]:
    for child in element:
        here = f"{path}/{child.tag}" if path else child.tag
        body = (child.text or "").strip()
        if _TROUBLE.search(body):
            yield f"{here}: {body}"
        yield from _troubles_below(child, here)


def _value(element: ET.Element, path: str) -> str | None:
    body = (element.findtext(path) or "").strip()
    return None if body in NOT_AVAILABLE or _TROUBLE.search(body) else body


def _enabled(body: str | None) -> bool | None:
    return {"Enabled": True, "Disabled": False}.get(body or "")


def _whole(body: str | None) -> int | None:
    return int(body) if body is not None and body.isdecimal() else None


def _mebibytes(body: str | None) -> int | None:
    return _whole(body.removesuffix(" MiB")) if body is not None else None


def troubles(text: str) -> tuple[str, ...]:
    """The lines of any nvidia-smi output that say an error, without the table's frame."""
    return tuple(
        " ".join(line.strip(" |+-").split()) for line in text.splitlines() if _TROUBLE.search(line)
    )
