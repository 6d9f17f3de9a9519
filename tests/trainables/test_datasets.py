"""Data sets: where they are looked for, what is refused, and that what is refused is refused in one clear sentence."""

from __future__ import annotations

import gc
import gzip
import hashlib
import io
import math
import os
import pickle
import random
import shutil
import socket
import struct
import subprocess
import sys
import threading
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import spaces
from trainables import data, datasets
from trainables.cache import cache_folder
from trainables.datasets import DataError, Reading, Source, digest, find

ROOT = Path(datasets.__file__).parents[1]
IDX_MAGIC = {1: 2049, 3: 2051}


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No data of the developer's, and no way out but to this machine."""
    monkeypatch.delenv("SEARCH_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # held and not listened on: whoever connects is refused
        for scheme in ("http", "https"):
            monkeypatch.setenv(f"{scheme}_proxy", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        # urllib keeps the proxies it saw first.
        monkeypatch.setattr(urllib.request, "_opener", None)
        yield


def images(count: int = 40, side: int = 8, channels: int | None = None, seed: int = 0) -> Any:
    shape = (count, side, side) if channels is None else (count, side, side, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def labels(count: int = 40, classes: int = 10, dtype: str = "int64") -> Any:
    return (np.arange(count) % classes).astype(dtype)


def npz(path: Path, **arrays: Any) -> Path:
    """A sound .npz of 40 grey images and 20 for test in 10 classes, but for `arrays`; None leaves one out."""
    sound = {"x_train": images(), "y_train": labels(), "x_test": images(20, seed=1), "y_test": labels(20)}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{key: array for key, array in {**sound, **arrays}.items() if array is not None})
    return path


def read(path: Path | None, name: str = "digits") -> tuple[Source, tuple[Tensor, Tensor], Any]:
    """Everything there is to be read, as a search reads it."""
    source = find(name, path)
    return source, source.train(), source.test() if source.test else None


def heard(name: str, data: Path | None = None) -> tuple[Source, str]:
    """The source, and what the user was warned of."""
    told: list[str] = []
    return find(name, data, warn=told.append), "\n".join(told)


# .npz: what is read


def test_grey_images_of_an_npz_get_one_channel(tmp_path: Path) -> None:
    source, (x, y), (x_test, y_test) = read(npz(tmp_path / "mine.npz"))
    assert (source.name, source.stand_in, len(source.classes)) == ("mine", False, 10)
    assert (tuple(x.shape), x.dtype, tuple(x_test.shape)) == ((40, 1, 8, 8), torch.uint8, (20, 1, 8, 8))
    assert (y.dtype, y.tolist(), y_test.tolist()) == (torch.int64, labels().tolist(), labels(20).tolist())
    assert torch.equal(x[:, 0], torch.from_numpy(images()))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_channels_of_an_npz_come_first_once_read(tmp_path: Path, channels: int) -> None:
    colour = images(channels=channels)
    _, (x, _), _ = read(npz(tmp_path / "mine.npz", x_train=colour, x_test=images(20, channels=channels)))
    assert tuple(x.shape) == (40, channels, 8, 8)
    assert torch.equal(x[7, channels - 1], torch.from_numpy(colour[7, :, :, channels - 1].copy()))


def test_images_that_are_not_square_keep_height_and_width(tmp_path: Path) -> None:
    wide = np.zeros((40, 6, 9), np.uint8)
    _, (x, _), _ = read(npz(tmp_path / "mine.npz", x_train=wide, x_test=None, y_test=None))
    assert tuple(x.shape) == (40, 1, 6, 9)


def test_an_npz_without_test_part_has_none(tmp_path: Path) -> None:
    assert find("digits", npz(tmp_path / "mine.npz", x_test=None, y_test=None)).test is None


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "uint64", ">i4"])
def test_labels_of_any_whole_number_type_are_read(tmp_path: Path, dtype: str) -> None:
    _, (_, y), _ = read(npz(tmp_path / "mine.npz", y_train=labels(dtype=dtype), y_test=labels(20, dtype=dtype)))
    assert (y.dtype, y.tolist()) == (torch.int64, labels().tolist())


def test_a_compressed_npz_reads_as_the_plain_one(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "small.npz", x_train=images(), y_train=labels())
    plain = npz(tmp_path / "plain.npz")
    assert digest(find("digits", tmp_path / "small.npz").train()) == digest(find("digits", plain).train())


