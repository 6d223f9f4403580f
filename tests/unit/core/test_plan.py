"""A plan says what applying it changes: no more, no less, and of the right component."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.declared import applied, conforming_evidence, data, declarations, planned
from support.evidence import DRIVER, ENGINE_PACKAGE, healthy_desired

from gpuhost.plan import Change, HostPlan, plan
from gpuhost.probe.schema import Evidence

Spoil = Callable[[Evidence], None]

CUDA_SOURCE = "/etc/apt/sources.list.d/nvidia-cuda.sources"
DOCKER_SOURCE = "/etc/apt/sources.list.d/docker.sources"
DAEMON_JSON = "/etc/docker/daemon.json"
OTHER_RUNTIME = '"x" → "nvidia-container-runtime"'
DROP_IN = "/etc/systemd/system/nvidia-persistenced.service.d/gpuhost.conf"
TOOLKIT_KEY = "/etc/apt/keyrings/nvidia-container-toolkit.asc"


def words(host_plan: HostPlan) -> list[str]:
    return [f"{change.component}: {change.what}" for change in host_plan.changes]


# ------------------------------------------------------- one thing otherwise on a conforming host


def edit(path: str) -> Spoil:
    def spoil(evidence: Evidence) -> None:
        for file in data(evidence, "provisioning")["files"]:
            if file["path"] == path:
                file["sha256"] = "0" * 64

    return spoil


def chmod(path: str) -> Spoil:
    def spoil(evidence: Evidence) -> None:
        for file in data(evidence, "provisioning")["files"]:
            if file["path"] == path:
                file["mode"] = "0600"

    return spoil


def lose_file(path: str) -> Spoil:
    def spoil(evidence: Evidence) -> None:
        section = data(evidence, "provisioning")
        section["files"] = [file for file in section["files"] if file["path"] != path]

    return spoil


def add_file(path: str) -> Spoil:
    def spoil(evidence: Evidence) -> None:
        file = {"path": path, "mode": "0644", "changed_at": 0.0, "sha256": "1"}
        data(evidence, "provisioning")["files"].append(file)

    return spoil


def package(name: str, **values: Any) -> Spoil:
    def spoil(evidence: Evidence) -> None:
        section = data(evidence, "provisioning")
        found = [p for p in section["packages"] if p["name"] == name]
        section["packages"] = [p for p in section["packages"] if p["name"] != name]
        if values:
            before = found[0] if found else {"name": name, "held": False}
            section["packages"].append({**before, **values})

    return spoil


def key(path: str, **values: Any) -> Spoil:
    def spoil(evidence: Evidence) -> None:
        section = data(evidence, "preflight")
        if not values:
            section["keys"] = [k for k in section["keys"] if k["path"] != path]
        for each in section["keys"]:
            if each["path"] == path:
                each.update(values)

    return spoil


def state(**values: Any) -> Spoil:
    return lambda evidence: data(evidence, "preflight")["state"].update(values)


def leave_group(evidence: Evidence) -> None:
    data(evidence, "users")["docker_group"]["members"] = []


def daemon(text: str) -> Spoil:
    def spoil(evidence: Evidence) -> None:
        data(evidence, "docker")["daemon_json"]["text"] = text

    return spoil


def unit(section: str, name: str, **values: str) -> Spoil:
    def spoil(evidence: Evidence) -> None:
        for each in data(evidence, section)["units"]:
            if each["name"] == name:
                each.update(values)

    return spoil


def on_ubuntu(unit_text: str | None, drop_in: str | None = None) -> Spoil:
    """Ubuntu's nvidia-persistenced, which starts without persistence mode."""

    def spoil(evidence: Evidence) -> None:
        data(evidence, "system")["os_id"] = "ubuntu"
        section = data(evidence, "provisioning")
        section["persistenced_unit"] = unit_text
        if drop_in is not None:
            digest = hashlib.sha256(drop_in.encode()).hexdigest()
            file = {"path": DROP_IN, "mode": "0644", "changed_at": 0.0, "sha256": digest}
            section["files"].append(file)

    return spoil


