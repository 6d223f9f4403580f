from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.nights import night

from gpuhost import nightly, notify, runs
from gpuhost.errors import ExitCode, UsageError
from gpuhost.history import DATABASE, open_history
from gpuhost.history.compare import Kind
from gpuhost.history.keeping import remember
from gpuhost.model import RunReport
from gpuhost.nightly import AlreadyRunningError, Night
from gpuhost.settings import Settings
from gpuhost.targets import Targets
from gpuhost.ui import Ui

WELL = {"gpu.count": "PASS", "cdi.matches": "PASS"}
ILL = {"gpu.count": "FAIL", "cdi.matches": "PASS"}
TARGETS = Targets(Path("/inventory"), (), {}, ("a", "b"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path, None, tmp_path / "state", 10)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[notify.Message]:
    """The messages that were sent."""
    messages: list[notify.Message] = []

    def send(_urls: object, message: notify.Message) -> Iterator[str]:
        messages.append(message)
        yield from ()

    monkeypatch.setattr("gpuhost.notify.send", send)
    return messages


def run(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    report: RunReport,
    targets: Targets = TARGETS,
) -> Night:
    """A nightly run whose verification comes to ``report``."""

    def verify(*_: object, **__: object) -> RunReport:
        folder = settings.runs_dir / report.run_id
        runs.keep_report(runs.Run(report.run_id, report.started, folder), report)
        remember(settings.state_dir, settings.runs_dir, report)
        return report

    monkeypatch.setattr("gpuhost.nightly.verify", verify)
    return nightly.run(targets, settings, Ui())


def test_only_what_became_otherwise_is_told_in_one_message(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, told: list[notify.Message]
) -> None:
    nights: list[Mapping[str, Mapping[str, str]]] = [
        {"a": WELL, "b": WELL},
        {"a": ILL, "b": ILL},
        {"a": ILL, "b": ILL},
        {"a": WELL, "b": ILL},
    ]
    sent = []
    for number, hosts in enumerate(nights):
        run(settings, monkeypatch, night(number, hosts))
        sent.append(len(told))
    assert sent == [0, 1, 1, 2]
    assert told[0].title == "gpuhost: 2 hosts newly failing"
    assert "✗ a  gpu.count  new: FAIL gpu.count is FAIL" in told[0].body
    assert told[1].title == "gpuhost: a recovered"
    assert "1 check still failing on 1 of them" in told[1].body


def test_what_changed_on_the_host_is_told_with_the_failure(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, told: list[notify.Message]
) -> None:
    run(settings, monkeypatch, night(0, {"a": WELL}, facts={"kernel": "6.1.0-1"}))
    run(settings, monkeypatch, night(1, {"a": ILL}, facts={"kernel": "6.1.0-2"}))
    assert "changed since it was last good: kernel 6.1.0-1 → 6.1.0-2" in told[0].body


def test_a_flapping_check_is_told_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, told: list[notify.Message]
) -> None:
    for number in range(8):
        run(settings, monkeypatch, night(number, {"a": ILL if number % 2 else WELL}))
    assert [message.body.split()[3] for message in told] == ["new:", "fixed", "flapping:"]


def test_a_host_that_is_down_is_news_and_its_checks_are_not(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, told: list[notify.Message]
) -> None:
    run(settings, monkeypatch, night(0, {"a": ILL}))
    found = run(settings, monkeypatch, night(1, {"a": {"error": "No route to host"}}))
    assert [(t.check, t.kind) for t in found.news] == [("host", Kind.NEW)]
    assert "a  host  new: UNKNOWN No route to host" in told[-1].body
    assert found.exit_code is ExitCode.UNREACHABLE


def test_nights_without_a_run_are_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, told: list[notify.Message]
) -> None:
    run(settings, monkeypatch, night(0, {"a": WELL}))
    run(settings, monkeypatch, night(1, {"a": WELL}))
    assert told == []
    run(settings, monkeypatch, night(5, {"a": WELL}))
    assert told[0].title == "gpuhost: the nightly run needs attention"
    assert "no run for 4.0 days" in told[0].body


def test_a_run_beside_another_is_refused_and_says_which(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with nightly.only_one(settings.state_dir), pytest.raises(AlreadyRunningError) as caught:
        run(settings, monkeypatch, night(0, {"a": WELL}))
    assert "still at work (process " in caught.value.message
    run(settings, monkeypatch, night(0, {"a": WELL}))


def test_what_a_killed_run_leaves_of_its_lock_does_not_stop_the_next(settings: Settings) -> None:
    with nightly.only_one(settings.state_dir):
        left = (settings.state_dir / nightly.LOCK).read_text()
    (settings.state_dir / nightly.LOCK).write_text(left)
    with nightly.only_one(settings.state_dir):
        pass


def test_quarantined_hosts_stand_in_a_file_for_schedulers(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, told: list[notify.Message]
) -> None:
    del told
    run(settings, monkeypatch, night(0, {"a": WELL, "b": ILL}))
    assert (settings.state_dir / "quarantine.txt").read_text() == "b\n"
    run(settings, monkeypatch, night(1, {"a": WELL, "b": WELL}))
    assert (settings.state_dir / "quarantine.txt").read_text() == ""


def test_a_night_of_some_hosts_lets_no_other_out_of_quarantine(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, told: list[notify.Message]
) -> None:
    del told
    run(settings, monkeypatch, night(0, {"a": ILL, "b": ILL}))
    run(settings, monkeypatch, night(1, {"a": WELL}))
    assert (settings.state_dir / "quarantine.txt").read_text() == "b\n"


def test_a_host_that_left_the_inventory_leaves_the_quarantine_list_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, told: list[notify.Message]
) -> None:
    del told
    run(settings, monkeypatch, night(0, {"a": WELL, "b": ILL}))
    run(settings, monkeypatch, night(1, {"a": WELL}), replace(TARGETS, members=("a",)))
    assert (settings.state_dir / "quarantine.txt").read_text() == ""


