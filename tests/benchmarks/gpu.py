"""What a GPU does: images per second of one trial against bare loops, and of 1, 2, 4 and 8 trials on one device.

`python -m tests.benchmarks.gpu [--repeats 3] [--epochs 30] [--trials 1 2 4 8] [--json]`

The networks are those of `tests.benchmarks.engine`; 55,000 made-up training images lie on the device, 5,000 are
validated after each epoch. The bare loops are what one writes by hand for the one network, with one kernel after the
other and with a captured CUDA graph; a trial is `trainables` alone, without Ray. First epochs, in which kernels are
chosen and the graph is captured, are not counted. All of that runs in one process, in turns. Then whole searches run k
trials, each with 1/k of the device, whose images per second are summed while all of them train, checkpoints and reports
included.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from search.record.reader import FILE, read
from tests.benchmarks.engine import NETWORKS, build
from tests.benchmarks.report import search, show, spread
from trainables.cnn import train_cnn
from trainables.data import Data, Split
from trainables.data import statistics as pixels
from trainables.device import pick_device
from trainables.mlp import train_mlp
from trainables.mode import probe

TRAIN, VAL = 55_000, 5_000
BATCHES = (128, 1024)
TRAINABLES = {"mlp": train_mlp, "cnn": train_cnn}
STUDY = """
from spaces.study import Float, Study
from trainables.{family} import train_{family}

STUDY = Study(trainable=train_{family}, dataset="fashion_mnist", epochs=5, space={{"train/lr": Float(0.001, 0.01)}},
              fixed={fixed!r}, scheduler="none", trials=1)
