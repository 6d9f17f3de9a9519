"""What the tests share: made-up images that can be learned, a small study, an MLflow server, one thread for torch."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
import torch

from spaces.study import Choice, Float, Int, Study
from tests.chaos.command import FOREIGN
from tests.chaos.mlflow_server import serving
from trainables.data import Data, Split, statistics
from trainables.mlp import train_mlp

# No deadline, because machines are shared; the same examples on every run, so that a red test is red for everybody.
# `--hypothesis-profile=explore` looks further.
hypothesis.settings.register_profile("tests", deadline=None, max_examples=50, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=500)
hypothesis.settings.load_profile("tests")

CLASSES = ("first", "second", "third", "fourth")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Sums in one order: what the trainables promise bit for bit holds on one CPU thread."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def nobodys_environment() -> None:
    """What a developer or a CI has set must not steer the searches of tests."""
    for name in FOREIGN:
        os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def environment_as_before() -> Iterator[None]:
    """MLflow writes variables when it is told an address; every process that a later test starts would have them."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        if name.startswith("MLFLOW_"):
            del os.environ[name]


@pytest.fixture(scope="session", autouse=True)
def signals_as_in_a_terminal() -> None:
    """Under nohup, in the background and in some CI, signals are ignored, also by every process that a test starts."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def made_up() -> Callable[..., Data]:
    """`made_up(train, val)`: so many images of 1x8x8; each of four classes brightens two rows of its own."""

    def split(count: int, generator: torch.Generator) -> Split:
        labels = torch.arange(count) % len(CLASSES)
        images = torch.randint(0, 100, (count, 1, 8, 8), generator=generator)
        for row in range(8):
            images[labels == row // 2, :, row] += 150
        return Split(images.to(torch.uint8), labels)

    def data(train: int, val: int) -> Data:
        generator = torch.Generator().manual_seed(0)
        first, second = split(train, generator), split(val, generator)
        return Data(first, second, CLASSES, *statistics(first.images))

    return data


@pytest.fixture(scope="session")
def tiny_data(made_up: Callable[..., Data]) -> Data:
    return made_up(64, 32)


@pytest.fixture(scope="session")
def tiny_study() -> Study:
    """Every kind of range, a condition, two start points, rungs at 1 and 3 of 9 epochs."""
    return Study(
        trainable=train_mlp,
        dataset="digits",
        epochs=9,
        space={
            "model/depth": Int(0, 3),
            "model/width": Int(4, 32, log=True),
            "model/batch_norm": Choice(False, True),
            "train/optimizer": Choice("sgd", "adam"),
            "train/lr": Float(1e-4, 1.0, log=True),
            "train/momentum": Float(0.5, 0.99, when={"train/optimizer": "sgd"}),
        },
        fixed={"train/batch_size": 16},
        start=[
            {
                "model/depth": 1,
                "model/width": 16,
                "model/batch_norm": True,
                "train/optimizer": "sgd",
                "train/lr": 0.1,
                "train/momentum": 0.9,
            },
            {
                "model/depth": 1,
                "model/width": 16,
                "model/batch_norm": True,
                "train/optimizer": "adam",
                "train/lr": 0.01,
            },
        ],
        trials=12,
        name="tiny",
    )


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real MLflow server on loopback, with a store of its own."""
    with serving(tmp_path_factory.mktemp("mlflow")) as uri:
        yield uri


@pytest.fixture
def chaos_folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder for searches of `tests/chaos`; whatever still runs there when the test is over is killed."""
    from tests.chaos.checker import sweep

    folder = tmp_path / "chaos"
    folder.mkdir()
    yield folder
    sweep(folder)
