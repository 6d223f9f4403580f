"""Make the weights of model.py, in the form that PyTorch keeps them in: make_weights.py FILE."""

from __future__ import annotations

import sys

import shapes
import torch

weights = {name: torch.from_numpy(value) for name, value in shapes.trained().items()}
torch.save(weights, sys.argv[1])
