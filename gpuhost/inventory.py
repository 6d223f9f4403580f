"""An Ansible inventory as gpuhost sees it: hosts, and what each of them should be.

Ansible itself reads the inventory, matches patterns and resolves templates
(:mod:`gpuhost.inventory_reader`), so that whatever is an inventory to Ansible
is one here. What Ansible would only warn about is an error.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from gpuhost import ansible_env, specs
from gpuhost.errors import DesiredStateError, InventoryError, PlaybookError
from gpuhost.model import Desired, Login
from gpuhost.parse import mig
from gpuhost.specs import Problem, Specs
from gpuhost.suggest import did_you_mean

READER = Path(__file__).with_name("inventory_reader.py")
SHOWN_NAMES = 10
FAREWELL_S = 5.0
YAML_SUFFIXES = (".yml", ".yaml", ".json")
PREAMBLE = "Failed to parse inventory: "
# What Ansible says at last, without a reason.
SUMMARIES = ("Completely failed to parse", "No inventory was parsed", "Unable to parse")
# How one of Ansible's complaints begins, and what may follow further down.
COMPLAINT = re.compile(r"^\[(?:WARNING|ERROR)\]: ", re.MULTILINE)
OF_PLUGIN = re.compile(r"Failed to parse inventory with '(?P<name>\w+)' plugin: ")
PLACE = re.compile(r"^Origin: (/\S+:\d+:\d+)$", re.MULTILINE)
SCRIPTS_WORDS = re.compile(r"^Standard error from inventory script:\n(.+)$", re.MULTILINE)

# Which variable says what of a Desired, and the least that a number may be.
VARIABLE_OF = {
    "gpu_count": "gpuhost_gpu_count",
    "gpu_model": "gpuhost_gpu_model",
    "gpu_uuids": "gpuhost_gpu_uuids",
    "driver_branch": "nvidia_driver_branch",
    "driver_version": "nvidia_driver_version",
    "driver_modules": "nvidia_driver_modules",
    "docker_version": "docker_ce_version",
    "daemon_config": "docker_ce_daemon_config",
    "toolkit_version": "nvidia_container_toolkit_version",
    "mig_layout": "nvidia_mig_layout",
    "mig_config": "nvidia_mig_config",
    "docker_users": "docker_users_names",
    "registry_logins": "registry_login_registries",
    "free_mib": "preflight_free_mib",
    "drained": "gpuhost_drained",
    "drained_reason": "gpuhost_drained_reason",
    "cuda_image": "gpuhost_cuda_image",
    "ngc_image": "gpuhost_ngc_image",
    "workloads": "gpuhost_workloads",
    "images_per_s": "gpuhost_images_per_second",
    "images_per_s_tolerance": "gpuhost_images_per_second_tolerance",
    "trial_timeout_s": "gpuhost_trial_timeout",
    "trial_parallel": "gpuhost_trial_parallel",
    "pull_timeout_s": "gpuhost_pull_timeout",
}
# Key of dockerd's proxies → variable.
PROXIES = {
    "http-proxy": "gpuhost_http_proxy",
    "https-proxy": "gpuhost_https_proxy",
    "no-proxy": "gpuhost_no_proxy",
}
AT_LEAST = {
    "gpuhost_gpu_count": 0,
    "gpuhost_images_per_second": 0,
    "gpuhost_images_per_second_tolerance": 0,
    "gpuhost_trial_timeout": 1,
    "gpuhost_trial_parallel": 1,
    "gpuhost_pull_timeout": 1,
}


@dataclass(frozen=True)
class Host:
    """One host of an inventory.

    ``variables`` are those that the roles take, with templates resolved;
    ``unresolved`` says of the others why Ansible could not resolve them.
    """

    name: str
    address: str
    variables: Mapping[str, Any] = field(default_factory=dict)
    unresolved: Mapping[str, str] = field(default_factory=dict)


class Inventory:
    """A parsed inventory: ``path``, ``hosts`` and ``groups`` (group → its hosts)."""

    def __init__(self, path: Path, reader: _Reader) -> None:
        self.path = path
        self._reader = reader
        names = reader.answer()
        self.hosts: tuple[str, ...] = tuple(names["hosts"])
        self.groups: Mapping[str, tuple[str, ...]] = {
            group: tuple(members) for group, members in names["groups"].items()
        }

    def select(self, patterns: Sequence[str], more: Sequence[str] = ()) -> tuple[Host, ...]:
        """The hosts that Ansible's patterns name (``gpu:!lab-03``), in Ansible's order.

        Their variables are also those whose names begin with one of ``more``.

        Raises:
            InventoryError: part of a pattern names nothing, or nothing is left.
        """
        prefixes = [*declared().prefixes, *more]
        answer = self._reader.ask(patterns=list(patterns), prefixes=prefixes)
        if answer["unknown"]:
            raise self._unknown(answer["unknown"])
        if not answer["selected"]:
            raise InventoryError(
                f"{' '.join(patterns)} selects no host of {self.path}.", self._what_there_is()
            )
        return tuple(Host(**host) for host in answer["selected"])

    def newcomer(self, name: str, group: str, folder: Path, more: Sequence[str]) -> Host:
        """A host as it would be if a file in ``folder`` added it to a group.

        Its variables are also those whose names begin with one of ``more``.
        From then on the inventory counts it as one of its hosts.

        Raises:
            InventoryError: there is no such group.
        """
        answer = self._reader.ask(
            newcomer=name,
            group=group,
            folder=str(folder),
            prefixes=[*declared().prefixes, *more],
        )
        return Host(**answer["selected"][0])

    def declare(
        self, host: str, roles: Sequence[str], facts: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """What ``roles`` declare for a host with these facts, and why others could not be told.

        Raises:
            InventoryError: Ansible ended without an answer.
        """
        answer = self._reader.ask(host=host, roles=list(roles), facts=dict(facts))
        return answer["declared"], answer["unresolved"]

    def complaints(self) -> list[str]:
        """What Ansible has complained about so far."""
        return self._reader.reasons()

    def _unknown(self, terms: Sequence[str]) -> InventoryError:
        named = self.hosts + tuple(self.groups)
        words = [
            f"{term or repr(term)} is neither a host nor a group of {self.path}."
            + did_you_mean(term.lstrip("!&"), named)
            for term in terms
        ]
        return InventoryError(" ".join(words), self._what_there_is())

    def _what_there_is(self) -> str:
        groups = [group for group in self.groups if group not in ("all", "ungrouped")]
        text = f"Its hosts: {_shortened(self.hosts)}."
        return f"{text} Its groups: {_shortened(groups)}." if groups else text


def load(path: Path) -> Inventory:
    """Parse the inventory at ``path``: a file, a folder or an executable script.

    Raises:
        InventoryError: it does not exist, Ansible cannot parse all of it, or
            it has no hosts.
    """
    inventory = parse(path)
    if not inventory.hosts:
        words = "; ".join(inventory.complaints())
        raise InventoryError(
            f"The inventory {inventory.path} has no hosts{f': {words}' if words else '.'}",
            "Add a host, or choose another inventory with -i PATH.",
        )
    return inventory


def parse(path: Path) -> Inventory:
    """Parse the inventory at ``path``, which may have no hosts yet.

    Raises:
        InventoryError: it does not exist, or Ansible cannot parse all of it.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100  (resolve() would follow links, Ansible does not)
    if not path.exists():
        raise _missing(path)
    return Inventory(path, _Reader(path))


