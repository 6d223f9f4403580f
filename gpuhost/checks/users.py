"""The users who may start containers without sudo."""

from __future__ import annotations

from gpuhost.checks.facts import Facts
from gpuhost.checks.finding import Finding, failed, not_declared, passed, undetermined
from gpuhost.checks.registry import check
from gpuhost.checks.remedies import PROVISION, VERIFY
from gpuhost.checks.words import counted, listed


@check("users.docker_group", "The declared users are in the docker group", needs=("users",))
def docker_group(facts: Facts) -> Finding:
    """Only they can use docker without sudo; the group is equivalent to root.

    Add the user with usermod -aG docker; it takes effect at the next login. gpuhost provision
    does it.
    """
    group = facts.users["docker_group"]
    declared = facts.desired.docker_users
    members = group["members"] if group else []
    if not declared:
        return not_declared("docker_users_names", listed(members) or "nobody in the group")
    if group is None:
        return failed(
            "there is no docker group",
            seen="no group named docker",
            expected=f"a docker group with {listed(declared)}",
            cause="docker-ce, which creates it, is not installed",
            remedy=PROVISION,
        )
    records = {user["name"]: user for user in facts.users["users"]}
    unread = [name for name in declared if name not in records]
    if unread:
        return undetermined(
            f"{listed(unread)} was not looked up",
            seen=f"looked up: {listed(records) or 'nobody'}",
            expected=f"in the group: {listed(declared)}",
            cause="the evidence was made for another declaration",
            remedy=VERIFY,
        )
    absent = [name for name in declared if not records[name]["exists"]]
    outside = [
        name
        for name in declared
        if name not in (*absent, *members) and "docker" not in records[name]["groups"]
    ]
    if not absent and not outside:
        return passed(f"{counted(len(declared), 'user')} in the group: {listed(declared)}")
    problems = [f"{name} does not exist" for name in absent]
    problems += [f"{name} is not in the group" for name in outside]
    commands = [f"useradd -m -G docker {name}" for name in absent]
    commands += [f"usermod -aG docker {name}" for name in outside]
    return failed(
        listed(problems),
        seen=f"in the group: {listed(members) or 'nobody'}",
        expected=f"in the group: {listed(declared)}",
        cause="the user was never added, or was removed since",
        remedy=f"{' && '.join(commands)}  # then log in again",
    )
