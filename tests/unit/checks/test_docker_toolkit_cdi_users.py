from __future__ import annotations

import json
from typing import Any

import pytest
from support.evidence import DRIVER, ENGINE_PACKAGE, USER, cdi_spec, ended, text_file, uuid_of

from gpuhost.model import Desired, Verdict

REFRESH = "systemctl restart nvidia-cdi-refresh.service"


# --------------------------------------------------------------------- running


def stop(host: Any, words: str = "Cannot connect to the Docker daemon") -> None:
    host.section("docker").update(connect_error=words, info=None)


def test_a_stopped_docker_fails_and_is_told_to_start(host: Any) -> None:
    stop(host)
    host.section("docker")["units"][0]["active_state"] = "inactive"
    result = host.check("docker.running")
    assert result.verdict is Verdict.FAIL
    assert "docker.service is inactive" in result.seen
    assert "systemctl enable --now docker.service" in result.remedy


def test_a_docker_that_is_active_and_does_not_answer_fails(host: Any) -> None:
    stop(host, "read timed out")
    result = host.check("docker.running")
    assert result.verdict is Verdict.FAIL
    assert "docker.service is active" in result.seen


def test_a_docker_that_is_not_installed_is_told_to_be_provisioned(host: Any) -> None:
    stop(host)
    host.section("docker").update(packages=[], units=[])
    result = host.check("docker.present")
    assert result.verdict is Verdict.FAIL
    assert "gpuhost provision" in result.remedy
    assert host.check("docker.running").verdict is Verdict.SKIP


@pytest.mark.parametrize("name", ["docker.version", "docker.runtime", "cdi.enabled"])
def test_what_only_the_daemon_can_tell_is_unknown_while_it_is_stopped(host: Any, name: str) -> None:
    stop(host)
    result = host.check(name)
    assert result.verdict is Verdict.UNKNOWN
    assert "dockerd does not answer" in result.summary


# --------------------------------------------------------------------- version


def test_another_engine_than_declared_fails(host: Any) -> None:
    host.desired = Desired(docker_version="5:28.5.2-1~debian.12~bookworm")
    assert host.check("docker.version").verdict is Verdict.FAIL


@pytest.mark.parametrize("declared", [ENGINE_PACKAGE, "29.7.2"])
def test_an_engine_is_declared_with_or_without_packaging(host: Any, declared: str) -> None:
    host.desired = Desired(docker_version=declared)
    assert host.check("docker.version").verdict is Verdict.PASS


def test_an_engine_that_was_not_restarted_after_its_upgrade_is_a_warning(host: Any) -> None:
    host.section("docker")["info"]["server_version"] = "29.7.1"
    result = host.check("docker.version")
    assert result.verdict is Verdict.WARN
    assert result.remedy == "systemctl restart docker.service"


# ---------------------------------------------------------------------- config


def write(host: Any, text: str) -> None:
    host.section("docker")["daemon_json"] = text_file("/etc/docker/daemon.json", text)


def test_a_daemon_json_that_is_no_json_fails_with_the_line(host: Any) -> None:
    write(host, '{"a": 1,}')
    result = host.check("docker.config")
    assert result.verdict is Verdict.FAIL
    assert "line 1, column" in result.seen


def test_a_declared_key_that_is_missing_or_other_fails(host: Any) -> None:
    host.desired = Desired(daemon_config={"log-opts": {"max-size": "10m"}, "live-restore": True})
    write(host, '{"log-opts": {"max-size": "5m"}}')
    result = host.check("docker.config")
    assert result.verdict is Verdict.FAIL
    assert 'log-opts.max-size is "5m", not "10m"' in result.seen
    assert "live-restore is not set" in result.seen


def test_keys_that_nobody_declared_are_left_alone(host: Any) -> None:
    write(host, json.dumps({"features": {"cdi": True, "buildkit": True}, "data-root": "/srv"}))
    assert host.check("docker.config").verdict is Verdict.PASS


