from __future__ import annotations

import io
from dataclasses import replace

import pytest

from gpuhost.model import UNKNOWN_CAUSE, CheckResult, HostReport, RunReport, Verdict
from gpuhost.report import WRITERS


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def written(report: RunReport, stream: io.StringIO | None = None) -> str:
    stream = stream or io.StringIO()
    WRITERS["table"](report, stream)
    return stream.getvalue()


def only(run: RunReport, host: HostReport) -> RunReport:
    return replace(run, hosts=(host,))


def test_a_host_that_is_well_takes_two_lines_and_one_a_reason_of_what_was_not_judged(
    run: RunReport, well: HostReport
) -> None:
    lines = [line for line in written(only(run, well)).splitlines() if line]
    ran, total = well.coverage
    assert len(lines) == 4
    assert lines[0] == (
        "✓ PASS  lab-01  4 × NVIDIA A100-SXM4-40GB · driver 580.178.04 · docker 29.7.2 · "
        f"toolkit 1.20.0 · {ran} of {total} ran · 8.2 s"
    )
    assert "not declared: nvidia_mig_layout" in lines[1]
    assert "there is no NVSwitch" in lines[2]
    assert lines[3].startswith(f"  ✓ {ran} passed  host 3 · gpu 6 · driver 9 · smi 3")


def test_everything_that_did_not_pass_is_explained(run: RunReport, ill: HostReport) -> None:
    text = written(only(run, ill))
    for result in ill.results:
        if result.verdict in (Verdict.FAIL, Verdict.UNKNOWN, Verdict.WARN):
            assert f"{result.check}  {result.summary}" in text
            for field in ("seen", "expected", "cause", "remedy"):
                assert getattr(result, field).splitlines()[0] in text


def test_checks_that_one_cause_stopped_are_told_together(run: RunReport, ill: HostReport) -> None:
    (result,) = (r for r in ill.results if r.check == "users.docker_group")
    twins = (result, replace(result, check="partition.user", expected="something else"))
    text = written(only(run, replace(ill, results=twins)))
    assert text.count("timed out after 60 s") == 1
    assert "? users.docker_group, partition.user  could not be determined" in text
    assert "something else" in text


def test_of_one_cause_only_the_first_check_is_told_in_full(run: RunReport, ill: HostReport) -> None:
    lost = CheckResult(
        "driver.nvml", Verdict.FAIL, "a value could not be read", "GPU is lost", "a value",
        "a GPU has fallen off the PCI bus", "systemctl reboot",
    )  # fmt: skip
    others = (
        replace(lost, check="partition.gpus", summary="refused: 3 of 4 trials", seen="refused"),
        replace(lost, check="smi.agrees", verdict=Verdict.UNKNOWN, summary="cannot be compared"),
    )
    text = written(only(run, replace(ill, results=(lost, *others))))
    assert text.count("systemctl reboot") == text.count("off the PCI bus") == 1
    assert "so also   ✗ partition.gpus  refused: 3 of 4 trials\n" in text
    assert " ? smi.agrees  cannot be compared\n" in text


@pytest.mark.parametrize("cause", [UNKNOWN_CAUSE, ""])
def test_what_has_no_known_cause_is_told_in_full_for_each_check(
    run: RunReport, ill: HostReport, cause: str
) -> None:
    odd = CheckResult("smi.list", Verdict.FAIL, "odd", "odd words", "none", cause, "nvidia-smi")
    other = replace(odd, check="smi.output", seen="other odd words")
    text = written(only(run, replace(ill, results=(odd, other))))
    assert "odd words" in text
    assert "other odd words" in text
    assert "so also" not in text


def test_the_worst_comes_first(run: RunReport, ill: HostReport) -> None:
    text = written(only(run, ill))
    places = [text.index(mark) for mark in ("✗ cdi.matches", "? users.", "! driver.pers", "– gpu.")]
    assert places == sorted(places)


def test_skipped_checks_are_named_with_their_reason(run: RunReport, ill: HostReport) -> None:
    text = written(only(run, ill))
    assert "– gpu.count  not declared: gpuhost_gpu_count" in text