# .npz: what is refused


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "images of five axes": ({"x_train": images()[None, ..., None]}, r"x_train"),
    "five channels": ({"x_train": images(channels=5), "x_test": images(20, channels=5)}, r"x_train must have shape"),
    "images without pixels": ({"x_train": images(side=0), "x_test": images(20, side=0)}, r"x_train .* without pixels"),
    "one image too few": ({"x_train": images(39)}, r"x_train has 39 images for 40 labels"),
    "no images": ({"x_train": None}, r"lacks x_train"),
    "no labels": ({"y_train": None}, r"lacks y_train"),
    "no arrays at all": ({"x_train": None, "y_train": None, "x_test": None, "y_test": None}, r"lacks x_train"),
    "no image in it": ({"x_train": images(0), "y_train": labels(0)}, r"y_train is empty"),
    "a label of 2**63": ({"y_train": labels(dtype="uint64") + np.uint64(2**63)}, r"y_train has labels? "),
    "labels of many ones": ({"y_train": np.ones((40, 3), "int64")}, r"y_train must be one label .* 40 rows have none"),
    "labels of halves": ({"y_train": labels() / 2}, r"y_train must be classes, but has labels such as"),
    "labels that are no numbers": ({"y_train": np.full(40, np.nan)}, r"y_train has 40 labels that are no number"),
    "an index for labels": ({"y_train": np.arange(40)}, r"y_train has 40 different labels for 40 images"),
    "one class only": ({"y_train": labels() * 0, "y_test": None, "x_test": None}, r"y_train has one class only"),
    "test labels out of range": ({"y_test": labels(20) + 5}, r"y_test has 10 labels that y_train lacks: 10, 11, 12"),
    "negative test labels": ({"y_test": labels(20) - 1}, r"y_test has 2 labels that y_train lacks: -1"),
    "no test images in it": ({"x_test": images(0), "y_test": labels(0)}, r"y_test is empty"),
    "normalised images": ({"x_train": images() / 50 - 2}, r"must hold grey levels .* save them before they are norm"),
    "images with NaN": ({"x_train": np.full((40, 8, 8), np.nan)}, r"x_train has 2,560 values that are no finite"),
}  # fmt: skip


@pytest.mark.parametrize(("arrays", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_an_npz_is_refused_with_its_path_and_the_reason(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    path = npz(tmp_path / "mine.npz", **arrays)
    with pytest.raises(DataError, match=message) as refused:
        read(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


BAD_TEST_PARTS: dict[str, tuple[dict[str, Any], str]] = {
    "one test image too few": ({"x_test": images(19)}, r"x_test has 19 images for 20 labels"),
    "float test images": ({"x_test": images(20) / 255}, r"x_test of float64 in different ranges of grey levels"),
    "test labels without images": ({"x_test": None}, r"x_test"),
    "test images without labels": ({"y_test": None}, r"y_test"),
    "test images of another size": ({"x_test": images(20, side=9)}, r"x_test"),
    "colour test images for grey ones": ({"x_test": images(20, channels=3)}, r"x_test"),
}


@pytest.mark.parametrize(("arrays", "message"), BAD_TEST_PARTS.values(), ids=BAD_TEST_PARTS.keys())
def test_a_bad_test_part_is_refused_before_the_search_and_not_after_it(
    tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    path = npz(tmp_path / "mine.npz", **arrays)
    with pytest.raises(DataError, match=message):
        find("digits", path).train()  # what is called before a search; Source.test comes hours later


def test_data_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data at .*nowhere\.npz; give an \.npz file"):
        find("digits", tmp_path / "nowhere.npz")


def test_an_unknown_data_set_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        DataError,
        match=r"unknown data set 'fashion'; known are cifar10, cifar100, cifar2, digits, fashion_mnist, mnist, moons",
    ):
        find("fashion")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.99, 1.0])
def test_a_truncated_npz_is_refused_at_any_length(tmp_path: Path, share: float) -> None:
    whole = npz(tmp_path / "mine.npz").read_bytes()
    path = tmp_path / "cut.npz"
    path.write_bytes(whole[: min(int(share * len(whole)), len(whole) - 1)])
    with pytest.raises(DataError, match=r"cut\.npz cannot be read as \.npz .*; copy or save it again"):
        read(path)


@pytest.mark.parametrize("mask", [0x01, 0x20, 0xFF], ids=hex)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["plain", "compressed"])
def test_a_flipped_byte_is_refused_or_changes_nothing(tmp_path: Path, save: Callable[..., None], mask: int) -> None:
    path = tmp_path / "mine.npz"
    save(path, x_train=images(), y_train=labels(), x_test=images(20), y_test=labels(20))
    whole = path.read_bytes()
    _, train, test = read(path)
    sound = (digest(train), digest(test))
    # The directory at the end of the file is where a flip does the oddest things: all of it, and a sample of the rest.
    places = [*range(len(whole) - 330, len(whole)), *random.Random(mask).sample(range(len(whole) - 330), 120)]
    refused = 0
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= mask
        path.write_bytes(damaged)
        try:
            _, train, test = read(path)
        except DataError:
            refused += 1
        except Exception as error:
            raise AssertionError(f"byte {place} of {len(whole)} flipped by {mask:#x}: {error!r}") from error
        else:
            # Where the directory claims a comment that swallows the members after it, zipfile goes on without them.
            assert (digest(train), test and digest(test)) in (sound, (sound[0], None))
    assert refused > len(places) / 2


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_text("x_train, y_train"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(pickle.dumps({"x_train": 1})),
        lambda path: path.write_bytes(b"PK\x05\x06" + bytes(18) + b"\0"),
        lambda path: np.save(path.with_suffix(".npy"), images()) or path.with_suffix(".npy").rename(path),
    ],
    ids=["text", "empty", "pickle", "zip without a directory", "npy"],
)
def test_a_file_that_is_no_npz_is_refused(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "mine.npz")
    with pytest.raises(DataError, match=r"mine\.npz (cannot be read as \.npz|lacks x_train)"):
        read(tmp_path / "mine.npz")


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("key", ["x_train", "y_train", "x_test", "y_test"])
def test_nothing_in_an_npz_is_unpickled(tmp_path: Path, key: str) -> None:
    marker = tmp_path / "exploded"
    count = 20 if key.endswith("test") else 40
    path = npz(tmp_path / "mine.npz", **{key: np.array([Bomb(marker)] * count, dtype=object)})
    with pytest.raises(DataError, match=r"mine\.npz") as refused:
        read(path)
    assert "allow_pickle" not in str(refused.value)
    assert not marker.exists()
    with np.load(path, allow_pickle=True) as unsafe:
        unsafe[key]
    assert marker.exists(), "the bomb is no bomb, so this test shows nothing"


