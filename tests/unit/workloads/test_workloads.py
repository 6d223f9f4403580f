"""Definitions, parameters and what they are rendered to."""

from __future__ import annotations

import csv
import io
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.evidence import healthy_desired, healthy_evidence, uuid_of

from gpuhost.checks.facts import Facts
from gpuhost.errors import UsageError
from gpuhost.workloads import gpus as gpu_room
from gpuhost.workloads.definition import Definition, find, folders, load
from gpuhost.workloads.docker_run import docker_run
from gpuhost.workloads.parameters import Parameter, lacking, resolve
from gpuhost.workloads.render import as_text, render

NOWHERE = Path("/nonexistent")
LIBRARY = sorted(folders(NOWHERE).items())


def definition(service: dict[str, Any], *parameters: Parameter) -> Definition:
    return Definition(
        "w", NOWHERE, "", {"services": {"main": service}}, {p.name: p for p in parameters}
    )


@pytest.mark.parametrize(("name", "folder"), LIBRARY, ids=[name for name, _ in LIBRARY])
def test_every_workload_of_the_library_renders_with_its_defaults(name: str, folder: Path) -> None:
    found = load(folder)
    compose = render(found, resolve(found.parameters, ()), ["0"])
    assert yaml.safe_load(as_text(compose)) == compose
    assert found.description
    if len(compose["services"]) == 1:
        assert name in docker_run(compose)


def test_a_verification_takes_no_port_that_people_use_or_another_verification_takes() -> None:
    ports = [
        parameter
        for folder in folders(Path("/nowhere")).values()
        for parameter in load(folder).parameters.values()
        if parameter.name.endswith("port")
    ]
    usual = {parameter.default for parameter in ports}
    verifying = [parameter.verify for parameter in ports]
    assert len(ports) > 8
    assert len({*verifying}) == len(verifying)
    assert not usual & {*verifying, None}


def test_a_misspelt_workload_is_suggested() -> None:
    with pytest.raises(UsageError, match="Did you mean 'training'"):
        find(NOWHERE, "trainig")


def test_a_sites_own_definition_wins_over_ours(tmp_path: Path) -> None:
    folder = tmp_path / "workloads" / "training"
    folder.mkdir(parents=True)
    (folder / "workload.yaml").write_text("description: ours\n")
    (folder / "compose.yaml").write_text("services: {main: {image: x}}\n")
    assert find(tmp_path, "training").description == "ours"


@pytest.mark.parametrize(
    ("about", "compose", "words"),
    [
        ("description: x\nparams: {}\n", "services: {a: {image: x}}", "'params' is none of"),
        ("parameters: {n: {type: number}}\n", "services: {a: {image: x}}", "n needs a type"),
        ("description: x\n", "services: {}", "no services"),
        ("description: x\n", "services: [", "cannot be used"),
        ("- x\n", "services: {a: {image: x}}", "not a mapping"),
    ],
)
def test_a_definition_that_is_wrong_is_named_with_its_file(
    tmp_path: Path, about: str, compose: str, words: str
) -> None:
    (tmp_path / "workload.yaml").write_text(about)
    (tmp_path / "compose.yaml").write_text(compose)
    with pytest.raises(UsageError, match=words) as error:
        load(tmp_path)
    assert str(tmp_path) in str(error.value)


