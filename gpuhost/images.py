"""``gpuhost images``: the images that gpuhost brought to hosts, and their removal.

The host's side is the module ``brought_images`` of the playbooks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpuhost import engine
from gpuhost.collect import failed_report
from gpuhost.errors import ExitCode
from gpuhost.model import HostReport
from gpuhost.settings import Settings
from gpuhost.targets import Targets
from gpuhost.ui import Ui

PLAYBOOK = "images.yml"


@dataclass(frozen=True)
class Image:
    """An image that gpuhost brought to a host and that is still there.

    ``kept`` says why it is not to be removed; ``at`` is when it was brought
    (RFC 3339).
    """

    id: str
    reference: str
    size_bytes: int
    at: str
    kept: str


@dataclass(frozen=True)
class Answer:
    """Images and ids of removed ones by host, and the reports of hosts that did not answer."""

    here: Mapping[str, Sequence[Image]]
    removed: Mapping[str, Sequence[str]]
    failures: Mapping[str, HostReport]


def listed(targets: Targets, settings: Settings, ui: Ui) -> Answer:
    """The images that gpuhost brought.

    Raises:
        PlaybookError: Ansible could not run at all.
    """
    return _ask(targets, settings, ui, {})


def remove(
    targets: Targets, settings: Settings, ui: Ui, ids: Mapping[str, Sequence[str]]
) -> Answer:
    """Remove of these images (ids by host) those that still need not be kept.

    Raises:
        PlaybookError: Ansible could not run at all.
    """
    asked = {host: {"state": "absent", "ids": list(some)} for host, some in ids.items()}
    return _ask(targets.only(ids), settings, ui, asked)


def _ask(
    targets: Targets, settings: Settings, ui: Ui, asked: Mapping[str, Mapping[str, Any]]
) -> Answer:
    with ui.stage("images", targets.names):
        outcome = engine.run(
            PLAYBOOK,
            targets.inventory,
            targets.names,
            {"gpuhost_images": asked},
            ui.listen,
            forks=settings.forks,
        )
    hosts = [outcome.hosts[name] for name in targets.names]
    told = {host.name: host.results["images"] for host in hosts if host.ok}
    return Answer(
        here={name: [Image(**one) for one in found["here"]] for name, found in told.items()},
        removed={name: found["removed"] for name, found in told.items()},
        failures={h.name: failed_report(h, ExitCode.FAILED) for h in hosts if not h.ok},
    )
