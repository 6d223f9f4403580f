"""The C programs, compiled and run on a container's root that is a plain folder."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from gpuhost.lab.toolkit import packages

NATIVE = Path(packages.__file__).parent / "native"


def compile_program(source: str, out: Path, *options: str) -> Path:
    argv = ["gcc", "-Wall", "-Wextra", "-Werror", "-O1", '-DVERSION="1.20.0"', *options]
    subprocess.run([*argv, "-o", str(out), str(NATIVE / source)], check=True)
    return out


@pytest.fixture(scope="module")
def cdi_hook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_program("cdi_hook.c", tmp_path_factory.mktemp("bin") / "nvidia-cdi-hook")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle" / "rootfs"
    folder.mkdir(parents=True)
    return folder


def call(program: Path, root: Path, *arguments: str, path: str = "rootfs") -> str:
    """Run a hook as runc does; returns its stderr, and fails the test on another exit than 0."""
    done = attempt(program, root, *arguments, path=path)
    assert done.returncode == 0, done.stderr
    return done.stderr


def attempt(
    program: Path, root: Path, *arguments: str, path: str = "rootfs"
) -> subprocess.CompletedProcess[str]:
    bundle = root.parent
    spec = {
        "process": {"args": ["{", '"', "\\"], "env": ["root=x", 'a="path":"b"']},
        "annotations": {"root": "no", "nested": '{"root": {"path": "/wrong"}}'},
        "root": {"readonly": True, "path": path},
    }
    (bundle / "config.json").write_text(json.dumps(spec))
    state = {"ociVersion": "1.0", "pid": 1, "bundle": str(bundle), "annotations": {}}
    return subprocess.run(
        [str(program), *arguments],
        input=json.dumps(state),
        capture_output=True,
        text=True,
        check=False,
    )


# ------------------------------------------------------------------------------------ links


def test_links_are_made_with_their_folders(cdi_hook: Path, root: Path) -> None:
    call(
        cdi_hook,
        root,
        "create-symlinks",
        "--link",
        "libcuda.so.1::/usr/lib/x/libcuda.so",
        "--link=../a.so::/usr/lib/x/gbm/b.so",
    )

    assert (root / "usr/lib/x/libcuda.so").readlink() == Path("libcuda.so.1")
    assert (root / "usr/lib/x/gbm/b.so").readlink() == Path("../a.so")


def test_a_link_that_points_elsewhere_is_replaced_and_a_file_is_left(
    cdi_hook: Path, root: Path
) -> None:
    (root / "old").symlink_to("elsewhere")
    (root / "file").write_text("the image's own")

    call(cdi_hook, root, "create-symlinks", "--link", "new::/old", "--link", "new::/file")

    assert (root / "old").readlink() == Path("new")
    assert (root / "file").read_text() == "the image's own"


def test_a_link_of_the_image_does_not_lead_out_of_its_root(cdi_hook: Path, root: Path) -> None:
    outside = root.parent.parent / "outside"
    outside.mkdir()
    (root / "absolute").symlink_to(outside)
    (root / "relative").symlink_to("../../outside")

    for folder in ("absolute", "relative"):
        attempt(cdi_hook, root, "create-symlinks", "--link", f"x::/{folder}/link")

    assert list(outside.iterdir()) == []


def test_an_absolute_root_is_taken_as_it_is(cdi_hook: Path, root: Path) -> None:
    call(cdi_hook, root, "create-symlinks", "--link", "a::/b", path=str(root))

    assert (root / "b").is_symlink()


# -------------------------------------------------------------------------- libraries' cache


@pytest.mark.skipif(os.geteuid() != 0, reason="ldconfig changes its root, which takes root")
def test_libraries_are_linked_by_their_sonames(cdi_hook: Path, root: Path) -> None:
    folder = root / "usr/lib/odd"
    folder.mkdir(parents=True)
    library = ["gcc", "-shared", "-nostdlib", "-Wl,-soname,liblab.so.4", "-x", "c", os.devnull]
    subprocess.run([*library, "-o", str(folder / "liblab.so.550.1")], check=True)

    call(cdi_hook, root, "update-ldcache", "--folder", "/usr/lib/odd")

    assert (folder / "liblab.so.4").readlink() == Path("liblab.so.550.1")
    assert (root / "etc/ld.so.conf.d/00-nvcr-lab.conf").read_text() == "/usr/lib/odd\n"
    assert not (root / "etc/ld.so.cache").exists()  # the image had none


@pytest.mark.parametrize(
    ("libraries", "expected"),
    [(["libcuda.so.580.1"], True), (["libcuda.so.535.1"], False), (["libcuda.so.1"], False)],
)
def test_a_newer_libcuda_of_the_image_is_preferred(
    cdi_hook: Path, root: Path, libraries: list[str], expected: bool
) -> None:
    compat = root / "usr/local/cuda/compat"
    compat.mkdir(parents=True)
    for name in libraries:
        (compat / name).touch()

    call(cdi_hook, root, "enable-cuda-compat", "--host-driver-version=550.163.01")

    assert (root / "etc/ld.so.conf.d/00-compat-lab.conf").exists() == expected


def test_an_image_without_compatibility_libraries_is_left_alone(cdi_hook: Path, root: Path) -> None:
    call(cdi_hook, root, "enable-cuda-compat", "--host-driver-version=550.163.01")

    assert list(root.iterdir()) == []


def test_a_container_without_gpus_gets_no_application_profile(cdi_hook: Path, root: Path) -> None:
    (root / "dev").mkdir()
    (root / "dev/nvidiactl").touch()

    call(cdi_hook, root, "update-application-profile")

    assert not (root / "etc").exists()


# --------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "unsupported hook: nonsense"),
        (["create-symlinks", "--nonsense"], "not defined: --nonsense"),
        (["create-symlinks", "--link", "no-separator"], "invalid link no-separator"),
        (["create-symlinks", "--link", "a::b"], "invalid link a::b"),
    ],
)
def test_a_call_that_makes_no_sense_fails(
    cdi_hook: Path, root: Path, arguments: list[str], words: str
) -> None:
    done = attempt(cdi_hook, root, *arguments)

    assert done.returncode == 1
    assert words in done.stderr


def test_the_hosts_own_root_is_never_touched(cdi_hook: Path, root: Path) -> None:
    done = attempt(cdi_hook, root, "create-symlinks", "--link", "a::/b", path="/")

    assert done.returncode == 1
    assert "root is the host's" in done.stderr


def test_a_state_without_a_bundle_fails(cdi_hook: Path) -> None:
    done = subprocess.run(
        [str(cdi_hook), "update-ldcache"], input="{}", capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert "bundle in the state is missing" in done.stderr


# ------------------------------------------------------------------------------- the launcher


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the launcher, and with programs that tell what they were called with."""
    folder = tmp_path_factory.mktemp("programs")
    config = folder / "config.toml"
    config.write_text('[nvidia-container-runtime]\nruntimes = ["missing", "runc", "crun"]\n')
    definitions = (f'-DPROGRAMS="{folder}/lib-"', f'-DCDI_HOOK="{folder}/hook"')
    for name in ("nvidia-container-runtime", "nvidia-ctk"):
        compile_program("launch.c", folder / name, *definitions, f'-DCONFIG="{config}"')
    for name in ("runc", "hook", "lib-nvidia-container-runtime", "lib-nvidia-ctk"):
        (folder / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


def launched(programs: Path, *argv: str, search: str | None = None) -> str:
    environment = {"PATH": f"{search or programs}:/usr/bin:/bin"}
    done = subprocess.run(
        [str(programs / argv[0]), *argv[1:]],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout or done.stderr


@pytest.mark.parametrize(
    ("argv", "program"),
    [
        (
            ["nvidia-container-runtime", "--log", "x", "create", "id"],
            "lib-nvidia-container-runtime",
        ),
        (["nvidia-container-runtime", "--version"], "lib-nvidia-container-runtime"),
        (["nvidia-container-runtime", "start", "id"], "runc"),
        (["nvidia-container-runtime", "state", "--bundle", "create"], "runc"),
        (["nvidia-ctk", "cdi", "list"], "lib-nvidia-ctk"),
    ],
)
def test_only_create_takes_an_interpreter(programs: Path, argv: list[str], program: str) -> None:
    assert launched(programs, *argv).split() == [program, *argv[1:]]


def test_hooks_go_to_the_native_program(programs: Path) -> None:
    said = launched(programs, "nvidia-ctk", "hook", "create-symlinks", "--link", "a::b")

    assert said.split() == ["hook", "create-symlinks", "--link", "a::b"]


def test_without_a_low_level_runtime_the_call_fails(programs: Path, tmp_path: Path) -> None:
    said = launched(programs, "nvidia-container-runtime", "start", "x", search=str(tmp_path))

    assert "no low-level runtime found in PATH" in said
