"""Causes and remedies, told from recorded words of OpenSSH 9.2, sudo and Ansible."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpuhost import ssh_words
from gpuhost.events import failure_words
from gpuhost.ssh_words import Cause

RECORDED = sorted((Path(__file__).parent / "recorded").glob("*.json"))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_the_cause_and_the_remedy_are_told_from_the_recorded_words(path: Path) -> None:
    recorded = json.loads(path.read_text())
    words = failure_words(recorded["result"])
    unreachable = recorded["event"] == "runner_on_unreachable"
    cause, remedy = (ssh_words.unreachable if unreachable else ssh_words.failed)(words)
    assert cause is Cause[recorded["cause"]]
    assert recorded["remedy"] in remedy
    assert "{" not in remedy


def test_every_cause_that_has_a_sign_is_recorded() -> None:
    signs = (*ssh_words.CONNECTION_SIGNS, *ssh_words.LOGIN_SIGNS)
    recorded = {Cause[json.loads(path.read_text())["cause"]] for path in RECORDED}
    assert {sign.cause for sign in signs} - recorded == {Cause.SSHPASS}


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("ssh: connect to host 10.0.0.9 port 22: No route to host", Cause.NO_ROUTE),
        ("ssh: connect to host 10.0.0.9 port 22: Connection timed out", Cause.NO_ROUTE),
        ("ssh: connect to host 10.0.0.9 port 22: Network is unreachable", Cause.NO_ROUTE),
        (
            "Received disconnect from 10.0.0.9: Too many authentication failures",
            Cause.PERMISSION_DENIED,
        ),
        ("Connection to lab-01 closed by remote host.", Cause.CLOSED),
        ("to use the 'ssh' connection type with passwords, install sshpass", Cause.SSHPASS),
        (
            'Data could not be sent to remote host "10.0.0.9". Make sure this host can be reached',
            Cause.CLOSED,
        ),
        ("words that nobody has seen before", Cause.UNREACHABLE),
    ],
)
def test_an_unreachable_host_always_has_a_cause_and_a_remedy(words: str, cause: Cause) -> None:
    found, remedy = ssh_words.unreachable(words)
    assert found is cause
    assert remedy


@pytest.mark.parametrize(
    "words",
    [
        "Failed to fetch http://mirror/x.deb: Connection refused",
        "Failed to fetch http://mirror/x.deb: Could not resolve hostname mirror",
        "curl exited with 7\nConnection timed out",
        "nvidia-smi exited with 4\nPermission denied (driver)",
        "apt exited with 100\npython3-apt: not found",
    ],
)
def test_a_task_that_failed_at_its_own_work_is_no_matter_of_login(words: str) -> None:
    assert ssh_words.failed(words) == (Cause.FAILED, "")


def test_of_a_changed_host_key_only_what_differs_from_case_to_case_is_told() -> None:
    (path,) = [path for path in RECORDED if path.stem.startswith("host_key_changed")]
    assert failure_words(json.loads(path.read_text())["result"]).splitlines() == [
        "The fingerprint for the ED25519 key sent by the remote host is",
        "SHA256:vp1JLdqe+VArnoV6sXj9Am8+k9LOepMbbgQIR4GNzFY.",
        'ssh-keygen -f "/home/op/.ssh/known_hosts" -R "[127.0.0.1]:2222"',
        "Host key for [127.0.0.1]:2222 has changed and you have requested strict checking.",
        "Host key verification failed.",
    ]
