from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.evidence import CUDA_IMAGE, NGC_IMAGE, gpu_list, gpu_query, uuid_of

from gpuhost.model import Desired, Verdict

PATHS = ("gpus", "runtime", "cdi")


def shows(host: Any, trial: Any, *indices: int) -> None:
    """Make a container see these GPUs of the host."""
    gpus = [host.section("nvml")["gpus"][index] for index in indices]
    trial.update(
        outcome="ran",
        exit_code=0,
        list_gpus=gpu_list(gpus),
        query=gpu_query(gpus),
        nvml=None,
        error=None,
        device_nodes=[f"/dev/nvidia{gpu['minor']}" for gpu in gpus],
    )


def without_trials(host: Any, keep: Callable[[Any], bool]) -> None:
    containers = host.section("containers")
    containers["trials"] = [trial for trial in containers["trials"] if keep(trial)]


# ------------------------------------------------------------------ exact sets


@pytest.mark.parametrize("path", PATHS)
def test_a_gpu_too_many_is_called_a_leak(host: Any, path: str) -> None:
    trial = host.trial(f"{path}/index/1")
    shows(host, trial, 1, 2)
    result = host.check(f"partition.{path}")
    assert result.verdict is Verdict.FAIL
    assert result.summary.startswith("leak: 1 of 1")
    assert f"{path}/index/1: leak: also sees {uuid_of(2)}" in result.seen
    assert "systemctl restart nvidia-cdi-refresh.service" in result.remedy
    assert trial["docker_run"] in result.remedy


@pytest.mark.parametrize("path", PATHS)
def test_a_gpu_too_few_is_named(host: Any, path: str) -> None:
    shows(host, host.trial(f"{path}/all"), 0, 1, 3)
    result = host.check(f"partition.{path}")
    assert result.verdict is Verdict.FAIL
    assert f"too few: does not see {uuid_of(2)}" in result.seen


@pytest.mark.parametrize("path", PATHS)
def test_another_gpu_is_called_swapped(host: Any, path: str) -> None:
    shows(host, host.trial(f"{path}/uuid/0"), 3)
    result = host.check(f"partition.{path}")
    assert result.verdict is Verdict.FAIL
    assert f"swapped: sees {uuid_of(3)} instead of {uuid_of(0)}" in result.seen


def test_a_container_that_saw_no_gpu_and_exited_0_fails(host: Any) -> None:
    shows(host, host.trial("gpus/all"))
    assert host.trial("gpus/all")["exit_code"] == 0
    assert "too few" in host.check("partition.gpus").summary


def test_a_container_that_asked_for_none_and_sees_all_is_a_leak(host: Any) -> None:
    shows(host, host.trial("runtime/none"), 0, 1, 2, 3)
    result = host.check("partition.runtime")
    assert result.verdict is Verdict.FAIL
    assert "asked for none" in result.seen


def test_a_device_node_too_many_is_a_leak_even_if_nothing_lists_the_gpu(host: Any) -> None:
    host.trial("cdi/index/0")["device_nodes"].append("/dev/nvidia3")
    result = host.check("partition.cdi")
    assert result.verdict is Verdict.FAIL
    assert "/dev/nvidia3 (device nodes)" in result.seen


def test_a_pci_address_that_is_not_the_gpus_fails(host: Any) -> None:
    trial = host.trial("gpus/index/0")
    trial["query"] = trial["query"].replace("00000000:07:00.0", "00000000:4E:00.0")
    result = host.check("partition.gpus")
    assert result.verdict is Verdict.FAIL
    assert "0000:4e:00.0" in result.seen


def test_nvml_inside_that_disagrees_with_nvidia_smi_fails(host: Any) -> None:
    trial = host.trial("gpus/index/0")
    trial["nvml"] = host.trial("gpus/index/1")["nvml"]
    assert "(NVML inside)" in host.check("partition.gpus").seen


def test_an_image_without_python_is_judged_by_nvidia_smi(host: Any) -> None:
    for trial in host.section("containers")["trials"]:
        trial["nvml"] = None
    assert host.check("partition.gpus").verdict is Verdict.PASS


