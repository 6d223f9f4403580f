"""PCI addresses, which every program writes in its own way."""

from __future__ import annotations

import re

from gpuhost.parse.errors import ParseError

_ADDRESS = re.compile(
    r"(?:(?P<domain>[0-9a-f]{1,8}):)?(?P<bus>[0-9a-f]{2}):(?P<device>[0-9a-f]{2})"
    r"\.(?P<function>[0-7])",
    re.IGNORECASE,
)

# Display controllers: VGA (0300) and 3D (0302, what data-center GPUs are).
GPU_CLASSES = ("0x0300", "0x0302")


def bus_id(text: str) -> str:
    """An address as sysfs writes it: ``00000000:17:00.0`` and ``17:00.0`` → ``0000:17:00.0``.

    Raises:
        ParseError: ``text`` is not a PCI address.
    """
    match = _ADDRESS.fullmatch(text.strip())
    if match is None:
        raise ParseError("a PCI address", "expected domain:bus:device.function", text)
    domain = int(match["domain"] or "0", 16)
    return f"{domain:04x}:{match['bus']}:{match['device']}.{match['function']}".lower()


def is_gpu(class_code: str) -> bool:
    """Whether a PCI class as sysfs gives it (``0x030200``) is that of a GPU."""
    return class_code.lower().startswith(GPU_CLASSES)


def is_nvswitch(class_code: str) -> bool:
    """Whether a PCI class of NVIDIA's is that of an NVSwitch: a bridge."""
    return class_code.lower().startswith("0x0680")
