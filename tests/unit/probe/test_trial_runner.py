"""Running trials against an Engine in memory."""

from __future__ import annotations

import time

import pytest
from support.probe import IMAGE, FakeEngine, FakeStream, gpus, printed, trials_asked

from gpuhost.probe.conversation import EXCERPT_BYTES, OUTPUT_LIMIT_BYTES
from gpuhost.probe.engine_api import (
    ContainerSpec,
    DeviceRequest,
    EngineError,
    EngineTimeoutError,
    RefusedError,
)
from gpuhost.probe.owner import LABEL
from gpuhost.probe.schema import Trial
from gpuhost.probe.trial_runner import (
    TIMEOUTS_ALLOWED,
    Brake,
    Session,
    container_spec,
    jobs,
    run_job,
)
from gpuhost.probe.trials import PlannedTrial, plan

PLANNED = {trial.id: trial for trial in plan(gpus(4), 4, trials_asked())}


def session(timeout_s: float = 5.0) -> Session:
    now = time.monotonic()
    return Session("1-2", began=now, deadline=now + 60, trial_timeout_s=timeout_s)


def run_one(engine: FakeEngine, name: str, timeout_s: float = 5.0) -> Trial:
    held = session(timeout_s)
    return run_job(engine, (PLANNED[name],), held, Brake(held.deadline))[0]


def test_a_trial_that_ran_has_what_was_printed_inside() -> None:
    engine = FakeEngine(lambda _: printed("GPU 0: x (UUID: GPU-1)\n", environment="void"))
    record = run_one(engine, "gpus/index/0")
    assert record["outcome"] == "ran"
    assert record["error"] is None
    assert record["exit_code"] == 0
    assert record["list_gpus"] == "GPU 0: x (UUID: GPU-1)\n"
    assert record["served_by"] == "void"
    assert record["device_nodes"] == ["/dev/nvidia0", "/dev/nvidiactl"]
    assert record["expected_uuids"] == [gpus(4)[0].uuid]
    assert 0 <= record["opened_s"] <= record["closed_s"]


def test_a_container_that_prints_without_end_is_stopped_at_once_with_an_excerpt_kept() -> None:
    engine = FakeEngine(lambda _: b"y" * (OUTPUT_LIMIT_BYTES + 1))
    record = run_one(engine, "gpus/index/0", timeout_s=600)
    assert record["outcome"] == "error"
    assert record["error"] == "the container printed more than 256 KiB"
    assert record["output"] == "y" * EXCERPT_BYTES
    assert engine.containers == {}


def test_beside_a_container_that_is_never_heard_of_none_is_opened() -> None:
    engine = FakeEngine(lambda _: b"")
    held = session(0.05)
    pair = (PLANNED["pair-1/gpus/a"], PLANNED["pair-1/gpus/b"])
    first, second = run_job(engine, pair, held, Brake(held.deadline))
    assert first["outcome"] == "timeout"
    assert second["outcome"] == "error"
    assert second["error"] == (
        "not tried: pair-1/gpus/a, beside which it was to run, did not end in time"
    )
    assert engine.containers == {}


def test_a_request_that_is_refused_keeps_the_daemons_words() -> None:
    def refuse(_: ContainerSpec) -> bytes:
        raise RefusedError("CDI device injection failed: unresolvable CDI devices")

    record = run_one(FakeEngine(refuse), "cdi/bad-index")
    assert record["outcome"] == "refused"
    assert record["error"] == "CDI device injection failed: unresolvable CDI devices"
    assert record["expected_uuids"] is None
    assert record["exit_code"] is None


def test_a_failure_to_attach_is_no_refusal_of_devices() -> None:
    class NoAttach(FakeEngine):
        def attach(self, *_: object, **__: object) -> FakeStream:
            raise RefusedError("no such container")

    engine = NoAttach(lambda _: printed("x"))
    record = run_one(engine, "gpus/bad-index")
    assert record["outcome"] == "error"
    assert record["error"] == "could not attach: no such container"
    assert engine.containers == {}


@pytest.mark.parametrize(
    ("error", "outcome"), [(EngineError("gone"), "error"), (EngineTimeoutError("late"), "timeout")]
)
def test_what_is_no_answer_of_the_daemon_is_no_refusal(error: EngineError, outcome: str) -> None:
    def fail(_: ContainerSpec) -> bytes:
        raise error

    record = run_one(FakeEngine(fail), "gpus/bad-index")
    assert (record["outcome"], record["error"]) == (outcome, str(error))