def desired(host: Host) -> Desired:
    """What ``host`` should be.

    Raises:
        DesiredStateError: variables that are missing, misspelt or wrong.
    """
    return desired_states([host])[host.name]


def desired_states(hosts: Iterable[Host]) -> dict[str, Desired]:
    """What each host should be, by name.

    Raises:
        DesiredStateError: everything that is wrong with any of the hosts.
    """
    states: dict[str, Desired] = {}
    found: dict[Problem, list[str]] = {}
    for host in hosts:
        values, problems = declared().resolve(host.variables)
        problems += [
            Problem(name, f"cannot be resolved: {w}") for name, w in host.unresolved.items()
        ]
        problems += _too_small(values) + _wrong_proxies(values)
        problems += [
            Problem("nvidia_mig_layout", words)
            for words in mig.problems(values["nvidia_mig_layout"], values["nvidia_mig_config"])
        ]
        for problem in problems:
            found.setdefault(problem, []).append(host.name)
        states[host.name] = _desired(_with_proxies(values))
    if found:
        raise _wrong(found)
    return states


@cache
def declared() -> Specs:
    """The variables that the roles declare."""
    roles = ansible_env.playbooks_dir() / "roles"
    found = specs.load(roles)
    missing = sorted(set(VARIABLE_OF.values()) - set(found.variables))
    if missing:
        raise PlaybookError(
            f"The roles in {roles} do not declare {', '.join(missing)}.", "Reinstall gpuhost."
        )
    return found


def _desired(values: Mapping[str, Any]) -> Desired:
    state: dict[str, Any] = {}
    for each in fields(Desired):
        value = values[VARIABLE_OF[each.name]]
        if each.name == "registry_logins":
            # Whatever shows or keeps a Desired must not get hold of a password.
            value = [Login(one["registry"], one["username"]) for one in value]
        if value is None or (value == "" and each.default is None):
            continue
        state[each.name] = tuple(value) if isinstance(value, list) else value
    return Desired(**state)


