"""Put a model into Triton's model repository, or look at one that is there; both end in a check.

The files, in a tar archive, are config.pbtxt, labels.txt, examples.json and model.onnx, or
make_model.py to make the last. What is wrong is said in one line, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

CONFIG, LABELS, EXAMPLES = "config.pbtxt", "labels.txt", "examples.json"
MODEL, SCRIPT = "model.onnx", "make_model.py"
KINDS = {"cpu": "KIND_CPU", "gpu": "KIND_GPU"}


class BrokenError(Exception):
    """Why there is no model to serve."""


def main() -> None:
    """Put it there if asked to, and check it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--files", required=True)
    parser.add_argument("--repository", required=True)
    parser.add_argument("--hardware", choices=KINDS, required=True)
    parser.add_argument("--build", choices=("true", "false"), required=True)
    options = parser.parse_args()
    folder = Path(options.repository, options.name)
    try:
        if options.build == "true":
            with tempfile.TemporaryDirectory() as scratch:
                unpack(Path(options.files), Path(scratch))
                build(Path(scratch), folder, KINDS[options.hardware])
        check(folder)
    except BrokenError as error:
        sys.exit(f"{error}")
    print(f"{options.name} is in the model repository")


def unpack(files: Path, folder: Path) -> None:
    """Unpack the model's files."""
    try:
        with tarfile.open(files) as opened:
            opened.extractall(folder, filter="data")
    except (OSError, tarfile.TarError) as error:
        raise BrokenError(f"the model's files cannot be unpacked: {error}") from None


def build(files: Path, folder: Path, kind: str) -> None:
    """Make the model's folder."""
    missing = [needed for needed in (CONFIG, LABELS, EXAMPLES) if not (files / needed).is_file()]
    if missing:
        raise BrokenError(f"the model's files lack {', '.join(missing)}")
    (folder / "1").mkdir(parents=True, exist_ok=True)
    config = (files / CONFIG).read_text()
    (folder / CONFIG).write_text(f"{config}\ninstance_group [ {{ kind: {kind} }} ]\n")
    for name in (LABELS, EXAMPLES):
        shutil.copy(files / name, folder)
    if (files / MODEL).is_file():
        shutil.copy(files / MODEL, folder / "1")
    else:
        make(files / SCRIPT, folder / "1" / MODEL)


def make(script: Path, model: Path) -> None:
    """Let the model's own script make it."""
    if not script.is_file():
        raise BrokenError(f"the model's files lack {MODEL} or {SCRIPT}")
    argv = [sys.executable, "-B", str(script), str(model)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise BrokenError(f"{script.name} failed: {said[-1]}")


def check(folder: Path) -> None:
    """Raise BrokenError unless the model's files are all there; Triton itself reads them."""
    if not folder.is_dir():
        raise BrokenError(f"the model repository has no {folder.name}")
    for needed in (folder / CONFIG, folder / "1" / MODEL):
        if not needed.is_file() or needed.stat().st_size == 0:
            raise BrokenError(f"{folder.name} is broken: it has no {needed.relative_to(folder)}")


if __name__ == "__main__":
    main()
