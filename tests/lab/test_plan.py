"""A plan's words held against what Ansible then reports as changed: neither more nor less."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.callback_plugins.software_told import VARIABLE
from support.ground import silent
from support.lab import PROJECT, Lab, Ran

from gpuhost import lab as room

HOST = "plan-01"
CALLBACKS = PROJECT / "tests/support/callback_plugins"
TOOLKIT_SOURCE = "/etc/apt/sources.list.d/nvidia-container-toolkit.sources"
DAEMON_JSON = "/etc/docker/daemon.json"
OLD, NEW = "5:26.1.4-1~debian.12~bookworm", "5:26.1.5-1~debian.12~bookworm"
NEW_VERSIONS = {"docker_ce_version": NEW, "nvidia_container_toolkit_version": "1.20.0-1"}
ROLES = {
    "driver": "nvidia_driver",
    "docker": "docker_ce",
    "toolkit": "nvidia_container_toolkit",
    "users": "docker_users",
}
# What a change is done by: (component or *, action) → the task, without its role.
TASKS = {
    ("driver", "rebuild"): "Rebuild the initramfs",
    ("driver", "start"): "Enable and start nvidia-persistenced",
    ("driver", "reload"): "Load the driver",
    ("toolkit", "renew"): "Keep the CDI specification up to date",
    ("*", "set"): "Merge the declared keys into daemon.json",
    ("*", "restart"): "Enable and run dockerd",
    ("users", "add"): "Add users to the group docker",
}
# What all of these are done by together, and which of its answers names what it was done to.
SOFTWARE = "software: Configure the repositories, and install and hold the packages"
ANSWERS = {
    **dict.fromkeys(("add", "replace", "write", "rewrite", "remove"), "changed_paths"),
    **dict.fromkeys(("install", "change"), "packages"),
    "hold": "held",
}
# Component, action and note of what packages do when they are installed.
BY_PACKAGES = {("toolkit", "generate", ""), ("docker", "restart", "its package changes")}
# The role docker_ce merges and restarts, for whichever role.
OF_DOCKER = ("set", "restart")
# A repository without its key would keep apt from reading any.
TAKEN_AWAY = (
    "preflight: Take away sources of packages whose key is of no use and that are configured anew"
)
# The same on the RHEL family, where dnf is the roles' own business; docker's and the toolkit's
# repositories are configured before the driver is installed.
RHEL_HOST = "plan-02"
RHEL_REPOSITORIES = (
    "software: Make sure that the declared versions can be had, before the driver is installed"
)
RHEL_TASKS = {
    **{
        (component, action): RHEL_REPOSITORIES
        for component in ("docker", "toolkit")
        for action in ("add", "replace", "write", "rewrite", "remove")
    },
    ("driver", "rewrite"): "nvidia_driver: Configure the repository and the blacklist of nouveau",
    ("driver", "hold"): "nvidia_driver: Hold the driver",
    ("driver", "start"): "nvidia_driver: Enable and start nvidia-persistenced",
    **dict.fromkeys(
        (("docker", "install"), ("docker", "change")), "docker_ce: Install Docker Engine"
    ),
    ("docker", "hold"): "docker_ce: Hold what is pinned",
    ("toolkit", "change"): "nvidia_container_toolkit: Install the toolkit",
    ("toolkit", "hold"): "nvidia_container_toolkit: Hold the toolkit",
    **{
        (component, "set"): "docker_ce: Merge the declared keys into daemon.json"
        for component in ("docker", "toolkit")
    },
    **{
        (component, "restart"): "docker_ce: Enable and run dockerd"
        for component in ("docker", "toolkit")
    },
    ("users", "add"): "docker_users: Add users to the group docker",
}
RHEL_SPOILING = """
echo '# by hand' >>/etc/yum.repos.d/docker-ce.repo
rm /etc/pki/rpm-gpg/RPM-GPG-KEY-nvidia-container-toolkit
chmod 0600 /etc/modprobe.d/gpuhost-nouveau.conf
dnf -q versionlock delete nvidia-persistenced
dnf -q -y remove docker-buildx-plugin
gpasswd --delete alice docker
systemctl stop nvidia-persistenced.service
sed -i 's/"cdi": true/"cdi": false/' /etc/docker/daemon.json
echo '[old]' >/etc/yum.repos.d/nvidia-docker.repo
"""
IF_NEED_BE = "if it cannot be reloaded"
CHANGED = re.compile(r"^\S+  \S+  (\w+: .+?)  changed  ", re.MULTILINE)


@pytest.fixture
def bare(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A host that nothing of gpuhost's has touched; what `software` does there is noted."""
    monkeypatch.setenv("ANSIBLE_CALLBACK_PLUGINS", str(CALLBACKS))
    monkeypatch.setenv("ANSIBLE_CALLBACKS_ENABLED", "software_told")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "told"))
    lab.up(HOST, "--gpus", "2")
    yield HOST
    room.down([HOST], silent)


