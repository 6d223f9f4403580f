"""The report as JUnit XML, for CI: one suite a host, one case a check.

FAIL is a failure, UNKNOWN an error, SKIP skipped. JUnit has no warnings: a
WARN passes, with its words in ``system-out``.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TextIO
from xml.etree import ElementTree as ET

from gpuhost.model import CheckResult, HostReport, RunReport, Verdict

# What XML 1.0 cannot hold, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TAGS = {Verdict.FAIL: "failure", Verdict.UNKNOWN: "error", Verdict.SKIP: "skipped"}


def write(report: RunReport, stream: TextIO) -> None:
    """Write the report as an XML document with a final newline."""
    suites = ET.Element("testsuites", name=f"gpuhost {report.command}", time=_duration(report))
    for host in report.hosts:
        suites.append(_suite(host, report.started))
    _total(suites)
    ET.indent(suites)
    stream.write('<?xml version="1.0" encoding="UTF-8"?>\n')
    stream.write(ET.tostring(suites, encoding="unicode"))
    stream.write("\n")


def _duration(report: RunReport) -> str:
    try:
        began = datetime.fromisoformat(report.started)
        return f"{(datetime.fromisoformat(report.finished) - began).total_seconds():.3f}"
    except ValueError:
        return "0.000"


def _suite(host: HostReport, started: str) -> ET.Element:
    suite = ET.Element(
        "testsuite",
        name=_clean(host.host),
        hostname=_clean(host.host),
        timestamp=started,
        time=f"{host.duration_s:.3f}",
    )
    if host.facts:
        properties = ET.SubElement(suite, "properties")
        for name, value in host.facts.items():
            ET.SubElement(properties, "property", name=_clean(name), value=_clean(value))
    if host.error or host.skipped:
        suite.append(_unexamined(host))
    for result in host.results:
        suite.append(_case(host.host, result))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("tests", str(len(suite.findall("testcase"))))
    return suite


def _unexamined(host: HostReport) -> ET.Element:
    case = ET.Element("testcase", classname=_clean(host.host), name="host", time="0")
    # As the verdicts go: what failed is a failure, what could not be examined an error, …
    tag = _TAGS.get(host.verdict, "error")
    words = _clean(host.error or host.skipped)
    problem = ET.SubElement(case, tag, message=words, type=str(host.verdict))
    problem.text = _clean("\n".join(filter(None, (host.error_state, host.error_remedy))))
    return case


def _case(host: str, result: CheckResult) -> ET.Element:
    area, _, _ = result.check.partition(".")
    case = ET.Element("testcase", classname=_clean(f"{host}.{area}"), name=result.check, time="0")
    if tag := _TAGS.get(result.verdict):
        problem = ET.SubElement(case, tag, message=_clean(result.summary), type=str(result.verdict))
        problem.text = _clean(_details(result))
    elif result.verdict is Verdict.WARN:
        words = f"WARN: {result.summary}\n{_details(result)}"
        ET.SubElement(case, "system-out").text = _clean(words)
    return case


def _details(result: CheckResult) -> str:
    fields = ("seen", "expected", "cause", "remedy")
    return "\n".join(f"{name}: {getattr(result, name)}" for name in fields if getattr(result, name))


def _total(suites: ET.Element) -> None:
    for attribute in ("tests", "failures", "errors", "skipped"):
        suites.set(attribute, str(sum(int(suite.get(attribute, "0")) for suite in suites)))


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
