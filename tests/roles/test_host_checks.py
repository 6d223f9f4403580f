"""What stands against provisioning a host: each reason is found, and all at once."""

from typing import Any

import pytest
from support import roles

checks = roles.util("host_checks")

SUPPORTED = {"debian": ["12", "13"], "ubuntu": ["24.04"], "rocky": ["9"]}
A100 = {"address": "0000:07:00.0", "device": 0x20B0}
V100 = {"address": "0000:08:00.0", "device": 0x1DB6}


def state(**changes: Any) -> dict[str, Any]:
    """A bare Debian host with one A100 that nothing stands against."""
    return {
        "gpus": [A100],
        "kernel": "6.12.48-amd64",
        "machine": "x86_64",
        "loaded_version": None,
        "loaded_modules": None,
        "on_disk_version": None,
        "on_disk_modules": None,
        "nouveau_loaded": True,
        "secure_boot": False,
        "signing_key_enrolled": None,
        "gpu_users": [],
        "headers_present": False,
        "headers_installable": True,
        "os": {"id": "debian", "version_id": "13", "pretty_name": "Debian GNU/Linux 13"},
        "free_mib": {"/usr": 9000},
        "daemon_json_error": None,
        "read_only": [],
        "gpg_missing": False,
        "package_lock": None,
        "packages_broken": [],
        "removed_with_conflicts": [],
        "replaced_packages": [],
        "distribution_driver": [],
        "runfile_driver": None,
        "docker_snap": None,
        "unusable_sources": [],
        "known_users": ["alice"],
        **changes,
    }


def wanted(**changes: Any) -> Any:
    return checks.Wanted(
        **{"supported": SUPPORTED, "branch": "580", "free_mib": {"/usr": 2048}, **changes}
    )


def test_a_bare_host_can_be_provisioned() -> None:
    assert checks.reasons(state(), wanted()) == ("open", [])


@pytest.mark.parametrize(
    ("system", "supported"),
    [
        ({"id": "rocky", "version_id": "9.6"}, True),
        ({"id": "ubuntu", "version_id": "24.04"}, True),
        ({"id": "ubuntu", "version_id": "23.10"}, False),
        ({"id": "debian", "version_id": "11"}, False),
        ({"id": "arch"}, False),
        ({}, False),
    ],
)
def test_operating_systems_are_told_by_id_and_version(
    system: dict[str, str], supported: bool
) -> None:
    _, reasons = checks.reasons(state(os=system), wanted())
    assert (reasons == []) is supported


LOCK = {"process": "unattended-upgr, pid 9", "pid": 9, "path": "/lock", "waited_s": 0}
DRIVER = {
    "loaded_version": "550.163.01",
    "loaded_modules": "open",
    "on_disk_version": "550.163.01",
    "on_disk_modules": "open",
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gpus": []}, "no NVIDIA GPU on the PCI bus"),
        ({"gpus": [A100, V100]}, None),
        ({"machine": "riscv64"}, "no packages for riscv64"),
        ({"secure_boot": True, "signing_key_enrolled": False}, "mokutil --import"),
        ({"secure_boot": True, "signing_key_enrolled": True}, None),
        ({"headers_installable": False}, "linux-headers-6.12.48-amd64"),
        ({"headers_installable": False, "headers_present": True}, None),
        ({"headers_installable": None}, None),
        ({"free_mib": {"/usr": 100}}, "/usr has 100 MiB free and 2048 MiB are needed"),
        ({"read_only": ["/usr"]}, "remount,rw /usr"),
        ({"gpg_missing": True}, "install gnupg"),
        ({"packages_broken": ["a : Depends: b"]}, "apt-get --fix-broken install"),
        ({"package_lock": LOCK}, "locked by unattended-upgr, pid 9"),
        ({"removed_with_conflicts": ["podman"]}, "docker_ce_remove_podman: true"),
        (
            {"removed_with_conflicts": ["buildah", "podman"]},
            "preflight_override: [needed-packages]",
        ),
        ({"distribution_driver": ["nvidia-smi"]}, "nvidia_driver_replace_foreign: true"),
        ({"runfile_driver": "/usr/bin/nvidia-uninstall"}, "nvidia-uninstall --silent"),
        ({"docker_snap": "/var/lib/snapd/snaps/docker_1.snap"}, "snap remove docker"),
        (
            {"unusable_sources": [{"file": "/f.list", "key": "/k.asc", "problem": "is missing"}]},
            "remove /f.list",
        ),
        (
            {"daemon_json_error": "it is not valid JSON: line 1"},
            "cannot be merged into: it is not valid JSON",
        ),
        ({**DRIVER, "gpu_users": ["900 python3"]}, "in use by 900 python3"),
        ({**DRIVER, "gpu_users": []}, None),
    ],
)
def test_each_reason_is_found_with_what_to_do(changes: dict[str, Any], words: str | None) -> None:
    _, reasons = checks.reasons(state(**changes), wanted())
    if words is None:
        assert reasons == []
    else:
        assert len(reasons) == 1
        assert words in checks.message(reasons)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"branch": "latest"}, 'such as "580"'),
        ({"branch": "580", "version": "550.163.01"}, "make the two agree"),
        ({"modules": "proprietary", "branch": "620"}, "set nvidia_driver_modules"),
        ({"version": "580.178.04"}, None),
        ({"version": "580.178.04-1"}, None),
    ],
)
def test_declarations_that_cannot_work_are_found(
    changes: dict[str, Any], words: str | None
) -> None:
    _, reasons = checks.reasons(state(), wanted(**changes))
    assert [words in checks.message([reason]) for reason in reasons] == [True] * bool(words)