def test_a_pickle_named_npz_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "mine.npz").write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    with pytest.raises(DataError, match=r"cannot be read as \.npz"):
        read(tmp_path / "mine.npz")
    assert not (tmp_path / "exploded").exists()


# Where known sets are looked for


def idx_files(folder: Path, *, zipped: bool = False, count: int = 40) -> Path:
    """Fashion-MNIST as torchvision keeps it (or, zipped, as it is downloaded), with `count` images of 28x28."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, number in (("train", count), ("t10k", count // 2)):
        for kind, array in (("images-idx3", images(number, side=28)), ("labels-idx1", labels(number, dtype="uint8"))):
            head = struct.pack(f">{1 + array.ndim}I", IDX_MAGIC[array.ndim], *array.shape)
            data = head + array.tobytes()
            name = f"{part}-{kind}-ubyte"
            if zipped:
                (folder / f"{name}.gz").write_bytes(gzip.compress(data, 1))
            else:
                (folder / name).write_bytes(data)
    return folder


PLACES = {
    "npz": lambda folder: npz(folder / "fashion_mnist.npz", x_train=images(side=28), x_test=images(20, side=28)),
    "torchvision layout": lambda folder: idx_files(folder / "FashionMNIST" / "raw"),
}


@pytest.mark.parametrize("put", PLACES.values(), ids=PLACES.keys())
@pytest.mark.parametrize("place", ["--data", "SEARCH_DATA_DIR", "cache"])
def test_a_known_set_is_found_in_every_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, put: Callable[[Path], Path], place: str
) -> None:
    folder = tmp_path / "cache" / "search" if place == "cache" else tmp_path / "sets"
    put(folder)
    if place == "SEARCH_DATA_DIR":
        monkeypatch.setenv("SEARCH_DATA_DIR", str(folder))
    source, told = heard("fashion_mnist", folder if place == "--data" else None)
    assert (source.name, source.stand_in, told) == ("fashion_mnist", False, "")
    assert source.where.startswith(str(folder))
    assert source.classes[0] == "T-shirt/top"
    assert source.test is not None
    for (x, y), count in ((source.train(), 40), (source.test(), 20)):
        assert (tuple(x.shape), x.dtype) == ((count, 1, 28, 28), torch.uint8)
        assert (y.dtype, y.tolist()) == (torch.int64, labels(count).tolist())
    assert torch.equal(source.train()[0][:, 0], torch.from_numpy(images(side=28)))


def test_data_beats_search_data_dir_beats_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {place: tmp_path / place for place in ("given", "environment", "cache/search")}
    for folder in places.values():
        PLACES["npz"](folder)
    monkeypatch.setenv("SEARCH_DATA_DIR", str(places["environment"]))
    assert find("fashion_mnist", places["given"]).where.startswith(str(places["given"]))
    assert find("fashion_mnist").where.startswith(str(places["environment"]))
    monkeypatch.delenv("SEARCH_DATA_DIR")
    assert find("fashion_mnist").where.startswith(str(places["cache/search"]))


def test_without_xdg_cache_home_the_cache_is_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "search"


def test_an_empty_xdg_cache_home_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder().is_absolute()


def test_an_npz_with_too_few_classes_is_not_taken_for_the_known_set(tmp_path: Path) -> None:
    npz(tmp_path / "fashion_mnist.npz", y_train=labels(classes=9), y_test=labels(20, classes=9))
    with pytest.raises(DataError, match=r"has 9 classes, but fashion_mnist has 10"):
        find("fashion_mnist", tmp_path)


def test_a_search_data_dir_that_is_no_folder_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEARCH_DATA_DIR", str(tmp_path / "nowhere"))
    source, told = heard("fashion_mnist")
    assert source.stand_in
    assert f"SEARCH_DATA_DIR={tmp_path}/nowhere is no folder" in told


def test_a_search_data_dir_without_the_set_is_warned_of_and_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEARCH_DATA_DIR", str(tmp_path))
    PLACES["npz"](tmp_path / "cache" / "search")
    source, told = heard("fashion_mnist")
    assert not source.stand_in
    assert "holds neither fashion_mnist.npz nor FashionMNIST/raw/" in told


@pytest.mark.parametrize("name", ["digits", "fashion_mnist"])
def test_a_folder_given_with_data_that_holds_no_data_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "sets").mkdir()
    with pytest.raises(DataError, match="sets"):
        find(name, tmp_path / "sets")


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "a file missing": lambda raw: (raw / "train-labels-idx1-ubyte").unlink(),
    "images cut": lambda raw: os.truncate(raw / "train-images-idx3-ubyte", 1000),
    "images empty": lambda raw: os.truncate(raw / "train-images-idx3-ubyte", 0),
    "labels cut": lambda raw: os.truncate(raw / "train-labels-idx1-ubyte", 20),
    "no idx file": lambda raw: (raw / "train-images-idx3-ubyte").write_text("404 not found"),
    "nothing in it": lambda raw: [file.unlink() for file in raw.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_torchvision_folder_is_refused_with_its_path(tmp_path: Path, damage: Callable[[Path], Any]) -> None:
    damage(idx_files(tmp_path / "FashionMNIST" / "raw"))
    with pytest.raises(DataError, match=tmp_path.name):
        read(tmp_path, "fashion_mnist")


# Downloads


@dataclass
class Mirror:
    """A web server on this machine that serves `folder`, and remembers what it was asked for."""

    folder: Path
    url: str = ""
    asked: list[str] = field(default_factory=list)


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and writes no log."""

    mirror: Mirror

    def __init__(self, *arguments: Any, mirror: Mirror, **options: Any) -> None:
        self.mirror = mirror
        super().__init__(*arguments, directory=str(mirror.folder), **options)

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.mirror.asked.append(self.path)
        super().do_GET()


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """Fashion-MNIST, small, downloadable from this machine; checksums are those of the files as they are now."""
    from torchvision.datasets import FashionMNIST

    mirror = Mirror(idx_files(tmp_path / "mirror", zipped=True))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, mirror=mirror))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    mirror.url = f"http://127.0.0.1:{server.server_port}/"
    sums = [(name, hashlib.md5((mirror.folder / name).read_bytes()).hexdigest()) for name, _ in FashionMNIST.resources]
    monkeypatch.setattr(FashionMNIST, "mirrors", [mirror.url])
    monkeypatch.setattr(FashionMNIST, "resources", sums)
    try:
        yield mirror
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        # torchvision leaves the answers of failed downloads open; they are collected here and not in some later test.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


