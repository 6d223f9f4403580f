"""Section ``users``: the docker group and who is in it."""

from __future__ import annotations

import grp
import os
import pwd
from typing import List, Optional

from gpuhost.probe.context import Context
from gpuhost.probe.schema import DockerGroup, User, Users

GROUP = "docker"


def collect(context: Context) -> Users:
    """Look up the group, its members and the users asked for."""
    group = docker_group()
    members = group["members"] if group else []
    names = dict.fromkeys([*context.spec["users"], *members])
    return {"docker_group": group, "users": [user(name) for name in names]}


def docker_group() -> Optional[DockerGroup]:
    """The group with its members, those by primary group included; None if there is none."""
    try:
        entry = grp.getgrnam(GROUP)
    except KeyError:
        return None
    primary = [account.pw_name for account in pwd.getpwall() if account.pw_gid == entry.gr_gid]
    return {"gid": entry.gr_gid, "members": sorted({*entry.gr_mem, *primary})}


def user(name: str) -> User:
    """One user with the groups that a new login would have."""
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        return {"name": name, "exists": False, "uid": None, "groups": []}
    gids = os.getgrouplist(name, account.pw_gid)
    return {
        "name": name,
        "exists": True,
        "uid": account.pw_uid,
        "groups": sorted(_group_names(gids)),
    }


def _group_names(gids: List[int]) -> List[str]:
    names = []
    for gid in gids:
        try:
            names.append(grp.getgrgid(gid).gr_name)
        except KeyError:
            names.append(str(gid))
    return names