def test_all_reasons_are_given_at_once() -> None:
    bad = state(gpus=[], os={"id": "arch"}, free_mib={"/usr": 1}, daemon_json_error="it is odd")
    _, reasons = checks.reasons(bad, wanted(version="1.2"))
    assert len(reasons) == 5


@pytest.mark.parametrize(
    ("declared", "stays"),
    [
        ({"branch": "550"}, True),
        ({"branch": "550", "version": "550.163.01"}, True),
        ({"branch": "550", "version": "550.163.01-1"}, True),
        ({"branch": "550", "version": "550.163.0"}, False),
        ({"branch": "580"}, False),
        ({"branch": "550", "modules": "proprietary"}, False),
    ],
)
def test_busy_gpus_stand_only_against_replacing_the_driver(
    declared: dict[str, str], stays: bool
) -> None:
    _, reasons = checks.reasons(state(**DRIVER, gpu_users=["900 python3"]), wanted(**declared))
    assert (reasons == []) is stays


def test_busy_gpus_stand_against_loading_what_was_installed_meanwhile() -> None:
    upgraded = {**DRIVER, "on_disk_version": "550.200.01"}
    _, reasons = checks.reasons(state(**upgraded, gpu_users=["9 x"]), wanted(branch="550"))
    assert len(reasons) == 1


@pytest.mark.parametrize(
    ("changes", "override"),
    [
        ({"secure_boot": True, "signing_key_enrolled": False}, {"override": ["secure-boot"]}),
        ({"headers_installable": False}, {"override": ["no-headers"]}),
        ({**DRIVER, "gpu_users": ["9 x"]}, {"override": ["busy-gpus"]}),
        ({"removed_with_conflicts": ["buildah"]}, {"override": ["needed-packages"]}),
        ({"removed_with_conflicts": ["podman"]}, {"remove_podman": True}),
        ({"runfile_driver": "/usr/bin/nvidia-uninstall"}, {"replace_foreign": True}),
        ({"distribution_driver": ["nvidia-smi"]}, {"replace_foreign": True}),
        ({"known_users": []}, {"users": ["bob"], "create_users": True}),
    ],
)
def test_what_is_overridden_on_purpose_no_longer_stops(
    changes: dict[str, Any], override: dict[str, Any]
) -> None:
    usual = {**override, "override": [], "remove_podman": False, "replace_foreign": False}
    _, stopped = checks.reasons(state(**changes), wanted(**{**usual, "create_users": False}))
    assert len(stopped) == 1
    assert checks.reasons(state(**changes), wanted(**override))[1] == []


def test_what_cannot_work_cannot_be_overridden() -> None:
    _, reasons = checks.reasons(state(gpus=[]), wanted(override=["no-gpu"]))
    assert len(reasons) == 1


H100: dict[str, Any] = {
    "index": 0,
    "name": "NVIDIA H100",
    "device": "0x233010de",
    "profiles": {
        "1g.10gb": {"name": "1g.10gb", "most": 7, "slices": 1, "memory_mib": 9984},
        "3g.40gb": {"name": "3g.40gb", "most": 2, "slices": 3, "memory_mib": 40448},
        "7g.80gb": {"name": "7g.80gb", "most": 1, "slices": 7, "memory_mib": 81280},
    },
}
T4: dict[str, Any] = {"index": 1, "name": "Tesla T4", "device": "0x1eb810de", "profiles": {}}


def divided(profiles: dict[str, int], devices: Any = "all") -> list[dict[str, Any]]:
    return [{"devices": devices, "mig-enabled": True, "mig-devices": profiles}]


def test_a_layout_that_the_gpus_can_have_is_no_reason() -> None:
    found = state(mig_gpus=[H100, T4])
    assert checks.reasons(found, wanted(mig_entries=divided({"3g.40gb": 2}, [0])))[1] == []
    assert checks.reasons(found, wanted())[1] == []


def test_everything_that_is_impossible_about_a_layout_is_one_reason() -> None:
    entries = [*divided({"1g.10gb": 8}, [0]), *divided({"1g.5gb": 1}, [1]), *divided({}, [4])]
    _, (reason,) = checks.reasons(state(mig_gpus=[H100, T4]), wanted(mig_entries=entries))
    assert reason.name == "mig-layout"
    for words in ("no GPU 4", "8 of 1g.10gb are wanted, and 7 fit", "Tesla T4 cannot be divided"):
        assert words in reason.found


def test_where_no_driver_tells_what_gpus_offer_a_layout_is_no_reason_yet() -> None:
    for nobody in ({}, {"mig_gpus": None}):
        found = state(**nobody)
        assert checks.reasons(found, wanted(mig_entries=divided({"9g.999gb": 1})))[1] == []
