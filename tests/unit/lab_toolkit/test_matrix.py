"""What the runtime makes of NVIDIA_VISIBLE_DEVICES, against what upstream's 1.18.2 did.

A line of the capture: the environment that went in, and out of it the device nodes, the number
of mounts, the environment and the hooks; for a refusal the log line follows it.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gpuhost.lab.toolkit.standin import cdi, config, runtime, yamlio
from gpuhost.lab.toolkit.standin.host import DeviceNode, Host
from gpuhost.lab.toolkit.standin.release import named

LINE = re.compile(
    r"rc=(\d) (\[.*?\]) \| dev (\[.*?\]) \| mounts (\d+) \| env (\[.*?\]) \| hooks (\{.*\})"
)
# The stand-in's release that plays what was captured of 1.18.2.
RELEASE = named("1.19.1")
HOOK = {"path": runtime.HOOK_PATH, "args": ["nvidia-container-runtime-hook", "prestart"]}


class Outcome(NamedTuple):
    devices: list[str]
    mounts: int
    env: list[str]  # only NVIDIA_…, as the capture has it
    hooks: dict[str, list[str]]


class Case(NamedTuple):
    asked: list[str]
    outcome: Outcome
    refusal: str


def read_cases(path: Path) -> list[Case]:
    cases: list[Case] = []
    for line in path.read_text().splitlines():
        match = LINE.fullmatch(line)
        if match is None:
            message = re.search(r'msg="(.*)"$', line)
            assert message is not None, line
            refusal = message.group(1).replace('\\"', '"')
            cases[-1] = cases[-1]._replace(refusal=refusal)
            continue
        _, asked, devices, mounts, env, hooks = (ast.literal_eval(text) for text in match.groups())
        cases.append(Case(asked, Outcome(devices, mounts, env, hooks), ""))
    return cases


def summary(spec: dict[str, Any]) -> Outcome:
    return Outcome(
        devices=[
            node["path"].rpartition("/")[2] for node in spec.get("linux", {}).get("devices", [])
        ],
        mounts=len(spec.get("mounts", [])),
        env=[entry for entry in spec["process"]["env"] if entry.startswith("NVIDIA_")],
        hooks={
            stage: [" ".join(hook["args"][:3]) for hook in hooks]
            for stage, hooks in spec.get("hooks", {}).items()
            if hooks
        },
    )


@pytest.fixture
def settings(tmp_path: Path, host: Host) -> dict[str, Any]:
    cdi.write(yamlio.dump(cdi.specification(host, RELEASE)), tmp_path / "nvidia.yaml")
    values = config.read(tmp_path / "no-config.toml")
    values["nvidia-container-runtime.modes.cdi.spec-dirs"] = [str(tmp_path)]
    return values


@pytest.fixture(autouse=True)
def device_nodes(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nodes of the captures' machine, for specifications that only name them."""
    nodes: dict[str, DeviceNode] = {
        node.path: node for node in (*host.control_nodes, *host.nodes_of(host.gpus))
    }
    monkeypatch.setattr(
        "gpuhost.lab.toolkit.standin.oci.apply.__defaults__", (nodes.get,), raising=True
    )


def test_every_line_of_the_matrix_comes_out_as_upstreams(
    captures: Path, host: Host, settings: dict[str, Any]
) -> None:
    cases = read_cases(captures / "matrix-1.18.2.txt")
    assert len(cases) == 13

    for case in cases:
        how, *env = case.asked
        spec: dict[str, Any] = {"process": {"env": list(env)}}
        if how == "hook":
            spec["hooks"] = {"prestart": [dict(HOOK)]}
        if case.refusal:
            with pytest.raises(runtime.RequestError) as caught:
                runtime.modify(spec, settings, RELEASE, lambda: host)
            assert RELEASE.request_failure + str(caught.value) == case.refusal
        else:
            runtime.modify(spec, settings, RELEASE, lambda: host)
        assert summary(spec) == case.outcome, case.asked
