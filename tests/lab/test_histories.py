"""Hosts with a past: each ends conforming, or is told everything that is wrong and left alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.lab import Lab

TOUCHED = (
    "dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\\n'; "
    "find /etc -type f -exec sha256sum {} + | sort -k2; "
    "systemctl list-units --type=service --state=running --no-legend --plain | "
    "awk '{print $1}' | grep -v '^user@\\|^session' | sort"
)

# History → what the operator is told, by name.
STOPPED = {
    "busy-gpus": {"busy-gpus"},
    "distribution-driver": {"distribution-driver"},
    "runfile-driver": {"runfile-driver"},
    "unsupported-gpu": {"unsupported-gpu"},
    "unmet-dependency": {"broken-packages"},
    "no-headers": {"no-headers"},
}
SEVERAL = ("secure-boot", "disk-full", "foreign-key-expired", "podman", "docker-snap", "apt-locked")
SEVERAL_TOLD = {
    *(
        "secure-boot",
        "disk-full",
        "expired-key",
        "needed-packages",
        "docker-snap",
        "packages-locked",
    )
}


@contextmanager
def host_with(lab: Lab, *histories: str) -> Iterator[str]:
    """A host of this past, for as long as the block runs."""
    options = [word for name in histories for word in ("--history", name)]
    name = lab.up("lab-41", "--gpus", "2", *options)
    try:
        yield name
    finally:
        lab.ok("lab", "down", name)


def told(lab: Lab, host: str) -> set[str]:
    """The names of the reasons that provisioning stops for, having touched nothing.

    They are those that the plan has told before.
    """
    (planned,) = lab.run("plan", host, "--json").document["hosts"]
    before = lab.exec(host, ["sh", "-c", TOUCHED])
    ran = lab.run("provision", host, "--yes", "--include-busy", "--quiet")
    assert ran.code == 1, ran.stdout + ran.stderr
    assert "Nothing was changed" in ran.stdout
    assert lab.exec(host, ["sh", "-c", TOUCHED]) == before
    lines = (line.strip() for line in ran.stdout.splitlines())
    names = {line[2:].partition(":")[0] for line in lines if line.startswith("- ")}
    assert {blocker["name"] for blocker in planned["blockers"]} == names
    return names


@pytest.mark.parametrize("history", STOPPED)
def test_a_past_that_would_do_harm_stops_before_anything_is_touched(lab: Lab, history: str) -> None:
    with host_with(lab, history) as host:
        assert told(lab, host) == STOPPED[history]


def test_a_host_with_several_problems_is_told_all_of_them_at_once(lab: Lab) -> None:
    with host_with(lab, *SEVERAL) as host:
        assert told(lab, host) == SEVERAL_TOLD


@pytest.mark.slow
def test_a_module_that_does_not_build_is_told_in_dkms_words_and_the_same_command_mends_it(
    lab: Lab,
) -> None:
    with host_with(lab, "other-compiler") as host:
        ran = lab.run("provision", host, "--yes", "--json")
        (report,) = ran.document["hosts"]
        lines = report["error"]["message"].splitlines()
        assert ran.code == 1
        assert any(line.startswith("Error! Bad return status for module build") for line in lines)
        log = re.search(r"Consult (\S+) for more information", report["error"]["message"])
        assert log is not None
        assert "gcc-9: No such file" in lab.exec(host, ["cat", log[1]])
        assert not any("dependency problems" in line for line in lines)
        assert report["error"]["remedy"].endswith(f"Then again: gpuhost provision {host}")
        lab.exec(host, ["rm", "/etc/dkms/nvidia.conf"])
        lab.ok("provision", host, "--yes")
        assert lab.ok("plan", host).stdout == f"{host}: nothing to change\n"


def test_a_host_with_nvidia_docker_1_conforms_and_keeps_what_was_not_its(lab: Lab) -> None:
    with host_with(lab, "nvidia-docker1") as host:
        lab.ok("provision", host, "--yes", "--include-busy")
        names = lab.exec(host, ["docker", "ps", "--all", "--format", "{{.Names}}"]).split()
        assert sorted(names) == ["batch", "web"]
        assert lab.exec(host, ["docker", "volume", "ls", "--quiet"]).split() == ["web-data"]
        read = ["docker", "exec", "web", "cat", "/data/treasure"]
        assert lab.exec(host, read) == "kept since 2019\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "history",
    [
        *("nouveau", "old-driver", "docker.io", "nvidia-docker2", "foreign-daemon-json"),
        *("held-packages", "repo-key-expired", "broken-dpkg"),
    ],
)
def test_a_past_that_can_be_mended_ends_conforming(lab: Lab, history: str) -> None:
    with host_with(lab, history) as host:
        lab.ok("provision", host, "--yes", "--include-busy")