"""


def made_up() -> Data:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (TRAIN + VAL, 1, 28, 28), generator=generator, dtype=torch.uint8)
    labels = torch.arange(TRAIN + VAL) % 10
    train, val = Split(images[:TRAIN], labels[:TRAIN]), Split(images[TRAIN:], labels[TRAIN:])
    return Data(train, val, tuple("0123456789"), *pixels(train.images))


def config_of(family: str, batch: int, epochs: int) -> dict[str, Any]:
    network = {f"model/{name}": value for name, value in NETWORKS[family][1].items()}
    return network | {"train/batch_size": batch, "train/optimizer": "sgd", "train/lr": 0.01, "train/epochs": epochs}


def rate(epochs: Iterator[Any]) -> float:
    """Images/s of the epochs after the first: training and validation."""
    times = []
    for _ in epochs:
        torch.cuda.synchronize()
        times.append(time.perf_counter())
    return TRAIN / statistics.median(after - before for before, after in pairwise(times))


def trial(family: str, batch: int, data: Data, epochs: int) -> float:
    return rate(TRAINABLES[family](config_of(family, batch, epochs), data))


def bare(family: str, batch: int, data: Data, epochs: int, *, graph: bool) -> float:
    return rate(_bare(family, batch, data.to(torch.device("cuda")), epochs, graph))


def _bare(family: str, batch: int, data: Data, epochs: int, graph: bool) -> Iterator[None]:
    mode = probe(pick_device("cuda"), convolutional=family == "cnn")
    model = build(family, fast=mode.channels_last).cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True, fused=True)

    def step(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cuda", torch.bfloat16, enabled=mode.precision == "bfloat16", cache_enabled=not graph):
            logits = model((images.float() - 72.9) / 90.0)
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()

    take = step
    if graph:
        images, labels = data.train.images[:batch].clone(), data.train.labels[:batch].clone()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step(images, labels)
        torch.cuda.current_stream().wait_stream(side)
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            loss = step(images, labels)

        def take(new_images: torch.Tensor, new_labels: torch.Tensor) -> torch.Tensor:
            images.copy_(new_images)
            labels.copy_(new_labels)
            captured.replay()
            return loss

    for _ in range(epochs):
        model.train()
        order = torch.randperm(TRAIN, device="cuda")
        x, y, total = data.train.images[order], data.train.labels[order], torch.zeros((), device="cuda")
        for i in range(TRAIN // batch):
            total += take(x[i * batch : (i + 1) * batch], y[i * batch : (i + 1) * batch])
        total.item()
        model.eval()
        right = torch.zeros((), device="cuda", dtype=torch.int64)
        with torch.inference_mode():
            for part, truth in zip(data.val.images.split(2000), data.val.labels.split(2000), strict=True):
                right += (model((part.float() - 72.9) / 90.0).argmax(1) == truth).sum()
        right.item()
        yield


def together(family: str, count: int, batch: int, epochs: int, folder: Path) -> dict[str, float]:
    """A whole search with `count` trials at a time on one device: images/s of all, and seconds of an epoch."""
    file, study = folder / "made_up.npz", folder / f"{family}_{count}.py"
    if not file.exists():
        data = made_up()
        images, labels = (
            torch.cat([data.train.images, data.val.images]),
            torch.cat([data.train.labels, data.val.labels]),
        )
        np.savez(file, x_train=images[:, 0].numpy(), y_train=labels.numpy())
    fixed = config_of(family, batch, epochs)
    study.write_text(
        STUDY.format(family=family, fixed={k: fixed[k] for k in fixed if k not in ("train/lr", "train/epochs")})
    )
    share = ["--gpus", str(1 / count), "--concurrent", str(count), "--trials", str(count), "--epochs", str(epochs)]
    name = f"{family}-{count}-{batch}"
    document = search(str(study), "--data", str(file), *share, "--name", name, cwd=folder)
    reports = [event for event in read(folder / "runs" / name / FILE) if event.kind == "epoch"]
    by_trial = [[event for event in reports if event.trial == number] for number in range(count)]
    begin, end = max(rows[0].at for rows in by_trial), min(rows[-1].at for rows in by_trial)
    within = [event for event in reports if begin < event.at <= end]
    steps = statistics.median(event.body["seconds"] for event in within)
    walls = [after.at - before.at for rows in by_trial for before, after in pairwise(rows)]
    return {
        "images_s": TRAIN * len(within) / (end - begin),
        "epoch_s": steps,
        "beside_s": statistics.median(walls) - steps,
        "window_s": end - begin,
        "wall_s": document["wall_s"],
        "first_trial_s": document["first_trial_s"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--trials", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no GPU here")
    device, data, rows = torch.cuda.get_device_name(), made_up(), []
    speeds: dict[str, dict[str, list[float]]] = {}
    for family in NETWORKS if arguments.repeats else ():
        for batch in BATCHES:
            kinds = speeds[f"{family}, batch {batch}"] = {"bare": [], "bare graph": [], "trial": []}
            for _ in range(arguments.repeats):
                kinds["bare"].append(bare(family, batch, data, 6, graph=False))
                kinds["bare graph"].append(bare(family, batch, data, 6, graph=True))
                kinds["trial"].append(trial(family, batch, data, 6))
    for what, kinds in speeds.items():
        rows += [(f"{what}: {kind}, images/s", spread(values), "") for kind, values in kinds.items()]
        for other in ("bare", "bare graph"):
            ratios = [a / b for a, b in zip(kinds["trial"], kinds[other], strict=True)]
            rows.append((f"{what}: trial / {other}", spread(ratios), "at least 0.95"))
    shared: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for family in NETWORKS:
            for count in arguments.trials:
                got = shared[f"{family}, {count} at a time"] = together(
                    family, count, 128, arguments.epochs, Path(folder)
                )
                speed = f"{got['images_s']:,.0f} images/s"
                told = f"{speed}; an epoch {got['epoch_s']:.3f} s and {got['beside_s']:.3f} s beside"
                rows.append((f"{family}, {count} trials on the device", told, ""))
                print(*rows[-1], file=sys.stderr)  # in case the machine is taken away before all is done
    show(f"gpu ({device})", rows, {"device": device, "speeds": speeds, "shared": shared}, as_json=arguments.json)


if __name__ == "__main__":
    main()