def test_a_container_that_hangs_times_out_and_is_removed() -> None:
    engine = FakeEngine(lambda _: b"")
    record = run_one(engine, "gpus/all", timeout_s=0.1)
    assert record["outcome"] == "timeout"
    assert engine.containers == {}


def test_a_container_that_ends_early_is_an_error_with_what_it_said() -> None:
    engine = FakeEngine(lambda _: printed("half")[:60])
    record = run_one(engine, "gpus/all")
    assert record["outcome"] == "error"
    assert record["error"] == "the container ended before it had reported"
    assert "/dev/nvidia" in str(record["device_nodes"])


def test_the_two_of_a_pair_are_open_at_the_same_time() -> None:
    engine = FakeEngine(lambda s: printed(str(s.environment or s.devices)))
    held = session()
    pair = next(job for job in jobs(list(PLANNED.values())) if job[0].pair == "pair-4")
    first, second = run_job(engine, pair, held, Brake(held.deadline))
    assert engine.most_at_once == 2
    assert (first["outcome"], second["outcome"]) == ("ran", "ran")
    assert first["opened_s"] <= second["opened_s"] <= first["closed_s"] <= second["closed_s"]
    # However quick they are, it shows that both were open at once.
    assert max(first["opened_s"], second["opened_s"]) < first["closed_s"]
    assert all(container.stdin_closed.is_set() for container in engine.containers.values())


def test_one_of_a_pair_that_fails_leaves_the_other_its_record() -> None:
    def only_gpus(spec: ContainerSpec) -> bytes:
        if spec.devices and spec.devices.driver == "cdi":
            raise RefusedError("no CDI here")
        return printed("x")

    held = session()
    pair = next(job for job in jobs(list(PLANNED.values())) if job[0].pair == "pair-4")
    records = run_job(FakeEngine(only_gpus), pair, held, Brake(held.deadline))
    assert [record["outcome"] for record in records] == ["ran", "refused"]


def test_what_a_container_says_on_its_error_stream_is_waited_for() -> None:
    class LateEngine(FakeEngine):
        def attach(self, container_id: str) -> FakeStream:
            container = self.containers[container_id]
            stream = FakeStream(container, self.behaviour(container.spec), ends=True)
            stream.pieces.insert(1, (2, b"nvidia-smi: not found\n"))
            return stream

    record = run_one(LateEngine(lambda _: printed("", 127)), "gpus/none")
    assert record["output"] == "nvidia-smi: not found\n"


def test_pairs_go_first_and_nothing_is_lost() -> None:
    planned = list(PLANNED.values())
    grouped = jobs(planned)
    assert [len(job) for job in grouped[:4]] == [2, 2, 2, 2]
    assert sorted(t.id for job in grouped for t in job) == sorted(t.id for t in planned)


def test_after_too_many_time_outs_nothing_more_is_tried() -> None:
    brake = Brake(time.monotonic() + 60)
    for _ in range(TIMEOUTS_ALLOWED):
        assert brake.why_not() == ""
        brake.count_timeout()
    engine = FakeEngine(lambda _: printed("x"))
    record = run_job(engine, (PLANNED["gpus/all"],), session(), brake)[0]
    assert record["outcome"] == "error"
    assert record["error"] == "not tried: 3 trials had timed out before"
    assert engine.most_at_once == 0


def test_when_the_time_is_up_nothing_more_is_tried() -> None:
    assert Brake(time.monotonic() - 1).why_not() == "not tried: the time for all trials was up"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gpus/all", {"devices": DeviceRequest("", ())}),
        ("gpus/index/2", {"devices": DeviceRequest("", ("2",))}),
        ("gpus/none", {"devices": None}),
        ("cdi/index/2", {"devices": DeviceRequest("cdi", ("nvidia.com/gpu=2",))}),
        ("cdi/none", {"devices": None}),
        ("runtime/none", {"environment": {"NVIDIA_VISIBLE_DEVICES": "none"}}),
        ("runtime/all", {"runtime": "nvidia", "environment": {"NVIDIA_VISIBLE_DEVICES": "all"}}),
        ("pair-2/runtime/a", {"environment": {"NVIDIA_VISIBLE_DEVICES": "0,2"}}),
    ],
)
def test_each_path_makes_its_request_in_its_own_way(name: str, expected: dict[str, object]) -> None:
    made = container_spec(PLANNED[name], session())
    assert made.image == IMAGE
    assert made.labels == {LABEL: "1-2"}
    assert {key: getattr(made, key) for key in expected} == expected


def test_a_container_outlives_its_trial_by_little_should_nobody_remove_it() -> None:
    trial: PlannedTrial = PLANNED["gpus/all"]
    assert container_spec(trial, session(60)).shell_arguments[3] == "90"
