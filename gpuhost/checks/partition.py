"""The partition proof: containers see exactly the GPUs that they asked for, by every path."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from gpuhost.checks.facts import Facts
from gpuhost.checks.finding import Finding, failed, not_applicable, not_declared, undetermined
from gpuhost.checks.proof import conclude, nothing_ran, trials_not_asked
from gpuhost.checks.registry import check
from gpuhost.checks.remedies import VERIFY
from gpuhost.checks.trials import Examined, HostGpus, examine, gpus_seen
from gpuhost.checks.words import counted, listed
from gpuhost.model import Suite, Verdict
from gpuhost.probe.schema import Trial
from gpuhost.probe.trials import DIVIDED, alone, usable_gpus

_NEEDS = ("containers", "nvml")
SELECTORS = ("index", "uuid", "all", "none", "half", "complement")
BAD_SELECTORS = ("bad-index", "bad-uuid")
PAIR_MINIMUM = 2


@check(
    "partition.gpus",
    "--gpus gives exactly the GPUs asked for",
    needs=_NEEDS,
    suite=Suite.STANDARD,
    trials=("gpus",),
)
def by_gpus(facts: Facts) -> Finding:
    """Every set of GPUs that can be asked for with `docker run --gpus` is tried and compared.

    Run the docker command that the report names and compare. If CDI served it, regenerate the
    specification; otherwise the toolkit is at fault: change its version.
    """
    return _path(facts, "gpus")


@check(
    "partition.runtime",
    "--runtime=nvidia gives exactly the GPUs asked for",
    needs=_NEEDS,
    suite=Suite.STANDARD,
    trials=("runtime",),
)
def by_runtime(facts: Facts) -> Finding:
    """The same for the nvidia runtime with NVIDIA_VISIBLE_DEVICES, which compose files use.

    Run the docker command that the report names and compare. Regenerate the CDI specification,
    then try another version of the toolkit.
    """
    return _path(facts, "runtime")


@check(
    "partition.cdi",
    "--device nvidia.com/gpu=… gives exactly the GPUs asked for",
    needs=_NEEDS,
    suite=Suite.STANDARD,
    trials=("cdi",),
)
def by_cdi(facts: Facts) -> Finding:
    """The same for CDI device names, the path that survives a daemon-reload.

    Restart nvidia-cdi-refresh.service; if the set is still wrong, the toolkit writes it
    wrongly: change its version.
    """
    return _path(facts, "cdi")


def _path(facts: Facts, path: str) -> Finding:
    early = trials_not_asked(facts) or _path_not_asked(facts, path)
    if early:
        return early
    host = HostGpus.of(facts.nvml)
    trials = [trial for trial in _root_trials(facts) if trial["path"] == path]
    if not trials or not host.uuids:
        return nothing_ran(facts, f"containers that ask for GPUs by {path}")
    examined = [examine(trial, host) for trial in trials]
    good = f"{len(examined)} of {len(examined)} sets of {host.words} exact"
    alone = _to_be_tried_alone(facts, path)
    return conclude(examined, list(_untried(trials, host.uuids, alone)), good, path)


def _to_be_tried_alone(facts: Facts, path: str) -> list[tuple[str, str]]:
    """The selectors and UUIDs by which GPUs have to be asked for by themselves on a path."""
    asked = facts.trials_asked
    paths = asked["paths"] if asked else (path,)
    gpus, _ = usable_gpus(facts.nvml)
    return [(selector, gpu.uuid) for way, selector, gpu in alone(gpus, paths) if way == path]


def _path_not_asked(facts: Facts, path: str) -> Finding | None:
    asked = facts.trials_asked
    if asked is None or path in asked["paths"]:
        return None
    return not_applicable(f"not asked for: this run did not try {path}")


def _root_trials(facts: Facts) -> list[Trial]:
    """The trials of the CUDA image that have to succeed and were not made as another user."""
    return [
        trial
        for trial in facts.containers["trials"]
        if trial["expected_uuids"] is not None
        and trial["user"] is None
        and trial["image_role"] == "cuda"
        and trial["selector"] != DIVIDED
    ]


def _untried(
    trials: Sequence[Trial], uuids: Sequence[str], alone_by: Sequence[tuple[str, str]]
) -> Iterator[str]:
    tried: dict[str, list[frozenset[str]]] = defaultdict(list)
    for trial in trials:
        tried[trial["selector"]].append(frozenset(trial["expected_uuids"] or ()))
    for selector, uuid in alone_by:
        if frozenset({uuid}) not in tried[selector]:
            yield f"{uuid} alone by {selector}"
    if frozenset(uuids) not in tried["all"]:
        yield "all GPUs"
    if frozenset() not in tried["none"]:
        yield "no GPU"
    if len(uuids) >= PAIR_MINIMUM and not _has_halves(tried, frozenset(uuids)):
        yield "a half and its complement"


def _has_halves(tried: dict[str, list[frozenset[str]]], uuids: frozenset[str]) -> bool:
    return any(
        half and rest and not half & rest and half | rest == uuids
        for half in tried["half"]
        for rest in tried["complement"]
    )


@check(
    "partition.pairs",
    "Containers side by side do not see each other's GPUs",
    needs=_NEEDS,
    suite=Suite.STANDARD,
    trials=("pairs",),
)
def pairs(facts: Facts) -> Finding:
    """Isolation is only shown by containers that are open at the same time.

    Take the host out of service for shared use until it passes: jobs can read each other's
    memory and take each other's GPUs.
    """
    host = HostGpus.of(facts.nvml)
    early = trials_not_asked(facts)
    if early:
        return early
    if len(host.uuids) == 1:
        return not_applicable("it takes two GPUs to share them out")
    groups: dict[str, list[Trial]] = defaultdict(list)
    for trial in facts.containers["trials"]:
        if trial["pair"]:
            groups[trial["pair"]].append(trial)
    if not groups:
        return nothing_ran(facts, "two containers with different GPUs, open at the same time")
    examined = [examine(trial, host) for group in groups.values() for trial in group]
    proven = conclude(examined, (), f"{counted(len(groups), 'pair')} side by side", "pairs")
    return _shared(groups, host) or (
        proven if proven.verdict is not Verdict.PASS else _not_together(groups) or proven
    )


def _shared(groups: dict[str, list[Trial]], host: HostGpus) -> Finding | None:
    shared = {
        name: [
            uuid
            for uuid, times in Counter(
                uuid for trial in group for uuid in set(gpus_seen(trial, host))
            ).items()
            if times > 1
        ]
        for name, group in groups.items()
    }
    overlap = {name: uuids for name, uuids in shared.items() if uuids}
    if not overlap:
        return None
    name = next(iter(overlap))
    return failed(
        "leak: two containers side by side see the same GPU",
        seen="\n".join(f"{pair}: both see {listed(uuids)}" for pair, uuids in overlap.items()),
        expected="no GPU in both containers of a pair",
        cause="a container is given GPUs that it did not ask for",
        remedy="; ".join(trial["docker_run"] for trial in groups[name]),
    )


def _not_together(groups: dict[str, list[Trial]]) -> Finding | None:
    apart = [name for name, group in groups.items() if not _together(group)]
    if not apart:
        return None
    return undetermined(
        "the containers of a pair were not open at the same time",
        seen="; ".join(
            f"{name}: "
            + listed(f"{t['id']} {t['opened_s']:.1f}–{t['closed_s']:.1f} s" for t in groups[name])
            for name in apart
        ),
        expected="two containers a pair, open at the same time",
        cause="one ended before the other began, so nothing was shown",
        remedy=VERIFY,
    )


def _together(group: Sequence[Trial]) -> bool:
    if len(group) < PAIR_MINIMUM:
        return False
    return max(trial["opened_s"] for trial in group) < min(trial["closed_s"] for trial in group)


@check(
    "partition.refusal",
    "A GPU that does not exist is refused",
    needs=_NEEDS,
    suite=Suite.STANDARD,
    trials=("refusal",),
)
def refusal(facts: Facts) -> Finding:
    """A request for a wrong GPU must fail: a container that starts anyway runs on the CPU.

    Change the version of the toolkit. Until then a typing error in a request is not noticed.
    """
    early = trials_not_asked(facts)
    if early:
        return early
    bad = [t for t in facts.containers["trials"] if t["expected_uuids"] is None]
    if not bad:
        return nothing_ran(facts, "requests for GPUs that do not exist")
    host = HostGpus.of(facts.nvml)
    whole = [t for t in facts.containers["trials"] if t["selector"] == DIVIDED]
    examined = [examine(trial, host) for trial in (*bad, *whole)]
    untried = list(_bad_untried(facts, bad)) + list(_whole_untried(bad, whole, host))
    found = conclude(examined, untried, "", "requests for no such GPU")
    if found.verdict is Verdict.FAIL:
        return _started(found)
    if found.verdict is Verdict.PASS:
        return _refused_for_that(facts, examined, host)
    return found


def _bad_untried(facts: Facts, bad: Sequence[Trial]) -> Iterator[str]:
    asked = facts.trials_asked
    paths = asked["paths"] if asked else sorted({trial["path"] for trial in _root_trials(facts)})
    tried = {(trial["path"], trial["selector"]) for trial in bad}
    for path in paths:
        for selector in BAD_SELECTORS:
            if (path, selector) not in tried:
                yield f"{path}/{selector}"


def _whole_untried(bad: Sequence[Trial], whole: Sequence[Trial], host: HostGpus) -> Iterator[str]:
    """Every path that is tried at all has to be asked for each divided GPU as a whole."""
    for path in sorted({trial["path"] for trial in bad}):
        if sum(trial["path"] == path for trial in whole) < len(host.divided):
            yield f"{path}: each divided GPU as a whole"


def _started(found: Finding) -> Finding:
    return failed(
        "a request for a GPU that does not exist was not refused",
        seen=found.seen,
        expected="docker refuses the request",
        cause=found.cause,
        remedy=found.remedy,
    )


def _refused_for_that(facts: Facts, examined: Sequence[Examined], host: HostGpus) -> Finding:
    """A path that refuses every request, good ones too, has shown nothing by refusing bad ones."""
    working = {
        trial["path"]
        for trial in _root_trials(facts)
        if trial["expected_uuids"] and examine(trial, host).verdict is Verdict.PASS
    }
    idle = sorted({each.trial["path"] for each in examined} - working)
    if not idle:
        return Finding(Verdict.PASS, f"{counted(len(examined), 'bad request')} refused")
    return undetermined(
        f"{listed(idle)} refuses good requests too",
        seen=f"no good request succeeded by {listed(idle)}",
        expected="good requests served, bad ones refused",
        cause="the path does not work at all, so its refusals prove nothing",
        remedy="Mend the path first: see partition." + idle[0],
    )


@check(
    "partition.user",
    "A docker-group user gets GPUs without sudo",
    needs=_NEEDS,
    suite=Suite.STANDARD,
    trials=("user",),
)
def as_user(facts: Facts) -> Finding:
    """The people who work on the host are not root.

    Add the user to the docker group and have them log in again. If root is served and the user
    is not, look at the socket's group and mode.
    """
    early = trials_not_asked(facts)
    declared = facts.desired.docker_users
    if not declared:
        return not_declared("docker_users_names", "no user to try it as")
    if early:
        return early
    trials = [
        trial
        for trial in facts.containers["trials"]
        if trial["user"] in declared and trial["expected_uuids"] is not None
    ]
    if not trials or not facts.nvml["gpus"]:
        return nothing_ran(facts, f"a container started by one of {listed(declared)}")
    host = HostGpus.of(facts.nvml)
    users = listed(dict.fromkeys(trial["user"] for trial in trials))
    return conclude([examine(trial, host) for trial in trials], (), f"as {users}", f"user {users}")
