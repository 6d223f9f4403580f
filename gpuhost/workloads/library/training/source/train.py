"""Train a small network to tell squares, discs and crosses apart; on a GPU if there is one.

Data are made from the seed, so two runs with the same arguments print the same losses.
Ends with an error if nothing was learned. What it leaves in outputs: last.pt, a checkpoint after
each epoch; log.jsonl; and a folder a run in tensorboard.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import time
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError:  # the image has no tensorboard
    from tensorboard_log import SummaryWriter

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


class Log:
    """What a training says: on its output, in log.jsonl and for TensorBoard."""

    def __init__(self, outputs: pathlib.Path, *, goes_on: bool) -> None:
        self._lines = (outputs / "log.jsonl").open("a" if goes_on else "w")
        run = time.strftime("%Y%m%d-%H%M%S")
        self._curves = SummaryWriter(str(outputs / "tensorboard" / run))

    def note(self, words: str, step: int, **values: float) -> None:
        """Values of one step."""
        print(f"{words} " + " ".join(f"{name} {value:.4f}" for name, value in values.items()))
        self._lines.write(json.dumps({"step": step, **values}) + "\n")
        for name, value in values.items():
            self._curves.add_scalar(name, value, step)

    def close(self) -> None:
        """End the files."""
        self._lines.close()
        self._curves.close()


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
        self.epoch = self._step = 0

    def load(self, name: str) -> None:
        """Go on from a checkpoint, with the learning rate that was asked for."""
        kept = torch.load(OUTPUTS / name, map_location=self._device, weights_only=True)
        self._model.load_state_dict(kept["model"])
        self._optimizer.load_state_dict(kept["optimizer"])
        for group in self._optimizer.param_groups:
            group["lr"] = self._asked.lr
        self.epoch, self._step = kept["epoch"], kept["step"]

    def keep(self) -> None:
        """Write a checkpoint, which never is there by half."""
        kept = {"epoch": self.epoch, "step": self._step, "model": self._model.state_dict()}
        unfinished = OUTPUTS / f"{CHECKPOINT}.unfinished"
        torch.save({**kept, "optimizer": self._optimizer.state_dict()}, unfinished)
        unfinished.replace(OUTPUTS / CHECKPOINT)

    def knows_the_same_as(self, other: Training) -> bool:
        """Whether both networks have the same weights, to the last bit."""
        mine, theirs = self._model.state_dict(), other._model.state_dict()
        return all(torch.equal(mine[name], theirs[name]) for name in mine)

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

    def run(self, log: Log) -> float:
        """All epochs, with a checkpoint after each; the last loss over the images held back."""
        loss = float("inf")
        for _ in range(self._asked.epochs):
            self.epoch += 1
            self._learn(log)
            loss, accuracy = self.validate()
            log.note(f"epoch {self.epoch}", self._step, val_loss=loss, accuracy=accuracy)
            self.keep()
        return loss

    def _learn(self, log: Log) -> None:
        for number, batch in enumerate(self._images, start=1):
            images, kinds = (part.to(self._device) for part in batch)
            self._optimizer.zero_grad()
            loss = self._loss_of(self._model(images), kinds)
            loss.backward()
            self._optimizer.step()
            self._step += 1
            if number % self._asked.log_frequency == 0:
                log.note(f"epoch {self.epoch} batch {number}", self._step, loss=loss.item())


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
    # Without it, CUDA's matrix products may differ from run to run.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.manual_seed(asked.seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print("training on cuda" if device == "cuda" else "CUDA not exercised: training on cpu")
    training = Training(asked, device)
    untrained, _ = training.validate()
    if asked.pretrained:
        training.load(asked.pretrained)
        print(f"goes on from {asked.pretrained} of epoch {training.epoch}")
    log = Log(OUTPUTS, goes_on=bool(asked.pretrained))
    learned = training.run(log)
    log.close()
    again = Training(asked, device)
    again.load(CHECKPOINT)
    if not again.knows_the_same_as(training):
        raise SystemExit(f"checkpoint {CHECKPOINT} is not what was learned")
    print(f"checkpoint {CHECKPOINT} of epoch {again.epoch} loads")
    if learned >= untrained:
        raise SystemExit(f"nothing was learned: validation loss {learned:.4f} from {untrained:.4f}")
    print(f"converged: validation loss {learned:.4f} from {untrained:.4f}")


if __name__ == "__main__":
    main()
