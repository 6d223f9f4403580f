"""A host is left as it was before gpuhost came: compared item by item, before and after."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest
from support import controller
from support.lab import Lab

pytestmark = pytest.mark.slow

# What is compared: a name, and the command whose lines are the same again in the end.
PARTS = {
    "packages": "dpkg-query -W -f '${binary:Package} ${Version} ${db:Status-Abbrev}\\n'",
    "automatic": "apt-mark showauto",
    "held": "apt-mark showhold",
    "files": "find /etc -printf '%p %y %m %u:%g %l\\n'; find /etc -type f -exec sha256sum {} +",
    "groups": "getent group",
    "users": "getent passwd",
    "units": "systemctl list-unit-files --no-legend --no-pager | awk '{print $1, $2}'",
    "active": "systemctl list-units --type=service,socket,path --state=active --no-legend --plain"
    " | awk '{print $1}' | grep -v '^user@\\|^session\\|user-runtime'",
    "modules": "ls /sys/module | grep -E '^(nvidia|nouveau)' || :",
    "traces": "ls -d /var/lib/gpuhost 2>/dev/null || :",
}
RPM_PARTS = {
    **PARTS,
    # Folders that the lab's packages have without owning them.
    "files": f"({PARTS['files']}) | grep -v '/etc/containerd\\|/etc/nvidia-container-'",
    "packages": "rpm -qa --qf '%{NAME} %{EVR}\\n'",
    "automatic": "dnf module list --enabled --quiet 2>/dev/null || :",
    "held": "dnf -q versionlock list 2>/dev/null || :",
}
# What may differ, and why.
TOLERATED = {
    r"^files: .*/etc/(group|gshadow)-( |$)": "what gpasswd leaves: copies of what was before",
}


def snapshot(lab: Lab, host: str, parts: Mapping[str, str] = PARTS) -> dict[str, set[str]]:
    return {
        name: set(lab.exec(host, ["sh", "-c", command]).splitlines())
        for name, command in parts.items()
    }


def differences(before: dict[str, set[str]], after: dict[str, set[str]]) -> list[str]:
    """Every line that went or came, but for those that are tolerated."""
    return [
        f"{name}: {sign} {line}"
        for name in PARTS
        for sign, lines in (
            ("-", before[name] - after[name]),
            ("+", after[name] - before[name]),
        )
        for line in sorted(lines)
        if not any(re.search(pattern, f"{name}: {line}") for pattern in TOLERATED)
    ]


@contextmanager
def host_with(lab: Lab, *histories: str, system: str = "debian12") -> Iterator[str]:
    options = [word for name in histories for word in ("--history", name)]
    name = lab.up("lab-64", "--gpus", "1", "--os", system, *options)
    try:
        yield name
    finally:
        lab.ok("lab", "down", name)


def settled(read: Callable[[], dict[str, set[str]]], before: dict[str, set[str]]) -> list[str]:
    """The differences that are left once services have come up again."""
    deadline = time.monotonic() + 30
    while (found := differences(before, read())) and time.monotonic() < deadline:
        time.sleep(1)
    return found


@pytest.mark.parametrize(
    "histories",
    [(), ("docker.io", "foreign-daemon-json"), ("held-packages",)],
    ids=["bare", "docker.io", "held-packages"],
)
def test_a_host_is_as_it_was_before(lab: Lab, histories: tuple[str, ...]) -> None:
    with host_with(lab, *histories) as host:
        before = snapshot(lab, host)
        lab.ok("provision", host, "--yes", "--include-busy")
        asked = lab.run("remove", host)
        assert asked.code == 2
        assert "packages to remove" in asked.stderr
        ran = lab.ok("remove", host, "--yes")
        assert f"{host}: is as it was before gpuhost\n" in ran.stdout
        assert settled(lambda: snapshot(lab, host), before) == []
        again = lab.ok("remove", host, "--yes")
        assert f"{host}: gpuhost has not changed anything here\n" in again.stdout
        if "docker.io" in histories:
            names = lab.exec(host, ["docker", "ps", "--all", "--format", "{{.Names}}"]).split()
            assert sorted(names) == ["batch", "web"]
            read = ["docker", "exec", "web", "cat", "/data/treasure"]
            assert lab.exec(host, read) == "kept since 2019\n"


def test_a_rocky_host_is_as_it_was_before_with_keys_streams_and_locks(lab: Lab) -> None:
    with host_with(lab, system="rocky9") as host:
        before = snapshot(lab, host, RPM_PARTS)
        lab.ok("provision", host, "--yes")
        ran = lab.ok("remove", host, "--yes")
        assert f"{host}: is as it was before gpuhost\n" in ran.stdout
        assert settled(lambda: snapshot(lab, host, RPM_PARTS), before) == []


@pytest.mark.parametrize(
    "words",
    [
        "Put back files as they were  changed",
        "Remove the packages that are there because of gpuhost  changed",
        "Put back groups, marks and units as they were  changed",
    ],
)
def test_a_removal_that_was_killed_is_finished_by_the_same_command(lab: Lab, words: str) -> None:
    with host_with(lab, "docker.io") as host:
        before = snapshot(lab, host)
        lab.ok("provision", host, "--yes", "--include-busy")
        with controller.at_work(lab, "remove", host, "--yes") as (process, log):
            controller.wait_for(words, process, log)
        ran = lab.ok("remove", host, "--yes")
        assert f"{host}: found unfinished: `gpuhost remove {host}`" in ran.stderr
        assert settled(lambda: snapshot(lab, host), before) == []


def test_a_host_in_use_is_left_alone_and_what_needs_gpuhosts_packages_stops_it(lab: Lab) -> None:
    with host_with(lab) as host:
        lab.ok("provision", host, "--yes")
        images = lab.exec(host, ["docker", "images", "-q", "nvidia/cuda"]).split()
        work = ["docker", "run", "-d", "--name", "training", "--gpus", "all", "--entrypoint"]
        lab.exec(host, [*work, "sleep", images[0], "600"])
        busy = lab.run("remove", host, "--yes")
        assert busy.code == 1
        assert "busy, and left alone unless --include-busy: container training" in busy.stderr
        lab.exec(host, ["docker", "rm", "-f", "training"])
        control = "Package: needy\nVersion: 1\nArchitecture: all\nDepends: docker-ce\n"
        build = f"mkdir -p /tmp/n/DEBIAN; printf '{control}Maintainer: x <x@x>\nDescription: x\n'"
        make = f"{build} > /tmp/n/DEBIAN/control; dpkg-deb -b /tmp/n /tmp/n.deb; dpkg -i /tmp/n.deb"
        lab.exec(host, ["sh", "-c", make])
        needed = lab.run("remove", host, "--yes", "--json")
        assert needed.code == 1
        (told,) = json.loads(needed.stdout)["hosts"]
        assert told["problem"].startswith("needy would be removed too")
        assert "docker-ce" in told["purge"]
        lab.exec(host, ["test", "-x", "/usr/bin/dockerd"])