def test_err_inside_a_container_fails(host: Any) -> None:
    host.trial("gpus/all")["list_gpus"] += "Unable to determine the device handle: GPU is lost.\n"
    result = host.check("partition.gpus")
    assert result.verdict is Verdict.FAIL
    assert "GPU is lost" in result.seen


def test_nvml_that_fails_inside_a_container_fails(host: Any) -> None:
    trial = host.trial("gpus/all")
    trial.update(nvml=None, output="nvmlInit_v2: NVML error 18\n")
    assert "NVML error 18" in host.check("partition.gpus").seen


def test_a_container_without_a_driver_fails_and_says_who_served_nobody(host: Any) -> None:
    trial = host.trial("gpus/all")
    shows(host, trial)
    trial.update(exit_code=127, list_gpus="", query="", output="sh: 12: nvidia-smi: not found\n")
    result = host.check("partition.gpus")
    assert result.verdict is Verdict.FAIL
    assert "nvidia-smi: not found" in result.seen
    assert "given no driver" in result.cause


def test_an_exit_code_that_is_not_0_fails_though_the_gpus_are_right(host: Any) -> None:
    host.trial("gpus/all")["exit_code"] = 14
    assert "exits 14" in host.check("partition.gpus").seen


def test_several_wrong_trials_are_listed_and_the_rest_counted(host: Any) -> None:
    for trial in host.section("containers")["trials"]:
        if trial["path"] == "gpus" and trial["expected_uuids"]:
            shows(host, trial, 0, 1, 2, 3)
    result = host.check("partition.gpus")
    assert "leak" in result.summary
    assert result.seen.splitlines()[-1].startswith("and ")


# ---------------------------------------------------------- refused, unfinished


def test_a_good_request_that_is_refused_fails_in_dockers_words(host: Any) -> None:
    words = 'could not select device driver "" with capabilities: [[gpu]]'
    host.trial("gpus/all").update(outcome="refused", error=words)
    result = host.check("partition.gpus")
    assert result.verdict is Verdict.FAIL
    assert words in result.seen
    assert "systemctl restart docker.service" in result.remedy


@pytest.mark.parametrize("outcome", ["timeout", "error", "something new"])
def test_a_trial_that_did_not_end_is_unknown(host: Any, outcome: str) -> None:
    host.trial("cdi/all").update(outcome=outcome, error="no answer", exit_code=None)
    result = host.check("partition.cdi")
    assert result.verdict is Verdict.UNKNOWN
    assert "no answer" in result.seen


def test_a_container_whose_sight_cannot_be_read_is_unknown(host: Any) -> None:
    host.trial("cdi/all")["list_gpus"] = "a new form of output\n"
    result = host.check("partition.cdi")
    assert result.verdict is Verdict.UNKNOWN
    assert "a new form of output" in result.seen


def test_an_empty_container_that_said_nothing_is_unknown(host: Any) -> None:
    host.trial("gpus/none").update(output="", exit_code=0)
    assert host.check("partition.gpus").verdict is Verdict.UNKNOWN


def test_a_query_without_addresses_is_unknown(host: Any) -> None:
    trial = host.trial("cdi/index/0")
    trial["query"] = trial["query"].replace("00000000:07:00.0", "[N/A]")
    assert host.check("partition.cdi").verdict is Verdict.UNKNOWN


def test_an_expectation_without_addresses_is_unknown(host: Any) -> None:
    host.trial("cdi/index/0")["expected_bus_ids"] = None
    assert host.check("partition.cdi").verdict is Verdict.UNKNOWN


def test_an_expectation_that_the_host_does_not_know_is_unknown(host: Any) -> None:
    host.section("nvml")["gpus"][0]["uuid"] = "GPU-99999999-e1b1-e418-7862-000000000000"
    assert host.check("partition.cdi").verdict is Verdict.UNKNOWN


# ------------------------------------------------------------------- coverage


@pytest.mark.parametrize("selector", ["index", "uuid", "all", "none", "half", "complement"])
def test_a_kind_of_set_that_was_not_tried_is_unknown(host: Any, selector: str) -> None:
    without_trials(host, lambda trial: trial["selector"] != selector)
    result = host.check("partition.gpus")
    assert result.verdict is Verdict.UNKNOWN
    assert "not tried" in result.seen


