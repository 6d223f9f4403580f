from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from gpuhost.errors import ExitCode
from gpuhost.model import HostReport, RunReport, Verdict
from gpuhost.report import FORMATS, WRITERS
from gpuhost.report.json import read

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "report.schema.json").read_text())


def written(report: RunReport) -> Any:
    stream = io.StringIO()
    WRITERS["json"](report, stream)
    assert stream.getvalue().endswith("}\n")
    return json.loads(stream.getvalue())


def test_every_format_has_a_writer(run: RunReport) -> None:
    assert tuple(WRITERS) == FORMATS
    for write in WRITERS.values():
        stream = io.StringIO()
        write(run, stream)
        assert "lab-02" in stream.getvalue()


def test_the_schema_itself_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_a_run_with_hosts_of_every_kind_meets_the_schema(run: RunReport) -> None:
    jsonschema.validate(written(run), SCHEMA)


def test_a_run_without_hosts_meets_the_schema(run: RunReport) -> None:
    jsonschema.validate(written(replace(run, hosts=())), SCHEMA)


def test_a_failure_without_a_remedy_does_not_meet_the_schema(run: RunReport) -> None:
    document = written(run)
    check = next(c for c in document["hosts"][1]["checks"] if c["verdict"] == "FAIL")
    check["remedy"] = ""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SCHEMA)


def test_the_document_says_what_the_report_says(run: RunReport, ill: HostReport) -> None:
    document = written(run)
    assert document["exit_code"] == 3
    assert document["verdict"] == "FAIL"
    host = document["hosts"][1]
    ran, total = ill.coverage
    assert host["coverage"] == {"ran": ran, "total": total}
    assert host["facts"]["gpus"] == "4 × NVIDIA A100-SXM4-40GB"
    assert [c["check"] for c in host["checks"]] == [r.check for r in ill.results]
    failed = next(c for c in host["checks"] if c["check"] == "cdi.matches")
    assert failed["verdict"] == Verdict.FAIL
    assert failed["remedy"] == "systemctl restart nvidia-cdi-refresh.service"


def test_a_host_that_was_not_reached_says_why(run: RunReport) -> None:
    host = written(run)["hosts"][2]
    assert host["verdict"] == "UNKNOWN"
    assert host["exit_code"] == 3
    assert host["error"]["message"].startswith("ssh: connect")
    assert host["checks"] == []


def test_a_report_is_read_back_as_it_was_written(run: RunReport) -> None:
    left_alone = HostReport(
        "lab-04", skipped="drained: fans", error_remedy="Wait.", error_code=ExitCode.FAILED
    )
    report = replace(run, hosts=(*run.hosts, left_alone), complete=False)
    assert read(written(report)) == report
