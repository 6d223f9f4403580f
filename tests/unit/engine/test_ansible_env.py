"""What every Ansible program gets from gpuhost."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gpuhost import ansible_env


def test_the_configuration_is_that_of_the_playbooks_unless_the_user_has_one() -> None:
    own = ansible_env.playbooks_dir() / "ansible.cfg"
    assert ansible_env.variables({})["ANSIBLE_CONFIG"] == str(own)
    assert ansible_env.variables({"ANSIBLE_CONFIG": "/site.cfg"})["ANSIBLE_CONFIG"] == "/site.cfg"


def test_the_playbooks_are_where_they_are_looked_for() -> None:
    assert (ansible_env.playbooks_dir() / "probe.yml").is_file()
    assert (ansible_env.playbooks_dir() / "ansible.cfg").is_file()


def test_programs_come_from_the_environment_that_gpuhost_runs_in() -> None:
    first, *others = ansible_env.variables({"PATH": "/usr/bin:/bin"})["PATH"].split(":")
    assert first == str(Path(sys.executable).parent)
    assert others == ["/usr/bin", "/bin"]


@pytest.mark.parametrize(
    ("environ", "changed"),
    [
        ({}, True),
        ({"LANG": "C"}, True),
        ({"LANG": "de_DE.UTF-8"}, False),
        ({"LANG": "de_DE.utf8"}, False),
        ({"LANG": "de_DE.UTF-8", "LC_ALL": "POSIX"}, True),
    ],
)
def test_a_locale_that_ansible_would_refuse_is_replaced(
    environ: dict[str, str], changed: bool
) -> None:
    assert ("LC_ALL" in ansible_env.variables(environ)) == changed