def _with_proxies(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, with the proxies among dockerd's keys, as the role docker_ce merges them."""
    proxies = {key: values[name] for key, name in PROXIES.items() if values[name]}
    if not proxies:
        return dict(values)
    config = values["docker_ce_daemon_config"]
    return {
        **values,
        "docker_ce_daemon_config": {**config, "proxies": proxies | config.get("proxies", {})},
    }


def _wrong_proxies(values: Mapping[str, Any]) -> list[Problem]:
    found = []
    for name in (PROXIES["http-proxy"], PROXIES["https-proxy"]):
        url = values[name]
        if "@" in url:
            # Everybody on the host may read dockerd's file. Not shown: there may be a password.
            what = "has a user in it, whose password everybody on the host could read"
            found.append(Problem(name, f"{what}: give a proxy that wants no login"))
        elif url and not _is_web_url(url):
            what = f"is {url!r}: it must be a URL, such as http://proxy.example.com:3128"
            found.append(Problem(name, what))
    return found


def _is_web_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _too_small(values: Mapping[str, Any]) -> list[Problem]:
    return [
        Problem(name, f"is {values[name]}: it must be {least} or more")
        for name, least in AT_LEAST.items()
        if values[name] is not None and values[name] < least
    ]


def _wrong(found: Mapping[Problem, Sequence[str]]) -> DesiredStateError:
    lines = [
        f"  {_shortened(hosts)}: {problem.variable} {problem.what}"
        for problem, hosts in found.items()
    ]
    count = "A variable is" if len(found) == 1 else f"{len(found)} variables are"
    return DesiredStateError(
        "\n".join([f"{count} wrong:", *lines]),
        "Correct the inventory; every variable is described in its role's README.md.",
    )


def _missing(path: Path) -> InventoryError:
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    return InventoryError(
        f"There is no inventory {path}.{did_you_mean(path.name, beside)}",
        "Name an existing file or folder with -i PATH.",
    )


def _shortened(names: Sequence[str]) -> str:
    if len(names) <= SHOWN_NAMES:
        return ", ".join(names)
    return f"{', '.join(names[:SHOWN_NAMES])} … ({len(names)} in all)"


class _Reader:
    """The process that has the inventory parsed; it ends with this object."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  (closed by _end)
        self._process = subprocess.Popen(
            # -P: neither this folder nor the current one may shadow what Ansible imports.
            [sys.executable, "-P", READER, path, ansible_env.playbooks_dir()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env=os.environ | ansible_env.variables(),
            text=True,
            encoding="utf-8",
        )
        weakref.finalize(self, _end, self._process, self._complaints)

    def ask(self, **question: Any) -> Any:
        """The answer to one question; see :mod:`gpuhost.inventory_reader`."""
        with suppress(BrokenPipeError):  # it has ended, and there will be no answer
            print(json.dumps(question), file=self._process.stdin, flush=True)
        return self.answer()

    def answer(self) -> Any:
        """The next answer.

        Raises:
            InventoryError: Ansible objects, or ended without an answer.
        """
        line = next(iter(self._process.stdout or ()), "")
        answer = json.loads(line) if line else {"error": "Ansible ended without an answer."}
        if "error" in answer:
            raise self._refused(answer["error"])
        return answer

    def reasons(self) -> list[str]:
        """What Ansible has complained about so far."""
        self._complaints.seek(0)
        return reasons_in(self._complaints.read().decode(errors="replace"), self._path)

    def _refused(self, error: str) -> InventoryError:
        reasons = self.reasons() or [error]
        vault = any("vault" in reason.lower() for reason in reasons)
        return InventoryError(
            "\n  ".join([f"Ansible cannot read the inventory {self._path}:", *reasons]),
            "Set ANSIBLE_VAULT_PASSWORD_FILE to the file with the vault's password."
            if vault
            else f"Try: ansible-inventory -i {self._path} --list",
        )


def _end(process: subprocess.Popen[str], complaints: IO[bytes]) -> None:
    for stream in (process.stdin, process.stdout, complaints):
        if stream is not None:
            with suppress(BrokenPipeError):
                stream.close()
    try:
        process.wait(FAREWELL_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def reasons_in(complaints: str, path: Path) -> list[str]:
    """Why Ansible refused the inventory at ``path``, told from its standard error.

    Each reason once, with its place in a file or a script's own words. Of the
    plugins that tried in vain only those that the file was meant for are heard.
    """
    blocks = COMPLAINT.split(complaints)[1:]
    by_plugin = {match["name"] for match in map(OF_PLUGIN.match, blocks) if match}
    deaf_to = {"ini"} if path.suffix in YAML_SUFFIXES else set()
    deaf_to = by_plugin - {"script"} if "script" in by_plugin else deaf_to
    reasons: dict[str, str] = {}
    for block in blocks:
        plugin = OF_PLUGIN.match(block)
        if plugin and plugin["name"] in deaf_to:
            continue
        words = block[plugin.end() if plugin else 0 :].splitlines()[0]
        if not words.startswith(SUMMARIES) and not reasons.get(words, "").startswith("/"):
            reasons[words] = _in_full(words.removeprefix(PREAMBLE), block)
    return list(reasons.values())


def _in_full(reason: str, block: str) -> str:
    place, script = PLACE.search(block), SCRIPTS_WORDS.search(block)
    return f"{place[1]}: {reason}" if place else f"{reason} {script[1]}" if script else reason
