"""Data of one's own, from a function in the study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from spaces.space import SpaceError
from spaces.study import Float, Study, from_plain, to_plain
from trainables.data import Data, Split
from trainables.datasets import DataError
from trainables.own_data import data_of, read_by


def pictures(count: int, *, size: int = 4) -> TensorDataset:
    generator = torch.Generator().manual_seed(count)
    return TensorDataset(torch.rand(count, 3, size, size, generator=generator), torch.arange(count) % 2)


@pytest.mark.parametrize("kind", ["data set", "pair", "split"])
def test_parts_may_be_data_sets_of_torch_pairs_or_splits(kind: str) -> None:
    raw = pictures(6)
    part: Any = {"data set": raw, "pair": raw.tensors, "split": Split(*raw.tensors)}[kind]
    data = data_of(part, pictures(4), classes=("cat", "dog"))
    assert torch.equal(data.train.images, raw.tensors[0])
    assert data.train.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert (data.shape, data.classes, len(data.mean), data.test) == ((3, 4, 4), ("cat", "dog"), 3, None)


def test_the_test_part_is_not_read_before_it_is_opened() -> None:
    opened: list[int] = []

    def test() -> TensorDataset:
        opened.append(1)
        return pictures(2)

    def load() -> Data:
        return data_of(pictures(6), pictures(4), classes=("cat", "dog"), test=test)

    source, data, _ = read_by(load)
    assert (source.name, source.classes, len(data.val)) == ("load", ("cat", "dog"), 4)
    assert not opened
    assert source.test is not None
    images, labels = source.test()
    assert (len(images), labels.tolist(), opened) == (2, [0, 1], [1])


def test_the_digest_follows_from_both_parts() -> None:
    def digest(train: int, val: int) -> str:
        return read_by(lambda: data_of(pictures(train), pictures(val), classes=("cat", "dog")))[2]

    assert digest(6, 4) == digest(6, 4)
    assert len({digest(6, 4), digest(8, 4), digest(6, 2)}) == 3


CLASSES = ("cat", "dog")
GOOD = pictures(4)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: data_of(GOOD, pictures(4, size=5), classes=CLASSES), r"hold images of one kind, but hold \(3, 4, 4\)"),
        (lambda: data_of((GOOD.tensors[0].double(), GOOD.tensors[1]), GOOD, classes=CLASSES), "uint8 or float32"),
        (lambda: data_of((GOOD.tensors[0][0], GOOD.tensors[1]), GOOD, classes=CLASSES), r"images \(N, C, H, W\)"),
        (
            lambda: data_of((GOOD.tensors[0], GOOD.tensors[1][:2]), GOOD, classes=CLASSES),
            r"4 images, but labels \(2,\)",
        ),
        (lambda: data_of(GOOD, GOOD, classes=("cat",)), "labels from 0 to 0"),
        (lambda: data_of([("picture", 1)], GOOD, classes=CLASSES), "gives a str for a picture"),
        (lambda: data_of([(torch.rand(3, 2, 2), 1), (torch.rand(3, 2, 3), 1)], GOOD, classes=CLASSES), "of 2 sizes"),
        (lambda: data_of(3, GOOD, classes=CLASSES), "train must be .* but is a int"),
        (lambda: 3, r"must return data_of\(train, val, classes=…\), not a int"),
        (lambda: Path("/nowhere").read_text(), "could not read the data: FileNotFoundError"),
    ],
)
def test_what_is_no_data_is_told_in_one_line(make: Any, why: str) -> None:
    with pytest.raises(DataError, match=why):
        read_by(make)


def test_data_by_a_path_are_refused_where_the_study_reads_its_own() -> None:
    with pytest.raises(DataError, match=r"leave --data images\.npz out"):
        read_by(lambda: data_of(GOOD, GOOD, classes=CLASSES), instead_of=Path("images.npz"))


def load() -> Data:
    return data_of(GOOD, GOOD, classes=CLASSES)


def build(config: Any, data: Data) -> nn.Module:
    return nn.Linear(1, 1)


def test_a_study_is_named_by_its_data_or_its_function_and_needs_one_of_them() -> None:
    study = Study(network=build, data=load, epochs=1, space={"lr": Float(0, 1)})
    assert study.dataset == "load"
    plain = to_plain(study)
    assert plain["own_data"] is True
    assert from_plain(plain, study.trainable, load) == study
    assert "own_data" not in to_plain(Study(network=build, dataset="digits", epochs=1, space={"lr": Float(0, 1)}))
    with pytest.raises(SpaceError, match=r"a network needs a dataset .* or data"):
        Study(network=build, epochs=1, space={"lr": Float(0, 1)})
