from __future__ import annotations

import io
from dataclasses import replace
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from gpuhost.model import CheckResult, HostReport, RunReport, Verdict
from gpuhost.report import WRITERS


def written(report: RunReport) -> ET.Element:
    stream = io.StringIO()
    WRITERS["junit"](report, stream)
    return ET.fromstring(stream.getvalue())


def case(suites: ET.Element, host: str, name: str) -> ET.Element:
    (found,) = suites.findall(f"testsuite[@name='{host}']/testcase[@name='{name}']")
    return found


def test_every_host_is_a_suite_and_every_check_a_case(run: RunReport, well: HostReport) -> None:
    suites = written(run)
    assert [suite.get("name") for suite in suites] == ["lab-01", "lab-02", "lab-03"]
    assert len(suites[0].findall("testcase")) == len(well.results)
    assert case(suites, "lab-01", "gpu.count").get("classname") == "lab-01.gpu"
    assert suites.get("time") == "12.000"
    assert suites[0].get("time") == "8.250"


def test_counts_are_those_of_the_cases(run: RunReport) -> None:
    suites = written(run)
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert int(suites.get(attribute, "-1")) == len(suites.findall(f".//{tag}")) > 0
        for suite in suites:
            assert int(suite.get(attribute, "-1")) == len(suite.findall(f".//{tag}"))
    assert int(suites.get("tests", "-1")) == len(suites.findall(".//testcase"))


def test_a_fail_is_a_failure_with_cause_and_remedy(run: RunReport) -> None:
    failure = case(written(run), "lab-02", "cdi.matches").find("failure")
    assert failure is not None
    assert failure.get("message") == "the CDI specification is stale"
    assert "remedy: systemctl restart nvidia-cdi-refresh.service" in (failure.text or "")


def test_an_unknown_is_an_error_and_never_a_pass(run: RunReport) -> None:
    error = case(written(run), "lab-02", "users.docker_group").find("error")
    assert error is not None
    assert "timed out after 60 s" in (error.text or "")


def test_a_skip_is_skipped_with_its_reason(run: RunReport) -> None:
    skipped = case(written(run), "lab-02", "gpu.count").find("skipped")
    assert skipped is not None
    assert "gpuhost_gpu_count" in (skipped.get("message") or "")


def test_a_warning_passes_with_its_words(run: RunReport) -> None:
    warned = case(written(run), "lab-02", "driver.persistence")
    assert warned.find("failure") is None
    assert (warned.findtext("system-out") or "").startswith("WARN: persistence mode is off")


def test_a_host_that_was_not_reached_is_one_error(run: RunReport) -> None:
    error = case(written(run), "lab-03", "host").find("error")
    assert error is not None
    assert "No route to host" in (error.get("message") or "")
    assert error.text == "gpuhost lab up lab-03"


@given(st.text(), st.text())
def test_any_text_makes_valid_xml(summary: str, seen: str) -> None:
    result = CheckResult("gpu.count", Verdict.FAIL, summary, seen, "e", "c", "r")
    host = HostReport("lab-01", (result,), facts={"gpus": seen})
    failure = case(written(RunReport("r", "verify", "", "", "0", (host,))), "lab-01", "gpu.count")
    assert failure.find("failure") is not None


def test_a_run_without_times_has_a_duration_of_zero(run: RunReport) -> None:
    assert written(replace(run, started="", finished="")).get("time") == "0.000"