def test_a_download_is_read_and_kept_in_the_cache(mirror: Mirror, tmp_path: Path) -> None:
    source, told = heard("fashion_mnist")
    assert (source.stand_in, told) == (False, "")
    assert source.where == str(tmp_path / "cache" / "search")
    assert tuple(source.train()[0].shape) == (40, 1, 28, 28)
    assert torch.equal(source.train()[0][:, 0], torch.from_numpy(images(side=28)))
    assert set(mirror.asked) == {f"/{file.name}" for file in mirror.folder.iterdir()}


def test_without_a_download_what_a_server_offers_is_missing_and_of_the_right_size(mirror: Mirror) -> None:
    source = find("fashion_mnist", download=False)
    assert (source.missing, source.stand_in, source.where) == (True, False, "to be downloaded")
    assert source.train()[0].shape == (60_000, 1, 28, 28)
    assert source.test is None
    assert not cache_folder().exists()
    find("fashion_mnist")
    at_hand = find("fashion_mnist", download=False)
    assert (at_hand.missing, at_hand.where) == (False, str(cache_folder()))


def test_without_a_download_what_no_server_offers_is_stood_in_for() -> None:
    source = find("fashion_mnist", download=False)
    assert (source.missing, source.stand_in) == (False, True)


def test_what_was_downloaded_once_needs_no_network(mirror: Mirror) -> None:
    first = digest(find("fashion_mnist").train())
    mirror.asked.clear()
    shutil.rmtree(mirror.folder)
    source, told = heard("fashion_mnist")
    assert (source.stand_in, told, mirror.asked) == (False, "", [])
    assert digest(source.train()) == first