def test_a_config_that_dockerd_refuses_fails_in_its_words(host: Any) -> None:
    words = (
        "unable to configure the Docker daemon with file /etc/docker/daemon.json: the following "
        "directives don't match any configuration option: zz"
    )
    host.section("docker")["validate"] = ended(["dockerd"], stderr=words, rc=1)
    result = host.check("docker.config")
    assert result.verdict is Verdict.FAIL
    assert words in result.seen
    assert "does not know" in result.cause


def test_a_config_that_dockerd_was_not_asked_about_is_unknown(host: Any) -> None:
    host.section("docker")["validate"] = None
    assert host.check("docker.config").verdict is Verdict.UNKNOWN


def test_a_config_that_could_not_be_read_is_unknown(host: Any) -> None:
    host.section("docker")["daemon_json"].update(text=None, error="Permission denied")
    result = host.check("docker.config")
    assert result.verdict is Verdict.UNKNOWN
    assert "Permission denied" in result.seen


def test_no_config_and_nothing_declared_is_skipped(host: Any) -> None:
    host.section("docker")["daemon_json"].update(exists=False, text=None)
    assert host.check("docker.config").verdict is Verdict.FAIL
    host.desired = Desired()
    assert host.check("docker.config").verdict is Verdict.SKIP


# --------------------------------------------------------------------- runtime


def test_a_runtime_that_is_not_registered_fails(host: Any) -> None:
    del host.section("docker")["info"]["runtimes"]["nvidia"]
    write(host, "{}")
    result = host.check("docker.runtime")
    assert result.verdict is Verdict.FAIL
    assert "nvidia-ctk runtime configure --runtime=docker" in result.remedy


def test_a_registration_that_docker_has_not_read_yet_is_named(host: Any) -> None:
    del host.section("docker")["info"]["runtimes"]["nvidia"]
    result = host.check("docker.runtime")
    assert result.verdict is Verdict.FAIL
    assert "not restarted" in result.summary
    assert result.remedy == "systemctl restart docker.service"


def test_a_registration_that_the_next_restart_loses_is_a_warning(host: Any) -> None:
    write(host, "{}")
    result = host.check("docker.runtime")
    assert result.verdict is Verdict.WARN
    assert "next restart" in result.summary


# --------------------------------------------------------------------- toolkit


def test_a_missing_package_fails_and_is_named(host: Any) -> None:
    host.section("toolkit")["packages"].pop()
    result = host.check("toolkit.installed")
    assert result.verdict is Verdict.FAIL
    assert "libnvidia-container1 not installed" in result.seen


def test_packages_of_different_versions_fail(host: Any) -> None:
    host.section("toolkit")["packages"][2]["version"] = "1.19.1-1"
    assert host.check("toolkit.installed").summary == "packages of different versions"


def test_another_version_than_declared_fails(host: Any) -> None:
    host.desired = Desired(toolkit_version="1.19.1-1")
    assert host.check("toolkit.installed").verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("version", "verdict"),
    [("1.17.7-1", Verdict.FAIL), ("1.17.8-1", Verdict.PASS), ("1.9.0-1", Verdict.FAIL)],
)
def test_a_toolkit_that_lets_containers_out_fails(
    host: Any, version: str, verdict: Verdict
) -> None:
    host.desired = Desired()
    for package in host.section("toolkit")["packages"]:
        package["version"] = version
    result = host.check("toolkit.installed")
    assert result.verdict is verdict
    assert verdict is Verdict.PASS or "CVE-2025-23266" in result.summary


def test_a_hook_that_dockerd_cannot_find_fails(host: Any) -> None:
    host.section("toolkit")["hook_path"] = None
    assert host.check("toolkit.hook").verdict is Verdict.FAIL


# -------------------------------------------------------------------- cdi.spec


def specs(host: Any, *files: Any) -> None:
    host.section("toolkit")["cdi_specs"] = list(files)


def test_no_cdi_spec_fails_and_names_the_refresh_service(host: Any) -> None:
    specs(host)
    for name in ("cdi.spec", "cdi.matches"):
        result = host.check(name)
        assert result.verdict is Verdict.FAIL
        assert result.remedy == REFRESH