EPOCHS = Parameter("epochs", "int", 4, "Passes.", minimum=1, maximum=10)


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("epochs=0", "from 1 to 10"),
        ("epochs=11", "from 1 to 10"),
        ("epochs=two", "a whole number"),
        ("epoch=2", "Did you mean 'epochs'"),
        ("epochs", "not NAME=VALUE"),
    ],
)
def test_a_wrong_parameter_says_what_would_be_right(word: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        resolve({"epochs": EPOCHS}, [word])


@given(st.text())
def test_no_text_can_break_out_of_its_place(text: str) -> None:
    values = {"text": text}
    service = {"image": "x", "command": ["--t", "${text}", "a${text}b"], "working_dir": "${text}"}
    compose = render(definition(service), values, ())
    again = yaml.safe_load(as_text(compose))["services"]["main"]
    assert [part.replace("$$", "$") for part in again["command"]] == ["--t", text, f"a{text}b"]
    assert again["working_dir"].replace("$$", "$") == text
    assert "$" not in again["working_dir"].replace("$$", "")


@given(st.text().filter(lambda text: "\0" not in text))
def test_a_docker_run_line_can_be_pasted(text: str) -> None:
    compose = render(definition({"image": "x", "command": ["${text}"]}), {"text": text}, ())
    assert shlex.split(docker_run(compose))[-1] == text


BIND = {"type": "bind", "source": "${text}", "target": "/nas", "bind": {"create_host_path": False}}


@given(st.text(min_size=1).filter(lambda text: "\0" not in text))
def test_a_folder_that_has_to_be_there_is_a_mount_of_docker_run(text: str) -> None:
    service = {"image": "x", "init": True, "volumes": ["/a:/b", {**BIND, "read_only": True}]}
    line = docker_run(render(definition(service), {"text": text}, ()))
    words = shlex.split(line)
    assert words[3:6] == ["--init", "--volume", "/a:/b"]
    mount = words[words.index("--mount") + 1]
    # Docker reads it as one record of CSV.
    (record,) = csv.reader(io.StringIO(mount, newline=""), strict=True)
    assert record == ["type=bind", f"source={text}", "target=/nas", "readonly"]


def test_a_folder_that_nobody_named_is_left_out() -> None:
    service = {"image": "x", "volumes": [dict(BIND), "/a:/b"]}
    compose = render(definition(service), {"text": ""}, ())
    assert compose["services"]["main"]["volumes"] == ["/a:/b"]
    named = render(definition(service), {"text": "/nas"}, ())["services"]["main"]["volumes"]
    assert named[0] == {**BIND, "source": "/nas"}


def test_what_has_to_be_given_is_found_lacking() -> None:
    needed = Parameter("url", "str", "", "A URL.", required=True)
    assert lacking({"url": needed, "epochs": EPOCHS}, {"url": "", "epochs": 4}) == needed
    assert lacking({"url": needed}, {"url": "https://x"}) is None


def test_arguments_are_texts_and_values_keep_their_type() -> None:
    service = {"image": "x", "command": ["${n}", "${yes}"], "mem_swappiness": "${n}"}
    compose = render(definition(service), {"n": 3, "yes": True}, ())
    assert compose["services"]["main"]["command"] == ["3", "true"]
    assert compose["services"]["main"]["mem_swappiness"] == 3


ARGUMENTS = Parameter("words", "words", "--epochs ${epochs} --name 'a b' --none ''", "Arguments.")


def test_words_become_as_many_arguments_with_parameters_in_them() -> None:
    found = definition({"image": "x", "command": ["run", "${words}", "end"]}, ARGUMENTS)
    compose = render(found, {"words": ARGUMENTS.default, "epochs": 3}, ())
    command = compose["services"]["main"]["command"]
    assert command == ["run", "--epochs", "3", "--name", "a b", "--none", "", "end"]
    assert render(found, {"words": ""}, ())["services"]["main"]["command"] == ["run", "end"]


@given(st.text())
def test_a_parameter_named_in_words_stays_one_argument(text: str) -> None:
    found = definition({"image": "x", "command": ["${words}"]}, ARGUMENTS)
    compose = render(found, {"words": "--t ${text}", "text": text}, ())
    command = compose["services"]["main"]["command"]
    assert [part.replace("$$", "$") for part in command] == ["--t", text]


def test_words_that_no_shell_would_take_are_refused() -> None:
    with pytest.raises(UsageError, match="words as a shell takes them"):
        resolve({"words": ARGUMENTS}, ["words=--name 'a"])


def test_a_variable_of_the_containers_own_stays_one() -> None:
    compose = render(definition({"image": "x", "command": ["echo $${HOME} $PATH"]}), {}, ())
    assert compose["services"]["main"]["command"] == ["echo $${HOME} $$PATH"]


def test_a_parameter_that_is_not_declared_is_an_error() -> None:
    with pytest.raises(UsageError, match="Did you mean 'epochs'"):
        render(definition({"image": "${epoch}"}), {"epochs": 1}, ())


def test_gpus_are_reserved_by_id_and_without_any_the_image_gets_none() -> None:
    service = {"image": "x", "x-gpuhost-gpus": True}
    reserved = render(definition(dict(service)), {}, ["GPU-a", "GPU-b"])["services"]["main"]
    (device,) = reserved["deploy"]["resources"]["reservations"]["devices"]
    assert device["device_ids"] == ["GPU-a", "GPU-b"]
    without = render(definition(dict(service)), {}, ())["services"]["main"]
    assert without["environment"] == {"NVIDIA_VISIBLE_DEVICES": "void"}
    assert "deploy" not in without


def test_rendering_twice_gives_the_same_from_the_same_definition() -> None:
    found = definition({"image": "x", "x-gpuhost-gpus": True, "deploy": {"replicas": 1}})
    assert render(found, {}, ["0"]) == render(found, {}, ["0"])


def facts(*running: dict[str, Any], processes: tuple[str, ...] = ()) -> Facts:
    evidence = healthy_evidence(4)
    evidence["sections"]["docker"]["data"]["running"] = list(running)  # type: ignore[index]
    evidence["sections"]["driver"]["data"]["gpu_users"] = list(processes)  # type: ignore[index]
    return Facts(evidence, healthy_desired(4))


def container(gpus: str) -> dict[str, Any]:
    return {"id": "1", "name": "c", "image": "i", "labels": {}, "gpus": gpus}


@pytest.mark.parametrize(
    ("asked", "indexes"),
    [("all", (0, 1, 2, 3)), ("none", ()), ("2,0", (2, 0)), (uuid_of(1), (1,)), ("1,1", (1,))],
)
def test_gpus_are_chosen_by_index_and_uuid(asked: str, indexes: tuple[int, ...]) -> None:
    chosen = gpu_room.choose("lab-01", facts().nvml, asked)
    assert chosen == tuple(uuid_of(index) for index in indexes)


def test_a_gpu_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(UsageError, match="no GPU '7'") as error:
        gpu_room.choose("lab-01", facts().nvml, "0,7")
    assert uuid_of(3) in error.value.remedy


@pytest.mark.parametrize(
    ("gpus", "is_busy"),
    [("0", True), (uuid_of(0), True), ("all", True), ("any 1", True), ("1,2", False)],
)
def test_a_container_on_the_same_gpu_makes_it_busy(gpus: str, is_busy: bool) -> None:
    assert bool(gpu_room.busy(facts(container(gpus)), [uuid_of(0)])) is is_busy


def test_what_a_killed_verification_left_does_not_make_gpus_busy() -> None:
    left = {**container(uuid_of(0)), "labels": {"gpuhost.workload": "verify-training"}}
    assert gpu_room.busy(facts(left), [uuid_of(0)]) == ()


def test_a_process_outside_containers_makes_gpus_busy() -> None:
    found = facts(processes=("4711 python3",))
    assert gpu_room.busy(found, [uuid_of(0)]) == ("process 4711 python3",)
    assert gpu_room.busy(found, []) == ()