def test_no_trial_at_all_is_unknown(host: Any) -> None:
    without_trials(host, lambda _trial: False)
    for name in ("gpus", "runtime", "cdi", "pairs", "refusal", "user"):
        assert host.check(f"partition.{name}").verdict is Verdict.UNKNOWN, name
    for name in ("cuda", "ngc"):
        assert host.check(f"container.{name}").verdict is Verdict.UNKNOWN, name


def test_trials_that_nobody_asked_for_are_skipped(host: Any) -> None:
    host.evidence["spec"]["trials"] = None
    host.section("containers").update(images=[], trials=[])
    for name in ("gpus", "runtime", "cdi", "pairs", "refusal", "user"):
        result = host.check(f"partition.{name}")
        assert result.verdict is Verdict.SKIP
        assert "not asked for" in result.summary
    for name in ("cuda", "ngc", "cuda_version", "cleanup"):
        assert host.check(f"container.{name}").verdict is Verdict.SKIP


def test_a_path_that_nobody_asked_for_is_skipped(host: Any) -> None:
    host.evidence["spec"]["trials"]["paths"] = ["gpus", "cdi"]
    without_trials(host, lambda trial: trial["path"] != "runtime")
    assert host.check("partition.runtime").verdict is Verdict.SKIP
    assert host.check("partition.cdi").verdict is Verdict.PASS


def test_the_mechanism_that_really_served_is_in_the_summary(host: Any) -> None:
    assert host.check("partition.gpus").summary == "13 of 13 sets of 4 GPUs exact; served by CDI"
    for trial in host.section("containers")["trials"]:
        if trial["path"] == "gpus" and trial["expected_uuids"]:
            trial["served_by"] = "all"
    assert host.check("partition.gpus").summary.endswith("served by hook")


def test_without_gpus_the_reason_stands_before_the_missing_trials(host: Any) -> None:
    failure = {"code": 9, "name": "", "text": "Driver Not Loaded"}
    host.section("nvml").update(failure=failure, gpus=[])
    result = host.check("partition.gpus")
    assert result.verdict is Verdict.UNKNOWN
    assert "Driver Not Loaded" in result.seen
    assert "modprobe" in result.remedy


# ----------------------------------------------------------------------- pairs


def test_a_pair_that_was_not_open_together_proves_nothing(host: Any) -> None:
    a, b = host.trial("pair-1/gpus/a"), host.trial("pair-1/gpus/b")
    a.update(opened_s=0.0, closed_s=1.0)
    b.update(opened_s=1.0, closed_s=2.0)
    result = host.check("partition.pairs")
    assert result.verdict is Verdict.UNKNOWN
    assert "same time" in result.summary
    assert "pair-1" in result.seen


def test_a_pair_that_shares_a_gpu_is_a_leak(host: Any) -> None:
    shows(host, host.trial("pair-1/gpus/a"), 0, 1, 2)
    result = host.check("partition.pairs")
    assert result.verdict is Verdict.FAIL
    assert result.seen == f"pair-1: both see {uuid_of(1)}"


def test_a_pair_with_a_wrong_gpu_fails_though_nothing_is_shared(host: Any) -> None:
    shows(host, host.trial("pair-1/gpus/a"), 0)
    assert host.check("partition.pairs").verdict is Verdict.FAIL


def test_half_a_pair_proves_nothing(host: Any) -> None:
    without_trials(host, lambda trial: trial["id"] != "pair-2/runtime/b")
    assert host.check("partition.pairs").verdict is Verdict.UNKNOWN


def test_one_gpu_cannot_be_shared_out(host_with: Callable[[int], Any]) -> None:
    result = host_with(1).check("partition.pairs")
    assert result.verdict is Verdict.SKIP
    assert "two GPUs" in result.summary


# --------------------------------------------------------------------- refusal


def test_a_bad_index_that_starts_a_container_fails(host: Any) -> None:
    shows(host, host.trial("gpus/bad-index"), 0, 1, 2, 3)
    result = host.check("partition.refusal")
    assert result.verdict is Verdict.FAIL
    assert "was not refused" in result.summary
    assert uuid_of(0) in result.seen