REWRITTEN = f"driver: rewrite {DROP_IN} (it is not as it was written)"
UBUNTUS_UNIT = "[Service]\nExecStart=/usr/bin/nvidia-persistenced --verbose --no-persistence-mode\n"
OUR_DROP_IN = "[Service]\nExecStart=\nExecStart=/usr/bin/nvidia-persistenced --verbose\n"
RESTARTED = "driver: restart nvidia-persistenced.service (its drop-in changes)"


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (on_ubuntu(UBUNTUS_UNIT), [f"driver: write {DROP_IN}", RESTARTED]),
        (
            on_ubuntu(UBUNTUS_UNIT, "[Service]\n"),
            [REWRITTEN, RESTARTED],
        ),
        (on_ubuntu(UBUNTUS_UNIT, OUR_DROP_IN), []),
        (on_ubuntu(UBUNTUS_UNIT.replace(" --no-persistence-mode", "")), []),
    ],
)
def test_ubuntus_persistenced_is_planned_to_keep_the_driver_initialized(
    spoil: Spoil, expected: list[str]
) -> None:
    evidence = conforming_evidence()
    spoil(evidence)
    # The rest of this host is Debian's.
    found = [each for each in words(planned(evidence)) if "persistenced.service" in each]
    assert found == expected


def test_how_a_file_becomes_as_it_is_declared_is_told_line_by_line() -> None:
    evidence = conforming_evidence()
    for file in data(evidence, "provisioning")["files"]:
        if file["path"] == DOCKER_SOURCE:
            file |= {"sha256": "0", "text": "Types: deb\nURIs: http://ops:s3cret@old.example.com\n"}
    (change,) = planned(evidence).changes
    removed = [line for line in change.diff.splitlines() if line.startswith("-")]
    assert removed == [f"--- {DOCKER_SOURCE}", "-URIs: http://***@old.example.com"]
    assert "+URIs: https://download.docker.com/linux/debian" in change.diff.splitlines()


def test_a_file_that_is_missing_is_all_new_and_one_of_unknown_text_has_no_diff() -> None:
    evidence = conforming_evidence()
    lose_file(DOCKER_SOURCE)(evidence)
    edit(CUDA_SOURCE)(evidence)
    diffs = {change.subject: change.diff for change in planned(evidence).changes}
    assert diffs[DOCKER_SOURCE].startswith(f"--- /dev/null\n+++ {DOCKER_SOURCE}\n")
    assert diffs[CUDA_SOURCE] == ""


def lose_cdi(evidence: Evidence) -> None:
    data(evidence, "toolkit")["cdi_specs"].clear()