def test_a_night_of_another_inventory_takes_no_host_from_the_quarantine_list(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, told: list[notify.Message]
) -> None:
    del told
    other = Targets(Path("/other"), (), {}, ("c",))
    run(settings, monkeypatch, night(0, {"b": ILL}))
    run(settings, monkeypatch, night(1, {"c": ILL}), other)
    assert (settings.state_dir / "quarantine.txt").read_text() == "b\nc\n"


@pytest.mark.parametrize("kept", ["", "[]", "{"])
def test_a_list_whose_origins_are_lost_keeps_its_hosts_until_they_pass(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    told: list[notify.Message],
    kept: str,
) -> None:
    del told
    run(settings, monkeypatch, night(0, {"a": WELL, "b": ILL}))
    (settings.state_dir / "quarantine.json").write_text(kept)
    run(settings, monkeypatch, night(1, {"a": WELL}), replace(TARGETS, members=("a",)))
    assert (settings.state_dir / "quarantine.txt").read_text() == "b\n"


def test_metrics_are_written_where_node_exporter_reads_them(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, told: list[notify.Message]
) -> None:
    del told
    settings = replace(settings, textfile=settings.project / "gpuhost.prom")
    run(settings, monkeypatch, night(0, {"a": WELL, "b": ILL}))
    text = (settings.project / "gpuhost.prom").read_text()
    assert 'gpuhost_host_quarantined{host="b"} 1\n' in text
    assert 'gpuhost_host_quarantined{host="a"} 0\n' in text
    assert [p.name for p in settings.project.glob("*gpuhost.prom*")] == ["gpuhost.prom"]


def test_metrics_that_cannot_be_written_are_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, told: list[notify.Message]
) -> None:
    settings = replace(settings, textfile=settings.project / "no" / "gpuhost.prom")
    found = run(settings, monkeypatch, night(0, {"a": WELL}))
    assert found.exit_code is ExitCode.SETUP
    assert "metrics could not be written" in told[0].body


def test_a_history_that_cannot_be_used_is_told_and_the_report_is_kept(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, told: list[notify.Message]
) -> None:
    run(settings, monkeypatch, night(0, {"a": WELL}))
    (settings.state_dir / DATABASE).unlink()
    (settings.state_dir / DATABASE).mkdir()
    report = night(1, {"a": WELL})
    found = run(settings, monkeypatch, report)
    assert found.exit_code is ExitCode.SETUP
    assert "cannot be opened" in told[0].body
    assert (settings.runs_dir / report.run_id / "report.json").exists()


def test_old_runs_go_with_their_folders_and_younger_ones_stay(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, told: list[notify.Message]
) -> None:
    del told
    for number in (0, 50):
        run(settings, monkeypatch, night(number, {"a": WELL}))
    now = datetime(2026, 11, 1, tzinfo=UTC).replace(year=2027)
    assert list(nightly.rotate(settings, now.replace(month=2))) == []
    kept = [path.name for path in settings.runs_dir.iterdir() if not path.is_symlink()]
    assert kept == [night(50, {}).run_id]
    with open_history(settings.state_dir) as history:
        assert [r.run_id for r in history.runs()] == kept


def test_a_url_that_apprise_does_not_know_stops_the_run_before_it_begins(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpuhost.nightly.verify", lambda *_, **__: pytest.fail("went on"))
    wrong = Settings(settings.project, None, settings.state_dir, 10, notify=("slck://secret",))
    with pytest.raises(UsageError, match="first notification URL") as caught:
        nightly.run(TARGETS, wrong, Ui())
    assert "secret" not in caught.value.message


class TestDelivery:
    def test_a_message_reaches_a_webhook(self) -> None:
        received: list[bytes] = []

        class Hook(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                received.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        with HTTPServer(("127.0.0.1", 0), Hook) as server:
            thread = threading.Thread(target=server.handle_request)
            thread.start()
            url = f"json://127.0.0.1:{server.server_port}/"
            assert list(notify.send([url], notify.Message("title", "body"))) == []
            thread.join(10)
        assert b'"title"' in received[0]
        assert b'"message": "body"' in received[0]

    def test_a_message_that_is_not_delivered_is_told_without_the_urls_password(self) -> None:
        urls = ["json://user:secret@127.0.0.1:9/"]
        (said,) = notify.send(urls, notify.Message("title", "body"))
        assert said == "The first notification (json) could not be delivered."
