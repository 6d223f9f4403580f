"""Back to the versions from before a host's last recorded change: which, and can it be done. Pure.

What was changed is in the host's ledger, which every run that changes versions adds to. A
rollback takes the change before it off, so that the next one goes back further.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpuhost.checks.facts import Facts, SectionMissingError
from gpuhost.components import COMPONENTS
from gpuhost.model import Desired
from gpuhost.parse.policy import offered
from gpuhost.parse.versions import same, upstream
from gpuhost.probe.schema import Evidence

# The variables that pin a component, each with the packages that have the version; one of them
# is installed.
PINS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "driver": {"nvidia_driver_version": ("nvidia-driver-cuda", "cuda-drivers", "nvidia-open")},
    "docker": {
        "docker_ce_version": ("docker-ce",),
        "docker_ce_containerd_version": ("containerd.io",),
    },
    "toolkit": {"nvidia_container_toolkit_version": ("nvidia-container-toolkit",)},
}
# Components that have to fit the versions of those that they build on.
FOLLOWERS = ("fabric", "toolkit")

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """One package's way back: which component it is of, and the pin that brings it there."""

    component: str
    package: str
    found: str
    to: str
    variable: str
    pin: str

    def __str__(self) -> str:
        return f"{self.package} from {self.found} back to {self.to}"


@dataclass(frozen=True)
class HostRollback:
    """How one host goes back.

    ``problem`` says why it cannot, ``nothing`` why there is nothing to go back to; with either
    there are no steps to take. ``reboot`` says why the host may be rebooted.
    """

    host: str
    steps: tuple[Step, ...] = ()
    problem: str = ""
    nothing: str = ""
    reboot: str = ""

    @property
    def pins(self) -> dict[str, str]:
        """The variables that bring the host back, and would keep it there."""
        pins = {step.variable: step.pin for step in self.steps}
        driver = pins.get("nvidia_driver_version")
        return {**({"nvidia_driver_branch": driver.partition(".")[0]} if driver else {}), **pins}

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that have to run, in order."""
        labels = {step.component for step in self.steps}
        running = {c.role for c in COMPONENTS if c.label in labels}
        running |= {c.role for c in COMPONENTS if c.label in FOLLOWERS and running & {*c.after}}
        return tuple(c.role for c in COMPONENTS if c.role in running)


def plan(host: str, evidence: Evidence, desired: Desired, only: Collection[str]) -> HostRollback:
    """How the host goes back; ``only`` names components, of which nothing else is touched."""
    try:
        data = Facts(evidence, desired).section("provisioning")
    except SectionMissingError as missing:
        return HostRollback(host, problem=f"it could not be read: {missing}")
    installed = {package["name"]: package["version"] for package in data["packages"]}
    history = [*recorded(data["history"]), *_unfinished(data["run"], installed)]
    back = [
        step
        for step in steps(last_change(history, only))
        if not same(step.pin, installed.get(step.package, ""))
    ]
    if not back:
        return HostRollback(host, nothing=_why_nothing(history, only))
    found = HostRollback(host, tuple(back), reboot=_reboot(back))
    missing_words = list(_unavailable(back, offered(data["candidates"])))
    return HostRollback(host, problem="; ".join(missing_words)) if missing_words else found


def recorded(text: str | None) -> list[Entry]:
    """What the host's ledger has of earlier runs, oldest first."""
    try:
        found = json.loads(text or "[]")
    except ValueError:
        return []
    return found if isinstance(found, list) else []


def _unfinished(text: str | None, installed: Mapping[str, str]) -> Iterator[Entry]:
    """What a run changed that died before it could put it on record."""
    run: Any = json.loads(text) if text else None
    # A run that does not change versions did not note them.
    if run and run["before"] is not None:
        names = [package for label in PINS for package in _packages(label)]
        pairs = {name: [run["before"].get(name), installed.get(name)] for name in names}
        yield {**run, "packages": {n: pair for n, pair in pairs.items() if pair[0] != pair[1]}}


def last_change(history: Sequence[Entry], only: Collection[str] = ()) -> Mapping[str, Any]:
    """Old and new version by package: of the change that stands last, for the components asked for.

    Of all components those are taken that the same run changed.
    """
    standing = {label: _standing(history, label) for label in PINS}
    asked = {label: stack[-1] for label, stack in standing.items() if stack}
    if only:
        chosen = {label: number for label, number in asked.items() if label in only}
    else:
        latest = max(asked.values(), default=None)
        chosen = {label: number for label, number in asked.items() if number == latest}
    return {
        package: versions
        for label, number in chosen.items()
        for package, versions in history[number]["packages"].items()
        if package in _packages(label)
    }


def _standing(history: Sequence[Entry], label: str) -> list[int]:
    """The changes of a component that no rollback took off, by their place in the history."""
    stack: list[int] = []
    for number, entry in enumerate(history):
        if not _packages(label) & entry["packages"].keys():
            continue
        if entry["kind"] != "rollback":
            stack.append(number)
        elif stack:
            stack.pop()
    return stack


def _packages(label: str) -> set[str]:
    return {package for packages in PINS[label].values() for package in packages}


def steps(changes: Mapping[str, Any]) -> Iterator[Step]:
    """The way back from changes of packages; none for what was installed for the first time."""
    for component, variables in PINS.items():
        for variable, packages in variables.items():
            concerned = [package for package in packages if package in changes]
            # Between two of a component's packages (open and proprietary), one goes, one comes.
            before = [(p, changes[p][0]) for p in concerned if changes[p][0]]
            after = [changes[p][1] for p in concerned if changes[p][1]]
            if before and after:
                package, old = before[0]
                yield Step(component, package, after[0], old, variable, _pin(component, old))


def _pin(component: str, version: str) -> str:
    """A version as the inventory pins it: the driver's, and rpm's of docker, without packaging."""
    plain = component == "driver" or (component == "docker" and ".el" in version)
    return upstream(version) if plain else version


def _unavailable(back: Sequence[Step], there: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    for step in back:
        versions = there.get(step.package, ())
        if not any(same(step.pin, version) for version in versions):
            others = ", ".join(versions) or "no version of it"
            yield (
                f"{step.package} {step.to} is not in the host's repositories (they have {others})"
            )


def _why_nothing(history: Sequence[Entry], only: Collection[str]) -> str:
    what = " and ".join(only) or "driver, docker and toolkit"
    if not any(_standing(history, label) for label in only or PINS):
        return f"no change of {what} is on record that has not been taken back"
    return (
        f"the versions of {what} are as they were before the last change, or were not there "
        "before it (gpuhost remove takes away what gpuhost installed)"
    )


def _reboot(back: Sequence[Step]) -> str:
    if any(step.component == "driver" for step in back):
        return "the loaded driver has to be replaced, if it cannot be reloaded"
    return ""


def words(steps_back: Sequence[Step]) -> list[str]:
    """What would be done, a line a package."""
    return [f"{step.component:<8} {step}" for step in steps_back]


def lines_to_keep(found: HostRollback, variables: Mapping[str, Any]) -> list[str]:
    """The lines for the inventory without which the next provisioning might undo the rollback."""
    return [
        f"{name}: {json.dumps(value)}"
        for name, value in found.pins.items()
        if variables.get(name) != value
    ]
