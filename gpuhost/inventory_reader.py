"""The part of reading an inventory that only Ansible's own code can do: a program of its own.

Run by :mod:`gpuhost.inventory` in a process that it keeps while it has
questions, so that importing Ansible (0.3 s of CPU) is paid once a command and
Ansible's global state stays out of gpuhost's process. Questions and answers
are JSON, one a line; the first answer comes unasked:

    {"hosts": [name…], "groups": {name: [host…]}}
    {"patterns": [pattern…], "prefixes": [prefix…]}  →  {"selected": [host…], "unknown": [pattern…]}
    {"newcomer": name, "group": group, "folder": path, "prefixes": […]}  →  as for patterns
    {"host": name, "roles": [role…], "facts": {…}}   →  {"declared": {role: …}, "unresolved": {…}}
    anything that Ansible objects to                 →  {"error": its words}

A host is {"name", "address", "variables": {…}, "unresolved": {variable: why}},
with the variables that begin with one of the prefixes, templates resolved. What
a role declares is its variable ``__ROLE_declared``, as its tasks would see it on
a host with these facts.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from ansible import constants
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager, split_host_pattern
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.inventory import detect_range, expand_hostname_range
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar
from ansible.utils.display import Display
from ansible.vars.manager import VariableManager

Answer = dict[str, Any]


class Reader:
    """One parsed inventory."""

    def __init__(self, path: str, basedir: str) -> None:
        init_plugin_loader()
        self._roles = Path(basedir, "roles")
        self._loader = DataLoader()
        self._loader.set_basedir(basedir)
        _load_vault_secrets(self._loader)
        self._manager = InventoryManager(loader=self._loader, sources=[path])
        self._variables = VariableManager(loader=self._loader, inventory=self._manager)

    def names(self) -> Answer:
        """Every host and every group, in the inventory's order."""
        return {
            "hosts": list(self._manager.hosts),
            "groups": {
                name: [host.name for host in group.get_hosts()]
                for name, group in self._manager.groups.items()
            },
        }

    def select(self, patterns: list[str], prefixes: list[str]) -> Answer:
        """The hosts that Ansible takes the patterns for, with their variables."""
        unknown = [pattern for pattern in patterns if not is_whole(pattern)]
        terms = [part for term in split_host_pattern(patterns) for part in self._expand(term)]
        unknown += [term for term in terms if not self._is_known(term)]
        if unknown or not terms:
            return {"selected": [], "unknown": unknown}
        hosts = self._manager.get_hosts(terms)
        return {"selected": [self._host(h, tuple(prefixes)) for h in hosts], "unknown": []}

    def imagine(self, newcomer: str, group: str, folder: str, prefixes: list[str]) -> Answer:
        """The host that would be if a file in ``folder`` added it to the group."""
        self._manager.add_host(newcomer, group)
        host = self._manager.get_host(newcomer)
        host.set_variable("inventory_dir", folder)
        return {"selected": [self._host(host, tuple(prefixes))], "unknown": []}

    def declare(self, host: str, roles: list[str], facts: dict[str, Any]) -> Answer:
        """What each of the roles declares for a host with these facts."""
        found: Answer = {"declared": {}, "unresolved": {}}
        # In a play with all these roles, each sees the others' defaults.
        inventory: dict[str, Any] = {}
        for path in sorted(self._roles.glob("*/defaults/main.yml")):
            inventory |= self._yaml(path)
        inventory |= self._variables.get_vars(host=self._manager.get_host(host))
        for role in roles:
            try:
                found["declared"][role] = self._declared(role, inventory, facts)
            except AnsibleError as error:
                found["unresolved"][role] = words(error)
        return found

    def _declared(self, role: str, inventory: dict[str, Any], facts: dict[str, Any]) -> Any:
        folder = self._roles / role
        context = {
            **inventory,
            "ansible_facts": facts,
            "ansible_search_path": [str(folder)],
            # A role's own variables weigh most.
            **self._yaml(folder / "vars" / "main.yml"),
        }
        if f"__{role}_declared" not in context:
            return {}
        templar = Templar(loader=self._loader, variables=context)
        for name in plain(templar.template(context.get(f"__{role}_systems", []))):
            if (folder / "vars" / name).is_file():
                context |= self._yaml(folder / "vars" / name)
                break
        templar = Templar(loader=self._loader, variables=context)
        return plain(templar.template(context[f"__{role}_declared"]))

    def _yaml(self, path: Path) -> dict[str, Any]:
        if not path.is_file():
            return {}
        return self._loader.load_from_file(str(path), trusted_as_template=True) or {}

    def _expand(self, term: str) -> list[str]:
        # In an inventory web-[1:3] stands for hosts; in a pattern Ansible would slice a group.
        sign = term[0] if term.startswith("!") else ""
        name = term.removeprefix(sign)
        if self._is_known(term) or name.startswith(("~", "&")) or not detect_range(name):
            return [term]
        try:
            return [f"{sign}{host}" for host in expand_hostname_range(name)]
        except (AnsibleError, ValueError):
            return [term]

    def _is_known(self, term: str) -> bool:
        try:
            found = self._manager.get_hosts(term.lstrip("!&"))
        except AnsibleError:
            return False
        # Ansible makes up a localhost that is asked for and that nobody declared.
        return all(host.name in self._manager.hosts for host in found)

    def _host(self, host: Any, prefixes: tuple[str, ...]) -> Answer:
        context = self._variables.get_vars(host=host)
        templar = Templar(loader=self._loader, variables=context)
        wanted = [name for name in context if name.startswith(prefixes)]
        resolved: dict[str, Any] = {}
        unresolved: dict[str, str] = {}
        for name in ["ansible_host", *wanted]:
            if name not in context:
                continue
            try:
                resolved[name] = plain(templar.template(context[name]))
            except AnsibleError as error:
                unresolved[name] = words(error)
        address = resolved.pop("ansible_host", host.name)
        return {
            "name": host.name,
            "address": str(address),
            "variables": resolved,
            "unresolved": unresolved,
        }


