"""Which container saw which GPU: the partition proof as a map."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from gpuhost.checks.trials import HostGpus, examine, uuids_seen
from gpuhost.model import Partition, Sight
from gpuhost.probe.schema import Evidence, Nvml, NvmlGpu, Trial


def partition(evidence: Evidence) -> Partition | None:
    """What every container saw, in the order of the trials; None where none was started."""
    sections = evidence["sections"]
    containers, nvml = (
        section["data"] if (section := sections.get(name)) else None
        for name in ("containers", "nvml")
    )
    if not containers or not containers["trials"] or not nvml:
        return None
    host = HostGpus.of(nvml)
    sights = tuple(_sight(trial, host) for trial in containers["trials"])
    return Partition(dict(_devices(nvml, sights)), sights)


def _sight(trial: Trial, host: HostGpus) -> Sight:
    examined = examine(trial, host)
    asked = trial["expected_uuids"]
    return Sight(
        trial=trial["id"],
        asked=None if asked is None else tuple(asked),
        # A container that is given a part of a GPU is told of the whole one, but not given it.
        saw=uuids_seen(trial, host),
        verdict=examined.verdict,
        words=examined.seen,
        docker_run=trial["docker_run"],
    )


def _devices(nvml: Nvml, sights: Iterable[Sight]) -> Iterator[tuple[str, str]]:
    """What can be given to a container, named as on the host; then what is not of the host."""
    known = dict(device for gpu in nvml["gpus"] for device in _parts(gpu))
    yield from known.items()
    named = (uuid for sight in sights for uuid in (*(sight.asked or ()), *sight.saw))
    yield from ((uuid, uuid) for uuid in dict.fromkeys(named) if uuid not in known)


def _parts(gpu: NvmlGpu) -> Iterator[tuple[str, str]]:
    parts: Mapping[str, str] = {
        str(part["uuid"]): f"GPU {gpu['index']}:{part['index']}"
        for part in gpu["mig_devices"]
        if part["uuid"]
    }
    yield from parts.items()
    if not parts and gpu["uuid"]:
        yield gpu["uuid"], f"GPU {gpu['index']}"
