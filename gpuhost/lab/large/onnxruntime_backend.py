"""Triton's backend onnxruntime for the lab: ONNX Runtime, but called from Python.

NVIDIA's own is a library of its image. Triton takes a file model.py in a
backend's folder for the backend, and runs it as it would run any in Python.
"""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton

USED = b"used_dltensor"


class TritonPythonModel:
    """One model of the repository."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model's file."""
        name = json.loads(args["model_config"]).get("default_model_filename") or "model.onnx"
        file = Path(args["model_repository"], args["model_version"], name)
        self._session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        # By DLPack: the server is too old for what NumPy 2 calls an array.
        given = {
            one.name: np.from_dlpack(triton.get_input_tensor_by_name(request, one.name))
            for one in self._session.get_inputs()
        }
        names = sorted(request.requested_output_names())
        outputs = zip(names, self._session.run(names, given), strict=True)
        tensors = [_tensor(name, value) for name, value in outputs]
        return triton.InferenceResponse(output_tensors=tensors)


def _tensor(name: str, value: Any) -> Any:
    capsule = value.__dlpack__()
    tensor = triton.Tensor.from_dlpack(name, capsule)
    # Triton has another name for a capsule that was used, of which NumPy would complain.
    ctypes.pythonapi.PyCapsule_SetName(ctypes.py_object(capsule), USED)
    return tensor