PERTURBATIONS: dict[str, tuple[Spoil, list[str]]] = {
    "a file is edited": (
        edit(CUDA_SOURCE),
        [f"driver: rewrite {CUDA_SOURCE} (it is not as it was written)"],
    ),
    "a file has another mode": (
        chmod(DOCKER_SOURCE),
        [f"docker: rewrite {DOCKER_SOURCE} (it is not as it was written)"],
    ),
    "a file is lost": (lose_file(DOCKER_SOURCE), [f"docker: write {DOCKER_SOURCE}"]),
    "nouveau is not blacklisted": (
        lose_file("/etc/modprobe.d/gpuhost-nouveau.conf"),
        [
            "driver: write /etc/modprobe.d/gpuhost-nouveau.conf",
            "driver: rebuild the initramfs",
        ],
    ),
    "an old list is there": (
        add_file("/etc/apt/sources.list.d/docker.list"),
        ["docker: remove /etc/apt/sources.list.d/docker.list"],
    ),
    "a package of another version": (
        package("docker-ce", version="5:28.1.1-1"),
        [
            f"docker: change docker-ce 5:28.1.1-1 → {ENGINE_PACKAGE}",
            "docker: hold docker-ce",
            "docker: restart dockerd (its package changes)",
        ],
    ),
    "a lost package of the runtime": (
        package("nvidia-container-toolkit-base"),
        [
            "toolkit: install nvidia-container-toolkit-base 1.20.0-1",
            "toolkit: hold nvidia-container-toolkit-base",
            "toolkit: restart dockerd (its runtime changes)",
        ],
    ),
    "a lost package beside the runtime": (
        package("libnvidia-container1"),
        ["toolkit: install libnvidia-container1 1.20.0-1", "toolkit: hold libnvidia-container1"],
    ),
    "an unpinned package is newer": (package("docker-buildx-plugin", version="99"), []),
    "a hold is missing": (
        package("docker-ce-cli", held=False),
        ["docker: hold docker-ce-cli"],
    ),
    "a library of the driver is not held": (
        package("libnvidia-ml1", version=f"{DRIVER}-1", held=False),
        ["driver: hold libnvidia-ml1"],
    ),
    "a conflicting package": (
        package("podman-docker", version="4.3", held=False),
        ["docker: remove podman-docker was 4.3 (it conflicts)"],
    ),
    "a legacy package": (
        package("nvidia-docker2", version="2.13", held=False),
        ["toolkit: remove nvidia-docker2 was 2.13 (it conflicts)"],
    ),
    "a key is removed": (key(TOOLKIT_KEY), [f"toolkit: add {TOOLKIT_KEY}"]),
    "a key has expired": (
        key(TOOLKIT_KEY, fingerprints=[], problem="it has expired"),
        [f"toolkit: replace {TOOLKIT_KEY} (it has expired)"],
    ),
    "a key is another": (
        key(TOOLKIT_KEY, fingerprints=["BAD"]),
        [f"toolkit: replace {TOOLKIT_KEY} BAD → C95B321B61E88C1809C4F759DDCAE044F796ECB0"],
    ),
    "a source is of no use": (
        state(replaced_sources=[DOCKER_SOURCE]),
        [f"docker: rewrite {DOCKER_SOURCE} (its key is of no use)"],
    ),
    "a user left the group": (
        leave_group,
        ["users: add alice to the docker group (which is equivalent to root)"],
    ),
    "a key of daemon.json is otherwise": (
        daemon('{"features": {"cdi": false}, "runtimes": {"nvidia": {"args": [], "path": "x"}}}'),
        [
            "docker: set features.cdi in /etc/docker/daemon.json false → true",
            "docker: restart dockerd (/etc/docker/daemon.json changes)",
            f"toolkit: set runtimes.nvidia.path in {DAEMON_JSON} {OTHER_RUNTIME}",
            "toolkit: restart dockerd (/etc/docker/daemon.json changes)",
        ],
    ),
    "dockerd is not enabled": (
        unit("docker", "docker.service", enabled_state="disabled"),
        ["docker: enable docker.service"],
    ),
    "persistenced does not run": (
        unit("driver", "nvidia-persistenced.service", active_state="inactive"),
        ["driver: start nvidia-persistenced.service"],
    ),
    "there is no CDI specification": (
        lose_cdi,
        ["toolkit: renew the CDI specification (there is none)"],
    ),
    "package operations were interrupted": (
        state(packages_interrupted=True),
        ["driver: finish package operations that were interrupted"],
    ),
    "a foreign file": (add_file("/etc/modprobe.d/other.conf"), []),
}


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_each_thing_that_is_otherwise_is_shown_by_its_component_alone(name: str) -> None:
    spoil, expected = PERTURBATIONS[name]
    evidence = conforming_evidence()
    spoil(evidence)
    assert words(planned(evidence)) == expected


@settings(max_examples=40)
@given(st.lists(st.sampled_from(sorted(PERTURBATIONS)), min_size=1, max_size=6, unique=True))
def test_what_the_plan_says_applied_leaves_nothing_to_plan(names: list[str]) -> None:
    evidence = conforming_evidence()
    for name in names:
        PERTURBATIONS[name][0](evidence)
    found = planned(evidence)
    expected = {word.partition(":")[0] for name in names for word in PERTURBATIONS[name][1]}
    assert {change.component for change in found.changes} == expected
    applied(found, evidence, declarations(evidence, healthy_desired()))
    assert words(planned(evidence)) == []
    assert planned(evidence).reboot == ""


DROPPABLE = st.lists(st.integers(0, 40), max_size=12)


