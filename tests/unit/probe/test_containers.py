"""The section of the partition proof, against an Engine in memory."""

from __future__ import annotations

import os
import pwd
import time
from pathlib import Path
from typing import Any

import pytest
from support.probe import IMAGE, FakeContainer, FakeEngine, gpus, printed, spec, trials_asked

from gpuhost.probe import containers, engine_api, limits, owner, trial_runner
from gpuhost.probe.child import Child
from gpuhost.probe.containers import Proof, become, sweep
from gpuhost.probe.engine_api import ContainerSpec, EngineError, RefusedError
from gpuhost.probe.owner import LABEL
from gpuhost.probe.root import Root
from gpuhost.probe.schema import Containers, Trials
from gpuhost.probe.trial_runner import Session
from gpuhost.probe.trials import PlannedTrial, plan

RUN = "1-2"
NOWHERE = Root(Path("/proc/nowhere"))
# Of one removal: long beside what a loaded machine adds.
HANGS_S = 0.5
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def proof(engine: FakeEngine, asked: Trials, timeout_s: float = 5.0) -> Proof:
    now = time.monotonic()
    session = Session(RUN, now, now + 60, timeout_s)
    return Proof(lambda _timeout_s: engine, 5.0, session, asked, NOWHERE)


def container_spec(trial: PlannedTrial) -> ContainerSpec:
    now = time.monotonic()
    return trial_runner.container_spec(trial, Session(RUN, now, now + 60, 5.0))


def prove(engine: FakeEngine, count: int = 2, **changes: Any) -> tuple[Containers, Any]:
    asked = trials_asked(**changes)
    planned = plan(gpus(count), count, asked)
    return proof(engine, asked).run(planned), planned


def refusing(container: ContainerSpec) -> bytes:
    """What a good host does: it refuses ids that do not exist."""
    ids = [*(container.devices.device_ids if container.devices else ())]
    ids += container.environment.values()
    if any("00000000-0000" in i or i.split("=")[-1] == "2" for i in ids):
        raise RefusedError("unknown device")
    return printed("GPU 0\n")


def test_every_planned_trial_has_its_record_in_the_plans_order() -> None:
    found, planned = prove(FakeEngine(refusing))
    assert [record["id"] for record in found["trials"]] == [trial.id for trial in planned]
    outcomes = {record["id"]: record["outcome"] for record in found["trials"]}
    assert {name for name, outcome in outcomes.items() if outcome == "refused"} == {
        f"{path}/{bad}" for path in ("gpus", "runtime", "cdi") for bad in ("bad-index", "bad-uuid")
    }
    assert set(outcomes.values()) == {"ran", "refused"}
    assert found["left_behind"] == found["swept"] == []


def test_no_more_containers_run_at_once_than_asked_for() -> None:
    engine = FakeEngine(lambda _: printed("x"))
    prove(engine, parallel=1)
    assert engine.most_at_once == 2, "a pair needs two"


def test_a_missing_image_is_the_reason_given_for_each_of_its_trials() -> None:
    found, _ = prove(FakeEngine(refusing, images=()))
    assert found["images"][0]["pull_error"] == "the probe was told not to pull it"
    assert {record["error"] for record in found["trials"]} == {
        f"image {IMAGE} is not on the host: the probe was told not to pull it"
    }
    assert {record["outcome"] for record in found["trials"]} == {"error"}


def test_an_image_that_the_registry_does_not_have_keeps_the_registrys_words() -> None:
    found, _ = prove(FakeEngine(refusing, images=()), pull=True)
    image = found["images"][0]
    assert image["pull_error"] == f"manifest for {IMAGE} not found: manifest unknown"
    assert not image["present_before"]


def test_a_present_image_is_described_and_not_pulled() -> None:
    found, _ = prove(FakeEngine(refusing), pull=True)
    assert found["images"] == [
        {
            "role": "cuda",
            "reference": IMAGE,
            "present_before": True,
            "pull_error": None,
            "pull_duration_s": 0.0,
            "id": "sha256:1",
            "digests": ["x@sha256:2"],
            "env": ["A=b"],
        }
    ]


def test_a_pull_that_hangs_ends_at_its_limit() -> None:
    class Slow(FakeEngine):
        def pull(self, _: str) -> None:
            time.sleep(600)

    found, _ = prove(Slow(refusing, images=()), pull=True, pull_timeout_s=0.2)
    assert found["images"][0]["pull_error"] == "the pull gave no answer within 0.2 s"


def test_containers_that_cannot_be_removed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CLEAN_S", containers.CLEAN_MARGIN_S + 0.1)
    engine = FakeEngine(lambda _: b"")
    engine.undead = True
    asked = trials_asked(paths=["gpus"])
    planned = plan((), 0, asked)
    found = proof(engine, asked, timeout_s=0.1).run(planned)
    assert found["trials"][0]["outcome"] == "timeout"
    assert found["left_behind"] == [next(iter(engine.containers))[:12]]


def test_a_daemon_that_lists_nothing_in_the_end_leaves_it_open_what_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Frozen(FakeEngine):
        def labelled(self, label: str) -> list[dict[str, Any]]:
            if self.containers:
                raise EngineError("the Docker daemon did not answer in time")
            return super().labelled(label)

    monkeypatch.setattr(limits, "CLEAN_S", containers.CLEAN_MARGIN_S + 0.1)
    found, _ = prove(Frozen(refusing), paths=["gpus"])
    assert found["left_behind"] is None


