"""Make the network of shapes.py, trained, as an ONNX file: make_model.py FILE.

Triton's images have NumPy and neither PyTorch nor the package onnx, so the few
messages of the format that it takes are written here. Their numbers are those of onnx.proto.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import shapes

IR_VERSION, OPSET = 8, 13
FLOAT, INT = 1, 2
BITS = 7
LENGTH_DELIMITED = 2


def varint(number: int) -> bytes:
    """A whole number, seven bits a byte."""
    low, rest = number & 0x7F, number >> BITS
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(number: int, value: int | str | bytes) -> bytes:
    """One field of a message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | LENGTH_DELIMITED) + varint(len(content)) + content


def tensor(name: str, values: np.ndarray) -> bytes:
    """Weights of the graph."""
    dimensions = b"".join(field(1, size) for size in values.shape)
    raw = np.ascontiguousarray(values, dtype="<f4").tobytes()
    return dimensions + field(2, FLOAT) + field(8, name) + field(9, raw)


def node(kind: str, inputs: list[str], output: str, **attributes: int) -> bytes:
    """One step of the computation."""
    given = b"".join(field(1, name) for name in inputs)
    said = b"".join(
        field(5, field(1, name) + field(3, value) + field(20, INT))
        for name, value in attributes.items()
    )
    return given + field(2, output) + field(4, kind) + said


def batch(name: str, size: int) -> bytes:
    """An input or output: any number of rows of a size."""
    shape = field(1, field(2, "batch")) + field(1, field(1, size))
    return field(1, name) + field(2, field(1, field(1, FLOAT) + field(2, shape)))


def model(weights: shapes.Weights) -> bytes:
    """The whole file."""
    steps = (
        node("Gemm", ["picture", "hidden.weight", "hidden.bias"], "hidden", transB=1),
        node("Relu", ["hidden"], "active"),
        node("Gemm", ["active", "output.weight", "output.bias"], "scores", transB=1),
        node("Softmax", ["scores"], "probabilities", axis=1),
    )
    graph = (
        b"".join(field(1, step) for step in steps)
        + field(2, "shapes")
        + b"".join(field(5, tensor(name, values)) for name, values in weights.items())
        + field(11, batch("picture", shapes.SIDE**2))
        + field(12, batch("probabilities", len(shapes.LABELS)))
    )
    return field(1, IR_VERSION) + field(7, graph) + field(8, field(2, OPSET))


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(model(shapes.trained()))
