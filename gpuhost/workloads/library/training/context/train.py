"""Train a small network to tell squares, discs and crosses apart; on a GPU if there is one.

Data are made from the seed, so two runs with the same arguments print the same losses.
"""

from __future__ import annotations

import argparse
import json
import pathlib
from typing import Any, TextIO

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

OUTPUTS = pathlib.Path("/outputs")
CHECKPOINT = "last.pt"
PIXELS, KINDS = 24, 3


def shapes(count: int, seed: int) -> Any:
    """Images of noise with one shape each, and which shape it is."""
    chance = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 1, PIXELS, PIXELS, generator=chance) * 0.5
    kinds = torch.randint(0, KINDS, (count,), generator=chance)
    y, x = torch.meshgrid(torch.arange(PIXELS), torch.arange(PIXELS), indexing="ij")
    for number, kind in enumerate(kinds.tolist()):
        row, column = torch.randint(7, PIXELS - 7, (2,), generator=chance).tolist()
        size = int(torch.randint(3, 7, (1,), generator=chance))
        down, across = (y - row).abs(), (x - column).abs()
        square = (down <= size) & (across <= size)
        disc = down**2 + across**2 <= size**2
        cross = ((down <= 1) | (across <= 1)) & square
        images[number][0][(square, disc, cross)[kind]] += 0.5
    return TensorDataset(images, kinds)


def network() -> Any:
    """Two convolutions and a linear layer."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * (PIXELS // 4) ** 2, KINDS)),
    )


class Training:
    """One training: the data, the network, and where what it learned is kept."""

    def __init__(self, asked: argparse.Namespace, device: str) -> None:
        self._asked = asked
        self._device = device
        options = {"batch_size": asked.bs, "num_workers": asked.num_worker}
        self._images = DataLoader(shapes(asked.train_data, asked.seed), shuffle=True, **options)
        self._held_back = DataLoader(shapes(asked.val_data, asked.seed + 1), **options)
        self._model = network().to(device)
        self._loss_of = nn.CrossEntropyLoss()
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=asked.lr, momentum=0.9)

    def load(self, name: str) -> int:
        """Go on from a checkpoint; the epoch that it is of."""
        kept = torch.load(OUTPUTS / name, map_location=self._device)
        self._model.load_state_dict(kept["model"])
        return int(kept["epoch"])

    def validate(self) -> tuple[float, float]:
        """Mean loss over the images held back, and the share of them that was told right."""
        self._model.eval()
        loss, right, seen = 0.0, 0, 0
        with torch.no_grad():
            for batch in self._held_back:
                images, kinds = (part.to(self._device) for part in batch)
                answers = self._model(images)
                loss += float(self._loss_of(answers, kinds)) * len(kinds)
                right += int((answers.argmax(1) == kinds).sum())
                seen += len(kinds)
        self._model.train()
        return loss / seen, right / seen

    def run(self, log: TextIO) -> float:
        """All epochs, with a checkpoint after each; the last loss over the images held back."""
        loss = float("inf")
        for epoch in range(1, self._asked.epochs + 1):
            self._learn(epoch, log)
            loss, accuracy = self.validate()
            print(f"epoch {epoch} validation loss {loss:.4f} accuracy {accuracy:.3f}")
            note(log, epoch=epoch, val_loss=loss, accuracy=accuracy)
            kept = {"epoch": epoch, "model": self._model.state_dict()}
            torch.save(kept, OUTPUTS / CHECKPOINT)
        return loss

    def _learn(self, epoch: int, log: TextIO) -> None:
        for number, batch in enumerate(self._images, start=1):
            images, kinds = (part.to(self._device) for part in batch)
            self._optimizer.zero_grad()
            loss = self._loss_of(self._model(images), kinds)
            loss.backward()
            self._optimizer.step()
            if number % self._asked.log_frequency == 0:
                print(f"epoch {epoch} batch {number} loss {float(loss):.4f}")
                note(log, epoch=epoch, batch=number, loss=float(loss))


def note(log: TextIO, **values: float) -> None:
    """One line of the log in outputs."""
    log.write(json.dumps(values) + "\n")


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--bs", type=int, default=64)
    parser.add_argument("--num_worker", type=int, default=0)
    parser.add_argument("--log_frequency", type=int, default=10)
    parser.add_argument("--train_data", type=int, default=2048)
    parser.add_argument("--val_data", type=int, default=512)
    parser.add_argument("--pretrained", default="")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Train, keep checkpoints, and say whether anything was learned."""
    asked = arguments()
    torch.manual_seed(asked.seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"training on {device}" + ("" if device == "cuda" else ": CUDA not exercised"))
    training = Training(asked, device)
    if asked.pretrained:
        print(f"goes on from {asked.pretrained} of epoch {training.load(asked.pretrained)}")
    first, _ = training.validate()
    with (OUTPUTS / "log.jsonl").open("w") as log:
        last = training.run(log)
    print(f"checkpoint {CHECKPOINT} of epoch {training.load(CHECKPOINT)} loads")
    if last < first:
        print(f"converged: validation loss {last:.4f} from {first:.4f}")


if __name__ == "__main__":
    main()
