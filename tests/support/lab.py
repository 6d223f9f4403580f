"""A lab for tests: gpuhost's commands typed in a project, and the hosts seen past gpuhost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import testinfra
import yaml

from gpuhost import lab as room

PROJECT = Path(__file__).parents[2]
# What shows that a host has not been rebooted, and still has the driver that it came with.
NOUVEAU = ("sh", "-c", "lsmod | grep nouveau; cat /proc/sys/kernel/random/boot_id")
SSH_CONFIG = """\
Host {host}
  HostName {address}
  User {user}
  IdentityFile {key}
  IdentitiesOnly yes
  UserKnownHostsFile {known_hosts}
  StrictHostKeyChecking yes
  ControlMaster auto
  ControlPath {sockets}/%n.socket
  ControlPersist 30
"""


@dataclass(frozen=True)
class Ran:
    """A gpuhost command that ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        """The JSON on stdout."""
        found: dict[str, Any] = json.loads(self.stdout)
        return found


@dataclass(frozen=True)
class Verified:
    """What ``gpuhost verify`` said of one host: exit code, the host's report, results by check."""

    code: int
    host: dict[str, Any]
    results: dict[str, dict[str, Any]]

    def verdict(self, check: str) -> str:
        return str(self.results[check]["verdict"])

    @property
    def bad(self) -> dict[str, str]:
        """Every check that did not pass and was not skipped, with its verdict and summary."""
        return {
            name: f"{result['verdict']}: {result['summary']}"
            for name, result in self.results.items()
            if result["verdict"] not in ("PASS", "SKIP")
        }


@dataclass(frozen=True)
class Lab:
    """``run`` types a gpuhost command in the lab's project folder."""

    project: Path

    def run(self, *words: str, timeout_s: float = 900, stdin: str = "") -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "gpuhost", *words],
            cwd=self.project,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def ok(self, *words: str) -> Ran:
        """Run a command that must succeed."""
        ran = self.run(*words)
        assert ran.code == 0, f"gpuhost {' '.join(words)}: {ran.code}\n{ran.stdout}\n{ran.stderr}"
        return ran

    def exec(
        self, host: str, argv: Sequence[str], stdin: str | None = None, timeout_s: float = 120
    ) -> str:
        """Run a command as root in a host, past gpuhost's engine and ssh."""
        return room.execute(host, argv, stdin=stdin, timeout_s=timeout_s)

    def up(self, name: str, *options: str) -> str:
        self.ok("lab", "up", name, *options)
        return name

    def verify(self, host: str, *options: str) -> Verified:
        ran = self.run("verify", host, "--json", "--quiet", *options)
        assert ran.stdout.startswith("{"), ran.stderr
        (report,) = ran.document["hosts"]
        return Verified(ran.code, report, {r["check"]: r for r in report["checks"]})

    @contextmanager
    def variables(self, host: str, values: Mapping[str, object]) -> Iterator[None]:
        """Set variables of one host in the lab's inventory for a while."""
        folder = self.project / "inventories/lab/host_vars"
        folder.mkdir(exist_ok=True)
        path = folder / f"{host}.yml"
        path.write_text(yaml.safe_dump(dict(values)))
        try:
            yield
        finally:
            path.unlink()

    def testinfra(self, host: str) -> testinfra.host.Host:
        """The host through ssh and sudo alone, without gpuhost and without Ansible."""
        content = yaml.safe_load((self.project / "inventories/lab/hosts.yml").read_text())
        hosts = {
            name: variables
            for release in content["lab"]["children"].values()
            for name, variables in release["hosts"].items()
        }
        config = self.project / f"{host}.ssh"
        config.write_text(
            SSH_CONFIG.format(
                host=host,
                address=hosts[host]["ansible_host"],
                user=content["lab"]["vars"]["ansible_user"],
                key=content["lab"]["vars"]["ansible_ssh_private_key_file"],
                known_hosts=self.project / "inventories/lab/known_hosts",
                sockets=self.project,
            )
        )
        return testinfra.get_host(f"ssh://{host}", ssh_config=str(config), sudo=True)
