"""What torchserve and triton bring along: the model, its archive and the questions."""

from __future__ import annotations

import importlib.util
import json
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gpuhost.workloads.definition import LIBRARY

TORCHSERVE, TRITON = LIBRARY / "torchserve/context", LIBRARY / "triton/context"


def script(path: Path) -> ModuleType:
    """A script of a definition, which is in no package."""
    spec = importlib.util.spec_from_file_location(f"serving_{path.stem}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


archive, probe = script(TORCHSERVE / "archive.py"), script(TORCHSERVE / "probe.py")
repository, triton_probe = script(TRITON / "repository.py"), script(TRITON / "probe.py")


def test_both_serve_the_same_network_with_the_same_labels() -> None:
    shapes = [folder.parent / "model_files/shapes.py" for folder in (TORCHSERVE, TRITON)]
    assert shapes[0].read_text() == shapes[1].read_text()
    names = json.loads((TORCHSERVE.parent / "model_files/index_to_name.json").read_text())
    labels = (TRITON.parent / "model_files/labels.txt").read_text().split()
    assert [names[str(number)] for number in range(len(names))] == labels


def examples(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        (folder.parent / "model_files/examples.json").read_text()
    )
    return found


def test_both_are_asked_for_the_same_pictures_and_for_each_label() -> None:
    labels = []
    for torchserve, triton in zip(examples(TORCHSERVE), examples(TRITON), strict=True):
        (given,) = triton["body"]["inputs"]
        assert given["data"] == [dot == "#" for dot in "".join(torchserve["body"]["picture"])]
        labels.append(torchserve["answer"]["label"])
        assert triton["answer"] == f":{labels[-1]}"
    assert labels == ["circle", "square", "cross"]


MANIFEST = {"model": {"modelFile": "model.py", "serializedFile": "weights.pth"}}


def packed(path: Path, names: tuple[str, ...], manifest: object = MANIFEST) -> Path:
    with zipfile.ZipFile(path, "w") as opened:
        for name in names:
            opened.writestr(name, name * 9)
        if manifest:
            opened.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
    return path


def test_an_archive_with_all_that_its_manifest_names_is_served(tmp_path: Path) -> None:
    archive.check(packed(tmp_path / "shapes.mar", ("model.py", "weights.pth")))


def damaged(path: Path) -> Path:
    content = packed(path, ("model.py", "weights.pth")).read_bytes()
    path.write_bytes(content.replace(b"weights.pth" * 9, b"WEIGHTS.pth" * 9))
    return path


def garbage(path: Path) -> Path:
    path.write_bytes(b"no archive")
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path, "the model store has no shapes.mar"),
        (garbage, r"shapes\.mar is broken: File is not a zip file"),
        (damaged, r"shapes\.mar is broken: weights\.pth in it is damaged"),
        (lambda path: packed(path, ("model.py",)), r"manifest names weights\.pth, which it lacks"),
        (lambda path: packed(path, ("a",), None), r"is no model archive: it has no MAR-INF"),
        (lambda path: packed(path, ("a",), []), r"is no model archive: it has no MAR-INF"),
    ],
)
def test_a_broken_archive_is_named_with_what_is_wrong(
    tmp_path: Path, make: Any, words: str
) -> None:
    with pytest.raises(archive.BrokenError, match=words):
        archive.check(make(tmp_path / "shapes.mar"))


def test_a_model_that_is_not_complete_is_named_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "model.py").touch()
    with pytest.raises(archive.BrokenError, match=r"lack handler\.py, index_to_name\.json, ex"):
        archive.build("shapes", tmp_path, tmp_path)
    for name in ("handler.py", "index_to_name.json", "examples.json"):
        (tmp_path / name).touch()
    with pytest.raises(archive.BrokenError, match=r"lack weights\.pth or make_weights\.py"):
        archive.build("shapes", tmp_path, tmp_path)
    (tmp_path / "make_weights.py").write_text("raise SystemExit('no seed')")
    with pytest.raises(archive.BrokenError, match=r"make_weights\.py failed: no seed"):
        archive.build("shapes", tmp_path, tmp_path)