def test_checks_that_passed_are_only_counted(run: RunReport, ill: HostReport) -> None:
    text = written(only(run, ill))
    passed = sum(result.verdict is Verdict.PASS for result in ill.results)
    assert f"✓ {passed} passed" in text
    assert "driver.loaded" not in text


def test_a_host_that_was_not_reached_shows_error_and_remedy(
    run: RunReport, away: HostReport
) -> None:
    text = written(only(run, away))
    assert text.startswith("? UNKNOWN  lab-03\n")
    assert "No route to host" in text
    assert "gpuhost lab up lab-03" in text


def test_several_hosts_are_summed_up_in_the_last_line(run: RunReport) -> None:
    assert written(run).splitlines()[-1] == "3 hosts: 1 PASS, 1 UNKNOWN, 1 FAIL"


def test_no_hosts_are_no_success(run: RunReport) -> None:
    assert written(replace(run, hosts=())) == "0 hosts: nothing was examined\n"


def test_a_remedy_stays_on_one_line_where_there_is_no_terminal(
    run: RunReport, ill: HostReport
) -> None:
    (result,) = (r for r in ill.results if r.check == "cdi.matches")
    long = replace(result, remedy="command " * 60)
    text = written(only(run, replace(ill, results=(long,))))
    assert ("command " * 60).strip() in text


def test_there_are_no_colours_and_no_blanks_at_line_ends_in_a_file(run: RunReport) -> None:
    text = written(run)
    assert "\x1b" not in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_a_terminal_gets_colours_and_lines_that_fit(
    run: RunReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in written(run, Terminal())


def test_no_color_is_honoured(run: RunReport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in written(run, Terminal())
    assert "\x1b[32m" not in written(run, Terminal())


def test_words_in_brackets_are_not_taken_for_markup(run: RunReport, ill: HostReport) -> None:
    (result,) = (r for r in ill.results if r.check == "cdi.matches")
    odd = replace(result, seen='driver "" with capabilities: [[gpu]] [red]x[/red]')
    text = written(only(run, replace(ill, results=(odd,))))
    assert 'driver "" with capabilities: [[gpu]] [red]x[/red]' in text


def fleet(run: RunReport, well: HostReport, size: int) -> RunReport:
    names = [f"gpu-{number:02}" for number in range(size)]
    return replace(run, hosts=(*run.hosts, *(replace(well, host=name) for name in names)))


def test_a_fleet_has_a_line_for_each_host_and_the_worst_stands_last(
    run: RunReport, well: HostReport
) -> None:
    lines = written(fleet(run, well, 37)).splitlines()
    assert lines[-1] == "40 hosts: 38 PASS, 1 UNKNOWN, 1 FAIL"
    assert lines[-3].split()[:3] == ["✗", "FAIL", "lab-02"]
    assert "cdi.matches" in lines[-3]
    assert lines[-4].split()[:3] == ["?", "UNKNOWN", "lab-03"]
    assert "No route to host" in lines[-4]
    assert sum(line.startswith("✓ PASS") for line in lines) == 38


def test_of_a_fleet_only_what_is_wrong_is_told_in_detail(run: RunReport, well: HostReport) -> None:
    text = written(fleet(run, well, 37))
    assert text.count("passed  host") == 1  # of the host that also has something wrong
    assert len(text.splitlines()) < 90


def test_a_host_that_was_left_alone_says_why(run: RunReport, well: HostReport) -> None:
    spared = HostReport("lab-04", skipped="drained: fan replaced", error_remedy="Undrain it.")
    lines = written(replace(run, hosts=(well, spared))).splitlines()
    assert lines[0].split(maxsplit=3) == ["–", "SKIP", "lab-04", "drained: fan replaced"]
    assert lines[-1] == "2 hosts: 1 PASS, 1 SKIP"
    alone = written(only(run, spared))
    assert "drained: fan replaced" in alone
    assert "Undrain it." in alone


def test_the_lines_of_a_fleet_are_cut_to_fit_a_terminal(
    run: RunReport, well: HostReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    hosts = tuple(replace(well, host=f"gpu-{number:02}") for number in range(3))
    text = written(replace(run, hosts=hosts), Terminal())
    assert text.count("…") == 3
    assert text.count("✓ PASS") == 3
    assert [host for host in hosts if host.host not in text] == []
