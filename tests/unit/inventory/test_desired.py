"""Desired state: from a host's variables, held against what the roles declare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpuhost import inventory
from gpuhost.errors import DesiredStateError, PlaybookError
from gpuhost.inventory import Host, desired, desired_states
from gpuhost.model import Desired

pytestmark = pytest.mark.usefixtures("declared")


def host(name: str = "lab-01", **variables: Any) -> Host:
    return Host(name, "10.0.0.1", variables)


def wrong(*hosts: Host) -> str:
    with pytest.raises(DesiredStateError) as error:
        desired_states(hosts)
    assert error.value.remedy
    return error.value.message


def test_what_is_not_set_has_the_declared_default() -> None:
    assert desired(host()) == Desired(
        driver_branch="580",
        driver_modules="auto",
        cuda_image="nvidia/cuda:13",
        ngc_image="nvcr.io/nvidia/pytorch:26",
        trial_timeout_s=61,
        trial_parallel=5,
        pull_timeout_s=1801,
    )


def test_what_is_set_is_what_the_host_should_be() -> None:
    state = desired(
        host(
            gpuhost_gpu_count=4,
            gpuhost_gpu_model="A100",
            gpuhost_gpu_uuids=["GPU-1", "GPU-2"],
            nvidia_driver_branch="570",
            nvidia_driver_version="570.1",
            nvidia_driver_modules="open",
            docker_ce_version="5:26.1.5-1",
            docker_ce_daemon_config={"live-restore": True},
            nvidia_container_toolkit_version="1.20.0-1",
            docker_users_names=["alice"],
            gpuhost_cuda_image="c",
            gpuhost_ngc_image="n",
            gpuhost_trial_timeout="30",
            gpuhost_trial_parallel=2,
            gpuhost_pull_timeout=5,
        )
    )
    assert state == Desired(
        gpu_count=4,
        gpu_model="A100",
        gpu_uuids=("GPU-1", "GPU-2"),
        driver_branch="570",
        driver_version="570.1",
        driver_modules="open",
        docker_version="5:26.1.5-1",
        daemon_config={"live-restore": True},
        toolkit_version="1.20.0-1",
        docker_users=("alice",),
        cuda_image="c",
        ngc_image="n",
        trial_timeout_s=30,
        trial_parallel=2,
        pull_timeout_s=5,
    )


def test_an_empty_version_means_none_in_particular() -> None:
    assert desired(host(nvidia_driver_version="", docker_ce_version="")).driver_version is None


def test_a_misspelt_variable_is_an_error_that_suggests_the_right_one() -> None:
    assert (
        "lab-01: gpuhost_gpu_cuont is no variable of any role. Did you mean 'gpuhost_gpu_count'?"
        in wrong(host(gpuhost_gpu_cuont=4))
    )


def test_a_wrong_choice_is_an_error_that_suggests_the_right_one() -> None:
    message = wrong(host(nvidia_driver_modules="opne"))
    assert "must be one of auto, open, proprietary. Did you mean 'open'?" in message


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"gpuhost_gpu_count": "four"}, "gpuhost_gpu_count is 'four': it must be a whole number"),
        ({"gpuhost_gpu_count": True}, "gpuhost_gpu_count is True: it must be a whole number"),
        ({"gpuhost_gpu_count": -1}, "gpuhost_gpu_count is -1: it must be 0 or more"),
        ({"gpuhost_trial_parallel": 0}, "gpuhost_trial_parallel is 0: it must be 1 or more"),
        ({"nvidia_driver_branch": 580.1}, 'put it in quotes: "580.1"'),
        ({"docker_users_names": "alice"}, "it must be a list, as in [alice]"),
        ({"docker_users_names": ["alice", {"name": "bob"}]}, "has {'name': 'bob'} in it"),
        ({"docker_ce_daemon_config": "a=b"}, "it must be a mapping"),
    ],
)
def test_a_value_of_the_wrong_type_is_an_error_that_says_which_is_right(
    variables: dict[str, Any], words: str
) -> None:
    assert words in wrong(host(**variables))


def test_a_hosts_proxies_are_among_the_declared_keys_of_dockerd() -> None:
    state = inventory.desired(
        host(
            gpuhost_https_proxy="http://proxy.example.com:3128",
            gpuhost_no_proxy="localhost",
            docker_ce_daemon_config={"debug": True, "proxies": {"no-proxy": "registry"}},
        )
    )
    proxies = {"https-proxy": "http://proxy.example.com:3128", "no-proxy": "registry"}
    assert state.daemon_config == {"debug": True, "proxies": proxies}
    assert "proxies" not in inventory.desired(host()).daemon_config


@pytest.mark.parametrize(
    "url", ["proxy", "proxy.example.com:3128", "socks5://proxy:1080", "http://:80", "http://[::1"]
)
def test_a_proxy_that_is_no_url_is_an_error_that_shows_one(url: str) -> None:
    message = wrong(host(gpuhost_http_proxy=url))
    assert f"gpuhost_http_proxy is {url!r}: it must be a URL, such as http://proxy" in message


def test_a_login_to_a_proxy_is_refused_and_its_password_not_shown() -> None:
    message = wrong(host(gpuhost_https_proxy="http://me:hunter2@proxy.example.com"))
    assert "gpuhost_https_proxy has a user in it" in message
    assert "hunter2" not in message


def test_a_template_that_cannot_be_resolved_is_an_error_in_ansibles_words() -> None:
    unresolved = Host("lab-01", "lab-01", {}, {"gpuhost_gpu_count": "'n' is undefined"})
    assert "gpuhost_gpu_count cannot be resolved: 'n' is undefined" in wrong(unresolved)


def test_all_that_is_wrong_with_all_hosts_is_told_at_once_and_each_thing_once() -> None:
    message = wrong(
        host("a", gpuhost_gpu_count="x", gpuhost_model="y"), host("b", gpuhost_gpu_count="x")
    )
    lines = message.splitlines()
    assert lines[0] == "2 variables are wrong:"
    assert sorted(lines[1:])[0].startswith("  a, b: gpuhost_gpu_count is 'x'")
    assert sorted(lines[1:])[1].startswith("  a: gpuhost_model is no variable")


def test_a_fleet_with_one_mistake_is_not_listed_host_by_host() -> None:
    message = wrong(*[host(f"h{i}", gpuhost_gpu_count="x") for i in range(100)])
    assert "… (100 in all)" in message
    assert len(message.splitlines()) == 2


def test_a_required_variable_that_is_not_set_is_an_error(declared: Path) -> None:
    path = declared / "gpuhost" / "meta" / "argument_specs.yml"
    path.write_text(
        path.read_text().replace("count: {type: int}", "count: {type: int, required: true}")
    )
    assert "lab-01: gpuhost_gpu_count is required and not set" in wrong(host())


def test_roles_that_lack_a_declaration_are_a_broken_installation(declared: Path) -> None:
    (declared / "docker_users" / "meta" / "argument_specs.yml").unlink()
    with pytest.raises(PlaybookError, match="docker_users_names"):
        inventory.declared()


def test_a_secret_that_is_wrong_is_not_told(declared: Path) -> None:
    path = declared / "gpuhost" / "meta" / "argument_specs.yml"
    path.write_text(path.read_text() + "        gpuhost_pin: {type: int, no_log: true}\n")
    assert "s3cret" not in wrong(host(gpuhost_pin="s3cret"))
