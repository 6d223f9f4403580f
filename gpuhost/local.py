"""``gpuhost verify localhost``: this machine, by the same probe, with neither SSH nor Ansible.

A nightly job on the GPU host itself needs nothing but gpuhost. What the
machine should be is what an inventory says of ``localhost``; where none knows
it, only what shows without a declaration is judged.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection
from dataclasses import replace
from typing import cast

from gpuhost import probe_archive, runs, site_checks
from gpuhost.checks.registry import requirements, select
from gpuhost.collect import asking
from gpuhost.errors import InventoryError, ProbeError
from gpuhost.inventory import Host, desired, load
from gpuhost.model import Desired, RunReport, Suite
from gpuhost.probe.schema import Evidence, Spec
from gpuhost.settings import Settings
from gpuhost.targets import inventories, resolve
from gpuhost.ui import Ui
from gpuhost.verify import finished, is_complete, keep, keep_and_judge, with_site_checks

LOCALHOST = "localhost"
TAIL = 2000


def verify_here(
    settings: Settings, ui: Ui, *, names: Collection[str] = (), suite: Suite = Suite.STANDARD
) -> RunReport:
    """Verify this machine and keep the report, as :func:`gpuhost.verify.verify` does.

    Raises:
        ProbeError: the probe gave no evidence.
        InventoryError, DesiredStateError: an inventory is wrong.
    """
    declared = declaration(settings)
    selected = select(names, suite)
    run = runs.begin(settings.runs_dir)
    with ui.stage("verify", (LOCALHOST,)):
        evidence = read(asking(*requirements(selected))(declared))
    judged = keep_and_judge(run, {LOCALHOST: evidence}, {LOCALHOST: declared}, selected)
    complete = is_complete(names, suite)
    if complete:
        beside = settings.inventory or settings.project / "inventories" / "site"
        folder = site_checks.folder_of(beside)
        judged = with_site_checks(judged, folder, None, settings, ui)
    return keep(run, finished(run, "verify", judged.values(), complete=complete), settings, ui)


def declaration(settings: Settings) -> Desired:
    """What an inventory says of localhost; else the images and limits that hold by default."""
    try:
        paths = inventories(settings)
    except InventoryError:
        if settings.inventory is not None:
            raise
        paths = ()
    for path in paths:
        if LOCALHOST in load(path).hosts:
            return resolve(replace(settings, inventory=path), (LOCALHOST,)).desired[LOCALHOST]
    by_default = desired(Host(LOCALHOST, LOCALHOST))
    return replace(by_default, driver_branch="", driver_modules="auto", docker_users=())


def read(spec: Spec) -> Evidence:
    """Run the probe here, as it would run on a host.

    Raises:
        ProbeError: it gave no evidence.
    """
    done = subprocess.run(
        # -I and -S: as on a host, nothing of this machine's own packages is loaded.
        [sys.executable, "-I", "-S", str(probe_archive.build())],
        input=json.dumps(spec),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ProbeError(
            f"The probe gave no evidence of this machine: {done.stderr.strip()[-TAIL:]}",
            "Run the same command with --debug, and as root where the words name permissions.",
        )
    return cast("Evidence", json.loads(done.stdout))
