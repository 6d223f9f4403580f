"""Faults of the GPUs themselves."""

from __future__ import annotations

from gpuhost.lab.faults.registry import TRIALS, Fault, kernel, report


def _reporting(
    name: str,
    about: str,
    values: dict[str, str],
    check: str,
    words: tuple[str, str],
    *,
    consequences: tuple[str, ...] = (),
    verdict: str = "FAIL",
) -> Fault:
    """A fault that shows in what GPU 1 tells NVML."""
    make, mend = report(1, **values)
    cause, remedy = words
    return Fault(name, "hardware", about, make, mend, check, cause, remedy, consequences, verdict)


def _xid(number: int, text: str, words: tuple[str, str], verdict: str = "FAIL") -> Fault:
    """An Xid of GPU 0 in the kernel's log, and nothing else: it is over, or has yet to show."""
    cause, remedy = words
    return Fault(
        name=f"xid-{number}",
        area="hardware",
        about=f"Xid {number} in the kernel's log: {text}",
        make=kernel("log", f"NVRM: Xid (PCI:0000:07:00): {number}, pid=4711, name=python, {text}"),
        mend=kernel("log"),
        check="health.xid",
        cause=cause,
        remedy=remedy,
        verdict=verdict,
    )


FAULTS = (
    Fault(
        name="gpu-missing",
        area="hardware",
        about="GPU 1 is gone from the PCI bus, without a trace",
        make=kernel("pull", "1"),
        mend=kernel("plug", "1"),
        check="gpu.count",
        cause="fell off the bus",
        remedy="dmesg",
        # The specification still names it.
        consequences=("cdi.matches", "container.*", "partition.*"),
    ),
    _reporting(
        "gpu-lost",
        'GPU 1 has fallen off the bus under the driver: "GPU is lost"',
        {"handle": "!15"},
        "smi.list",
        ("fallen off", "reboot"),
        consequences=(
            "driver.*",
            "gpu.*",
            "smi.*",
            "health.*",
            "speed.*",
            "cdi.*",
            *TRIALS,
        ),
    ),
    _reporting(
        "err-output",
        "nvidia-smi shows ERR! for GPU 1 and exits 0",
        {"fan": "!999", "power": "!999"},
        "speed.power",
        ("power sensor", "power-cycle"),
        consequences=("smi.output",),
    ),
    _reporting(
        "gpu-reset-required",
        "GPU 1 has to be reset before it can be used",
        {"handle": "!16"},
        "driver.nvml",
        ("has to be reset", "--gpu-reset"),
        consequences=("driver.*", "gpu.*", "smi.*", "health.*", "speed.*", "cdi.*", *TRIALS),
    ),
    _reporting(
        "ecc-uncorrected",
        "GPU 1 had two uncorrected memory errors since the driver was loaded",
        {"ecc_uncorrected": "2", "ecc_uncorrected_ever": "2"},
        "health.ecc",
        ("wrong data", "--gpu-reset -i 1"),
    ),
    _reporting(
        "ecc-off",
        "ECC is off on GPU 1 only",
        {"ecc": "0", "ecc_pending": "0"},
        "health.ecc",
        ("switched it off", "nvidia-smi -e 1 -i 1"),
        verdict="WARN",
    ),
    _reporting(
        "ecc-pending",
        "ECC will be off on GPU 1 after its next reset",
        {"ecc_pending": "0"},
        "health.ecc",
        ("not reset since", "--gpu-reset -i 1"),
        verdict="WARN",
    ),
    _reporting(
        "rows-pending",
        "memory rows of GPU 1 wait to be remapped",
        {"remapped_pending": "1", "remapped_uncorrected": "1"},
        "health.rows",
        ("until the GPU is reset", "--gpu-reset -i 1"),
    ),
    _reporting(
        "rows-failed",
        "memory rows of GPU 1 can't be remapped any more",
        {"remapped_failed": "1", "remapped_uncorrected": "8"},
        "health.rows",
        ("used up", "support"),
    ),
    _reporting(
        "inforom-corrupted",
        "the infoROM of GPU 1 has a wrong checksum",
        {"inforom_checksum": "!14"},
        "health.inforom",
        ("flash memory", "support"),
        # nvidia-smi warns of it.
        consequences=("smi.output",),
    ),
    _reporting(
        "recovery-reset",
        "the driver asks for a reset of GPU 1",
        {"recovery_action": "1"},
        "health.recovery",
        ("cannot leave by itself", "--gpu-reset -i 1"),
    ),
    _reporting(
        "recovery-reboot",
        "the driver asks for a reboot for GPU 1",
        {"recovery_action": "2"},
        "health.recovery",
        ("cannot leave by itself", "systemctl reboot"),
    ),
    _reporting(
        "compute-prohibited",
        "GPU 1 is in compute mode Prohibited",
        {"compute_mode": "2"},
        "health.compute_mode",
        ("nvidia-smi -c", "DEFAULT -i 1"),
    ),
    _reporting(
        "pcie-narrow",
        "GPU 1 has 4 of its 16 PCIe lanes",
        {"pcie_width": "4"},
        "speed.pcie",
        ("seated", "lspci"),
    ),
    _reporting(
        "pcie-slow",
        "the PCIe link of GPU 1 stays at generation 1 under load",
        {"pcie_gen": "1", "utilization_gpu": "95"},
        "speed.pcie",
        ("seated", "LnkSta"),
        verdict="WARN",
    ),
    _reporting(
        "nvlink-down",
        "three of the twelve NVLinks of GPU 1 are down",
        {"nvlinks_down": "7"},
        "speed.nvlink",
        ("bridge", "nvlink -s"),
    ),
    _reporting(
        "slowdown",
        "GPU 1 is slowed down by its hardware",
        {"clocks_event_reasons": "0x48"},
        "speed.clocks",
        ("too hot", "PERFORMANCE"),
    ),
    _reporting(
        "too-hot",
        "GPU 1 is at 91 °C",
        {"temperature": "91"},
        "speed.temperature",
        ("fan", "TEMPERATURE"),
    ),
    _reporting(
        "power-capped",
        "the power of GPU 1 is limited to 250 W",
        {"power_limit": "250000"},
        "speed.power",
        ("lower limit", "-i 1 -pl 400"),
        verdict="WARN",
    ),
    _xid(79, "GPU has fallen off the bus.", ("fallen off the bus", "systemctl reboot")),
    _xid(48, "DBE (double bit error) detected", ("double-bit", "--gpu-reset")),
    _xid(
        119, "Timeout after 6s of waiting for RPC response from GPU0 GSP!", ("GSP", "--gpu-reset")
    ),
    _xid(64, "Row remapper: row remapping failed", ("could not be remapped", "support")),
    _xid(74, "NVLink: fatal error detected on link 3", ("NVLink", "nvlink -s")),
    _xid(31, "Ch 00000008, intr 00000000. MMU Fault", ("not its own", "program"), "WARN"),
    _xid(94, "Contained: SM (0x1)", ("contained", "Restart the program"), "WARN"),
)