@st.composite
def any_evidence(draw: st.DrawFn) -> Evidence:
    """A host that lacks some of everything."""
    evidence = conforming_evidence()
    section = data(evidence, "provisioning")
    lost_files, lost_packages, released = (set(draw(DROPPABLE)) for _ in range(3))
    section["files"] = [f for n, f in enumerate(section["files"]) if n not in lost_files]
    section["packages"] = [p for n, p in enumerate(section["packages"]) if n not in lost_packages]
    for number, each in enumerate(section["packages"]):
        each["held"] = each["held"] and number not in released
    if draw(st.booleans()):
        state(loaded_version=None, loaded_modules=None, nouveau_loaded=True)(evidence)
    if draw(st.booleans()):
        data(evidence, "users")["docker_group"] = None
    daemon(draw(st.sampled_from(["", "{}", '{"features": {"buildkit": true}}'])))(evidence)
    return evidence


@settings(max_examples=40)
@given(any_evidence())
def test_from_any_state_one_application_is_enough(evidence: Evidence) -> None:
    applied(planned(evidence), evidence, declarations(evidence, healthy_desired()))
    assert words(planned(evidence)) == []
    assert planned(evidence).reboot == ""


@pytest.mark.parametrize(
    ("os_id", "restarts"), [("debian", ["docker"]), ("rocky", ["docker", "toolkit"])]
)
def test_dockerd_is_restarted_again_for_a_runtime_that_comes_after_docker(
    os_id: str, restarts: list[str]
) -> None:
    evidence = conforming_evidence()
    declared = declarations(evidence, healthy_desired())
    package("docker-ce")(evidence)
    package("nvidia-container-toolkit")(evidence)
    data(evidence, "system")["os_id"] = os_id
    found = plan("lab-01", evidence, healthy_desired(), declared)
    assert [c.component for c in found.changes if c.action == "restart"] == restarts


def test_a_plan_changes_neither_evidence_nor_declarations() -> None:
    evidence = conforming_evidence()
    before = copy.deepcopy(evidence)
    planned(evidence)
    assert evidence == before


# ------------------------------------------------------------------------- variables that changed


@pytest.mark.parametrize(
    ("desired", "variables", "expected"),
    [
        (
            {"docker_version": "5:28.*"},
            {},
            [f"docker: change docker-ce {ENGINE_PACKAGE} → newest 5:28.* in "],
        ),
        ({"docker_users": ("alice", "bob")}, {}, ["users: add bob to the docker group"]),
        ({"daemon_config": {"debug": True}}, {}, ["docker: set debug in", "docker: restart"]),
        (
            {},
            {"docker_ce_containerd_version": "1.0"},
            ["docker: hold containerd.io"],
        ),
        (
            {},
            {"docker_ce_repo_url": "http://mirror.example.com/docker"},
            [f"docker: rewrite {DOCKER_SOURCE}"],
        ),
    ],
)
def test_a_variable_that_changed_is_shown_by_its_component_alone(
    desired: dict[str, Any], variables: dict[str, Any], expected: list[str]
) -> None:
    wanted = replace(healthy_desired(), **desired)
    found = words(planned(conforming_evidence(), wanted, variables))
    for begin in expected:
        assert [line for line in found if line.startswith(begin)]
    labels = {begin.partition(":")[0] for begin in expected}
    assert {line.partition(":")[0] for line in found} == labels


def test_a_branch_is_not_taken_for_a_longer_one() -> None:
    desired = replace(healthy_desired(), driver_branch="58", driver_version=None)
    assert not planned(conforming_evidence(), desired).is_empty


def test_another_driver_is_let_go_changed_held_and_loaded() -> None:
    evidence = conforming_evidence()
    desired = replace(healthy_desired(), driver_branch="595", driver_version=None)
    found = planned(evidence, desired)
    actions = {change.action for change in found.changes if change.component == "driver"}
    assert actions == {"rewrite", "release", "change", "hold", "reload"}
    change = next(c for c in found.changes if c.subject == "nvidia-driver-cuda")
    assert change.before.startswith(DRIVER) or change.action == "release"
    assert found.reboot == f"the loaded driver is {DRIVER}, if it cannot be reloaded"
    applied(found, evidence, declarations(evidence, desired))
    assert words(planned(evidence, desired)) == []


# ------------------------------------------------------------------------------------ versions


def policy(text: str) -> Spoil:
    def spoil(evidence: Evidence) -> None:
        data(evidence, "provisioning")["candidates"] = {
            "argv": ["apt-cache", "policy"],
            "stdout": text,
        }

    return spoil


