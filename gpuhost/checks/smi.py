"""nvidia-smi on the host: judged by what it prints, its exit code is only one of the signs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from gpuhost.checks.facts import Facts
from gpuhost.checks.failure_words import explain
from gpuhost.checks.finding import Finding, failed, passed, undetermined
from gpuhost.checks.gpu import nvml_words
from gpuhost.checks.registry import check
from gpuhost.checks.remedies import PROVISION, VERIFY
from gpuhost.checks.words import counted, listed
from gpuhost.model import Verdict
from gpuhost.parse.errors import ParseError
from gpuhost.parse.nvidia_smi import ListedGpu, XmlLog, is_gpu_uuid, parse_list, parse_xml, troubles
from gpuhost.probe.schema import Command, Nvml

_LOOK = "nvidia-smi; dmesg | grep -iE 'nvrm|xid'"


def _printed(path: str | None, command: Command | None) -> str | Finding:
    """What nvidia-smi printed, where it ended well; else what is wrong with how it ended."""
    if path is None:
        return failed(
            "nvidia-smi is not installed",
            seen="no nvidia-smi in PATH",
            expected="nvidia-smi",
            cause="the driver's user space is not installed, or without its tools",
            remedy=PROVISION,
        )
    if command is None:
        return undetermined(
            "nvidia-smi was not run",
            seen="no output in the evidence",
            expected="the output of nvidia-smi",
            cause="the probe did not come that far",
            remedy=VERIFY,
        )
    if command["rc"] == 0 and not troubles(command["stdout"] + command["stderr"]):
        return command["stdout"]
    words = _words(command)
    how = _how(command)
    cause, remedy = explain(f"{words}; {how}", _LOOK)
    return failed(
        how,
        seen=words,
        expected="exit code 0 and no error in the output",
        cause=cause,
        remedy=remedy,
    )


def _how(command: Command) -> str:
    line = " ".join(command["argv"])
    if command["error"]:
        return f"{line} could not be started"
    if command["timed_out"] or command["rc"] is None:
        return f"{line} did not end within {command['duration_s']:.0f} s"
    if command["rc"] == 0:
        return f"{line} exits 0 and prints an error"
    return f"{line} exits {command['rc']}"


def _words(command: Command) -> str:
    printed = command["stdout"] + "\n" + command["stderr"]
    if command["rc"] == 0:
        return "; ".join(troubles(printed))
    return command["error"] or printed.strip() or "it printed nothing"


def _unreadable(error: ParseError) -> Finding:
    return undetermined(
        "nvidia-smi printed something that could not be read",
        seen=str(error),
        expected=error.what,
        cause="this release of nvidia-smi prints in another form, or its output was cut off",
        remedy="Report it, with the evidence file that the report names.",
    )


@check("smi.list", "nvidia-smi lists the GPUs that NVML shows", needs=("nvidia_smi", "nvml"))
def gpu_list(facts: Facts) -> Finding:
    """It is the first command that anybody types, and it can exit 0 without showing a GPU.

    Run nvidia-smi -L by hand and read the kernel log. If it hangs, a GPU hangs: drain the host
    and reboot it.
    """
    printed = _printed(facts.nvidia_smi["path"], facts.nvidia_smi["list_gpus"])
    if isinstance(printed, Finding):
        return printed
    try:
        listing = parse_list(printed)
    except ParseError as error:
        return _unreadable(error)
    found = _same_gpus("nvidia-smi -L", [gpu.uuid for gpu in listing], facts.nvml)
    return _same_parts(listing, facts.nvml) or found if found.verdict is Verdict.PASS else found


def _same_parts(listing: Sequence[ListedGpu], nvml: Nvml) -> Finding | None:
    """What is wrong with the MIG devices; None where both show the same."""
    shown = {device.uuid for gpu in listing for device in gpu.mig_devices}
    told = {str(d["uuid"]) for gpu in nvml["gpus"] for d in gpu.get("mig_devices") or ()}
    if shown == told:
        return None
    return failed(
        "nvidia-smi and NVML do not show the same MIG devices",
        seen=f"nvidia-smi -L only: {listed(sorted(shown - told)) or 'none'}; "
        f"NVML only: {listed(sorted(told - shown)) or 'none'}",
        expected="the same MIG devices",
        cause="GPUs are being divided right now, or a tool of another version reads them",
        remedy=_LOOK,
    )


def _same_gpus(source: str, found: list[str | None], nvml: Nvml) -> Finding:
    expected = [gpu["uuid"] for gpu in nvml["gpus"]]
    bad = [uuid or "none" for uuid in found if not is_gpu_uuid(uuid)]
    if bad:
        return failed(
            f"{counted(len(bad), 'GPU')} without a UUID",
            seen=f"{source}: {listed(bad)}",
            expected="a UUID for every GPU",
            cause="the driver cannot read the GPU any more",
            remedy=_LOOK,
        )
    if found and Counter(found) == Counter(expected):
        return passed(f"{counted(len(found), 'GPU')}, as NVML shows them")
    cause, remedy = (
        explain(nvml_words(nvml), _LOOK)
        if nvml["failure"]
        else (
            "the driver does not answer the same twice: a GPU comes and goes, or there is none",
            _LOOK,
        )
    )
    return failed(
        "nvidia-smi and NVML do not show the same GPUs" if found else "nvidia-smi shows no GPU",
        seen=f"{source}: {listed(found) or 'none'}",
        expected=f"NVML: {listed(expected) or nvml_words(nvml) or 'none'}",
        cause=cause,
        remedy=remedy,
    )


@check("smi.output", "nvidia-smi prints no error in any field", needs=("nvidia_smi", "nvml"))
def output(facts: Facts) -> Finding:
    """A GPU can be ill and still be listed: ERR! and "GPU is lost" stand in the fields.

    Find the GPU that the field belongs to, drain the host, and reset the GPU or reboot. If it
    comes back, have the card exchanged.
    """
    smi = facts.nvidia_smi
    table = _printed(smi["path"], smi["table"])
    query = _printed(smi["path"], smi["query_xml"])
    if isinstance(table, Finding):
        return _with_places(table, smi["query_xml"])
    if isinstance(query, Finding):
        return _with_places(query, smi["query_xml"])
    try:
        log = parse_xml(query)
    except ParseError as error:
        return _unreadable(error)
    if log.attached != len(log.gpus):
        return failed(
            "nvidia-smi counts more GPUs than it describes",
            seen=f"{log.attached} attached, {len(log.gpus)} described",
            expected="every attached GPU described",
            cause="a GPU stopped answering while nvidia-smi read it",
            remedy=_LOOK,
        )
    return _same_gpus("nvidia-smi -q", [gpu.uuid for gpu in log.gpus], facts.nvml)


def _with_places(wrong: Finding, query: Command | None) -> Finding:
    """Say which field of which GPU is in error, where the XML tells."""
    try:
        places = _places(parse_xml(query["stdout"])) if query else []
    except ParseError:
        places = []
    if not places:
        return wrong
    return replace(wrong, seen="; ".join(places))


def _places(log: XmlLog) -> list[str]:
    return [f"{gpu.bus_id} {trouble}" for gpu in log.gpus for trouble in gpu.troubles]
