"""A host as an installer leaves it, taken from its address into the inventory, and proven."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.lab import Lab, Ran

from gpuhost import lab as room
from gpuhost.lab import keys
from gpuhost.lab.inside import recorded
from gpuhost.onboard.host_key import HostKey

NAME = "lab-31"
COMMENTED = """\
# Written by hand.
gpu_hosts:
  vars: {variables}
  hosts: {{}}  # none yet
"""


@dataclass(frozen=True)
class Bare:
    """A host that no inventory has, and an inventory that it is to go to."""

    lab: Lab
    inventory: Path
    key: Path
    address: str
    password: str
    fingerprint: str

    def words(self, *more: str) -> list[str]:
        return [
            *("onboard", NAME, "--address", self.address, "--yes", "-i", str(self.inventory)),
            *("--ask-password", "--install-key", str(self.key)),
            *("--fingerprint", self.fingerprint, *more),
        ]

    def onboard(self, *more: str, password: str | None = None) -> Ran:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GPUHOST_PASSWORD", self.password if password is None else password)
            return self.lab.run(*self.words(*more))

    @property
    def hosts(self) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load(self.text)["gpu_hosts"]["hosts"]
        return found

    @property
    def text(self) -> str:
        return (self.inventory / "hosts.yml").read_text()

    @property
    def checkpoint(self) -> Path:
        return self.lab.project / "state" / "gpuhost" / "onboard" / f"{NAME}.json"


@pytest.fixture(scope="module")
def bare(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    lab.up(NAME, "--gpus", "2", "--unlisted")
    record = recorded(NAME)
    folder = tmp_path_factory.mktemp("onboard")
    (folder / "site").mkdir()
    lab_vars = yaml.safe_load((lab.project / "inventories/lab/hosts.yml").read_text())["lab"]
    variables = {
        **lab_vars["children"]["lab_debian12"]["vars"],
        "ansible_user": "ops",
        "docker_users_names": ["alice"],
    }
    flow = yaml.safe_dump(variables, default_flow_style=True, width=10**6).strip()
    (folder / "site" / "hosts.yml").write_text(COMMENTED.format(variables=flow))
    key = folder / "operator"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    kind, material, *_ = keys.public_half(keys.host_key(record)).read_text().split()
    yield Bare(
        lab,
        folder / "site",
        key.with_suffix(".pub"),
        record.address,
        room.password(record),
        HostKey(kind, material).fingerprint,
    )
    lab.ok("lab", "down", NAME)


def test_a_host_that_is_not_what_it_should_be_leaves_nothing_half_written(bare: Bare) -> None:
    text = bare.text
    wrong_key = bare.onboard("--fingerprint", f"SHA256:{'A' * 43}")
    assert (wrong_key.code, "Nothing was trusted" in wrong_key.stderr) == (3, True)
    assert not (bare.inventory / "known_hosts").exists()
    wrong_word = bare.onboard(password="wrong")
    assert (wrong_word.code, "with this password" in wrong_word.stderr) == (3, True)
    nobody = bare.lab.run(*bare.words())
    assert (nobody.code, "GPUHOST_PASSWORD" in nobody.stderr) == (2, True)
    taken = bare.lab.run(*bare.words("--group", "gpu_hots"))
    assert (taken.code, "Did you mean 'gpu_hosts'" in taken.stderr) == (2, True)
    nowhere = f"{bare.address.rpartition('.')[0]}.199"
    gone = bare.lab.run(*bare.words("--address", nowhere))
    assert (gone.code, "cannot be reached" in gone.stderr) == (3, True)
    assert bare.text == text
    keys_there = bare.lab.exec(NAME, ["find", "/home/ops", "-name", "authorized_keys"])
    assert keys_there == ""


def test_sudo_that_asks_is_said_and_can_be_allowed_for_good(bare: Bare) -> None:
    text = bare.text
    bare.lab.exec(NAME, ["mv", "/etc/sudoers.d/gpuhost-lab", "/root/ops.sudoers"])
    bare.lab.exec(NAME, ["usermod", "--append", "--groups", "sudo", "ops"])
    refused = bare.onboard()
    assert (refused.code, "--passwordless-sudo" in refused.stderr) == (1, True)
    assert bare.text == text
    owner = bare.lab.exec(NAME, ["stat", "-c", "%U %a", "/home/ops/.ssh/authorized_keys"])
    assert owner == "ops 600\n"


def until_stage(bare: Bare, words: str, *more: str) -> str:
    """Run it until it says the words, and kill it there; what it said."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gpuhost", *bare.words(*more)],
        cwd=bare.lab.project,
        env={**os.environ, "GPUHOST_PASSWORD": bare.password},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    said = ""
    with process:
        for line in process.stderr or ():
            said += line
            if words in line:
                os.killpg(process.pid, signal.SIGKILL)
                break
        process.wait(60)
    assert words in said
    assert process.returncode == -signal.SIGKILL
    return said


def test_killed_after_the_entry_it_goes_on_to_a_proven_host(bare: Bare) -> None:
    until_stage(bare, f"is in {bare.inventory}", "--passwordless-sudo")
    assert set(bare.hosts) == {NAME}
    # The host's login by password is not needed any more.
    bare.lab.exec(NAME, ["rm", "/etc/ssh/sshd_config.d/00-gpuhost-lab-password.conf"])
    bare.lab.exec(NAME, ["systemctl", "restart", "ssh"])
    began = time.monotonic()
    done = bare.lab.run(*bare.words("--json"))
    assert done.code == 0, done.stderr
    assert f"{NAME}: goes on after: host key, login, access, look, entry" in done.stderr
    (host,) = done.document["hosts"]
    results = {result["check"]: result["verdict"] for result in host["checks"]}
    assert host["verdict"] == "PASS"
    assert results["gpu.model"] == "PASS"
    assert results["gpu.count"] == "PASS"
    assert bare.hosts[NAME]["gpuhost_gpu_count"] == 2
    assert "A100" in bare.hosts[NAME]["gpuhost_gpu_model"]
    assert bare.text.startswith("# Written by hand.\n")
    assert time.monotonic() - began < 600


def test_other_commands_know_the_host_from_then_on_and_again_changes_nothing(bare: Bare) -> None:
    text = bare.text
    plan = bare.lab.run("plan", NAME, "-i", str(bare.inventory))
    assert (plan.code, "nothing to change" in plan.stdout) == (0, True), plan.stderr
    again = bare.lab.run(*bare.words())
    assert again.code == 0, again.stderr
    assert "changed" not in again.stderr
    assert bare.text == text


def test_a_host_key_that_changes_later_is_refused(bare: Bare) -> None:
    known_hosts = bare.inventory / "known_hosts"
    kept = known_hosts.read_text()
    kind, material, *_ = bare.key.read_text().split()
    known_hosts.write_text(f"{bare.address} {kind} {material}\n")
    ran = bare.lab.run("verify", NAME, "-i", str(bare.inventory), "--json", "--quiet")
    assert ran.code == 3
    assert "host key" in ran.document["hosts"][0]["error"]["message"].lower()
    known_hosts.write_text(kept)
