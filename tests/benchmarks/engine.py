"""Images per second of a trial inside the service, against a bare loop and against the stock loop, side by side.

`python -m tests.benchmarks.engine [--repeats 5] [--json]`

The bare loop is what one writes by hand for this one network: tensors in memory, no checkpoint, no Ray. The stock loop
is the tutorials': torchvision's dataset, a DataLoader, float32, and for the CNN pooling after the activation. All three
train the same number of weights at the same batch size, on one thread each, in turns.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from tests.benchmarks.report import search, show, spread
from trainables import cnn, mlp
from trainables.device import pick_device
from trainables.mode import probe

IMAGES, EPOCHS, BATCH = {"mlp": 48_000, "cnn": 12_000}, 3, 128
NETWORKS = {
    "mlp": (mlp.network, {"depth": 2, "width": 512}),
    "cnn": (cnn.network, {"depth": 3, "width": 32}),
}
STUDY = """
from spaces.study import Float, Study
from trainables.{family} import train_{family}

STUDY = Study(trainable=train_{family}, dataset="fashion_mnist", epochs=3, space={{"train/lr": Float(0.01, 0.1)}},
              fixed={fixed!r}, start=[{{"train/lr": 0.05}}], trials=1)
"""


def made_up(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 28, 28), generator=generator, dtype=torch.uint8)
    return images, torch.arange(count) % 10


def build(family: str, *, fast: bool) -> torch.nn.Module:
    make, arguments = NETWORKS[family]
    torch.manual_seed(0)
    model = make((1, 28, 28), 10, **arguments)
    return model.to(memory_format=torch.channels_last) if fast and family == "cnn" else model


def bare(family: str) -> float:
    """Images/s of the hand-written loop: shuffle, normalise, step; then validation."""
    mode = probe(pick_device("cpu"), convolutional=family == "cnn")
    images, labels = made_up(IMAGES[family])
    images = images.unsqueeze(1)
    held_out = len(images) // 12
    val_x, val_y, x, y = images[:held_out], labels[:held_out], images[held_out:], labels[held_out:]
    model = build(family, fast=mode.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, foreach=True)
    start = time.perf_counter()
    for _ in range(EPOCHS):
        order = torch.randperm(len(x))
        x, y = x[order], y[order]
        model.train()
        for i in range(len(x) // BATCH):
            batch = (x[i * BATCH : (i + 1) * BATCH].float() - 72.9) / 90.0
            with torch.autocast("cpu", torch.bfloat16, enabled=mode.precision == "bfloat16"):
                logits = model(batch)
            loss = F.cross_entropy(logits.float(), y[i * BATCH : (i + 1) * BATCH])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.inference_mode():
            for part, truth in zip(val_x.split(250), val_y.split(250), strict=True):
                (model((part.float() - 72.9) / 90.0).argmax(1) == truth).sum().item()
    return EPOCHS * len(x) / (time.perf_counter() - start)


class FashionLike(datasets.FashionMNIST):
    """torchvision's own `__getitem__` over made-up images, so that no download is needed."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.data, self.targets = images, labels
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.286,), (0.353,))])
        self.target_transform = None


def tutorial_cnn() -> torch.nn.Module:
    """The same convolutions in the order of the tutorials: pooling last, after four times the work on activations."""
    layers: list[torch.nn.Module] = []
    for inputs, outputs in ((1, 32), (32, 64), (64, 128)):
        layers += [torch.nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), torch.nn.BatchNorm2d(outputs)]
        layers += [torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(128 * 9, 10))


def stock(family: str) -> float:
    """Images/s of the tutorials' loop and network, over as many images as it does in some seconds."""
    images, labels = made_up(IMAGES[family] // 4)
    loader = DataLoader(FashionLike(images, labels), batch_size=BATCH, shuffle=True)
    model = tutorial_cnn() if family == "cnn" else build(family, fast=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    start = time.perf_counter()
    for batch, truth in loader:
        optimizer.zero_grad()
        F.cross_entropy(model(batch), truth).backward()
        optimizer.step()
    return len(images) / (time.perf_counter() - start)


def service(family: str, folder: Path) -> float:
    """Images/s of a trial that `python -m search` runs: time in training steps and validation, from its record."""
    images, labels = made_up(IMAGES[family])
    file = folder / f"{family}.npz"
    if not file.exists():
        np.savez(file, x_train=images.numpy(), y_train=labels.numpy())
    # A study of its own: those of ours begin with a published setting, in float32.
    study = folder / f"{family}_speed.py"
    fixed = {f"model/{name}": value for name, value in NETWORKS[family][1].items()}
    fixed |= {"train/batch_size": BATCH, "train/optimizer": "sgd"}
    study.write_text(STUDY.format(family=family, fixed=fixed))
    budget = ["--trials", "1", "--epochs", str(EPOCHS), "--scheduler", "none", "--concurrent", "1"]
    document = search(str(study), "--data", str(file), *budget, cwd=folder)
    seconds = document["training_s"] / document["epochs"]
    return (len(images) - round(len(images) / 12)) / seconds


def alone(what: str, family: str) -> float:
    """One measurement in a fresh process of one thread."""
    script = (
        f"import torch; torch.set_num_threads(1); from tests.benchmarks import engine; print(engine.{what}({family!r}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    speeds: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for family in NETWORKS:
            speeds[family] = {"service": [], "bare": [], "stock": []}
            for _ in range(arguments.repeats):
                speeds[family]["bare"].append(alone("bare", family))
                speeds[family]["service"].append(service(family, Path(folder)))
                speeds[family]["stock"].append(alone("stock", family))
    rows = []
    ratios: dict[str, dict[str, list[float]]] = {}
    for family, kinds in speeds.items():
        rows += [(f"{family}: {kind}, images/s", spread(values), "") for kind, values in kinds.items()]
        ratios[family] = {
            other: [a / b for a, b in zip(kinds["service"], kinds[other], strict=True)] for other in ("bare", "stock")
        }
        rows.append((f"{family}: service / bare", spread(ratios[family]["bare"]), "at least 0.95"))
        aim = "at least 3" if family == "mlp" else "at least 2.5"
        rows.append((f"{family}: service / stock", spread(ratios[family]["stock"]), aim))
    show("engine", rows, {"speeds": speeds, "ratios": ratios}, as_json=arguments.json)


if __name__ == "__main__":
    main()
