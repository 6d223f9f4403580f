"""The register of faults, and what making and mending one does in a host."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from fnmatch import fnmatch

import pytest
from click.testing import CliRunner

from gpuhost.checks import catalog
from gpuhost.commands.lab import lab
from gpuhost.errors import UsageError
from gpuhost.lab import faults
from gpuhost.lab.faults import AREAS, Fault, all_faults
from gpuhost.lab.faults.drill import MADE

CHECKS = {check.name for check in catalog()}


class Host:
    """Remembers the scripts; the note of what was made is a list."""

    def __init__(self) -> None:
        self.scripts: list[str] = []
        self.note = ""

    def execute(self, _host: str, argv: Sequence[str]) -> str:
        script = argv[-1]
        self.scripts.append(script)
        return self.note if script.startswith(f"cat {MADE}") else ""


def test_there_are_faults_of_every_area_and_many() -> None:
    assert {fault.area for fault in all_faults()} == set(AREAS)
    assert len(all_faults()) >= 40


@pytest.mark.parametrize("fault", all_faults(), ids=lambda fault: fault.name)
def test_a_fault_is_held_to_a_check_that_there_is(fault: Fault) -> None:
    assert fault.check in CHECKS
    assert fault.verdict in ("WARN", "FAIL", "UNKNOWN")
    for pattern in fault.consequences:
        assert any(fnmatch(name, pattern) for name in CHECKS), pattern


@pytest.mark.parametrize("fault", all_faults(), ids=lambda fault: fault.name)
def test_its_scripts_are_ones_that_a_shell_understands(fault: Fault) -> None:
    for script in (fault.make, fault.mend):
        done = subprocess.run(
            ["sh", "-n", "-c", script], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_what_was_made_is_noted_first_and_mended_in_the_end() -> None:
    host = Host()
    fault = faults.find("clock-loose")
    with pytest.raises(RuntimeError), faults.injected(host.execute, "lab-01", fault):
        raise RuntimeError
    assert fault.name in host.scripts[0]
    assert host.scripts[1] == fault.make
    assert host.scripts[2] == fault.mend


def test_what_a_host_has_is_told_with_the_latest_first() -> None:
    host = Host()
    host.note = "clock-loose\ngpu-lost\n"
    assert [f.name for f in faults.made(host.execute, "lab-01")] == ["gpu-lost", "clock-loose"]


def test_an_unknown_fault_is_refused_with_what_may_have_been_meant() -> None:
    with pytest.raises(UsageError) as raised:
        faults.find("gpu-losst")
    assert "'gpu-lost'" in raised.value.message


def test_the_faults_are_listed_without_a_host() -> None:
    shown = CliRunner().invoke(lab, ["fault", "--list"])
    assert "gpu-lost" in shown.output
    assert len(shown.output.splitlines()) == len(all_faults())