def plan(lab: Lab, host: str = HOST) -> dict[str, Any]:
    (found,) = lab.run("plan", host, "--json").document["hosts"]
    return dict(found)


def is_software(change: dict[str, Any]) -> bool:
    return change["component"] != "users" and change["action"] in ANSWERS


def foretold(planned: dict[str, Any]) -> set[str]:
    """The tasks that would change something, going by the plan."""
    found = set()
    for change in planned["changes"]:
        component, action = change["component"], change["action"]
        if change["note"] == "its key is of no use":
            found.add(TAKEN_AWAY)
        if is_software(change):
            found.add(SOFTWARE)
        elif (component, action, change["note"]) not in BY_PACKAGES and action != "release":
            task = TASKS.get((component, action)) or TASKS["*", action]
            role = "docker_ce" if action in OF_DOCKER else ROLES[component]
            found.add(f"{role}: {task}")
        if action == "reload":
            # Modules that are in use cannot be, and it uses them.
            found.add("nvidia_driver: Enable and start nvidia-persistenced")
    if planned["reboot"] and not planned["reboot"].endswith(IF_NEED_BE):
        found.add("nvidia_driver: Reboot")
    return found


def foretold_of_software(planned: dict[str, Any]) -> set[tuple[str, str, str]]:
    """Role, kind of answer and file or package, going by the plan."""
    return {
        (ROLES[change["component"]], ANSWERS[change["action"]], change["subject"])
        for change in planned["changes"]
        if is_software(change)
    }


def done(ran: Ran) -> set[str]:
    """The tasks that Ansible says have changed something."""
    return {name.partition(", because")[0] for name in CHANGED.findall(ran.stderr)}


def done_of_software(told: Path) -> dict[tuple[str, str, str], bool]:
    """The same as the module says it, and whether a plan has to know it.

    A package that comes with another is held, too, and no plan knows it before.
    """
    lines = told.read_text().splitlines() if told.exists() else []
    told.unlink(missing_ok=True)
    return {
        (role, answer, name): answer != "held" or name in found["declared"]["packages"]
        for line in lines
        for role, found in json.loads(line).items()
        for answer in ("changed_paths", "packages", "held")
        for name in (each.partition(":")[0] for each in found[answer])
    }


def apply(lab: Lab, planned: dict[str, Any]) -> None:
    """What the plan foretells is done, and afterwards there is nothing to do."""
    told = Path(os.environ[VARIABLE])
    ran = lab.ok("provision", HOST, "--yes")
    assert done(ran) == foretold(planned)
    of_software, foreseen = done_of_software(told), foretold_of_software(planned)
    assert foreseen <= of_software.keys()
    assert {each for each, is_known in of_software.items() if is_known} <= foreseen
    assert lab.ok("plan", HOST).stdout == f"{HOST}: nothing to change\n"


def declare(lab: Lab, **variables: Any) -> None:
    path = lab.project / "inventories/lab/host_vars" / f"{HOST}.yml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(variables))


def installed(lab: Lab, package: str) -> str:
    return lab.exec(HOST, ["dpkg-query", "-W", "-f", "${Version} ${db:Status-Want}", package])


def spoil(lab: Lab) -> None:
    """Make a host that is as it should be otherwise in several ways."""
    for script in (
        "echo '# by hand' >>/etc/apt/sources.list.d/docker.sources",
        "echo 'deb http://mirror.invalid/ ./' >/etc/apt/sources.list.d/docker.list",
        "rm /etc/apt/keyrings/nvidia-container-toolkit.asc",
        "chmod 0600 /etc/modprobe.d/gpuhost-nouveau.conf",
        "apt-mark unhold nvidia-persistenced",
        "gpasswd --delete alice docker",
        "systemctl stop nvidia-persistenced.service",
    ):
        lab.exec(HOST, ["sh", "-c", script])
    config = json.loads(lab.exec(HOST, ["cat", DAEMON_JSON]))
    config |= {"features": {"cdi": False}, "debug": True}
    lab.exec(HOST, ["tee", DAEMON_JSON], stdin=json.dumps(config))


