"""How TorchServe asks the network: pictures as rows of text, answers with the label's name."""

from __future__ import annotations

import json
from typing import Any

import torch
from ts.torch_handler.base_handler import BaseHandler


class Handler(BaseHandler):  # type: ignore[misc]
    """Takes {"picture": [".####...", …]}, in which # is ink."""

    def preprocess(self, data: list[dict[str, Any]]) -> torch.Tensor:
        """From requests to one batch."""
        return torch.stack([self._picture(one) for one in data]).to(self.device)

    def postprocess(self, scores: torch.Tensor) -> list[dict[str, Any]]:
        """From scores to answers, which also say where they were computed."""
        return [self._answer(row) for row in torch.softmax(scores, dim=1)]

    def _answer(self, probabilities: torch.Tensor) -> dict[str, Any]:
        number = int(probabilities.argmax())
        return {
            "label": self.mapping[str(number)],
            "probability": round(float(probabilities[number]), 4),
            "device": str(probabilities.device),
        }

    def _picture(self, request: dict[str, Any]) -> torch.Tensor:
        body: Any = request.get("data") or request.get("body")
        if not isinstance(body, dict):
            body = json.loads(body)
        ink = [float(dot == "#") for dot in "".join(body["picture"])]
        return torch.tensor(ink, dtype=torch.float32)
