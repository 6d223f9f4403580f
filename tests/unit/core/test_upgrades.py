"""What becomes of an upgrade that is not proven."""

from __future__ import annotations

from gpuhost.errors import ExitCode
from gpuhost.model import CheckResult, HostReport, Verdict
from gpuhost.upgrades import told, unproven

UPGRADED = {"gpu-01": {"nvidia-driver-cuda": ["535.1.2-1", "550.1.2-1"]}}
INSTALLED = {"gpu-01": {"nvidia-driver-cuda": [None, "550.1.2-1"]}}
PASSED = CheckResult("host.os", Verdict.PASS, "fine")
FAILED = CheckResult("driver.loaded", Verdict.FAIL, "not loaded", remedy="modprobe nvidia")
ALSO = CheckResult("docker.service", Verdict.FAIL, "stopped", remedy="start it")
BAD = HostReport("gpu-01", (PASSED, FAILED, ALSO))
BROKEN = HostReport("gpu-01", error="apt failed", error_code=ExitCode.FAILED)
GOOD = HostReport("gpu-01", (PASSED,))
OFFER = "Or take the upgrade back: gpuhost rollback gpu-01"


def test_only_an_upgrade_that_is_not_proven_has_a_way_back() -> None:
    assert unproven([BAD], UPGRADED).keys() == {"gpu-01"}
    assert unproven([BROKEN], UPGRADED).keys() == {"gpu-01"}
    assert unproven([GOOD], UPGRADED) == {}
    assert unproven([BAD], INSTALLED) == {}
    assert unproven([BAD], {}) == {}


def test_the_first_finding_offers_the_exact_command() -> None:
    report = told(BAD, unproven([BAD], UPGRADED)["gpu-01"], None)
    assert [r.remedy for r in report.results] == ["", f"modprobe nvidia\n{OFFER}", ALSO.remedy]


def test_a_role_that_failed_after_it_changed_versions_offers_it_too() -> None:
    assert told(BROKEN, unproven([BROKEN], UPGRADED)["gpu-01"], None).error_remedy == OFFER


def test_an_upgrade_that_was_taken_back_still_failed_and_says_how_the_host_is_now() -> None:
    back = unproven([BAD], UPGRADED)["gpu-01"]
    proven, unclear = told(BAD, back, GOOD), told(BAD, back, BAD)
    assert proven.exit_code is ExitCode.FAILED
    words = proven.results[1].remedy
    assert "(nvidia-driver-cuda from 550.1.2-1 back to 535.1.2-1), and is proven" in words
    assert "but is not proven: gpuhost verify gpu-01" in unclear.results[1].remedy


def test_a_report_without_an_upgrade_stays_as_it_is() -> None:
    assert told(BAD, None, None) is BAD
