"""Train and validation part of a set, in memory or mapped: the same images, the same digest, no more memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import trainables
from tests.trainables.test_picture_folders import put
from trainables import supply
from trainables.data import Data, Mapped, part
from trainables.datasets import DataError, Reading, Source, cache, digest, file_names_of_val, find, parts
from trainables.supply import Images

ROOT = Path(trainables.__file__).parents[1]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEARCH_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def pets(root: Path, *, val: bool = False) -> Source:
    put(root / "train", "cat", "dog", count=20)
    if val:
        put(root / "val", "cat", "dog", count=4, first=300)
    return find("digits", root)


def same(first: Data, second: Data) -> bool:
    tensors = [(first.train.images, second.train.images), (first.val.images, second.val.images)]
    tensors += [(first.train.labels, second.train.labels), (first.val.labels, second.val.labels)]
    return all(torch.equal(*pair) for pair in tensors) and (first.mean, first.std) == (second.mean, second.std)


@pytest.mark.parametrize("kind", ["shuffled", "stratified", "by groups"])
def test_mapped_parts_are_those_that_lie_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    plain = pets(tmp_path / "pets")
    monkeypatch.setattr(cache, "LEAST", 0)
    mapped = pets(tmp_path / "pets")
    groups = torch.arange(40) // 2 if kind == "by groups" else None
    sets = [
        parts(Source(**{**vars(source), "groups": groups}), kind, val_fraction=0.2, seed=3)
        for source in (plain, mapped)
    ]
    assert same(sets[0][0], sets[1][0])
    assert sets[0][1] == sets[1][1] == (digest(plain.train()) if groups is None else digest(plain.train(), (groups,)))
    assert sets[0][0].train.file is None
    for split in (sets[1][0].train, sets[1][0].val):
        assert split.file is not None
        stored = np.memmap(split.file.path, np.uint8, "r", split.file.offset, tuple(split.images.shape))
        assert np.array_equal(stored, split.images.numpy())


def test_mapped_parts_are_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LEAST", 0)
    first = parts(pets(tmp_path / "pets"), "stratified", val_fraction=0.2, seed=0)
    monkeypatch.setattr(cache, "write", None)  # whoever writes again fails
    again = parts(find("digits", tmp_path / "pets"), "stratified", val_fraction=0.2, seed=0)
    assert same(first[0], again[0])
    assert first[1] == again[1]


def test_a_validation_part_of_the_datas_own_is_mapped_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "LEAST", 0)
    source = pets(tmp_path / "pets", val=True)
    data, sha256 = parts(source, "own", val_fraction=0.2, seed=0)
    assert source.val is not None
    assert sha256 == digest(source.train(), source.val())
    assert data.val.file == Mapped(data.train.file.path if data.train.file else "", 40 * 3 * 8 * 8)
    with pytest.raises(DataError, match="has no validation part of its own, as it had"):
        parts(find("digits"), "own", val_fraction=0.2, seed=0)


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(3, 90),
    size=st.integers(1, 9),
    piece=st.integers(1, 40),
    flip=st.booleans(),
    shift=st.integers(0, 1),
)
def test_a_set_in_pieces_gives_every_image_once_and_as_many_batches(
    count: int, size: int, piece: int, flip: bool, shift: int
) -> None:
    size = min(size, count)
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()
    data = part(torch.cat([images, images[:1]]), torch.arange(count + 1), ["a"], val_fraction=1 / (count + 1), seed=0)

    def drawn(whole: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(supply, "WHOLE", whole)
            patch.setattr(supply, "PIECE", piece * 16)
            generator = torch.Generator().manual_seed(1)
            given_ = Images(data, flip=flip, shift=shift)
            return [(x, y) for x, y in given_.batches(size, generator, balanced=False)]

    at_once, in_pieces = drawn(10**9), drawn(0)
    assert [len(y) for _, y in in_pieces] == [size] * (count // size)
    for (x, y), (_, other) in zip(in_pieces, at_once, strict=True):
        assert torch.equal(y, other)
        assert torch.equal(x.amax((1, 2, 3)), data.train.images.amax((1, 2, 3))[_rows(data, y)])


def _rows(data: Data, labels: torch.Tensor) -> torch.Tensor:
    return torch.tensor([data.train.labels.tolist().index(label) for label in labels.tolist()])


LIMITED = """
import resource, sys
from pathlib import Path
import torch
from trainables import supply
from trainables.datasets import Reading, find, parts
from trainables.supply import Images
import numpy, PIL.Image, PIL.ImageOps, concurrent.futures

supply.WHOLE, supply.PIECE = 10**7, 4 * 10**6
torch.set_num_threads(1)
torch.zeros(1000)[torch.randperm(1000)]
used = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (used + int(sys.argv[2]), used + int(sys.argv[2])))
source = find("digits", Path(sys.argv[1]), reading=Reading(image_size=256))
data, _ = parts(source, "stratified", val_fraction=0.1, seed=0)
seen = 0
for images, labels in Images(data, flip=True).batches(16, torch.Generator().manual_seed(0), balanced=False):
    seen += int(images.float().mean() > 0) * len(labels)
print(data.train.images.nbytes, seen)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="tells its memory in another way")
def test_a_set_larger_than_the_memory_there_is_is_read_parted_and_gone_through(tmp_path: Path) -> None:
    put(tmp_path / "train", "cat", "dog", count=700, size=(16, 16))
    ran = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path), str(150_000_000)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    size, seen = map(int, ran.stdout.split())
    assert size > 200_000_000
    assert seen == 1260 // 16 * 16


def test_reading_takes_no_limit_from_an_earlier_reading(tmp_path: Path) -> None:
    put(tmp_path / "train", "cat", "dog", count=3)
    with pytest.raises(DataError, match="would take"):
        find("digits", tmp_path, reading=Reading(limit=1000))
    assert len(find("digits", tmp_path).train()[1]) == 6


@pytest.mark.parametrize("kind", ["shuffled", "stratified", "by groups", "own"])
def test_pictures_held_out_keep_the_names_of_their_files(tmp_path: Path, kind: str) -> None:
    source = pets(tmp_path / "pets", val=kind == "own")
    groups = torch.arange(40) // 2 if kind == "by groups" else None
    source = Source(**{**vars(source), "groups": groups})
    data, _ = parts(source, kind, val_fraction=0.2, seed=3)
    names = file_names_of_val(source, kind, val_fraction=0.2, seed=3)
    assert len(names) == len(data.val)
    for name, image in zip(names, data.val.images, strict=True):
        stored = np.asarray(Image.open(tmp_path / "pets" / name))
        assert np.array_equal(stored.transpose(2, 0, 1), image.numpy()), name


def test_arrays_have_no_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", x_train=np.zeros((20, 8, 8), np.uint8), y_train=np.arange(20) % 2)
    assert file_names_of_val(find("digits", tmp_path / "mine.npz"), "shuffled", val_fraction=0.2, seed=0) == ()
