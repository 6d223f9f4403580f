"""Section ``throughput``: a synthetic training on all GPUs, inside the framework image.

It comes after all trials: whatever else uses the GPUs would be measured too.
"""

from __future__ import annotations

import os
import pkgutil
import shlex
import time
from typing import List, Optional

from gpuhost.probe import engine_api, inside, limits, owner
from gpuhost.probe.context import Context
from gpuhost.probe.conversation import Conversation
from gpuhost.probe.driver import gpu_users
from gpuhost.probe.engine_api import ContainerSpec, DeviceRequest, Engine
from gpuhost.probe.schema import Throughput
from gpuhost.probe.trial_runner import SELF_DESTRUCTION_S

# $2: the program.
SCRIPT = inside.heard("""
python3 -c "$2" </dev/null
status=$?
""")


def collect(context: Context) -> Throughput:
    """Measure this host; raises EngineError if the daemon does not answer."""
    asked = context.spec["trials"]
    image = asked["ngc_image"] if asked else ""
    if not image:
        return record(image, "not asked", "no framework image is declared")
    users = gpu_users(context.root, os.getppid())
    if users:
        return record(image, "busy", ", ".join(users))
    engine = engine_api.connect(context.spec["command_timeout_s"])
    if engine.image(image) is None:
        return record(image, "no image", f"{image} is not on the host")
    return measure(engine, image, owner.run_id(context.root))


def program() -> str:
    """The benchmark, able to start itself again from its own text."""
    text = (pkgutil.get_data("gpuhost.probe", "benchmark.py") or b"").decode()
    # Given with -c it has no file to read itself from.
    return f"CODE = {text!r}\nexec(compile(CODE, 'benchmark.py', 'exec'))"


def measure(engine: Engine, image: str, run_id: str) -> Throughput:
    """One container that measures, heard to its end and removed."""
    began = time.monotonic()
    measuring = Conversation(engine, container(image, run_id))
    try:
        measuring.hear(limits.THROUGHPUT_S)
    finally:
        measuring.close()
        measuring.remove()
    return {
        **record(image, measuring.outcome, measuring.error),
        "stdout": _said(measuring.stdout),
        "stderr": _said(measuring.stderr),
        "duration_s": round(time.monotonic() - began, 3),
    }


def record(image: str, outcome: str, error: Optional[str]) -> Throughput:
    """What came of it, where nothing was said."""
    return {
        "image": image,
        "docker_run": docker_run(image),
        "outcome": outcome,
        "error": error,
        "stdout": "",
        "stderr": "",
        "duration_s": 0.0,
    }


def container(image: str, run_id: str) -> ContainerSpec:
    """A container of the image with all GPUs."""
    return ContainerSpec(
        image=image,
        shell_arguments=command(limits.THROUGHPUT_S + SELF_DESTRUCTION_S),
        labels={owner.LABEL: run_id},
        devices=DeviceRequest("", ()),
    )


def command(limit_s: float) -> List[str]:
    """The arguments of ``/bin/sh`` inside; everything has ended after ``limit_s`` seconds."""
    return ["-c", SCRIPT, "gpuhost", str(round(limit_s)), program()]


def docker_run(image: str) -> str:
    """The command line that shows by hand what PyTorch sees."""
    code = "import torch; print(torch.version.cuda, torch.cuda.device_count())"
    argv = ["docker", "run", "--rm", "--gpus", "all", image, "python3", "-c", code]
    return shlex.join(argv)


def _said(text: str) -> str:
    return text.partition(f"\n{inside.MARK} exit ")[0]
