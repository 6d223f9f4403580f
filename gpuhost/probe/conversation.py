"""A container that is started, told to speak, heard until it has said all, and let go."""

from __future__ import annotations

import contextlib
import time
from typing import Optional

from gpuhost.probe import inside
from gpuhost.probe.engine_api import (
    STDERR,
    ContainerSpec,
    Engine,
    EngineError,
    EngineTimeoutError,
    RefusedError,
    Stream,
)

# What a container may print on one stream, and what is kept of one that prints more.
OUTPUT_LIMIT_BYTES, EXCERPT_BYTES = 1 << 18, 1 << 11


class Conversation:
    """One container: :meth:`hear` it, then :meth:`close`.

    ``outcome``: "ran" (it has said all), "refused", "timeout" or "error";
    ``error`` has the words for it. ``opened_at`` is when it was told to speak,
    on time.monotonic's clock.
    """

    def __init__(self, engine: Engine, container: ContainerSpec) -> None:
        self.outcome = "ran"
        self.error: Optional[str] = None
        self.opened_at: Optional[float] = None
        self._engine = engine
        self._container = container
        self._id: Optional[str] = None
        self._stream: Optional[Stream] = None
        self._stdout = bytearray()
        self._stderr = bytearray()

    def hear(self, limit_s: float) -> None:
        """Start it and listen for so long; what goes wrong is told in ``outcome``."""
        try:
            self._start()
            self._listen(time.monotonic() + limit_s)
        except EngineTimeoutError as error:
            self._fail("timeout", error)
        except RefusedError as error:
            self._fail("refused", error)
        except EngineError as error:
            self._fail("error", error)

    def close(self) -> None:
        """Let it end."""
        if self._stream is not None:
            self._stream.close_stdin()
            self._stream.close()

    def remove(self) -> None:
        """Kill and remove it, if it is there."""
        if self._id is not None:
            with contextlib.suppress(EngineError):
                self._engine.remove(self._id)

    @property
    def stdout(self) -> str:
        """What it has said."""
        return bytes(self._stdout).decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        """What it has complained of."""
        return bytes(self._stderr).decode("utf-8", "replace")

    def _start(self) -> None:
        self._id = self._engine.create(self._container)
        try:
            self._stream = self._engine.attach(self._id)
        except RefusedError as error:
            # Nobody said no to the devices that were asked for.
            raise EngineError(f"could not attach: {error}") from error
        self._engine.start(self._id)
        self._stream.say(b"\n")
        self.opened_at = time.monotonic()

    def _listen(self, deadline: float) -> None:
        while not inside.is_complete(bytes(self._stdout), bytes(self._stderr)):
            piece = self._stream.read(deadline) if self._stream else None
            if piece is None:
                raise EngineError("the container ended before it had reported")
            number, data = piece
            kept = self._stderr if number == STDERR else self._stdout
            kept += data
            if len(kept) > OUTPUT_LIMIT_BYTES:
                del kept[EXCERPT_BYTES:]
                raise EngineError(f"the container printed more than {OUTPUT_LIMIT_BYTES >> 10} KiB")

    def _fail(self, outcome: str, error: EngineError) -> None:
        self.outcome = outcome
        self.error = str(error)
