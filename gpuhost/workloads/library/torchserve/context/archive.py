"""Make a model archive out of a model's files, or look at one that is there; both end in a check.

The files, in a tar archive, are model.py, handler.py, index_to_name.json, examples.json and
weights.pth, or make_weights.py to make the last. What is wrong is said in one line, and the
exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

MODEL, HANDLER, LABELS = "model.py", "handler.py", "index_to_name.json"
EXAMPLES = "examples.json"
WEIGHTS, WEIGHTS_SCRIPT = "weights.pth", "make_weights.py"
NEEDED = (MODEL, HANDLER, LABELS, EXAMPLES)
MANIFEST = "MAR-INF/MANIFEST.json"


class BrokenError(Exception):
    """Why there is no archive to serve."""


def main() -> None:
    """Make it if asked to, and check it."""
    options = arguments()
    archive = Path(options.store, f"{options.name}.mar")
    try:
        if options.build == "true":
            with tempfile.TemporaryDirectory() as folder:
                unpack(Path(options.files), Path(folder))
                build(options.name, Path(folder), archive.parent)
        check(archive)
    except BrokenError as error:
        sys.exit(f"{error}")
    print(f"{archive.name} has {archive.stat().st_size} bytes and all that its manifest names")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--files", required=True)
    parser.add_argument("--store", required=True)
    parser.add_argument("--build", choices=("true", "false"), required=True)
    return parser.parse_args()


def unpack(files: Path, folder: Path) -> None:
    """Unpack the model's files."""
    try:
        with tarfile.open(files) as opened:
            # Python has had it since some 3.9.
            opened.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
            opened.extractall(folder)  # noqa: S202  (filtered)
    except (OSError, tarfile.TarError) as error:
        raise BrokenError(f"the model's files cannot be unpacked: {error}") from None


def build(name: str, files: Path, store: Path) -> None:
    """Make the archive ``name`` in the store."""
    missing = [needed for needed in NEEDED if not (files / needed).is_file()]
    if missing:
        raise BrokenError(f"the model's files lack {', '.join(missing)}")
    with tempfile.TemporaryDirectory() as scratch:
        weights = files / WEIGHTS
        if not weights.is_file():
            weights = Path(scratch, WEIGHTS)
            make_weights(files / WEIGHTS_SCRIPT, weights)
        argv = ["torch-model-archiver", "--force", "--model-name", name, "--version", "1.0"]
        argv += ["--model-file", str(files / MODEL), "--serialized-file", str(weights)]
        argv += ["--handler", str(files / HANDLER), "--extra-files", str(files / LABELS)]
        run([*argv, "--export-path", str(store)], "torch-model-archiver failed")
    # Beside it: what it has to answer is nothing that it needs.
    shutil.copy(files / EXAMPLES, store / f"{name}.{EXAMPLES}")


def make_weights(script: Path, weights: Path) -> None:
    """Let the model's own script make the weights."""
    if not script.is_file():
        raise BrokenError(f"the model's files lack {WEIGHTS} or {WEIGHTS_SCRIPT}")
    run([sys.executable, "-B", str(script), str(weights)], f"{script.name} failed")


def run(argv: list[str], otherwise: str) -> None:
    """Run a program; its last line is the reason if it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = f"{done.stdout}\n{done.stderr}".strip().splitlines() or ["it said nothing"]
        raise BrokenError(f"{otherwise}: {said[-1]}")


def check(archive: Path) -> None:
    """Raise BrokenError unless everything that the archive's manifest names can be read."""
    if not archive.is_file():
        raise BrokenError(f"the model store has no {archive.name}")
    try:
        with zipfile.ZipFile(archive) as opened:
            damaged = opened.testzip()
            names = set(opened.namelist())
            manifest = json.loads(opened.read(MANIFEST)) if MANIFEST in names else None
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as error:
        raise BrokenError(f"{archive.name} is broken: {error}") from None
    if damaged:
        raise BrokenError(f"{archive.name} is broken: {damaged} in it is damaged")
    if not isinstance(manifest, dict) or "model" not in manifest:
        raise BrokenError(f"{archive.name} is no model archive: it has no {MANIFEST}")
    wanted = {manifest["model"].get(key) for key in ("modelFile", "serializedFile")} - {None}
    if not wanted <= names:
        missing = ", ".join(sorted(wanted - names))
        raise BrokenError(f"{archive.name} is broken: its manifest names {missing}, which it lacks")


if __name__ == "__main__":
    main()
