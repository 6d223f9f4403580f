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
        ({"daemon_json_error": "it is not valid JSON: line 1"}, "because it is not valid JSON"),
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
        assert words in reasons[0]


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
    assert [words in reason for reason in reasons] == ([] if words is None else [True])


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