def asked(monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any]) -> None:
    """TorchServe as it would answer to requests of these paths."""

    def ask(_api: str, _method: str, path: str, body: str = "") -> Any:
        answer = answers[path]
        return answer(json.loads(body)) if callable(answer) else answer

    monkeypatch.setattr(probe, "ask", ask)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A model store with the examples of a model that tells even numbers from odd ones."""
    monkeypatch.setattr(probe, "STORE", tmp_path)
    wanted = [{"body": {"n": n}, "answer": {"label": ("even", "odd")[n % 2]}} for n in range(3)]
    (tmp_path / "parity.examples.json").write_text(json.dumps(wanted))
    return tmp_path


def right(body: dict[str, Any]) -> dict[str, Any]:
    return {"label": ("even", "odd")[body["n"] % 2], "probability": 0.9, "device": "cpu"}


def wrong(body: dict[str, Any]) -> dict[str, Any]:
    return {**right(body), "label": ("odd", "even")[body["n"] % 2]}


@pytest.mark.usefixtures("store")
def test_predictions_say_what_they_were_computed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked(monkeypatch, {"/predictions/parity": right})
    said = probe.predict("parity", "cpu")
    assert said == "3 of 3 examples of parity are right, computed on cpu (CUDA not exercised)"
    with pytest.raises(probe.WrongError, match="computes on cpu, not on cuda"):
        probe.predict("parity", "gpu")


@pytest.mark.usefixtures("store")
def test_a_wrong_answer_is_shown_beside_the_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked(monkeypatch, {"/predictions/parity": wrong})
    with pytest.raises(probe.WrongError, match=r'is to give .*"even"}, and gives .*"odd"'):
        probe.predict("parity", "cpu")


def test_predictions_of_a_model_without_examples_are_not_taken_for_right(store: Path) -> None:
    (store / "parity.examples.json").unlink()
    with pytest.raises(probe.WrongError, match=r"has no parity\.examples\.json"):
        probe.predict("parity", "cpu")


def test_triton_is_held_to_the_examples_of_the_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(triton_probe, "MODELS", tmp_path)
    with pytest.raises(triton_probe.WrongError, match=r"has no parity/examples\.json"):
        triton_probe.predict("parity")
    (tmp_path / "parity").mkdir()
    wanted = [{"body": 2, "answer": ":even"}, {"body": 3, "answer": ":odd"}]
    (tmp_path / "parity/examples.json").write_text(json.dumps(wanted))
    said = {2: "0.9:0:even", 3: "0.8:1:odd"}
    monkeypatch.setattr(triton_probe, "answered", lambda _, body: said[body])
    assert triton_probe.predict("parity") == "2 of 2 examples of parity are right"
    said[3] = "0.8:0:even"
    with pytest.raises(triton_probe.WrongError, match=r"example 2 .* ':odd', and gives 0\.8:0"):
        triton_probe.predict("parity")


@pytest.mark.parametrize(
    ("models", "states", "words"),
    [
        (["other"], [], "not served, but other"),
        ([], [], "not served, but none"),
        (["shapes"], [], "workers of shapes are none"),
        (["shapes"], ["READY", "UNLOADING"], "workers of shapes are READY, UNLOADING"),
    ],
)
def test_a_model_without_ready_workers_is_not_served(
    monkeypatch: pytest.MonkeyPatch, models: list[str], states: list[str], words: str
) -> None:
    about = {"modelVersion": "1.0", "workers": [{"status": state} for state in states]}
    listed = {"models": [{"modelName": name} for name in models]}
    asked(monkeypatch, {"/models": listed, "/models/shapes": [about]})
    with pytest.raises(probe.WrongError, match=words):
        probe.listed("shapes")


@pytest.mark.parametrize(
    ("is_open", "status", "words"),
    [(False, 200, "answers without a key"), (True, 400, "was to answer without a key")],
)
def test_keys_that_are_not_asked_for_as_declared_are_told(
    monkeypatch: pytest.MonkeyPatch, is_open: bool, status: int, words: str
) -> None:
    monkeypatch.setattr(probe, "OPEN", is_open)
    monkeypatch.setattr(probe, "request", lambda *_: (status, ""))
    with pytest.raises(probe.WrongError, match=words):
        probe.keys()


def test_a_model_repository_gets_what_the_model_is_computed_on(tmp_path: Path) -> None:
    files, folder = tmp_path / "files", tmp_path / "models/shapes"
    files.mkdir()
    with pytest.raises(repository.BrokenError, match=r"lack config\.pbtxt, labels\.txt, exam"):
        repository.build(files, folder, "KIND_GPU")
    (files / "config.pbtxt").write_text('backend: "onnxruntime"\n')
    (files / "labels.txt").write_text("circle\n")
    (files / "examples.json").write_text("[]")
    with pytest.raises(repository.BrokenError, match=r"lack model\.onnx or make_model\.py"):
        repository.build(files, folder, "KIND_GPU")
    (files / "model.onnx").write_text("onnx")
    repository.build(files, folder, "KIND_GPU")
    repository.check(folder)
    assert "kind: KIND_GPU" in (folder / "config.pbtxt").read_text()
    (folder / "1/model.onnx").write_text("")
    with pytest.raises(repository.BrokenError, match=r"shapes is broken: it has no 1/model\.onnx"):
        repository.check(folder)
    with pytest.raises(repository.BrokenError, match="has no other"):
        repository.check(folder.parent / "other")


def test_scripts_of_a_definition_need_python_alone() -> None:
    known = {*sys.stdlib_module_names, "__future__"}
    for path in (*TORCHSERVE.glob("*.py"), *TRITON.glob("*.py")):
        lines = path.read_text().splitlines()
        imports = [line.split()[1] for line in lines if line.startswith(("import ", "from "))]
        assert {name.partition(".")[0] for name in imports} <= known