def test_a_spec_of_another_vendor_is_none_of_the_gpus(host: Any) -> None:
    specs(host, text_file("/etc/cdi/other.yaml", "kind: example.com/net\ndevices: []\n"))
    result = host.check("cdi.spec")
    assert result.verdict is Verdict.FAIL
    assert "/etc/cdi/other.yaml" in result.seen


def test_a_spec_that_is_no_yaml_fails(host: Any) -> None:
    specs(host, text_file("/var/run/cdi/nvidia.yaml", "kind: [nvidia"))
    assert host.check("cdi.spec").verdict is Verdict.FAIL
    assert host.check("cdi.matches").verdict is Verdict.FAIL


def test_an_old_spec_beneath_the_new_one_is_a_warning(host: Any) -> None:
    files = [
        text_file(f"{folder}/nvidia.yaml", cdi_spec(4)) for folder in ("/var/run/cdi", "/etc/cdi")
    ]
    specs(host, *files)
    result = host.check("cdi.spec")
    assert result.verdict is Verdict.WARN
    assert result.remedy.startswith("rm /etc/cdi/nvidia.yaml")


def test_two_specs_of_one_folder_with_the_same_names_fail(host: Any) -> None:
    files = [text_file(f"/var/run/cdi/{name}.yaml", cdi_spec(4)) for name in ("a", "b")]
    specs(host, *files)
    result = host.check("cdi.spec")
    assert result.verdict is Verdict.FAIL
    assert "resolves none" in result.cause


# ----------------------------------------------------------------- cdi.matches


def spoilt(host: Any, spoil: Any) -> Any:
    document = json.loads(cdi_spec(4))
    spoil(document)
    specs(host, text_file("/var/run/cdi/nvidia.yaml", json.dumps(document)))
    return host.check("cdi.matches")


def test_a_stale_cdi_spec_fails_and_names_the_refresh_service(host: Any) -> None:
    specs(host, text_file("/var/run/cdi/nvidia.yaml", cdi_spec(3)))
    result = host.check("cdi.matches")
    assert result.verdict is Verdict.FAIL
    assert result.summary == "the CDI specification is stale"
    assert f"not in it: 3, {uuid_of(3)}" in result.seen
    assert "all brings" in result.seen
    assert result.remedy == REFRESH


def test_a_spec_with_a_gpu_that_is_gone_is_stale(host: Any) -> None:
    specs(host, text_file("/var/run/cdi/nvidia.yaml", cdi_spec(5)))
    result = host.check("cdi.matches")
    assert result.verdict is Verdict.FAIL
    assert f"in it and not on the host: 4, {uuid_of(4)}" in result.seen
    assert "/dev/nvidia4 does not exist" in result.seen


def test_a_spec_with_a_swapped_node_fails(host: Any) -> None:
    def swap(document: Any) -> None:
        first, second = document["devices"][0], document["devices"][1]
        first["name"], second["name"] = second["name"], first["name"]

    result = spoilt(host, swap)
    assert result.verdict is Verdict.FAIL
    assert "0 brings /dev/nvidia1, not /dev/nvidia0" in result.seen


def test_a_spec_that_leaks_a_second_node_fails(host: Any) -> None:
    def leak(document: Any) -> None:
        nodes = document["devices"][0]["containerEdits"]["deviceNodes"]
        nodes.append({"path": "/dev/nvidia3", "major": 195, "minor": 3})

    assert "0 brings /dev/nvidia0, /dev/nvidia3" in spoilt(host, leak).seen


def test_a_spec_without_all_fails(host: Any) -> None:
    assert "not in it: all" in spoilt(host, lambda document: document["devices"].pop()).seen


def test_a_spec_for_the_libraries_of_another_driver_is_stale(host: Any) -> None:
    specs(host, text_file("/var/run/cdi/nvidia.yaml", cdi_spec(4, driver="550.163.01")))
    result = host.check("cdi.matches")
    assert result.verdict is Verdict.FAIL
    assert f"driver 550.163.01, installed is {DRIVER}" in result.seen