def test_a_removal_that_hangs_does_not_use_up_the_time_of_all_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Slow(FakeEngine):
        def remove(self, _: str) -> None:
            time.sleep(HANGS_S)
            raise EngineError("did not answer in time")

    monkeypatch.setattr(limits, "CLEAN_S", containers.CLEAN_MARGIN_S + 0.1)
    engine = Slow(lambda _: b"")
    asked = trials_asked(paths=["gpus"])
    made = [engine.create(container_spec(trial)) for trial in plan(gpus(8), 8, asked)]
    began = time.monotonic()
    left = proof(engine, asked).clean()
    assert time.monotonic() - began < len(made) * HANGS_S / 2
    assert left == [identifier[:12] for identifier in made]


def test_a_run_that_is_told_to_end_leaves_no_container(tmp_path: Path) -> None:
    class Hanging(FakeEngine):
        def start(self, container_id: str) -> None:
            super().start(container_id)
            (tmp_path / container_id).touch()

    def work() -> None:
        engine = Hanging(lambda _: b"")
        asked = trials_asked(paths=["gpus"], parallel=2)
        try:
            proof(engine, asked, timeout_s=60).run(plan(gpus(1), 1, asked))
        finally:
            (tmp_path / "left").write_text(str(len(engine.containers)))

    child = Child(work, 60, grace_s=20)
    deadline = time.monotonic() + 10
    while len(list(tmp_path.iterdir())) < 2:
        assert time.monotonic() < deadline, "two containers should be running"
        time.sleep(0.005)
    child.stop()
    assert (tmp_path / "left").read_text() == "0"
    assert len(list(tmp_path.iterdir())) == 3, "nothing more was started"


def test_sections_without_trials_start_nothing() -> None:
    assert containers.collect(spec(), []) == {
        "images": [],
        "trials": [],
        "left_behind": [],
        "swept": [],
    }


def test_a_daemon_that_is_not_there_is_the_sections_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(engine_api, "SOCKET_URL", f"unix://{tmp_path}/docker.sock")
    with pytest.raises(EngineError, match="No such file or directory"):
        containers.collect(spec(trials=trials_asked()), [])


class TestSweep:
    def engine(self, *run_ids: str, age_s: float = 0) -> FakeEngine:
        engine = FakeEngine(refusing)
        for number, run_id in enumerate(run_ids):
            identifier = f"{number:064d}"
            made = ContainerSpec(IMAGE, [], {LABEL: run_id})
            engine.containers[identifier] = FakeContainer(
                identifier, made, "running", time.time() - age_s
            )
        return engine

    def test_containers_of_a_run_that_lives_are_left_alone(self) -> None:
        engine = self.engine(owner.run_id(Root()))
        assert sweep(engine, Root()) == []
        assert len(engine.containers) == 1

    def test_containers_of_a_run_that_is_over_are_removed(self) -> None:
        pid, _, started = owner.run_id(Root()).partition("-")
        reused = f"{pid}-{int(started) - 1}"
        engine = self.engine("999999999-1", reused, "nonsense")
        assert len(sweep(engine, Root())) == 3
        assert engine.containers == {}

    def test_containers_older_than_any_run_are_removed(self) -> None:
        engine = self.engine(owner.run_id(Root()), age_s=owner.MAX_AGE_S + 60)
        assert len(sweep(engine, Root())) == 1

    def test_one_that_cannot_be_removed_is_not_said_to_be(self) -> None:
        engine = self.engine("999999999-1")
        engine.undead = True
        assert sweep(engine, Root()) == []


class TestAsUser:
    def planned(self, user: str) -> tuple[Trials, list[PlannedTrial]]:
        asked = trials_asked(paths=["gpus"], user=user)
        return asked, [t for t in plan(gpus(1), 1, asked) if t.user]

    def error(self, user: str, engine: FakeEngine) -> Any:
        asked, planned = self.planned(user)
        record = proof(engine, asked).run(planned)["trials"][0]
        return record["outcome"], record["error"], record["output"]

    def test_a_user_that_does_not_exist_is_named(self) -> None:
        outcome, error, _ = self.error("no-such-user", FakeEngine(refusing))
        assert outcome == "error"
        assert error == "as user no-such-user: there is no user 'no-such-user'"

    @as_root
    def test_the_request_is_made_by_that_user(self) -> None:
        class Whose(FakeEngine):
            def create(self, _: ContainerSpec) -> str:
                raise RefusedError(f"{os.getresuid()} {os.getresgid()} {os.environ['HOME']}")

        nobody = pwd.getpwnam("nobody")
        outcome, error, _ = self.error("nobody", Whose(refusing))
        assert outcome == "refused"
        three = f"({nobody.pw_uid}, {nobody.pw_uid}, {nobody.pw_uid})"
        assert error.startswith(three)
        assert error.endswith(nobody.pw_dir)

    @as_root
    def test_a_user_who_may_not_use_the_socket_gets_the_kernels_words(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
    ) -> None:
        monkeypatch.setattr(engine_api, "SOCKET_URL", f"unix://{tmp_path}/docker.sock")
        asked, planned = self.planned("nobody")
        now = time.monotonic()
        engine = FakeEngine(refusing)

        def connect(_timeout_s: float) -> Any:
            return engine if os.geteuid() == 0 else engine_api.connect(1)

        tmp_path.chmod(0o700)
        held = Proof(connect, 5.0, Session(RUN, now, now + 60, 5.0), asked, NOWHERE)
        record = held.run(planned)["trials"][0]
        assert record["outcome"] == "error"
        assert "Permission denied" in str(record["error"])

    @as_root
    def test_becoming_somebody_gives_up_roots_groups(self) -> None:
        def work() -> list[int]:
            become("nobody")
            return [os.geteuid(), *os.getgroups()]

        nobody = pwd.getpwnam("nobody")
        groups = os.getgrouplist("nobody", nobody.pw_gid)
        assert Child(work, 5).answer() == [nobody.pw_uid, *groups]
