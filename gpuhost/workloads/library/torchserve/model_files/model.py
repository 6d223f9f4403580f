"""The network that serves: it tells shapes in small pictures apart."""

from __future__ import annotations

import torch
from torch import nn


class Shapes(nn.Module):  # type: ignore[misc]
    """Pictures of 8 by 8 in; a score for each label out."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(64, 16)
        self.output = nn.Linear(16, 3)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Score a batch."""
        return torch.as_tensor(self.output(torch.relu(self.hidden(pictures))))