TABLE = """\
docker-ce:
  Installed: (none)
  Candidate: 5:29.9.0-1
  Version table:
     5:29.9.0-1 500
        500 http://mirror stable/main amd64 Packages
     5:28.5.2-1 500
        500 http://mirror stable/main amd64 Packages
"""


DRIVERS = """\
nvidia-driver-cuda:
  Installed: 580.178.04-1
  Candidate: 580.178.04-1
  Version table:
     595.71.05-1 500
        500 http://mirror stable/main amd64 Packages
 *** 580.178.04-1 1001
        500 http://mirror stable/main amd64 Packages
        100 /var/lib/dpkg/status
"""


@pytest.mark.parametrize(
    ("pin", "after"),
    [(None, "5:29.9.0-1"), ("5:28.*", "5:28.5.2-1"), ("5:27.*", "newest 5:27.* in https://")],
)
def test_the_version_is_the_one_that_apt_would_take(pin: str | None, after: str) -> None:
    evidence = conforming_evidence()
    package("docker-ce")(evidence)
    policy(TABLE)(evidence)
    found = planned(evidence, replace(healthy_desired(), docker_version=pin))
    (change,) = [c for c in found.changes if c.subject == "docker-ce" and c.action == "install"]
    assert change.after.startswith(after)


def test_another_branch_is_told_in_the_very_version_although_its_pin_is_to_be_written() -> None:
    evidence = conforming_evidence()
    policy(DRIVERS)(evidence)
    desired = replace(healthy_desired(), driver_branch="595", driver_version=None)
    found = planned(evidence, desired)
    changed = {c.subject: c for c in found.changes if c.action in ("change", "rewrite")}
    assert "/etc/apt/preferences.d/gpuhost-nvidia-driver" in changed
    assert changed["nvidia-driver-cuda"].after == "595.71.05-1"


def test_a_version_that_the_read_lists_lack_is_told() -> None:
    evidence = conforming_evidence()
    package("docker-ce")(evidence)
    policy(TABLE)(evidence)
    told = {}
    for pin in ("5:27.*", "5:28.*"):
        found = planned(evidence, replace(healthy_desired(), docker_version=pin))
        (told[pin],) = [
            c.note for c in found.changes if (c.action, c.subject) == ("install", "docker-ce")
        ]
    assert told == {"5:27.*": "no repository had it when its lists were last read", "5:28.*": ""}


@pytest.mark.parametrize(("pin", "after"), [("29.8.1-*", "29.8.1-1.el9"), (None, "29.8.2-1.el9")])
def test_the_version_is_the_one_that_dnf_would_take(pin: str | None, after: str) -> None:
    evidence = conforming_evidence()
    package("docker-ce")(evidence)
    data(evidence, "provisioning")["lists_read"] = False  # which are apt's
    data(evidence, "provisioning")["candidates"] = {
        "argv": ["dnf", "--quiet", "repoquery"],
        "stdout": "docker-ce 29.8.1-1.el9\n\ndocker-ce 29.8.2-1.el9\n",
    }
    found = planned(evidence, replace(healthy_desired(), docker_version=pin))
    (change,) = [c for c in found.changes if c.subject == "docker-ce" and c.action == "install"]
    assert change.after == after


def test_where_the_repository_is_not_configured_yet_no_version_is_promised() -> None:
    evidence = conforming_evidence()
    package("docker-ce")(evidence)
    policy(TABLE)(evidence)
    lose_file(DOCKER_SOURCE)(evidence)
    found = planned(evidence, replace(healthy_desired(), docker_version=None))
    (change,) = [c for c in found.changes if c.action == "install"]
    assert change.after == "newest in https://download.docker.com/linux/debian"


def test_where_apt_never_read_its_lists_no_version_is_promised() -> None:
    evidence = conforming_evidence()
    package("docker-ce")(evidence)
    policy(TABLE)(evidence)
    data(evidence, "provisioning")["lists_read"] = False
    (change, *_) = planned(evidence, replace(healthy_desired(), docker_version=None)).changes
    assert change.after.startswith("newest in ")


# ------------------------------------------------------------------------------------- reboots