def test_a_bad_uuid_that_starts_a_container_without_gpus_fails_too(host: Any) -> None:
    shows(host, host.trial("cdi/bad-uuid"))
    result = host.check("partition.refusal")
    assert result.verdict is Verdict.FAIL
    assert "saw no GPU" in result.seen


def test_refusals_of_a_path_that_refuses_everything_prove_nothing(host: Any) -> None:
    for trial in host.section("containers")["trials"]:
        if trial["path"] == "runtime":
            trial.update(outcome="refused", error="unknown or invalid runtime name: nvidia")
    result = host.check("partition.refusal")
    assert result.verdict is Verdict.UNKNOWN
    assert "runtime refuses good requests too" in result.summary


def test_a_refusal_that_was_not_tried_is_unknown(host: Any) -> None:
    without_trials(host, lambda trial: trial["id"] != "cdi/bad-uuid")
    result = host.check("partition.refusal")
    assert result.verdict is Verdict.UNKNOWN
    assert "cdi/bad-uuid" in result.seen


def test_a_bad_request_that_timed_out_is_unknown(host: Any) -> None:
    host.trial("gpus/bad-index").update(outcome="timeout", error="no answer in 60 s")
    assert host.check("partition.refusal").verdict is Verdict.UNKNOWN


# ------------------------------------------------------------------------ user


def user_trial(host: Any) -> Any:
    return next(t for t in host.section("containers")["trials"] if t["user"])


def test_a_user_who_may_not_use_docker_fails_with_the_group(host: Any) -> None:
    words = "permission denied while trying to connect to the Docker daemon socket"
    user_trial(host).update(outcome="refused", error=words)
    result = host.check("partition.user")
    assert result.verdict is Verdict.FAIL
    assert "docker group" in result.cause
    assert "usermod -aG docker" in result.remedy


def test_a_user_whom_docker_does_not_let_in_fails_and_is_not_unknown(host: Any) -> None:
    words = "as user alice: ('Connection aborted.', PermissionError(13, 'Permission denied'))"
    user_trial(host).update(outcome="error", error=words)
    assert host.check("partition.user").verdict is Verdict.FAIL


def test_a_user_whose_trial_broke_for_another_reason_is_unknown(host: Any) -> None:
    user_trial(host).update(outcome="error", error="as user alice: gave no answer within 60 s")
    assert host.check("partition.user").verdict is Verdict.UNKNOWN


def test_a_user_who_sees_another_gpu_fails(host: Any) -> None:
    shows(host, user_trial(host), 2)
    assert host.check("partition.user").verdict is Verdict.FAIL


def test_a_trial_as_somebody_else_does_not_count(host: Any) -> None:
    user_trial(host)["user"] = "mallory"
    assert host.check("partition.user").verdict is Verdict.UNKNOWN


# ---------------------------------------------------------------------- images


@pytest.mark.parametrize(("role", "reference"), [("cuda", CUDA_IMAGE), ("ngc", NGC_IMAGE)])
def test_an_image_that_cannot_be_pulled_fails_in_the_registrys_words(
    host: Any, role: str, reference: str
) -> None:
    containers = host.section("containers")
    image = next(image for image in containers["images"] if image["role"] == role)
    image["pull_error"] = f"manifest for {reference} not found: manifest unknown"
    result = host.check(f"container.{role}")
    assert result.verdict is Verdict.FAIL
    assert "manifest unknown" in result.seen
    assert "no image by this tag" in result.cause


def test_sets_that_were_not_tried_for_want_of_an_image_name_it(host: Any) -> None:
    for trial in host.section("containers")["trials"]:
        trial.update(
            outcome="error", error=f"image {CUDA_IMAGE} is not on the host: manifest unknown"
        )
    result = host.check("partition.gpus")
    assert result.verdict is Verdict.UNKNOWN
    assert "manifest unknown" in result.seen
    assert "no image by this tag" in result.cause


def test_an_image_other_than_declared_is_unknown(host: Any) -> None:
    host.desired = Desired(cuda_image="nvidia/cuda:12.9.2-base-ubuntu24.04")
    assert host.check("container.cuda").verdict is Verdict.UNKNOWN


