"""Runs inside a framework image: does PyTorch compute right on each GPU, and how fast is it.

A program of its own: it needs nothing but Python 3.8 and PyTorch, and prints
one line of JSON. Every device is measured at the same time, each by a process
that sees no other, as in training. The data are made on the device itself: no
disk and no network has a part in it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any, Dict, List, Optional

DEVICE = "GPUHOST_BENCHMARK_DEVICE"
# Small whole numbers, whose products and sums every format and order of adding gives exactly.
EXACT_SIZE, LARGEST = 512, 3
MATRIX_SIZE = {"cuda": 8192, "cpu": 512}
BATCH = {"cuda": 64, "cpu": 4}
WARM_UP_STEPS = {"cuda": 5, "cpu": 1}
MEASURE_S = {"cuda": 10.0, "cpu": 2.0}
CLASSES, PIXELS = 1000, 224
# Blocks of ResNet-50's four stages, and the channels inside them (He et al. 2015, table 1).
STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))
EXPANSION = 4


def resnet50(torch: Any) -> Any:
    """ResNet-50, with the strides where NVIDIA's and torchvision's have them ("v1.5")."""
    nn = torch.nn

    class Bottleneck(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, channels: int, inner: int, stride: int) -> None:
            super().__init__()
            out = inner * EXPANSION
            self.body = nn.Sequential(
                *convolution(channels, inner, 1, 1),
                nn.ReLU(inplace=True),
                *convolution(inner, inner, 3, stride),
                nn.ReLU(inplace=True),
                *convolution(inner, out, 1, 1),
            )
            is_same = channels == out and stride == 1
            self.beside = (
                nn.Identity() if is_same else nn.Sequential(*convolution(channels, out, 1, stride))
            )
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x: Any) -> Any:
            return self.relu(self.body(x) + self.beside(x))

    def convolution(channels: int, out: int, kernel: int, stride: int) -> List[Any]:
        padding = kernel // 2
        return [
            nn.Conv2d(channels, out, kernel, stride, padding, bias=False),
            nn.BatchNorm2d(out),
        ]

    layers = [*convolution(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for number, (blocks, inner) in enumerate(STAGES):
        for block in range(blocks):
            stride = 2 if number and not block else 1
            layers.append(Bottleneck(channels, inner, stride))
            channels = inner * EXPANSION
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)
    )


def is_exact(torch: Any, device: str) -> bool:
    """Whether a product of matrices comes out to the last digit, on the device as on the CPU."""
    numbers = torch.Generator().manual_seed(1)
    shape = (EXACT_SIZE, EXACT_SIZE)
    a, b = (torch.randint(-LARGEST, LARGEST + 1, shape, generator=numbers) for _ in range(2))
    found = (a.float().to(device) @ b.float().to(device)).cpu()
    return bool((found == (a @ b).float()).all())


def tflops(torch: Any, device: str) -> float:
    """10¹² floating-point operations a second in products of large matrices."""
    size = MATRIX_SIZE[device]
    kind = torch.float16 if device == "cuda" else torch.float32
    a, b = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    return rate(torch, device, lambda: a @ b) * 2 * size**3 / 1e12


def images_per_s(torch: Any, device: str) -> float:
    """Images a second of ResNet-50 in training: forward, backward and the optimizer's step."""
    batch = BATCH[device]
    model = resnet50(torch).to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images = torch.randn(batch, 3, PIXELS, PIXELS, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, CLASSES, (batch,), device=device)
    loss_of = torch.nn.CrossEntropyLoss()

    has_bfloat16 = device == "cuda" and torch.cuda.is_bf16_supported()
    # Without scaling of the loss: what is learned does not matter, and the speed is the same.
    kind = torch.bfloat16 if has_bfloat16 else torch.float16

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=kind, enabled=device == "cuda"):
            loss = loss_of(model(images), labels)
        loss.backward()
        optimizer.step()

    return rate(torch, device, step) * batch


def rate(torch: Any, device: str, step: Any) -> float:
    """How often ``step`` is done in a second, once it has found its stride."""

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    for _ in range(WARM_UP_STEPS[device]):
        step()
    wait()
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < MEASURE_S[device]:
        step()
        # A GPU is given work far ahead of what it has done.
        wait()
        done += 1
    return done / (time.perf_counter() - began)


def measure(torch: Any, device: str) -> Dict[str, Any]:
    """What one device can do."""
    name: Optional[str] = None
    if device == "cuda":
        name = torch.cuda.get_device_name(0)
    return {
        "name": name,
        "exact": is_exact(torch, device),
        "tflops": round(tflops(torch, device), 3),
        "images_per_s": round(images_per_s(torch, device), 2),
    }


def measure_all(count: int) -> List[Dict[str, Any]]:
    """What each of the GPUs can do, all at work at the same time."""
    code = globals().get("CODE") or open(__file__).read()  # noqa: PTH123, SIM115
    processes = []
    for index in range(count):
        environment = {**os.environ, DEVICE: str(index), "CUDA_VISIBLE_DEVICES": str(index)}
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", code],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                universal_newlines=True,
            )
        )
    return [answer(index, process) for index, process in enumerate(processes)]


def answer(index: int, process: Any) -> Dict[str, Any]:
    """What the process of one GPU found, or its last words."""
    said, complaint = process.communicate()
    try:
        found: Dict[str, Any] = json.loads(said.splitlines()[-1])
    except (IndexError, ValueError):
        found = {"error": complaint.strip()[-2000:] or f"ended with {process.returncode}"}
    return {"index": index, **found}


def main() -> None:
    """Print what was found."""
    found: Dict[str, Any] = {"torch": None, "cuda": None, "available": False, "devices": []}
    try:
        import torch  # noqa: PLC0415
    except ImportError as error:
        print(json.dumps({**found, "error": f"{type(error).__name__}: {error}"}))  # noqa: T201
        return
    if DEVICE in os.environ:
        print(json.dumps(measure(torch, "cuda")))  # noqa: T201
        return
    found.update(
        torch=torch.__version__,
        cuda=torch.version.cuda,
        available=torch.cuda.is_available(),
    )
    if found["available"]:
        found["devices"] = measure_all(torch.cuda.device_count())
    elif found["cuda"] is None:
        found["devices"] = [{"index": 0, **measure(torch, "cpu")}]
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main()
