"""Notes what the module ``software`` says it did: a line of JSON each time it changed something."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

VARIABLE = "SOFTWARE_TOLD"


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """The callback."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "software_told"
    CALLBACK_NEEDS_ENABLED = True

    def v2_runner_on_ok(self, result: Any) -> None:
        told = result.result if hasattr(result, "result") else result._result
        if result.task.action == "software" and told["changed"]:
            with Path(os.environ[VARIABLE]).open("a") as stream:
                stream.write(json.dumps(told["roles"]) + "\n")