def test_a_cuda_container_that_sees_too_few_gpus_fails(host: Any) -> None:
    shows(host, host.trial("gpus/all"), 0, 1)
    assert host.check("container.cuda").verdict is Verdict.FAIL


def test_an_ngc_image_tells_its_release(host: Any) -> None:
    assert "pytorch 26.08" in host.check("container.ngc").summary


def ngc_image(host: Any) -> Any:
    return next(i for i in host.section("containers")["images"] if i["role"] == "ngc")


def test_an_ngc_image_that_is_not_what_its_tag_says_fails(host: Any) -> None:
    ngc_image(host)["env"] = ["NVIDIA_PYTORCH_VERSION=25.04"]
    result = host.check("container.ngc")
    assert result.verdict is Verdict.FAIL
    assert "25.04" in result.summary
    assert "26.08" in result.expected


def test_an_image_without_a_framework_is_unknown(host: Any) -> None:
    ngc_image(host)["env"] = []
    assert host.check("container.ngc").verdict is Verdict.UNKNOWN


def test_an_ngc_container_that_sees_another_gpu_fails(host: Any) -> None:
    shows(host, host.trial("ngc/gpus/uuid/3"), 0)
    assert host.check("container.ngc").verdict is Verdict.FAIL


def offer(host: Any, driver: str, cuda: str) -> None:
    host.section("nvml").update(driver_version=driver, cuda_version=cuda)


def test_a_driver_too_old_for_an_image_fails(host: Any) -> None:
    offer(host, "535.309.01", "12.2")
    result = host.check("container.cuda_version")
    assert result.verdict is Verdict.FAIL
    assert result.seen == "driver 535.309.01 with CUDA 12.2"
    assert f"{CUDA_IMAGE}: cuda>=13.0 brand=tesla" in result.expected
    assert f"{NGC_IMAGE}: cuda>=13" in result.expected


def test_an_older_branch_that_the_image_allows_for_data_center_gpus_passes(host: Any) -> None:
    offer(host, "550.163.01", "12.4")
    ngc_image(host)["env"] = []
    assert host.check("container.cuda_version").verdict is Verdict.PASS
    for gpu in host.section("nvml")["gpus"]:
        gpu["name"] = "NVIDIA GeForce RTX 4090"
    assert host.check("container.cuda_version").verdict is Verdict.FAIL


def test_a_minor_release_of_cuda_is_no_obstacle(host: Any) -> None:
    ngc_image(host)["env"].append("CUDA_VERSION=13.4.1")
    assert host.check("container.cuda_version").verdict is Verdict.PASS


def test_a_requirement_of_an_unknown_form_is_unknown(host: Any) -> None:
    ngc_image(host)["env"].append("NVIDIA_REQUIRE_CUDA=moon>=full")
    result = host.check("container.cuda_version")
    assert result.verdict is Verdict.UNKNOWN
    assert "moon>=full" in result.seen


def test_images_that_require_nothing_are_skipped(host: Any) -> None:
    for image in host.section("containers")["images"]:
        image["env"] = []
    assert host.check("container.cuda_version").verdict is Verdict.SKIP


# --------------------------------------------------------------------- cleanup


def test_a_daemon_that_does_not_tell_what_is_left_is_unknown(host: Any) -> None:
    host.section("containers")["left_behind"] = None
    result = host.check("container.cleanup")
    assert result.verdict is Verdict.UNKNOWN
    assert "hangs" in result.cause


def test_a_container_that_is_left_behind_fails_with_the_command(host: Any) -> None:
    host.section("containers")["left_behind"] = ["4f2a9c1d7e3b"]
    result = host.check("container.cleanup")
    assert result.verdict is Verdict.FAIL
    assert result.remedy == "docker rm -f 4f2a9c1d7e3b"


def test_what_an_earlier_run_left_is_told(host: Any) -> None:
    host.section("containers")["swept"] = ["4f2a9c1d7e3b"]
    result = host.check("container.cleanup")
    assert result.verdict is Verdict.PASS
    assert "1 container of an earlier run" in result.summary