def test_a_spec_with_the_numbers_of_another_boot_is_stale(host: Any) -> None:
    nodes = host.section("driver")["device_nodes"]
    next(node for node in nodes if node["path"] == "/dev/nvidia-uvm")["major"] = 511
    result = host.check("cdi.matches")
    assert result.verdict is Verdict.FAIL
    assert "/dev/nvidia-uvm is 511:0, not 510:0" in result.seen


def test_a_gpu_in_mig_mode_is_not_expected_whole(host: Any) -> None:
    host.section("nvml")["gpus"][0]["mig_current"] = True

    def without_it(document: Any) -> None:
        document["devices"] = [
            device for device in document["devices"] if device["name"] not in ("0", uuid_of(0))
        ]
        (every,) = [device for device in document["devices"] if device["name"] == "all"]
        del every["containerEdits"]["deviceNodes"][0]

    assert spoilt(host, without_it).verdict is Verdict.PASS


def test_without_gpus_to_compare_with_a_spec_is_unknown(host: Any) -> None:
    host.section("nvml")["gpus"] = []
    assert host.check("cdi.matches").verdict is Verdict.UNKNOWN


# ----------------------------------------------------------------- cdi.enabled


def test_an_engine_without_cdi_fails(host: Any) -> None:
    host.section("docker")["info"].update(server_version="24.0.9", cdi_spec_dirs=[])
    result = host.check("cdi.enabled")
    assert result.verdict is Verdict.FAIL
    assert "does not know CDI" in result.summary


@pytest.mark.parametrize(
    ("engine", "cause"),
    [("26.1.5", "is not set"), ("28.1.1", "is not set"), ("28.2.0", "is false")],
)
def test_cdi_that_is_off_fails_with_the_setting(host: Any, engine: str, cause: str) -> None:
    host.section("docker")["info"].update(server_version=engine, cdi_spec_dirs=[])
    result = host.check("cdi.enabled")
    assert result.verdict is Verdict.FAIL
    assert result.cause == f"features.cdi {cause}"
    assert "docker_ce_daemon_config" in result.remedy


def test_a_folder_that_the_daemon_does_not_read_fails(host: Any) -> None:
    host.section("docker")["info"]["cdi_spec_dirs"] = ["/opt/cdi"]
    assert host.check("cdi.enabled").verdict is Verdict.FAIL


def test_run_and_var_run_are_the_same_folder(host: Any) -> None:
    host.section("docker")["info"]["cdi_spec_dirs"] = ["/etc/cdi", "/run/cdi/"]
    assert host.check("cdi.enabled").verdict is Verdict.PASS


# ----------------------------------------------------------------------- users


def test_a_user_outside_the_group_fails_with_the_command(host: Any) -> None:
    users = host.section("users")
    users["docker_group"]["members"] = []
    users["users"][0]["groups"] = [USER]
    result = host.check("users.docker_group")
    assert result.verdict is Verdict.FAIL
    assert result.summary == "alice is not in the group"
    assert result.remedy.startswith("usermod -aG docker alice")


def test_a_user_who_does_not_exist_fails(host: Any) -> None:
    host.section("users").update(
        docker_group={"gid": 998, "members": []},
        users=[{"name": USER, "exists": False, "uid": None, "groups": []}],
    )
    result = host.check("users.docker_group")
    assert result.verdict is Verdict.FAIL
    assert result.summary == "alice does not exist"


def test_a_group_that_does_not_exist_fails(host: Any) -> None:
    host.section("users")["docker_group"] = None
    assert host.check("users.docker_group").verdict is Verdict.FAIL


def test_a_user_whose_primary_group_is_docker_is_in_it(host: Any) -> None:
    host.section("users")["docker_group"]["members"] = []
    assert host.check("users.docker_group").verdict is Verdict.PASS


def test_a_user_who_was_not_looked_up_is_unknown(host: Any) -> None:
    host.desired = Desired(docker_users=(USER, "bob"))
    result = host.check("users.docker_group")
    assert result.verdict is Verdict.UNKNOWN
    assert "bob" in result.summary
