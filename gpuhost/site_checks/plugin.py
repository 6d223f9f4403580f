"""The pytest plugin that tells, line by line, what became of each test of a site.

Runs in pytest's own process. A line is written when it is known, so that a
run that is killed has told what it knew.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from testinfra.utils.ansible_runner import AnsibleRunner

from gpuhost.site_checks.told import BROKEN, COLLECTED, ENDED, PLACE

# What says that the host is not as it should be; any other exception says that nobody knows.
SAYS_NO = (AssertionError, pytest.fail.Exception)
# Where a host or Ansible's settings have one of these, testinfra's own ssh would not become root:
# sudo would ask it for a password, and each command fail.
TAKES_ANSIBLE = (
    *("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass"),
    *("ansible_become_method", "ansible_become_exe", "ansible_become_flags"),
)
ENVIRONMENT = ("ANSIBLE_BECOME_PASSWORD_FILE", "ANSIBLE_BECOME_METHOD")


def pytest_configure(config: pytest.Config) -> None:
    """Have Ansible run the commands, one by one, where only it can become root."""
    inventory = config.getoption("ansible_inventory")
    if inventory is None:
        return
    runner = AnsibleRunner.get_runner(inventory)
    (name,) = (spec.removeprefix("ansible://") for spec in config.getoption("hosts").split(","))
    known = {*runner.get_variables(name), *(each for each in ENVIRONMENT if each in os.environ)}
    if not known.isdisjoint((*TAKES_ANSIBLE, *ENVIRONMENT)):
        config.option.force_ansible = True


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A file that cannot be read as tests."""
    if report.failed:
        _tell(kind=BROKEN, file=report.nodeid, words=_last_line(str(report.longrepr)))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Every test there is, before the first is run."""
    for item in session.items:
        documented = getattr(item, "obj", None)
        _tell(
            kind=COLLECTED,
            test=item.nodeid,
            file=str(item.path),
            line=(item.location[1] or 0) + 1,
            doc=inspect.cleandoc(getattr(documented, "__doc__", None) or ""),
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A phase of a test: its end, if it is the test itself or went wrong."""
    report = yield
    if report.when == "call" or not report.passed:
        excinfo = call.excinfo
        said_no = excinfo is not None and isinstance(excinfo.value, SAYS_NO)
        _tell(
            kind=ENDED,
            test=item.nodeid,
            outcome=report.outcome,
            said_no=said_no and report.when == "call",
            words=_skip_reason(report) if report.skipped else str(excinfo.value) if excinfo else "",
            error=type(excinfo.value).__name__ if excinfo else "",
        )
    return report


def _skip_reason(report: pytest.TestReport) -> str:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
    return str(reason).removeprefix("Skipped: ")


def _last_line(text: str) -> str:
    """The words of the error, which pytest prints with an E before them."""
    said = [line[1:].strip() for line in text.splitlines() if line.startswith("E ")]
    return said[-1] if said else text.strip()


def _tell(**line: Any) -> None:
    with Path(os.environ[PLACE]).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")
