"""A host as the plan compares it: its evidence by path and by package, and what is declared."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gpuhost.checks.facts import Facts
from gpuhost.declared import DISTRIBUTIONS, Declarations, Declared
from gpuhost.model import Desired
from gpuhost.parse.apt import Policy, parse_candidates
from gpuhost.parse.docker import parse_daemon_json
from gpuhost.parse.errors import ParseError
from gpuhost.plan.diff import text_diff
from gpuhost.probe.schema import ConfigFile, Package, SigningKey, Unit

FILE_MODE = "0644"
APT = "apt-cache"
DAEMON_JSON = "/etc/docker/daemon.json"


@dataclass(frozen=True)
class Host:
    """One host and what it should be. What could not be read raises SectionMissingError."""

    facts: Facts
    declarations: Declarations

    @property
    def desired(self) -> Desired:
        """What the inventory declares."""
        return self.facts.desired

    def declared(self, role: str) -> Declared:
        """What a role declares; nothing where that can't be told."""
        return self.declarations.roles.get(role, Declared())

    @property
    def state(self) -> Mapping[str, Any]:
        """What the roles decide by."""
        return self.facts.preflight["state"]

    @property
    def installs_at_once(self) -> bool:
        """Whether the packages of all roles come in one transaction, as apt's do."""
        return DISTRIBUTIONS.get(self.facts.system["os_id"], ("", ""))[1] == "Debian"

    @cached_property
    def files(self) -> Mapping[str, ConfigFile]:
        """The files in the folders that the roles write to, by path."""
        return {file["path"]: file for file in self.facts.provisioning["files"]}

    @cached_property
    def keys(self) -> Mapping[str, SigningKey]:
        """The repositories' keys, by path."""
        return {key["path"]: key for key in self.facts.preflight["keys"]}

    @cached_property
    def packages(self) -> Mapping[str, Package]:
        """Everything that is installed, by name."""
        return {package["name"]: package for package in self.facts.provisioning["packages"]}

    @property
    def streams(self) -> Mapping[str, str]:
        """The streams of dnf's modules that are enabled, by module."""
        # Evidence that was kept by an earlier gpuhost does not have them.
        return self.facts.provisioning.get("streams", {})

    @property
    def persistenced_unit(self) -> str | None:
        """The unit that nvidia-persistenced's package brought; None where there is none."""
        # Evidence that was kept by an earlier gpuhost does not have it.
        text: str | None = self.facts.provisioning.get("persistenced_unit")
        return text

    @cached_property
    def candidates(self) -> Mapping[str, Policy]:
        """What the package manager would choose from, as far as it has read lists."""
        answer = self.facts.provisioning["candidates"]
        if answer is None:
            return {}
        program = answer["argv"][0]
        # Without lists, apt knows what is installed and nothing else; dnf answers nothing.
        if program == APT and not self.facts.provisioning["lists_read"]:
            return {}
        return parse_candidates(program, answer["stdout"])

    def has_file(self, path: str, content: str) -> bool:
        """Whether a file is exactly as it is declared."""
        file = self.files.get(path)
        digest = hashlib.sha256(content.encode()).hexdigest()
        return file is not None and file["sha256"] == digest and file["mode"] == FILE_MODE

    def diff(self, path: str, content: str) -> str:
        """How a file becomes as it is declared; empty where its present text is not known."""
        file = self.files.get(path)
        # Evidence that was kept by an earlier gpuhost does not have it.
        before = file.get("text") if file else None
        return "" if file and before is None else text_diff(path, before, content)

    @cached_property
    def daemon_config(self) -> Mapping[str, Any] | None:
        """What is in daemon.json; None if nothing can be merged into it."""
        try:
            return parse_daemon_json(self.facts.docker["daemon_json"]["text"] or "")
        except ParseError:
            return None


def unit(units: Sequence[Unit], name: str) -> Unit | None:
    """A unit that is installed, by name."""
    return next((u for u in units if u["name"] == name and u["load_state"] == "loaded"), None)
