"""Section ``throughput``: a synthetic training on all GPUs, inside the framework image.

It comes after all trials: whatever else uses the GPUs would be measured too.
"""

from __future__ import annotations

import contextlib
import pkgutil
import shlex
import time
from typing import List, Optional

from gpuhost.probe import engine_api, inside, limits, owner
from gpuhost.probe.context import Context
from gpuhost.probe.engine_api import (
    STDERR,
    ContainerSpec,
    DeviceRequest,
    Engine,
    EngineError,
    EngineTimeoutError,
    RefusedError,
    Stream,
)
from gpuhost.probe.provisioning import gpu_users
from gpuhost.probe.schema import Throughput
from gpuhost.probe.trial_runner import OUTPUT_LIMIT_BYTES, SELF_DESTRUCTION_S

# As in the trials' script: wait to be heard, and go before the time is up. $2: the program.
SCRIPT = """
(sleep "$1"; kill -s KILL -- -1) </dev/null >/dev/null 2>&1 &
read -r go || exit 1
python3 -c "$2" </dev/null
rc=$?
printf '\\n@@gpuhost exit %s\\n' "$rc" >&2
printf '\\n@@gpuhost exit %s\\n' "$rc"
read -r stay
exit "$rc"
"""


def collect(context: Context) -> Throughput:
    """Measure this host; raises EngineError if the daemon does not answer."""
    asked = context.spec["trials"]
    image = asked["ngc_image"] if asked else ""
    measured = Measurement(image)
    users = sorted(gpu_users(context.root))
    if not image:
        return measured.record("not asked", "no framework image is declared")
    if users:
        return measured.record("busy", ", ".join(users))
    engine = engine_api.connect(context.spec["command_timeout_s"])
    if engine.image(image) is None:
        return measured.record("no image", f"{image} is not on the host")
    return measured.run(engine, owner.run_id(context.root))


def program() -> str:
    """The benchmark, able to start itself again from its own text."""
    text = (pkgutil.get_data("gpuhost.probe", "benchmark.py") or b"").decode()
    # Given with -c it has no file to read itself from.
    return f"CODE = {text!r}\nexec(compile(CODE, 'benchmark.py', 'exec'))"


class Measurement:
    """One container that measures."""

    def __init__(self, image: str) -> None:
        self._image = image
        self._began = time.monotonic()
        self._stdout = bytearray()
        self._stderr = bytearray()

    def run(self, engine: Engine, run_id: str) -> Throughput:
        """Start it, hear it to its end and remove it."""
        identifier: Optional[str] = None
        stream: Optional[Stream] = None
        try:
            identifier = engine.create(container(self._image, run_id))
            stream = engine.attach(identifier)
            engine.start(identifier)
            stream.say(b"\n")
            self._hear(stream)
        except EngineTimeoutError as error:
            return self.record("timeout", str(error))
        except RefusedError as error:
            return self.record("refused", str(error))
        except EngineError as error:
            return self.record("error", str(error))
        finally:
            if stream is not None:
                stream.close_stdin()
                stream.close()
            if identifier is not None:
                with contextlib.suppress(EngineError):
                    engine.remove(identifier)
        return self.record("ran")

    def _hear(self, stream: Stream) -> None:
        deadline = self._began + limits.THROUGHPUT_S
        while not inside.is_complete(bytes(self._stdout), bytes(self._stderr)):
            piece = stream.read(deadline)
            if piece is None:
                raise EngineError("the container ended before it had reported")
            number, data = piece
            kept = self._stderr if number == STDERR else self._stdout
            kept += data[: OUTPUT_LIMIT_BYTES - len(kept)]

    def record(self, outcome: str, error: Optional[str] = None) -> Throughput:
        """What came of it."""
        return {
            "image": self._image,
            "docker_run": docker_run(self._image),
            "outcome": outcome,
            "error": error,
            "stdout": _said(self._stdout),
            "stderr": _said(self._stderr),
            "duration_s": round(time.monotonic() - self._began, 3),
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


def _said(data: bytearray) -> str:
    return bytes(data).decode("utf-8", "replace").partition(f"\n{inside.MARK} exit ")[0]