def is_whole(pattern: str) -> bool:
    """Whether Ansible makes something of every character of the pattern.

    Where it does not, it drops some: ``~[`` would be all hosts, and so would an empty pattern.
    """
    separators = re.compile(r"[\s:,]")
    name = pattern.lstrip("!&")
    terms = split_host_pattern(name)
    return bool(terms) and separators.sub("", name) == separators.sub("", "".join(terms))


def plain(value: Any) -> Any:
    """Ansible's tagged and lazy values as what they stand for."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value)


def words(error: BaseException) -> str:
    """What Ansible says about an error, on one line."""
    return " ".join(str(error).split())


def refusal(error: AnsibleError) -> Answer:
    """The answer for an error; Ansible tells the place of its root on standard error."""
    root: BaseException = error
    while isinstance(root.__cause__ or root.__context__, AnsibleError):
        root = root.__cause__ or root.__context__ or root
    Display().error(root)
    return {"error": words(root)}


def _load_vault_secrets(loader: DataLoader) -> None:
    from ansible.cli import CLI  # noqa: PLC0415  (it parses the locale and the terminal)

    secrets = CLI.setup_vault_secrets(
        loader, vault_ids=constants.DEFAULT_VAULT_IDENTITY_LIST, auto_prompt=False
    )
    loader.set_vault_secrets(secrets)


def answers(reader: Reader, questions: Iterable[str]) -> Iterator[Answer]:
    """One answer for each question."""
    for question in questions:
        asked = json.loads(question)
        try:
            if "newcomer" in asked:
                yield reader.imagine(**asked)
            else:
                yield reader.declare(**asked) if "facts" in asked else reader.select(**asked)
        except AnsibleError as error:
            yield refusal(error)


def own_stdout() -> TextIO:
    """Standard output for the answers alone; what Ansible prints goes to standard error."""
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return channel


def main(path: str, basedir: str) -> None:
    """Answer until there are no more questions."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    channel = own_stdout()

    def say(answer: Answer) -> None:
        channel.write(json.dumps(answer) + "\n")
        channel.flush()

    try:
        reader = Reader(path, basedir)
    except AnsibleError as error:
        say(refusal(error))
        return
    say(reader.names())
    for answer in answers(reader, sys.stdin):
        say(answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