def test_nouveau_means_a_reboot() -> None:
    evidence = conforming_evidence()
    state(loaded_version=None, loaded_modules=None, nouveau_loaded=True)(evidence)
    assert planned(evidence).reboot.startswith("nouveau is loaded")


def test_where_a_reboot_is_forbidden_the_plan_says_that_it_ends_there() -> None:
    evidence = conforming_evidence()
    state(loaded_version=None, loaded_modules=None, nouveau_loaded=True)(evidence)
    found = planned(evidence, variables={"nvidia_driver_reboot": False})
    assert found.reboot.endswith("nvidia_driver_reboot is false, so provisioning would stop there")


def test_a_loaded_driver_that_is_not_the_one_on_disk_is_reloaded_or_rebooted_for() -> None:
    evidence = conforming_evidence()
    state(loaded_version="580.65.06")(evidence)
    found = planned(evidence)
    why = f"the loaded driver is 580.65.06, on disk is {DRIVER}"
    assert f"driver: reload the driver's kernel modules ({why})" in words(found)
    assert found.reboot == f"{why}, if it cannot be reloaded"


def test_gpus_in_use_make_the_reboot_certain() -> None:
    evidence = conforming_evidence()
    state(loaded_modules="proprietary", gpu_users=["77 python"])(evidence)
    assert planned(evidence).reboot.endswith("and GPUs are in use by 77 python")


# ------------------------------------------------------------------------------------ NVSwitches

SWITCH = {
    "address": "0000:c0:00.0",
    "vendor": "0x10de",
    "device": "0x22a3",
    "class_code": "0x068000",
    "driver": "nvidia-nvswitch",
}


def on_a_switch_board(
    fabric_manager: str | None, active: str, enabled: str = "enabled", *, held: bool = True
) -> HostPlan:
    evidence = conforming_evidence()
    data(evidence, "pci")["devices"].append(SWITCH)
    driver = data(evidence, "driver")
    if fabric_manager:
        name = "nvidia-fabricmanager"
        driver["packages"].append({"name": name, "version": fabric_manager, "held": held})
    found = {"name": "nvidia-fabricmanager.service", "load_state": "loaded"}
    driver["units"].append({**found, "enabled_state": enabled, "active_state": active})
    return planned(evidence)


def test_a_switch_board_needs_the_fabric_manager_at_the_drivers_version_and_running() -> None:
    assert on_a_switch_board(f"{DRIVER}-1", "active").is_empty
    start = "fabric: start nvidia-fabricmanager.service"
    assert words(on_a_switch_board(f"{DRIVER}-1", "failed")) == [start]
    assert words(on_a_switch_board(None, "inactive")) == [
        f"fabric: install the fabric manager {DRIVER}",
        "fabric: hold the fabric manager",
        start,
    ]
    by_hand = on_a_switch_board(f"{DRIVER}-1", "active", "disabled", held=False)
    assert words(by_hand) == [
        "fabric: hold the fabric manager",
        "fabric: enable nvidia-fabricmanager.service",
    ]
    other = on_a_switch_board("580.95.05-1", "active")
    assert words(other) == [f"fabric: change the fabric manager 580.95.05-1 → {DRIVER}"]
    assert "nvidia_fabric_manager" in other.roles


# ------------------------------------------------------------------------------------ blockers


def test_everything_that_provisioning_would_stop_for_is_in_the_plan() -> None:
    evidence = conforming_evidence()
    state(docker_snap="/var/lib/snapd/snaps/docker_1.snap", known_users=[])(evidence)
    edit(CUDA_SOURCE)(evidence)
    found = planned(evidence)
    assert [blocker.name for blocker in found.blockers] == ["docker-snap", "missing-users"]
    assert found.blockers[1].override == "docker_users_create: true"


def test_what_stands_in_the_way_of_nothing_is_no_blocker() -> None:
    evidence = conforming_evidence()
    state(free_mib={"/var": 3})(evidence)
    assert planned(evidence).blockers == ()


def test_an_upgrade_that_is_under_way_is_waited_for() -> None:
    evidence = conforming_evidence()
    lock = {"process": "apt, pid 7", "path": "/var/lib/dpkg/lock", "pid": 7, "waited_s": 0}
    state(package_lock=lock)(evidence)
    edit(CUDA_SOURCE)(evidence)
    assert planned(evidence).blockers == ()


