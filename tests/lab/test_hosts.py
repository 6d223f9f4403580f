"""Lab hosts themselves: bare machines that boot, answer, reboot, crash and go without a trace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.ground import own_lab, silent

from gpuhost import lab as room
from gpuhost.errors import LabError
from gpuhost.lab import cgroups, host, settings
from gpuhost.lab.state import Store

PROJECT = Path(__file__).parents[2]
RELEASES = {"debian12": "bookworm", "debian13": "trixie"}
MODULE_LOADING = 1 << 16
OPTIONS = {"gpus": 2, "model": "A100"}


def state() -> Path:
    """The folder of this module's lab."""
    return settings.load().state


def up(*names: str, release: str = "debian12") -> None:
    room.up(names, **OPTIONS, release=release, project=state() / "project", progress=silent)  # type: ignore[arg-type]


def ssh(name: str, *command: str) -> str:
    done = subprocess.run(
        [*room.ssh_argv(name), "-o", "BatchMode=yes", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def boot_id(name: str) -> str:
    return room.execute(name, ["cat", "/proc/sys/kernel/random/boot_id"])


def states() -> dict[str, str]:
    return {found.name: found.state for found in room.list_hosts()}


def kill(group: str, name: str) -> None:
    """End the processes of a part of a host's control group as the kernel would, out of memory."""
    where = settings.load()
    found = cgroups.processes(cgroups.mount_point() / where.bridge / name / group)
    for pid in found:
        os.kill(pid, signal.SIGKILL)


def traces() -> list[str]:
    """What a lab of these tests leaves on the machine: processes, mounts, links and groups."""
    where = settings.load()
    processes = [
        f"process {path.parent.name}"
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if _mentions(path, str(state()))
    ]
    mounts = [
        line
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if str(state()) in line
    ]
    links = [
        path.name
        for path in Path("/sys/class/net").iterdir()
        if path.name == where.bridge or path.name.startswith(f"vb-{where.machine('')}")
    ]
    groups = [path for path in cgroups.everywhere(where.bridge) if Path(path).exists()]
    return [*processes, *mounts, *links, *groups]


def _mentions(cmdline: Path, text: str) -> bool:
    try:
        return text in cmdline.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture(scope="module", autouse=True)
def ground() -> Iterator[None]:
    """A lab beside all others, without a host yet."""
    with own_lab():
        yield


@pytest.fixture(scope="module", params=RELEASES)
def bare(request: pytest.FixtureRequest) -> str:
    """A host of each release, as a server is when it was just installed."""
    release: str = request.param
    name = f"bare-{release}"
    up(name, release=release)
    return name


@pytest.fixture
def victim() -> Iterator[str]:
    """A host to be crashed."""
    up("victim")
    yield "victim"
    if "victim" in states():
        room.down(["victim"], silent)


def test_the_operator_logs_in_with_the_host_key_checked_and_becomes_root(bare: str) -> None:
    assert "StrictHostKeyChecking=yes" in room.ssh_argv(bare)
    assert ssh(bare, "hostname; id -un; sudo -n id -un").split() == [bare, "ops", "root"]


def test_a_host_that_shows_another_key_is_refused(bare: str, tmp_path: Path) -> None:
    known_hosts = tmp_path / "known_hosts"
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    address = next(found.address for found in room.list_hosts() if found.name == bare)
    known_hosts.write_text(f"{address} {key.with_suffix('.pub').read_text()}")
    argv = [
        f'UserKnownHostsFile="{known_hosts}"' if word.startswith("UserKnownHostsFile") else word
        for word in room.ssh_argv(bare)
    ]
    done = subprocess.run([*argv, "true"], capture_output=True, text=True, check=False)
    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr


def test_a_host_is_the_release_that_was_asked_for(bare: str) -> None:
    release = room.execute(bare, ["cat", "/etc/os-release"])
    assert f"VERSION_CODENAME={RELEASES[bare.removeprefix('bare-')]}" in release


def test_a_bare_host_boots_without_a_failed_unit(bare: str) -> None:
    room.execute(bare, ["systemctl", "is-system-running", "--wait"])


def test_a_bare_host_has_nothing_of_what_gpuhost_installs(bare: str) -> None:
    listed = room.execute(bare, ["dpkg-query", "--show", "--showformat", "${Package}\n"]).split()
    assert not [name for name in listed if "docker" in name or "nvidia" in name]


def test_a_host_installs_packages_from_the_lab_alone(bare: str) -> None:
    room.execute(bare, ["apt-get", "update", "--error-on=any"])
    sites = room.execute(bare, ["apt-get", "indextargets", "--format", "$(SITE)"]).split()
    assert {urlsplit(site).hostname for site in sites} == {settings.load().address}
    room.execute(bare, ["apt-get", "install", "--yes", "xz-utils"])
    room.execute(bare, ["xz", "--version"])


def test_a_host_has_no_way_out_of_the_lab(bare: str) -> None:
    assert "default" not in room.execute(bare, ["ip", "route"])


def test_containers_find_version_2_cgroups_and_a_plain_file_system(bare: str) -> None:
    kinds = room.execute(
        bare, ["stat", "--file-system", "--format=%T", "/sys/fs/cgroup", "/var/lib/docker"]
    )
    cgroup, docker = kinds.split()
    assert cgroup == "cgroup2fs"
    assert docker != "overlayfs"


def test_a_host_cannot_load_modules_into_this_machines_kernel(bare: str) -> None:
    capabilities = ["grep", "CapBnd", "/proc/self/status"]
    service = ["systemd-run", "--quiet", "--pipe", "--wait", *capabilities]
    for command in (capabilities, service):
        granted = int(room.execute(bare, command).split()[1], 16)
        assert not granted & MODULE_LOADING


def test_a_reboot_takes_seconds_and_gives_a_new_boot_id(bare: str) -> None:
    before = boot_id(bare)
    started = time.monotonic()
    room.reboot(bare)
    assert time.monotonic() - started < 15
    assert boot_id(bare) != before


def test_a_reboot_that_the_operator_asks_for_comes_back_the_same_way(bare: str) -> None:
    before = boot_id(bare)
    ssh(bare, "sudo systemctl --no-block reboot")
    assert host.await_condition(lambda: new_boot(bare, before), lambda: True, 30)
    record = Store(state()).host(bare)
    assert record
    host.await_login(state(), record)


def test_a_host_reboots_although_a_command_still_runs_in_it(bare: str) -> None:
    before = boot_id(bare)
    with ThreadPoolExecutor() as pool:
        running = pool.submit(room.attempt, bare, ["sleep", "1234"])
        room.execute(bare, ["sh", "-c", "until pgrep -f '^sleep 1234'; do sleep 0.1; done"])
        room.reboot(bare)
        assert running.result(timeout=10).returncode != 0
    assert boot_id(bare) != before


def new_boot(name: str, before: str) -> bool:
    try:
        return boot_id(name) != before
    except LabError:
        return False


def test_a_command_that_fails_is_an_error_with_its_own_words(bare: str) -> None:
    with pytest.raises(LabError, match="ended with 3: no luck"):
        room.execute(bare, ["sh", "-c", "echo no luck >&2; exit 3"])


def test_a_command_gets_its_input(bare: str) -> None:
    assert room.execute(bare, ["cat"], stdin="a\nb") == "a\nb"


def test_a_command_that_hangs_is_ended_inside_the_host(bare: str) -> None:
    with pytest.raises(LabError, match="did not end"):
        room.execute(bare, ["sleep", "1234"], timeout_s=0.5)
    assert room.attempt(bare, ["pgrep", "-f", "^sleep 1234"]).returncode == 1


def test_bringing_a_running_host_up_again_leaves_it_alone(bare: str) -> None:
    before = boot_id(bare)
    up(bare, release=bare.removeprefix("bare-"))
    assert boot_id(bare) == before


def test_a_powered_off_host_comes_back_with_its_files(victim: str) -> None:
    room.execute(victim, ["sh", "-c", "echo kept > /root/note; echo kept > /var/lib/docker/note"])
    room.power_off(victim)
    assert states()[victim] == "off"
    up(victim)
    assert room.execute(victim, ["cat", "/root/note", "/var/lib/docker/note"]) == "kept\nkept\n"


@pytest.mark.parametrize("group", ["supervisor", "machine/supervisor", ""])
def test_a_killed_host_is_off_and_can_be_brought_up_again(victim: str, group: str) -> None:
    kill(group, victim)
    assert host.await_condition(lambda: states()[victim] == "off", lambda: True, 5)
    up(victim)
    assert ssh(victim, "hostname") == victim


@pytest.mark.parametrize("group", ["supervisor", "machine/supervisor", ""])
def test_a_killed_host_can_be_removed(victim: str, group: str) -> None:
    root = (state() / "hosts" / victim / "root").stat()
    kill(group, victim)
    room.down([victim], silent)
    assert victim not in states()
    assert not [trace for trace in traces() if victim in trace]
    assert not (host.LOCKS / f"inode-{root.st_dev}:{root.st_ino}").exists()


def test_a_host_whose_making_was_interrupted_is_made_anew(victim: str) -> None:
    store = Store(state())
    record = store.host(victim)
    assert record is not None
    host.stop(record)
    path = state() / "hosts" / f"{victim}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "complete": False}))
    (record.part("upper") / "etc" / "hostname").unlink()
    up(victim)
    assert ssh(victim, "hostname") == victim


def test_a_host_from_before_a_reboot_of_the_machine_can_be_brought_up_and_removed(
    victim: str,
) -> None:
    # What such a reboot leaves: files and records, no processes, mounts or links.
    store = Store(state())
    record = store.host(victim)
    assert record is not None
    host.stop(record)
    path = state() / "hosts" / f"{victim}.json"
    fields = json.loads(path.read_text())
    fields["holdings"]["boot_id"] = "an earlier boot"
    path.write_text(json.dumps(fields))
    assert states()[victim] == "off"
    up(victim)
    assert ssh(victim, "hostname") == victim
    path.write_text(json.dumps(fields))
    host.stop(record)
    room.down([victim], silent)
    assert not Path(record.folder).exists()


def test_two_labs_brought_up_at_once_take_turns() -> None:
    script = (
        "import sys, pathlib; from gpuhost import lab; lab.up([sys.argv[1]], gpus=2, model='A100',"
        " release='debian12', project=pathlib.Path(sys.argv[2]), progress=print)"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, name, state() / "project"],
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
        )
        for name in ("twin-a", "twin-b")
    ]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    inventory = (state() / "project" / "inventories" / "lab" / "hosts.yml").read_text()
    assert "twin-a:" in inventory
    assert "twin-b:" in inventory
    assert ssh("twin-a", "getent hosts nvcr.io").split()[0] == settings.load().address
    room.down(["twin-a", "twin-b"], silent)


def test_a_lab_taken_down_leaves_nothing_on_the_machine(victim: str) -> None:
    assert traces()
    project = state() / "project" / "inventories" / "lab"
    assert victim in (project / "hosts.yml").read_text()
    room.down_all(silent)
    assert traces() == []
    assert not project.exists()
    assert room.list_hosts() == ()
    room.down_all(silent)


def test_taking_the_last_host_down_takes_the_servers_and_the_network_with_it() -> None:
    room.down_all(silent)
    up("last")
    room.down(["last"], silent)
    assert traces() == []


def test_removing_a_host_that_is_not_there_names_those_that_are(victim: str) -> None:
    with pytest.raises(LabError) as caught:
        room.down(["victin"], silent)
    assert victim in caught.value.message