SPOILT = {
    "docker: rewrite /etc/apt/sources.list.d/docker.sources (it is not as it was written)",
    "docker: remove /etc/apt/sources.list.d/docker.list",
    "toolkit: add /etc/apt/keyrings/nvidia-container-toolkit.asc",
    f"toolkit: rewrite {TOOLKIT_SOURCE} (its key is of no use)",
    "driver: rewrite /etc/modprobe.d/gpuhost-nouveau.conf (it is not as it was written)",
    "driver: rebuild the initramfs",
    "driver: hold nvidia-persistenced",
    "driver: start nvidia-persistenced.service",
    "users: add alice to the docker group (which is equivalent to root)",
    f"toolkit: set features.cdi in {DAEMON_JSON} false → true",
}


@pytest.mark.slow
def test_what_a_plan_says_is_what_provisioning_does(lab: Lab, bare: str) -> None:
    planned = plan(lab)
    assert planned["reboot"].startswith("nouveau")
    apply(lab, planned)

    spoil(lab)
    planned = plan(lab)
    said = {f"{change['component']}: {change['what']}" for change in planned["changes"]}
    assert {words for words in said if "restart" not in words} == SPOILT
    apply(lab, planned)
    assert json.loads(lab.exec(bare, ["cat", DAEMON_JSON]))["debug"] is True

    declare(lab, docker_ce_version=OLD)
    planned = plan(lab)
    said = {change["what"] for change in planned["changes"]}
    assert said == {
        *(f"change {name} {NEW} → {OLD}" for name in ("docker-ce", "docker-ce-cli")),
        *(f"hold {name}" for name in ("docker-ce", "docker-ce-cli")),
        "restart dockerd (its package changes)",
    }
    apply(lab, planned)
    assert installed(lab, "docker-ce") == f"{OLD} hold"

    declare(lab, docker_ce_version=OLD, nvidia_container_toolkit_version="1.19.1-1")
    planned = plan(lab)
    assert "restart dockerd (its runtime changes)" in {c["what"] for c in planned["changes"]}
    apply(lab, planned)

    declare(lab, **NEW_VERSIONS, docker_users_names=["alice", "bob"])
    planned = plan(lab)
    said = {change["what"] for change in planned["changes"]}
    assert said >= {f"change {name} {OLD} → {NEW}" for name in ("docker-ce", "docker-ce-cli")}
    assert said >= {f"hold {name}" for name in ("docker-ce", "docker-ce-cli")}
    assert [blocker["name"] for blocker in planned["blockers"]] == ["missing-users"]
    ran = lab.run("provision", HOST, "--yes")
    assert ran.code == 1
    assert "there is no user bob" in ran.stdout
    assert installed(lab, "docker-ce") == f"{OLD} hold"
    declare(lab, **NEW_VERSIONS, docker_users_names=["alice"])
    apply(lab, plan(lab))
    assert installed(lab, "docker-ce") == f"{NEW} hold"

    declare(lab, **NEW_VERSIONS, nvidia_driver_branch="535")
    planned = plan(lab)
    said = {change["what"] for change in planned["changes"]}
    assert "change nvidia-driver-cuda 550.163.01-1 → 535.261.03-1" in said
    apply(lab, planned)


@pytest.mark.slow
def test_what_a_plan_says_on_rocky_is_what_provisioning_does(lab: Lab) -> None:
    lab.up(RHEL_HOST, "--gpus", "1", "--os", "rocky9")
    lab.ok("provision", RHEL_HOST, "--yes")
    lab.exec(RHEL_HOST, ["sh", "-ec", RHEL_SPOILING])
    apply_on_rhel(lab)

    older = {"docker_ce_version": "26.1.4", "nvidia_container_toolkit_version": "1.19.1"}
    with lab.variables(RHEL_HOST, older):
        said = {change["what"] for change in apply_on_rhel(lab)["changes"]}
    assert said >= {"change docker-ce 26.1.5-1.el9 → 26.1.4-1.el9", "hold docker-ce-cli"}
    assert said >= {"change nvidia-container-toolkit 1.20.0-1 → 1.19.1-1"}
    restarts = {"restart dockerd (its package changes)", "restart dockerd (its runtime changes)"}
    assert said >= restarts


def apply_on_rhel(lab: Lab) -> dict[str, Any]:
    """What the plan foretells is done, and afterwards there is nothing to do; the plan."""
    planned = plan(lab, RHEL_HOST)
    expected = {
        RHEL_TASKS[change["component"], change["action"]]
        for change in planned["changes"]
        if (change["component"], change["action"], change["note"]) not in BY_PACKAGES
    }
    assert planned["reboot"] == ""
    assert done(lab.ok("provision", RHEL_HOST, "--yes")) == expected
    assert lab.ok("plan", RHEL_HOST).stdout == f"{RHEL_HOST}: nothing to change\n"
    return planned
