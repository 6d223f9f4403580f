"""A host that is not complete: what is missing is told once, and the rest does not apply."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from support.evidence import healthy_desired, healthy_evidence

from gpuhost.checks import judge
from gpuhost.checks.registry import presence
from gpuhost.errors import ExitCode
from gpuhost.model import Desired, HostReport, Verdict

NO_LIBRARY = {"code": None, "name": "LibraryNotFound", "text": "NVML Shared Library Not Found"}
NO_DRIVER = {"code": 9, "name": "DriverNotLoaded", "text": "Driver Not Loaded"}
GONE = {"load_state": "not-found", "active_state": "inactive", "enabled_state": ""}


def without_gpu(host: Any) -> None:
    host.section("pci")["devices"] = []
    host.section("nvml").update(gpus=[], failure=NO_DRIVER)
    host.section("driver").update(loaded_version=None, loaded_text=None, device_nodes=[])


def without_driver(host: Any) -> None:
    host.section("driver").update(
        loaded_version=None,
        loaded_text=None,
        on_disk_version=None,
        on_disk_license=None,
        userspace_version=None,
        nouveau_loaded=True,
        nouveau_blacklisted=False,
        packages=[],
        device_nodes=[],
    )
    host.section("nvml").update(gpus=[], failure=NO_LIBRARY)
    host.section("health").update(gpus=[], failure=NO_LIBRARY)
    host.section("nvidia_smi").update(path=None, list_gpus=None, table=None, query_xml=None)
    host.section("upkeep")["next_boot"]["module_version"] = None


def without_docker(host: Any) -> None:
    docker = host.section("docker")
    docker.update(info=None, connect_error="FileNotFoundError", packages=[], validate=None)
    docker["units"] = [{**unit, **GONE} for unit in docker["units"]]
    docker["daemon_json"].update(exists=False, text=None)
    host.section("users")["docker_group"] = None
    host.section("containers").update(trials=[], images=[])


def without_toolkit(host: Any) -> None:
    host.section("toolkit").update(packages=[], hook_path=None, ctk_version=None, cdi_specs=[])


WAYS = {
    "gpu": without_gpu,
    "driver": without_driver,
    "docker": without_docker,
    "toolkit": without_toolkit,
}


def report(host: Any) -> HostReport:
    return HostReport("lab-01", judge(host.evidence, host.desired))


def failing(host: Any) -> list[str]:
    return [r.check for r in report(host).results if r.verdict not in (Verdict.PASS, Verdict.SKIP)]


def test_a_bare_host_is_told_in_one_line_for_each_thing_that_is_missing(host: Any) -> None:
    for way in WAYS.values():
        way(host)
    found = report(host)
    assert failing(host) == ["gpu.present", "driver.present", "docker.present", "toolkit.present"]
    assert found.exit_code is ExitCode.FAILED
    ran, total = found.coverage
    skipped = Counter(r.verdict for r in found.results)[Verdict.SKIP]
    assert ran == total - skipped
    assert ran < 15
    for result in found.results:
        if result.verdict is Verdict.FAIL:
            assert result.remedy
            assert result.cause


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        (("gpu",), ["gpu.present"]),
        (("driver",), ["driver.present"]),
        (("toolkit",), ["toolkit.present"]),
        (("docker", "toolkit"), ["docker.present", "toolkit.present"]),
        (("driver", "docker", "toolkit"), ["driver.present", "docker.present", "toolkit.present"]),
    ],
)
def test_a_partial_host_is_told_what_it_lacks(
    host: Any, missing: tuple[str, ...], expected: list[str]
) -> None:
    for component in missing:
        WAYS[component](host)
    assert failing(host) == expected


def test_a_skip_names_what_is_missing_and_the_check_that_tells_so(host: Any) -> None:
    without_driver(host)
    assert host.check("smi.list").summary == (
        "because the NVIDIA driver is not installed (driver.present)"
    )


@pytest.mark.parametrize(
    ("section", "changes", "component"),
    [
        ("driver", {"packages": [], "loaded_version": None, "userspace_version": None}, "driver"),
        ("driver", {"loaded_version": None, "on_disk_version": None}, "driver"),
        ("docker", {"info": None, "connect_error": "connection refused"}, "docker"),
        ("docker", {"packages": []}, "docker"),
        ("toolkit", {"hook_path": None}, "toolkit"),
        ("toolkit", {"packages": []}, "toolkit"),
        ("nvml", {"gpus": [], "failure": NO_DRIVER}, "gpu"),
        ("pci", {"devices": []}, "gpu"),
    ],
)
def test_what_is_there_and_ill_is_judged_and_not_skipped(
    host: Any, section: str, changes: dict[str, Any], component: str
) -> None:
    host.section(section).update(changes)
    found = report(host).results
    assert host.check(f"{component}.present").verdict is Verdict.PASS
    assert not [r for r in found if r.summary.startswith("because ")]
    assert failing(host)


def test_an_engine_without_a_package_is_there_as_long_as_its_unit_is(host: Any) -> None:
    host.section("docker").update(packages=[], info=None, connect_error="no answer")
    assert host.check("docker.present").verdict is Verdict.PASS
    assert host.check("docker.running").verdict is Verdict.FAIL


def test_a_presence_that_could_not_be_read_excuses_nothing(host: Any) -> None:
    without_toolkit(host)
    host.evidence["sections"]["toolkit"] = {"error": "boom", "duration_s": 0.0, "data": None}
    assert host.check("toolkit.present").verdict is Verdict.UNKNOWN
    assert host.check("toolkit.hook").verdict is Verdict.UNKNOWN


def test_the_number_of_gpus_that_is_declared_is_what_is_expected(host: Any) -> None:
    without_gpu(host)
    assert host.check("gpu.present").expected == "4 GPUs, as declared"
    for declared in (None, 0):
        host.desired = Desired(gpu_count=declared)
        assert host.check("gpu.present").expected == "at least one GPU"


def test_every_component_that_a_check_wants_has_a_check_that_tells_of_it() -> None:
    results = judge(healthy_evidence(), healthy_desired())
    named = {check for check in (r.check for r in results) if check.endswith(".present")}
    assert named == {f"{component}.present" for component in presence()}
    assert set(presence()) == set(WAYS)