def test_a_download_says_nothing_on_standard_output(mirror: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    find("fashion_mnist")
    assert capsys.readouterr().out == ""


def _altered(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0x01
    file.write_bytes(data)


SPOILED: dict[str, Callable[[Path], Any]] = {
    "truncated": lambda file: os.truncate(file, file.stat().st_size // 2),
    "altered": _altered,
    "an error page": lambda file: file.write_text("<html>please log in</html>"),
    "gone": Path.unlink,
}


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"])
@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
def test_a_spoiled_download_is_refused_and_the_stand_in_taken(
    mirror: Mirror, spoil: Callable[[Path], Any], name: str
) -> None:
    spoil(mirror.folder / name)
    source, told = heard("fashion_mnist")
    assert source.stand_in
    assert "fashion_mnist could not be downloaded" in told
    assert name in told


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"])
@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
def test_after_a_spoiled_download_the_next_search_downloads_again(
    mirror: Mirror, spoil: Callable[[Path], Any], name: str
) -> None:
    good = (mirror.folder / name).read_bytes()
    spoil(mirror.folder / name)
    find("fashion_mnist")
    (mirror.folder / name).write_bytes(good)
    source, told = heard("fashion_mnist")
    assert (source.stand_in, told) == (False, "")
    assert tuple(source.train()[0].shape) == (40, 1, 28, 28)


@pytest.mark.timeout(60)
@pytest.mark.nightly
def test_a_mirror_that_never_answers_does_not_hold_the_search_up(mirror: Mirror) -> None:
    from torchvision.datasets import FashionMNIST

    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts, nobody ever answers
        FashionMNIST.mirrors[:] = [f"http://127.0.0.1:{silent.getsockname()[1]}/"]
        source, told = heard("fashion_mnist")
    assert source.stand_in
    assert "fashion_mnist could not be downloaded" in told


# Stand-ins


@pytest.mark.parametrize(
    ("name", "shape"),
    [("fashion_mnist", (1, 28, 28)), ("mnist", (1, 28, 28)), ("cifar10", (3, 32, 32)), ("cifar100", (3, 32, 32))],
)
def test_without_network_and_data_the_stand_in_has_the_shape_of_the_set(name: str, shape: tuple[int, ...]) -> None:
    source, told = heard(name)
    assert (source.name, source.stand_in, len(source.classes)) == (name, True, 10)
    assert f"{name} could not be downloaded" in told
    assert source.test is not None
    for x, y in (source.train(), source.test()):
        assert (tuple(x.shape[1:]), x.dtype, x.is_contiguous()) == (shape, torch.uint8, True)
        assert (int(x.min()), int(x.max())) == (0, 255)
        assert (len(x), y.unique().tolist()) == (len(y), list(range(10)))


def test_the_second_search_without_network_runs_on_the_stand_in_too() -> None:
    for _ in range(2):
        source, told = heard("fashion_mnist")
        assert source.stand_in
        assert "fashion_mnist could not be downloaded" in told


def test_an_unwritable_cache_falls_to_the_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    source, told = heard("fashion_mnist")
    assert source.stand_in
    assert "could not be downloaded" in told


@pytest.mark.parametrize(
    "error",
    ["RuntimeError('operator torchvision::nms does not exist')", "ImportError('libtorch.so: undefined symbol')"],
    ids=["runtime error", "import error"],
)
def test_a_torchvision_that_does_not_fit_torch_is_told_in_one_line(tmp_path: Path, error: str) -> None:
    (tmp_path / "fake" / "torchvision").mkdir(parents=True)
    (tmp_path / "fake" / "torchvision" / "__init__.py").write_text(f"raise {error}\n")
    code = (
        "from trainables.datasets import DataError, find\n"
        "try:\n    find('fashion_mnist')\n"
        "except DataError as error:\n    print(error)\n"
    )
    path = os.pathsep.join([str(tmp_path / "fake"), str(ROOT)])
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.count("\n") == 1
    assert ended.stdout.startswith(f"torchvision does not fit torch {torch.__version__}")
    assert "install the two of one release" in ended.stdout


# Digits and digests


def test_the_parts_of_the_digits_share_no_image_and_hold_them_all() -> None:
    from sklearn.datasets import load_digits

    source = find("digits")
    assert source.test is not None
    (x, y), (x_test, y_test) = source.train(), source.test()
    assert (len(x), len(x_test), tuple(x.shape[1:]), x.dtype) == (1438, 359, (1, 8, 8), torch.uint8)
    raw = load_digits()
    # Every image of scikit-learn's occurs once in one of the parts; among the 1,797 no two are equal.
    whole = {image.astype(np.uint8).tobytes(): int(label) for image, label in zip(raw.images, raw.target, strict=True)}
    parts = [
        {image.numpy().tobytes(): int(label) for image, label in zip(*part, strict=True)}
        for part in ((x, y), (x_test, y_test))
    ]
    assert (len(whole), len(parts[0]), len(parts[1])) == (1797, 1438, 359)
    assert {**parts[0], **parts[1]} == whole
    assert not parts[0].keys() & parts[1].keys()
    assert (int(x.max()), y_test.unique().tolist()) == (16, list(range(10)))


def test_the_digits_are_parted_in_the_same_way_on_every_machine() -> None:
    source = find("digits")
    assert digest(source.train())[:16] == "e4d309608701d743"
    assert source.test is not None
    assert digest(source.test())[:16] == "d4baba4c6ebca3b4"


def test_a_digest_is_stable_over_reads_and_memory_layouts(tmp_path: Path) -> None:
    path = npz(tmp_path / "mine.npz", x_train=images(channels=3), x_test=None, y_test=None)
    x, y = find("digits", path).train()
    assert digest((x, y)) == digest(find("digits", path).train())
    assert digest((x.to(memory_format=torch.channels_last), y)) == digest((x, y))
    assert len(digest((x, y))) == 64


def test_a_digest_changes_with_one_pixel_one_label_or_the_shape() -> None:
    x, y = find("digits").train()
    whole = digest((x, y))
    pixel, label = x.clone(), y.clone()
    pixel[700, 0, 3, 3] ^= 1
    label[700] = (label[700] + 1) % 10
    assert len({whole, digest((pixel, y)), digest((x, label)), digest((x.view(-1, 1, 4, 16), y))}) == 4


# Points


def test_the_moons_are_640_points_to_train_on_160_to_validate_and_200_to_test() -> None:
    study = spaces.load("moons_mlp")
    source = find(study.dataset)
    assert (source.name, source.stand_in, source.classes) == ("moons", False, ("upper", "lower"))
    assert source.test is not None
    (x, y), (x_test, y_test) = source.train(), source.test()
    assert (tuple(x.shape), tuple(x_test.shape)) == ((800, 2, 1, 1), (200, 2, 1, 1))
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    assert set(y.tolist()) == set(y_test.tolist()) == {0, 1}
    parted = data.part(x, y, source.classes, val_fraction=study.val_fraction, seed=study.split_seed)
    assert (len(parted.train), len(parted.val), parted.shape) == (640, 160, (2, 1, 1))


def test_the_moons_are_scikit_learns_and_no_point_is_in_both_parts() -> None:
    from sklearn.datasets import make_moons

    points, classes = make_moons(1000, noise=0.5, random_state=0)
    source = find("moons")
    assert source.test is not None
    (x, y), (x_test, y_test) = source.train(), source.test()
    assert torch.equal(torch.cat([x, x_test]).view(1000, 2), torch.from_numpy(points).float())
    assert torch.cat([y, y_test]).tolist() == classes.tolist()
    assert len({tuple(point) for point in torch.cat([x, x_test]).view(1000, 2).tolist()}) == 1000
    # The first class is the upper half circle.
    assert x[y == 0, 1].mean() > x[y == 1, 1].mean()


def test_the_moons_are_the_same_at_every_reading() -> None:
    first, second = find("moons"), find("moons")
    np.random.seed(1)
    torch.manual_seed(1)
    assert digest(first.train()) == digest(second.train()) != digest(second.test())  # type: ignore[misc]


def test_a_folder_given_for_the_moons_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is no image folder and no \.npz; leave --data out for moons"):
        find("moons", tmp_path)


# Some classes of a public set


def cifar_npz(folder: Path, count: int = 40) -> Path:
    shape = {"side": 32, "channels": 3}
    x_test, y_test = images(20, seed=1, **shape), labels(20)
    return npz(
        folder / "cifar10.npz", x_train=images(count, **shape), y_train=labels(count), x_test=x_test, y_test=y_test
    )


def cifar_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR-10 in torchvision's layout, four images a file; checksums are those of the files as they are now."""
    from torchvision.datasets import CIFAR10

    raw = folder / "cifar-10-batches-py"
    raw.mkdir(parents=True)

    def put(name: str, content: dict[str, Any]) -> tuple[str, str]:
        (raw / name).write_bytes(pickle.dumps(content))
        return name, hashlib.md5((raw / name).read_bytes()).hexdigest()

    x, y = images(40, side=32, channels=3).transpose(0, 3, 1, 2).reshape(40, -1), labels(40)
    x_test, y_test = images(20, side=32, channels=3, seed=1).transpose(0, 3, 1, 2).reshape(20, -1), labels(20)
    train = [
        put(f"data_batch_{number + 1}", {"data": x[8 * number :][:8], "labels": y[8 * number :][:8].tolist()})
        for number in range(5)
    ]
    names = list(datasets.KNOWN["cifar10"].classes)
    name, checksum = put("batches.meta", {"label_names": names})
    monkeypatch.setattr(CIFAR10, "train_list", train)
    monkeypatch.setattr(CIFAR10, "test_list", [put("test_batch", {"data": x_test, "labels": y_test.tolist()})])
    monkeypatch.setattr(CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": checksum})
    return raw


def test_the_folder_of_cifar100_is_read_by_torchvision_with_its_fine_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import CIFAR100

    raw, names = tmp_path / "cifar-100-python", list(datasets.KNOWN["cifar100"].classes)
    raw.mkdir()

    def put(name: str, content: dict[str, Any]) -> tuple[str, str]:
        (raw / name).write_bytes(pickle.dumps(content))
        return name, hashlib.md5((raw / name).read_bytes()).hexdigest()

    def part(name: str, count: int) -> list[tuple[str, str]]:
        x = images(count, side=32, channels=3).transpose(0, 3, 1, 2).reshape(count, -1)
        return [put(name, {"data": x, "fine_labels": [n % 100 for n in range(count)]})]

    name, checksum = put("meta", {"fine_label_names": names})
    monkeypatch.setattr(CIFAR100, "train_list", part("train", 200))
    monkeypatch.setattr(CIFAR100, "test_list", part("test", 100))
    monkeypatch.setattr(CIFAR100, "meta", {"filename": name, "key": "fine_label_names", "md5": checksum})
    assert (len({*names}), names) == (100, sorted(names))
    for place in (raw, tmp_path):
        source = datasets.find("cifar100", place)
        assert (source.name, source.classes) == ("cifar100", tuple(names))
        assert source.train()[1].tolist() == [*range(100)] * 2
        assert source.test is not None
        assert source.test()[0].shape == (100, 3, 32, 32)


def check_airplanes_and_birds(source: Source) -> None:
    """That `source` has just those of the 40 and 20 images that `cifar_npz` and `cifar_files` write."""
    assert (source.name, source.classes, source.stand_in) == ("cifar2", ("airplane", "bird"), False)
    assert source.test is not None
    for (x, y), whole, known in (
        (source.train(), images(40, side=32, channels=3), labels(40)),
        (source.test(), images(20, side=32, channels=3, seed=1), labels(20)),
    ):
        wanted = np.isin(known, [0, 2])
        assert (x.dtype, y.dtype) == (torch.uint8, torch.int64)
        assert torch.equal(x.permute(0, 2, 3, 1), torch.from_numpy(whole[wanted]))
        assert y.tolist() == [0 if label == 0 else 1 for label in known[wanted]]


@pytest.mark.parametrize("place", ["--data", "SEARCH_DATA_DIR", "cache"])
@pytest.mark.parametrize("layout", ["npz", "torchvision"])
def test_cifar2_is_the_airplanes_and_birds_of_cifar10_wherever_that_is(
    place: str, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache" / "search" if place == "cache" else tmp_path / "sets"
    cifar_npz(folder) if layout == "npz" else cifar_files(folder, monkeypatch)
    if place == "SEARCH_DATA_DIR":
        monkeypatch.setenv("SEARCH_DATA_DIR", str(folder))
    source, told = heard("cifar2", folder if place == "--data" else None)
    check_airplanes_and_birds(source)
    assert told == ""
    assert source.where.startswith(str(folder))


def test_both_layouts_of_cifar10_give_the_same_cifar2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cifar_npz(tmp_path / "npz")
    cifar_files(tmp_path / "files", monkeypatch)
    first, second = (digest(find("cifar2", tmp_path / name).train()) for name in ("npz", "files"))
    assert first == second


def test_a_damaged_cifar10_is_refused_for_cifar2_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = cifar_files(tmp_path, monkeypatch) / "data_batch_3"
    damaged = bytearray(file.read_bytes())
    damaged[-100] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(DataError, match=r"cifar10 in .* cannot be read .*; copy it again"):
        find("cifar2", tmp_path)


def test_a_folder_without_cifar10_is_refused_for_cifar2_with_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds neither cifar10\.npz nor cifar-10-batches-py/"):
        find("cifar2", tmp_path)


def test_without_network_and_data_cifar2_is_two_digits_in_the_shape_of_cifar10() -> None:
    source, told = heard("cifar2")
    assert (source.name, source.stand_in, source.classes) == ("cifar2", True, ("0", "2"))
    assert "cifar10 could not be downloaded" in told
    assert source.test is not None
    whole = datasets.stand_in("cifar10").train()
    for x, y in (source.train(), source.test()):
        assert tuple(x.shape[1:]) == (3, 32, 32)
        assert set(y.tolist()) == {0, 1}
    kept = (whole[1] == 0) | (whole[1] == 2)
    assert torch.equal(source.train()[0], whole[0][kept])
    assert torch.equal(source.train()[1], whole[1][kept] // 2)


def test_an_npz_given_for_cifar2_is_taken_as_it_is(tmp_path: Path) -> None:
    source, (x, y), _ = read(npz(tmp_path / "mine.npz"), "cifar2")
    assert (source.name, len(source.classes), y.tolist()) == ("mine", 10, labels().tolist())
    assert torch.equal(x[:, 0], torch.from_numpy(images()))


def test_a_subset_lies_in_the_file_of_the_whole() -> None:
    assert {name: datasets.file_of(name) for name in ("cifar2", "cifar10", "mnist")} == {
        "cifar2": "cifar10.npz",
        "cifar10": "cifar10.npz",
        "mnist": "mnist.npz",
    }


# What is larger than it looks


def bomb(path: Path, *, labels: int = 1_500_000_000, images: int = 4) -> Path:
    """An .npz of some 1,300 bytes that would unpack to as many labels of one byte."""
    import zipfile

    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        for name, shape in (("x_train", (images, 8, 8)), ("y_train", (labels,))):
            header = io.BytesIO()
            np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
            content = math.prod(shape)
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                file.write(header.getvalue())
                for start in range(0, content, 10**7):
                    file.write(bytes(min(10**7, content - start)))
    return path


def test_an_archive_that_unpacks_to_more_labels_than_images_is_refused_by_its_headers(tmp_path: Path) -> None:
    path = bomb(tmp_path / "bomb.npz", labels=30_000_000)
    assert path.stat().st_size < 5_000
    with pytest.raises(DataError, match="x_train has 4 images for 30000000 labels"):
        find("fashion_mnist", path)


def test_an_archive_that_unpacks_to_more_than_the_limit_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = bomb(tmp_path / "bomb.npz", labels=30_000_000, images=30_000_000 // 64)
    with pytest.raises(DataError, match=r"bomb.npz would take [\d,]+ bytes in memory, and 1,000,000 are all"):
        find("fashion_mnist", path, reading=Reading(limit=10**6))


def test_a_header_that_announces_more_than_there_is_is_refused_by_the_limit(tmp_path: Path) -> None:
    import zipfile

    path = tmp_path / "liar.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, shape in (("x_train", (10**9, 28, 28)), ("y_train", (10**9,))):
            header = io.BytesIO()
            np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
            archive.writestr(f"{name}.npy", header.getvalue())
    with pytest.raises(DataError, match="would take 785,000,000,000 bytes in memory"):
        find("fashion_mnist", path)
