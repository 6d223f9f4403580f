"""One lab host and the playbook provision.yml, run on it with plain ansible-playbook."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.lab import PROJECT, Lab

PLAYBOOKS = PROJECT / "playbooks"
DAEMON_JSON = "/etc/docker/daemon.json"


@dataclass(frozen=True)
class Play:
    """A play that ended: its output and the host's line of the recap."""

    output: str
    counts: Mapping[str, int]

    @property
    def changed(self) -> int:
        return self.counts["changed"]

    @property
    def is_good(self) -> bool:
        return not (self.counts["failed"] or self.counts["unreachable"])


@dataclass(frozen=True)
class Target:
    """One lab host, and the playbook provision.yml run on it."""

    lab: Lab
    name: str

    def command(self, variables: Mapping[str, Any], options: Sequence[str] = ()) -> list[str]:
        inventory = self.lab.project / "inventories" / "lab" / "hosts.yml"
        words = ["ansible-playbook", "-i", str(inventory), "-l", self.name, *options]
        return [*words, "-e", json.dumps(variables), str(PLAYBOOKS / "provision.yml")]

    @property
    def environment(self) -> dict[str, str]:
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        config = str(PLAYBOOKS / "ansible.cfg")
        return {**os.environ, "PATH": programs, "LC_ALL": "C.UTF-8", "ANSIBLE_CONFIG": config}

    def provision(self, *options: str, **variables: Any) -> Play:
        done = subprocess.run(
            self.command(variables, options),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        recap = done.stdout.partition("PLAY RECAP")[2]
        counts = {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", recap)}
        assert counts, done.stdout + done.stderr
        return Play(done.stdout, counts)

    def good(self, *options: str, **variables: Any) -> Play:
        play = self.provision(*options, **variables)
        assert play.is_good, play.output
        return play

    def killed_at(self, task: str, seconds: float) -> None:
        """Start provisioning and kill the controller outright soon after a task began."""
        log = self.lab.project / "killed.log"
        with log.open("w") as stream:
            play = subprocess.Popen(
                self.command({}), env=self.environment, stdout=stream, start_new_session=True
            )
        give_up = time.monotonic() + 300
        while f"{task}]" not in log.read_text():
            assert play.poll() is None, log.read_text()
            assert time.monotonic() < give_up, log.read_text()
            time.sleep(0.05)
        # Where exactly it is hit does not matter: the next run has to mend it everywhere.
        time.sleep(seconds)
        os.killpg(play.pid, signal.SIGKILL)
        play.wait()

    def run(self, *argv: str) -> str:
        return self.lab.exec(self.name, argv)

    @property
    def daemon_json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("cat", DAEMON_JSON))
        return found

    def write(self, path: str, text: str) -> None:
        self.lab.exec(self.name, ["tee", path], stdin=text)

    def version(self, package: str) -> str:
        return self.run("dpkg-query", "-W", "-f", "${Version}", package)

    @property
    def held(self) -> set[str]:
        return {name.partition(":")[0] for name in self.run("apt-mark", "showhold").split()}

    @property
    def boot_id(self) -> str:
        return self.run("cat", "/proc/sys/kernel/random/boot_id")

    @property
    def loaded(self) -> str:
        return self.run("cat", "/sys/module/nvidia/version").strip()