def test_an_override_of_the_inventorys_counts() -> None:
    evidence = conforming_evidence()
    edit(CUDA_SOURCE)(evidence)
    state(removed_with_conflicts=["crun-user"])(evidence)
    assert [b.name for b in planned(evidence).blockers] == ["needed-packages"]
    variables = {"preflight_override": ["needed-packages"]}
    assert planned(evidence, variables=variables).blockers == ()


# ---------------------------------------------------------------------------------- unreadable


@pytest.mark.parametrize(
    "section", ["driver", "docker", "toolkit", "users", "provisioning", "preflight"]
)
def test_what_could_not_be_read_keeps_the_plan_from_being_empty(section: str) -> None:
    evidence = conforming_evidence()
    evidence["sections"][section] = {"error": "timed out", "duration_s": 60.0, "data": None}
    found = planned(evidence)
    assert not found.is_empty
    assert f"{section}: timed out" in found.unreadable


def test_variables_that_cannot_be_resolved_keep_the_plan_from_being_empty() -> None:
    variables = {"docker_ce_repo_url": "{{ nowhere }}"}
    found = planned(conforming_evidence(), variables=variables)
    assert found.unreadable
    assert "nowhere" in found.unreadable[0]


def test_a_change_reads_as_a_sentence_and_is_data() -> None:
    change = Change("docker", "change", "docker-ce", "1", "2", "pinned")
    assert change.what == "change docker-ce 1 → 2 (pinned)"
    assert json.loads(json.dumps(change.__dict__))["after"] == "2"


HALVES = {"halves": [{"devices": [0], "mig-enabled": True, "mig-devices": {"1g.5gb": 2}}]}


def test_gpus_are_divided_where_they_are_not_as_declared() -> None:
    desired = replace(healthy_desired(), mig_layout="halves", mig_config=HALVES)
    found = planned(conforming_evidence(), desired)
    assert words(found) == [
        "mig: write /etc/nvidia-mig-manager/gpuhost.yaml",
        "mig: write /etc/systemd/system/nvidia-mig-manager.service.d/zz-gpuhost.conf",
        "mig: install nvidia-mig-manager newest",
        "mig: divide GPU 0 whole → 2 × 1g.5gb",
    ]
    assert found.disturbs
    assert "nvidia_mig" in found.roles


def test_without_gpus_to_look_at_the_layout_itself_is_the_change() -> None:
    evidence = conforming_evidence()
    data(evidence, "nvml")["gpus"] = []
    desired = replace(healthy_desired(), mig_layout="halves", mig_config=HALVES)
    assert "mig: divide the GPUs layout halves" in words(planned(evidence, desired))


# ----------------------------------------------------------------------- Red Hat


@pytest.mark.parametrize(
    ("streams", "versions"),
    [({}, "580-open"), ({"nvidia-driver": "570-open"}, "570-open → 580-open")],
)
def test_the_stream_of_dnf_and_what_comes_first_are_told(
    streams: dict[str, str], versions: str
) -> None:
    evidence = conforming_evidence()
    data(evidence, "provisioning")["streams"] = streams
    found = with_driver(evidence, stream="580-open", first=("epel-release", "kernel-headers"))
    assert words(found) == [
        f"driver: enable a stream of dnf's module nvidia-driver {versions}",
        "driver: install epel-release",
        "driver: install kernel-headers",
    ]


def test_a_stream_that_is_enabled_and_packages_that_are_there_are_not_told() -> None:
    evidence = conforming_evidence()
    installed = data(evidence, "provisioning")["packages"]
    installed.append({"name": "epel-release", "version": "9-7", "held": False})
    data(evidence, "provisioning")["streams"] = {"nvidia-driver": "580-open"}
    assert not with_driver(evidence, stream="580-open", first=("epel-release",)).changes


def with_driver(evidence: Evidence, **more: Any) -> HostPlan:
    """The plan where the driver's role declares more than on Debian."""
    found = declarations(evidence, healthy_desired())
    roles = {**found.roles, "nvidia_driver": replace(found.roles["nvidia_driver"], **more)}
    return plan("gpu-01", evidence, healthy_desired(), replace(found, roles=roles))
