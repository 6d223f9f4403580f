"""Pictures of shapes, and a small network's weights that tell them apart.

Seeded, and done with NumPy alone: the same weights come out wherever it runs.
"""

from __future__ import annotations

import numpy as np

SIDE = 8
HIDDEN = 16
LABELS = ("circle", "square", "cross")
_SIZE = 6
_STEPS = 300
_RATE = 0.5
_NOISE = 0.25
Weights = dict[str, np.ndarray]


def drawn(label: str) -> np.ndarray:
    """The shape in the upper left of a picture, in ones on zeros."""
    last = _SIZE - 1
    picture = np.zeros((SIDE, SIDE), dtype=np.float32)
    for row in range(_SIZE):
        for column in range(_SIZE):
            on_edge = row in (0, last) or column in (0, last)
            in_corner = row in (0, last) and column in (0, last)
            on_diagonal = row in (column, last - column)
            inked = {"square": on_edge, "circle": on_edge and not in_corner, "cross": on_diagonal}
            picture[row, column] = inked[label]
    return picture


def pictures(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy pictures, each with a shape somewhere in it, and the numbers of their labels."""
    chance = np.random.default_rng(seed)
    numbers = chance.integers(len(LABELS), size=count)
    moves = chance.integers(SIDE - _SIZE + 1, size=(count, 2))
    clean = [
        np.roll(drawn(LABELS[numbers[one]]), tuple(moves[one]), axis=(0, 1)) for one in range(count)
    ]
    noise = chance.normal(0, _NOISE, size=(count, SIDE, SIDE))
    return (np.stack(clean) + noise).astype(np.float32).reshape(count, -1), numbers


def trained(seed: int = 1) -> Weights:
    """Weights of a network with one hidden layer, after training."""
    chance = np.random.default_rng(seed)
    inputs, numbers = pictures(1200, seed)
    wanted = np.eye(len(LABELS))[numbers]
    weights = {
        "hidden.weight": chance.normal(0, 0.2, size=(HIDDEN, SIDE * SIDE)),
        "hidden.bias": np.zeros(HIDDEN),
        "output.weight": chance.normal(0, 0.2, size=(len(LABELS), HIDDEN)),
        "output.bias": np.zeros(len(LABELS)),
    }
    for _ in range(_STEPS):
        _learn(weights, inputs, wanted)
    return {name: value.astype(np.float32) for name, value in weights.items()}


def probabilities(weights: Weights, inputs: np.ndarray) -> np.ndarray:
    """What the network makes of pictures: a probability for each label."""
    hidden = np.maximum(inputs @ weights["hidden.weight"].T + weights["hidden.bias"], 0)
    scores = hidden @ weights["output.weight"].T + weights["output.bias"]
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def _learn(weights: Weights, inputs: np.ndarray, wanted: np.ndarray) -> None:
    """One step of gradient descent."""
    hidden = np.maximum(inputs @ weights["hidden.weight"].T + weights["hidden.bias"], 0)
    error = (probabilities(weights, inputs) - wanted) / len(inputs)
    back = (error @ weights["output.weight"]) * (hidden > 0)
    weights["output.weight"] -= _RATE * (error.T @ hidden)
    weights["output.bias"] -= _RATE * error.sum(axis=0)
    weights["hidden.weight"] -= _RATE * (back.T @ inputs)
    weights["hidden.bias"] -= _RATE * back.sum(axis=0)
