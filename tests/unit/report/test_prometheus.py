from __future__ import annotations

import io
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gpuhost.model import HostReport, RunReport
from gpuhost.report import prometheus

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(report: RunReport, quarantined: tuple[str, ...] = ()) -> Samples:
    """What Prometheus' own parser reads, by name and labels."""
    stream = io.StringIO()
    prometheus.write(report, stream, quarantined)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(stream.getvalue())
        for sample in family.samples
    }


def test_prometheus_reads_the_run_and_its_hosts(run: RunReport) -> None:
    found = samples(run, ("lab-02",))
    assert found["gpuhost_run_exit_code", ()] == 3
    assert found["gpuhost_run_finished_timestamp_seconds", ()] == 1795309212
    assert found["gpuhost_host_passed", (("host", "lab-01"),)] == 1
    assert found["gpuhost_host_passed", (("host", "lab-02"),)] == 0
    assert found["gpuhost_host_passed", (("host", "lab-03"),)] == 0
    assert found["gpuhost_host_quarantined", (("host", "lab-02"),)] == 1
    assert found["gpuhost_host_quarantined", (("host", "lab-01"),)] == 0


def test_what_fails_is_a_metric_of_its_own(run: RunReport) -> None:
    labels = (("check", "cdi.matches"), ("host", "lab-02"), ("verdict", "FAIL"))
    assert samples(run)["gpuhost_check_failing", labels] == 1


def test_the_checks_of_a_host_are_counted_by_verdict(run: RunReport, ill: HostReport) -> None:
    found = samples(run)
    counted = sum(
        value
        for (name, labels), value in found.items()
        if name == "gpuhost_host_checks" and ("host", "lab-02") in labels
    )
    assert counted == len(ill.results)


@given(
    name=st.text(min_size=1, max_size=20).filter(lambda text: "\r" not in text),
    value=st.floats(allow_nan=False, allow_infinity=False),
)
def test_any_label_and_any_figure_is_read_back(name: str, value: float) -> None:
    report = RunReport(
        "r", "verify", "2026-11-22T01:00:00+00:00", "2026-11-22T01:00:12+00:00", "0", ()
    )
    host = HostReport("a", measures={name: value})
    found = samples(replace(report, hosts=(host,)))
    assert found["gpuhost_measure", (("host", "a"), ("name", name))] == value
