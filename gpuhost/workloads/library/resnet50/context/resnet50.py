"""How fast ResNet-50 is trained on synthetic images: on one GPU, then on all of them together.

The images are made on the GPU and stay there, so that no disk and no network has a
part in it. Together the GPUs exchange their gradients after every step, as in a
training that is split among them (PyTorch's DistributedDataParallel). Without CUDA
the same is done by processes on the CPU, and said.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import benchmark
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

WARM_UP_STEPS, LEAST_STEPS = 5, 10


@dataclass(frozen=True)
class Work:
    """What each process does: so many images a step, for about so many seconds."""

    device: str
    batch: int
    pixels: int
    seconds: float


def main() -> None:
    """Measure and print."""
    asked = arguments()
    has_cuda = torch.cuda.is_available()
    work = Work("cuda" if has_cuda else "cpu", asked.batch, asked.pixels, asked.seconds)
    most = torch.cuda.device_count() if has_cuda else asked.processes
    name, unit = described(work.device)
    print(f"ResNet-50 in training, batches of {work.batch} ({name}, PyTorch {torch.__version__})")
    rates = {count: images_per_s(work, count) for count in sorted({1, most})}
    for count, rate in rates.items():
        print(f"{count} x {unit}: {rate:.1f} images/s, {rate / count:.1f} each")
    if has_cuda:
        print(f"images/s for a GPU: {rates[most] / most:.1f}")
        print(f"scaling efficiency over {most}: {rates[most] / (most * rates[1]):.3f}")
    else:
        print(f"images/s for a process on the CPU: {rates[most] / most:.1f}")
        print("CUDA not exercised: PyTorch finds none in this container")


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=64, help="images in a step, for each GPU")
    parser.add_argument("--pixels", type=int, default=224, help="width and height of an image")
    parser.add_argument("--seconds", type=float, default=20, help="how long to measure, about")
    parser.add_argument("--processes", type=int, default=1, help="how many, where there is no CUDA")
    return parser.parse_args()


def described(device: str) -> tuple[str, str]:
    """The device's name, and what it is counted in."""
    if device == "cuda":
        return torch.cuda.get_device_name(0), "GPU"
    return "CPU", "process"


def images_per_s(work: Work, count: int) -> float:
    """Images a second of ``count`` processes together, each on a GPU of its own."""
    answers: Any = mp.get_context("spawn").SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(train, (count, f"file://{folder}/meeting", work, answers), nprocs=count)
    return float(answers.get())


def train(rank: int, count: int, address: str, work: Work, answers: Any) -> None:
    """Train as process ``rank`` of ``count``; the first one answers for all."""
    device = f"cuda:{rank}" if work.device == "cuda" else "cpu"
    if work.device == "cuda":
        torch.cuda.set_device(rank)
    else:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // count))
    backend = "nccl" if work.device == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=address, rank=rank, world_size=count)
    try:
        step = stepper(work, device, [rank] if work.device == "cuda" else None)
        timed(step, WARM_UP_STEPS, device)
        duration_s = timed(step, WARM_UP_STEPS, device)
        # All have to do the same number of steps, or some would wait for ever.
        steps = torch.tensor([max(LEAST_STEPS, work.seconds * WARM_UP_STEPS / duration_s)])
        steps = steps.to(device)
        dist.broadcast(steps, src=0)
        duration_s = timed(step, int(steps), device)
        if rank == 0:
            answers.put(int(steps) * work.batch * count / duration_s)
    finally:
        dist.destroy_process_group()


def stepper(work: Work, device: str, ids: list[int] | None) -> Callable[[], None]:
    """One step: forward, backward, exchange of gradients, and the optimizer's step."""
    model: Any = benchmark.resnet50(torch).to(device, memory_format=torch.channels_last).train()
    if dist.get_world_size() > 1:
        model = DistributedDataParallel(model, device_ids=ids)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images = torch.randn(work.batch, 3, work.pixels, work.pixels, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, benchmark.CLASSES, (work.batch,), device=device)
    loss_of = torch.nn.CrossEntropyLoss()
    has_bfloat16 = work.device == "cuda" and torch.cuda.is_bf16_supported()
    kind = torch.bfloat16 if has_bfloat16 else torch.float16

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(work.device, dtype=kind, enabled=work.device == "cuda"):
            loss = loss_of(model(images), labels)
        loss.backward()
        optimizer.step()

    return step


def timed(step: Callable[[], None], count: int, device: str) -> float:
    """How long all take for so many steps, begun together; in seconds."""
    dist.barrier()
    began = time.perf_counter()
    for _ in range(count):
        step()
    if device != "cpu":
        torch.cuda.synchronize()
    dist.barrier()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
