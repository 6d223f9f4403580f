"""A plan's words held against what Ansible then reports as changed: neither more nor less."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from support.ground import silent
from support.lab import Lab, Ran

from gpuhost import lab as room

HOST = "plan-01"
TOOLKIT_SOURCE = "/etc/apt/sources.list.d/nvidia-container-toolkit.sources"
DAEMON_JSON = "/etc/docker/daemon.json"
OLD, NEW = "5:26.1.4-1~debian.12~bookworm", "5:26.1.5-1~debian.12~bookworm"
ROLES = {
    "driver": "nvidia_driver",
    "docker": "docker_ce",
    "toolkit": "nvidia_container_toolkit",
    "users": "docker_users",
}
# What a change is done by: (component or *, action) → the task, without its role.
TASKS = {
    ("*", "add"): "Install the repository's signing key",
    ("*", "replace"): "Install the repository's signing key",
    ("driver", "write"): "Configure the repository, the pin and the blacklist of nouveau",
    ("driver", "rewrite"): "Configure the repository, the pin and the blacklist of nouveau",
    ("*", "write"): "Configure the repository",
    ("*", "rewrite"): "Configure the repository",
    ("*", "remove"): "Configure the repository",
    ("driver", "install"): "Install the driver",
    ("driver", "change"): "Install the driver",
    ("docker", "install"): "Install Docker Engine",
    ("docker", "change"): "Install Docker Engine",
    ("toolkit", "install"): "Install the toolkit",
    ("driver", "hold"): "Hold the driver",
    ("docker", "hold"): "Hold what is pinned",
    ("driver", "rebuild"): "Rebuild the initramfs",
    ("driver", "start"): "Enable and start nvidia-persistenced",
    ("*", "set"): "Merge the declared keys into daemon.json",
    ("*", "restart"): "Enable and run dockerd",
    ("users", "add"): "Add users to the group docker",
}
# Its package does that when it is installed.
BY_PACKAGES = {("toolkit", "generate")}
# The role docker_ce merges and restarts, for whichever role.
OF_DOCKER = ("set", "restart")
# A repository without its key would keep apt from reading any.
TAKEN_AWAY = (
    "preflight: Take away sources of packages whose key is of no use and that are configured anew"
)
CHANGED = re.compile(r"^\S+  \S+  (\w+: .+?)  changed  ", re.MULTILINE)


@pytest.fixture
def bare(lab: Lab) -> Iterator[str]:
    """A host that nothing of gpuhost's has touched."""
    lab.up(HOST, "--gpus", "2")
    yield HOST
    room.down([HOST], silent)


def plan(lab: Lab) -> dict[str, Any]:
    (found,) = lab.run("plan", HOST, "--json").document["hosts"]
    return dict(found)


def foretold(planned: dict[str, Any]) -> set[str]:
    """The tasks that would change something, going by the plan."""
    found = set()
    for change in planned["changes"]:
        component, action = change["component"], change["action"]
        if (component, action) in BY_PACKAGES:
            continue
        task = TASKS.get((component, action)) or TASKS["*", action]
        role = "docker_ce" if action in OF_DOCKER else ROLES[component]
        if change["note"] == "its key is of no use":
            found.add(TAKEN_AWAY)
        found.add(f"{role}: {task}")
    if planned["reboot"]:
        found.add("nvidia_driver: Reboot")
    return found


def done(ran: Ran) -> set[str]:
    """The tasks that Ansible says have changed something."""
    return {name.partition(", because")[0] for name in CHANGED.findall(ran.stderr)}


def apply(lab: Lab, planned: dict[str, Any]) -> None:
    """What the plan foretells is done, and afterwards there is nothing to do."""
    ran = lab.ok("provision", HOST, "--yes")
    assert done(ran) == foretold(planned)
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
    }
    apply(lab, planned)
    assert installed(lab, "docker-ce") == f"{OLD} hold"

    declare(lab, docker_ce_version=NEW, docker_users_names=["alice", "bob"])
    planned = plan(lab)
    said = {change["what"] for change in planned["changes"]}
    assert said >= {f"change {name} {OLD} → {NEW}" for name in ("docker-ce", "docker-ce-cli")}
    assert said >= {f"hold {name}" for name in ("docker-ce", "docker-ce-cli")}
    assert [blocker["name"] for blocker in planned["blockers"]] == ["missing-users"]
    ran = lab.run("provision", HOST, "--yes")
    assert ran.code == 1
    assert "there is no user bob" in ran.stdout
    assert installed(lab, "docker-ce") == f"{OLD} hold"
    declare(lab, docker_ce_version=NEW, docker_users_names=["alice"])
    apply(lab, plan(lab))
    assert installed(lab, "docker-ce") == f"{NEW} hold"
