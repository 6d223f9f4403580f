"""Switching misbehaviour on and off, on a host that only writes down what it was told."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from gpuhost.errors import LabError
from gpuhost.lab.toolkit import faults
from gpuhost.lab.toolkit.standin import fault


class Host:
    """Runs the commands here, with the switch in a folder of the test's and no systemd."""

    def __init__(self, folder: Path) -> None:
        self.switch = folder / "etc" / "toolkit.json"
        self.calls = folder / "systemctl"
        (folder / "bin").mkdir()
        (folder / "bin" / "systemctl").write_text(f'#!/bin/sh\necho "$@" >>{self.calls}\n')
        (folder / "bin" / "systemctl").chmod(0o755)
        self.path = f"{folder / 'bin'}:/usr/bin:/bin"

    def execute(self, name: str, argv: Sequence[str]) -> object:
        assert name == "lab-01"
        words = [word.replace(str(fault.SWITCH), str(self.switch)) for word in argv]
        return subprocess.run(words, env={"PATH": self.path}, check=True)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.mark.parametrize("name", faults.NAMES)
def test_a_misbehaviour_is_switched_on_and_the_specification_is_written_anew(
    host: Host, name: str
) -> None:
    faults.Misbehaviour(name).inject(host.execute, "lab-01")

    assert json.loads(host.switch.read_text()) == {"misbehave": name}
    assert fault.switched_on(host.switch) == name
    assert host.calls.read_text().splitlines()[-1] == "restart nvidia-cdi-refresh.service"


def test_clearing_it_leaves_nothing_behind_and_may_be_repeated(host: Host) -> None:
    misbehaviour = faults.Misbehaviour(fault.SWAP)
    misbehaviour.inject(host.execute, "lab-01")

    for _ in range(2):
        misbehaviour.clear(host.execute, "lab-01")

    assert not host.switch.exists()
    assert host.calls.read_text().count("restart nvidia-cdi-refresh.service") == 3


def test_an_unknown_misbehaviour_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(LabError, match="Did you mean 'leak-one'") as caught:
        faults.Misbehaviour("leak-on")

    assert "stale-cdi" in caught.value.remedy
