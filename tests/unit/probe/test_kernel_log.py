from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from support.probe import answer, context, tree

from gpuhost.probe import kernel_log
from gpuhost.probe.kernel_log import KernelLogError
from gpuhost.probe.run import OUTPUT_LIMIT_BYTES
from gpuhost.probe.schema import Command, KernelLog

XID = "NVRM: Xid (PCI:0000:17:00): 79, pid=1, GPU has fallen off the bus."
BOOT = "1795000000.000001 gpu-01 kernel: Linux version 6.1.0-40-amd64"


def read(tmp_path: Path, answers: dict[str, Command]) -> KernelLog:
    """The section, where a program answers by the first of ``answers`` that its words have."""

    def run(argv: Sequence[str]) -> Command:
        line = " ".join(argv)
        return next((a for words, a in answers.items() if words in line), answer(argv, rc=1))

    return kernel_log.collect(context(tree(tmp_path, {}), run))


def test_the_journal_is_searched_and_read_oldest_first(tmp_path: Path) -> None:
    newest_first = (
        f"1795000200.5 gpu-01 kernel: {XID}\n"
        "1795000100.25 gpu-01 kernel: NVRM: loading NVIDIA UNIX\n-- noise --\n"
    )
    found = read(tmp_path, {"-n 1": answer([], BOOT + "\n"), "-g": answer([], newest_first)})
    assert found["source"] == "journalctl"
    assert [line["text"] for line in found["lines"]] == ["NVRM: loading NVIDIA UNIX", XID]
    assert found["lines"][1]["time"] == 1795000200.5


def test_a_search_that_finds_nothing_is_a_log_without_errors(tmp_path: Path) -> None:
    found = read(tmp_path, {"-n 1": answer([], BOOT + "\n"), "-g": answer([], "", rc=1)})
    assert found["lines"] == []


def test_a_journal_that_cannot_search_is_read_and_searched_here(tmp_path: Path) -> None:
    refused = answer([], "", rc=1, stderr="Compiled without pattern matching support\n")
    whole = f"{BOOT}\n1795000200.5 gpu-01 kernel: {XID}\n"
    answers = {"-g": refused, "-n 20000": answer([], whole), "-n 1": answer([], BOOT)}
    assert [line["text"] for line in read(tmp_path, answers)["lines"]] == [XID]


def test_without_a_journal_the_kernels_buffer_is_read(tmp_path: Path) -> None:
    text = (
        "2026-11-22T01:00:00,000001+00:00 Linux version 6.1.0\n"
        f"2026-11-22T01:02:03,500000+00:00 {XID}\n"
    )
    found = read(tmp_path, {"dmesg": answer([], text)})
    assert found["source"] == "dmesg"
    assert [line["text"] for line in found["lines"]] == [XID]
    assert found["lines"][0]["time"] == pytest.approx(1795309323.5)


def test_a_log_that_is_empty_or_forbidden_is_never_one_without_errors(tmp_path: Path) -> None:
    forbidden = answer([], "", rc=1, stderr="dmesg: read kernel buffer failed: not permitted")
    with pytest.raises(KernelLogError, match="not permitted"):
        read(tmp_path, {"dmesg": forbidden})
    with pytest.raises(KernelLogError, match="empty"):
        read(tmp_path, {"dmesg": answer([], "")})


def test_a_search_that_does_not_end_is_never_a_log_without_errors(tmp_path: Path) -> None:
    hung = answer([*kernel_log.JOURNAL], rc=None)
    hung["duration_s"] = 20.0
    with pytest.raises(KernelLogError, match="journalctl gave no answer within 20 s"):
        read(tmp_path, {"-n 1": answer([], BOOT + "\n"), "-g": hung})


def test_a_buffer_whose_newest_part_is_cut_off_is_never_one_without_errors(tmp_path: Path) -> None:
    with pytest.raises(KernelLogError, match="longer than can be read"):
        read(tmp_path, {"dmesg": answer([], "x" * OUTPUT_LIMIT_BYTES)})
