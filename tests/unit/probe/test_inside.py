"""The script inside a trial's container, run by a real shell, and the reading of its output."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.probe import printed

from gpuhost.probe import inside

SMI = """\
#!/bin/sh
case $1 in
-L) printf 'GPU 0: NVIDIA H100 (UUID: GPU-1)\\n'; echo "a warning" >&2; exit ${SMI_RC:-0};;
--query-gpu=*) echo '0, GPU-1, 00000000:17:00.0, NVIDIA H100';;
esac
"""
PYTHON = '#!/bin/sh\necho \'[["GPU-1", "00000000:17:00.0"]]\'\n'
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    found = shutil.which("sleep")
    assert found is not None
    (tmp_path / "sleep").symlink_to(found)
    program(tmp_path / "nvidia-smi", SMI)
    return tmp_path


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def run(programs: Path, said: str = "\n", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script as a container would, but for its namespaces."""
    # The watchdog's kill would reach this machine: it is only safe in a PID namespace.
    script = inside.SCRIPT.replace("kill -s KILL -- -1", ":")
    _, _, *arguments = inside.command(1)
    return subprocess.run(
        ["/bin/sh", "-c", script, *arguments],
        env={"PATH": str(programs), **environment},
        input=said,
        capture_output=True,
        text=True,
        check=False,
    )


def test_everything_is_reported_in_one_go(programs: Path) -> None:
    program(programs / "python3", PYTHON)
    done = run(programs, NVIDIA_VISIBLE_DEVICES="void")
    assert inside.is_complete(done.stdout.encode(), done.stderr.encode())
    report = inside.parse(done.stdout, done.stderr)
    assert report.exit_code == done.returncode == 0
    assert report.visible_devices == "void"
    assert report.list_gpus == "GPU 0: NVIDIA H100 (UUID: GPU-1)\n"
    assert report.query == "0, GPU-1, 00000000:17:00.0, NVIDIA H100\n"
    assert report.nvml is not None
    assert json.loads(report.nvml) == [["GPU-1", "00000000:17:00.0"]]
    assert report.rest == "a warning\n"


def test_an_image_without_python_has_no_answer_of_nvmls(programs: Path) -> None:
    done = run(programs)
    report = inside.parse(done.stdout, done.stderr)
    assert report.nvml is None
    assert report.visible_devices is None


def test_the_exit_status_is_that_of_the_list(programs: Path) -> None:
    done = run(programs, SMI_RC="9")
    assert done.returncode == 9
    assert inside.parse(done.stdout, done.stderr).exit_code == 9


def test_a_container_without_the_tool_says_that_it_is_missing(programs: Path) -> None:
    (programs / "nvidia-smi").unlink()
    done = run(programs)
    report = inside.parse(done.stdout, done.stderr)
    assert report.exit_code == 127
    assert report.list_gpus == ""
    assert "not found" in report.rest


def test_a_list_that_was_killed_ends_the_script(programs: Path) -> None:
    done = run(programs, SMI_RC="137")
    assert done.returncode == 137
    assert not inside.is_complete(done.stdout.encode(), done.stderr.encode())


def test_a_container_says_nothing_until_it_is_told_to(programs: Path) -> None:
    done = run(programs, said="")
    assert done.stdout == ""


def test_a_container_that_has_reported_stays_until_its_input_ends(programs: Path) -> None:
    script = inside.SCRIPT.replace("kill -s KILL -- -1", ":")
    with subprocess.Popen(
        ["/bin/sh", "-c", script, *inside.command(1)[2:]],
        env={"PATH": str(programs)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"\n")
        process.stdin.flush()
        while f"{inside.MARK} exit".encode() not in process.stdout.readline():
            pass
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(10) == 0


def test_a_report_is_complete_only_when_both_streams_have_ended(programs: Path) -> None:
    done = run(programs)
    stdout, stderr = done.stdout.encode(), done.stderr.encode()
    assert inside.is_complete(stdout, stderr)
    assert not inside.is_complete(stdout, b"a warning\n")
    assert not inside.is_complete(b"", stderr)


def test_reading_nvml_without_the_library_ends_with_one_line() -> None:
    done = subprocess.run(
        ["python3", "-c", inside.READ_NVML.replace("libnvidia-ml.so.1", "libnone.so")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "libnone.so" in done.stderr
    assert "Traceback" not in done.stderr


LIBRARY = r"""
#include <string.h>
struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; };
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **h) { *h = (void *)(long)(i + 1); return 0; }
int nvmlDeviceGetUUID(void *h, char *u, unsigned n) {
    strcpy(u, "GPU-0"); u[4] += (long)h; return 0;
}
int nvmlDeviceGetPciInfo_v3(void *h, struct pci *p) { strcpy(p->bus_id, "0000:00:00.0"); return 0; }
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc to make a library")
def test_nvml_is_read_through_its_c_interface(tmp_path: Path) -> None:
    (tmp_path / "nvml.c").write_text(LIBRARY)
    library = tmp_path / "libnvidia-ml.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "nvml.c"], check=True)
    done = subprocess.run(
        ["python3", "-c", inside.READ_NVML],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [["GPU-1", "0000:00:00.0"], ["GPU-2", "0000:00:00.0"]]


@given(TEXT, st.integers(0, 255), TEXT)
def test_what_was_printed_is_read_back(shown: str, code: int, environment: str) -> None:
    report = inside.parse(printed(shown + "\n", code, environment).decode(), "err")
    assert report.exit_code == code
    assert report.list_gpus == shown + "\n"
    assert report.visible_devices == (environment or None)
    assert report.nodes == ["/dev/nvidia0", "/dev/nvidiactl"]
    assert report.rest == "err"


@given(st.integers(0, 200))
def test_an_output_that_was_cut_is_never_taken_for_a_whole_one(cut: int) -> None:
    whole = printed("GPU 0\n")
    part = whole[: min(cut, len(whole) - 1)]
    assert not inside.is_complete(part, whole)
    assert not inside.is_complete(whole, part)
    assert inside.is_complete(whole, whole)


@given(st.text(max_size=60))
def test_any_other_output_at_all_can_be_read(noise: str) -> None:
    report = inside.parse(noise, "")
    assert report.exit_code is None
