"""Data sets by name or path: found, read, checked, and the test part kept apart.

`find` says where a data set comes from, `Source.train` reads what a search may see, `Source.test` what it may not.
Images are uint8 `(N, C, H, W)`, the points of `moons` float32 `(N, 2, 1, 1)`, labels int64 `(N,)`. Nothing of a user's
is unpickled (CIFAR-10 is published as pickles, which torchvision reads after checking their MD5).
"""

from __future__ import annotations

import hashlib
import math
import os
import random
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.cache import cache_folder

Part = tuple[Tensor, Tensor]

LIMIT = 2 * 10**9
"""So many bytes a data set of a user's own may take in memory, if nothing else is said."""


class DataError(ValueError):
    """A data set that is missing or cannot be used; the message says which, why, and what to do."""


@dataclass(frozen=True)
class Source:
    """Where a data set comes from. `where` is for people; `stand_in` says that it is not the one that was asked for.

    `missing` says that it is yet to be downloaded: its train part is noise of the same shape and size, its test part
    nothing, so that what a search of it will take can be measured and nothing else.
    """

    name: str
    where: str
    classes: tuple[str, ...]
    train: Callable[[], Part]
    test: Callable[[], Part] | None
    stand_in: bool = False
    missing: bool = False


@dataclass(frozen=True)
class Known:
    """A public data set: its class in torchvision, `(C, H, W)`, its classes, and how many images its train part has."""

    torchvision: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    images: int


KNOWN: Mapping[str, Known] = {
    "fashion_mnist": Known(
        "FashionMNIST",
        (1, 28, 28),
        ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        60_000,
    ),
    "mnist": Known("MNIST", (1, 28, 28), tuple("0123456789"), 60_000),
    "cifar10": Known(
        "CIFAR10",
        (3, 32, 32),
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        50_000,
    ),
}

SUBSETS: Mapping[str, tuple[str, tuple[int, ...]]] = {"cifar2": ("cifar10", (0, 2))}
"""Data sets that are some classes of a public one; cifar2 has its airplanes and birds."""


def names() -> list[str]:
    """The data sets that are known by name."""
    return sorted([*KNOWN, *SUBSETS, *GENERATED])


def find(
    name: str,
    data: Path | None = None,
    *,
    warn: Callable[[str], None] = lambda text: None,
    download: bool = True,
    limit: int = LIMIT,
) -> Source:
    """Where data set `name` comes from: `data`, `SEARCH_DATA_DIR`, the cache, the network, else a stand-in.

    Without `download` nothing is fetched: a set that a server offers is `missing` then.

    `data` is an `.npz` file, an image folder (`train/<class>/*.png`, and `test/` likewise), or a folder with the files
    of known sets: `<name>.npz` or torchvision's layout. `warn` hears what the user must know. Data of a user's own may
    take `limit` bytes unpacked, which their headers tell before anything is read. Raises DataError for data that was
    named and cannot be used, and for a torchvision that does not fit torch.
    """
    if data is not None and not data.exists():
        raise DataError(f"no data at {data}; give an .npz file, an image folder, or leave --data out")
    if data is not None and data.is_file():
        return _npz(data.stem, data, None, limit)
    if data is not None and (data / "train").is_dir():
        return _image_folder(data, limit)
    if name in GENERATED:
        if data is not None:
            raise DataError(f"{data} is no image folder (train/<class>/*.png) and no .npz; leave --data out for {name}")
        return GENERATED[name]()
    if name in SUBSETS:
        return _subset(name, find(SUBSETS[name][0], data, warn=warn, download=download, limit=limit))
    if name not in KNOWN:
        raise DataError(f"unknown data set {name!r}; known are {', '.join(names())}, or give --data PATH")
    given = os.environ.get("SEARCH_DATA_DIR")
    given_by_environment = data is None and bool(given)
    if given_by_environment:
        assert given is not None
        data = Path(given)
        if not data.is_dir():
            warn(f"SEARCH_DATA_DIR={given} is no folder")
    named = data is not None and not given_by_environment
    if data is not None:
        found = _in_folder(name, data, limit)
        if found:
            return found
        lacks = f"{data} holds neither {name}.npz nor {KNOWN[name].torchvision}/"
        if named:
            raise DataError(f"{lacks}; put one there, or leave --data out")
        warn(lacks)
    cache = cache_folder()
    if (cache / f"{name}.npz").is_file():
        return _npz(name, cache / f"{name}.npz", KNOWN[name], limit)
    try:
        with _patience():
            return _torchvision(name, cache, download=True) if download else _offered(name, cache)
    except DataError:
        raise
    except Exception as error:  # torchvision raises RuntimeError, URLError, OSError and others
        warn(f"{name} could not be downloaded ({_one_line(error)})")
    return stand_in(name)


def file_of(name: str) -> str:
    """The file that holds the public data set `name`: a subset has that of the whole."""
    return f"{SUBSETS[name][0] if name in SUBSETS else name}.npz"


def digits() -> Source:
    """scikit-learn's 1,797 digits of 8x8 pixels, grey levels 0 to 16; every fifth image, shuffled, is the test part."""
    return Source("digits", "scikit-learn", tuple("0123456789"), partial(_digits, "train"), partial(_digits, "test"))


def moons() -> Source:
    """Two interleaving half circles: 1,000 points in the plane with noise of 0.5, of which 200 are the test part.

    Made by scikit-learn's make_moons with seed 0; images of one pixel, whose channels are the coordinates.
    """
    return Source(
        "moons", "scikit-learn's make_moons", ("upper", "lower"), partial(_moons, "train"), partial(_moons, "test")
    )


GENERATED: Mapping[str, Callable[[], Source]] = {"digits": digits, "moons": moons}
"""Data sets that need no file."""


def stand_in(name: str) -> Source:
    """The digits, scaled to the shape of data set `name` and to grey levels 0 to 255."""
    if name in SUBSETS:
        return _subset(name, stand_in(SUBSETS[name][0]))
    known = KNOWN[name]

    def part(which: str) -> Part:
        images, labels = _digits(which)
        channels, height, width = known.shape
        scaled = F.interpolate(images.float(), (height, width), mode="bilinear").mul(255 / 16).round().to(torch.uint8)
        return scaled.expand(-1, channels, -1, -1).contiguous(), labels

    return Source(
        name,
        "scikit-learn's digits, scaled",
        tuple("0123456789"),
        partial(part, "train"),
        partial(part, "test"),
        stand_in=True,
    )


def digest(part: Part) -> str:
    """SHA-256 of images and labels, by which a record names its data."""
    hash_ = hashlib.sha256()
    for tensor in part:
        hash_.update(str(tuple(tensor.shape)).encode())
        hash_.update(tensor.contiguous().numpy().data)
    return hash_.hexdigest()


def _digits(which: str) -> Part:
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = torch.from_numpy(raw.images).to(torch.uint8).unsqueeze(1)
    labels = torch.from_numpy(raw.target).to(torch.int64)
    order = list(range(len(labels)))
    random.Random(0).shuffle(order)
    held_out = len(order) // 5
    chosen = sorted(order[:held_out] if which == "test" else order[held_out:])
    return images[chosen], labels[chosen]


def _moons(which: str) -> Part:
    from sklearn.datasets import make_moons

    points, classes = make_moons(1000, noise=0.5, random_state=0)
    chosen = slice(800, None) if which == "test" else slice(800)
    images = torch.from_numpy(points[chosen]).float().view(-1, 2, 1, 1)
    return images.contiguous(), torch.from_numpy(classes[chosen]).to(torch.int64)


def _subset(name: str, whole: Source) -> Source:
    """The classes of `whole` that make up `name`, numbered anew from 0."""
    wanted = SUBSETS[name][1]

    def chosen(read: Callable[[], Part]) -> Part:
        images, labels = read()
        kept = torch.isin(labels, torch.tensor(wanted))
        return images[kept], torch.searchsorted(torch.tensor(wanted), labels[kept])

    return replace(
        whole,
        name=name,
        classes=tuple(whole.classes[label] for label in wanted),
        train=partial(chosen, whole.train),
        test=partial(chosen, whole.test) if whole.test else None,
    )


def _in_folder(name: str, folder: Path, limit: int = LIMIT) -> Source | None:
    if (folder / f"{name}.npz").is_file():
        return _npz(name, folder / f"{name}.npz", KNOWN[name], limit)
    known = KNOWN[name].torchvision
    if (folder / known / "raw").is_dir() or (known == "CIFAR10" and (folder / "cifar-10-batches-py").is_dir()):
        return _torchvision(name, folder, download=False)
    return None


def _npz(name: str, path: Path, known: Known | None, limit: int) -> Source:
    """An `.npz` with `x_train`, `y_train` and perhaps `x_test`, `y_test`; labels of all parts are checked now."""
    _check_headers(path, limit)
    labels = _checked_labels(path, _member(path, "y_train"), "y_train", None)
    if labels is None:
        raise DataError(f"{path} lacks y_train; it needs x_train and y_train, and may have x_test and y_test")
    count = int(labels.max()) + 1
    if known and count != len(known.classes):
        raise DataError(f"{path} has {count} classes, but {name} has {len(known.classes)}")
    test_labels = _checked_labels(path, _member(path, "y_test"), "y_test", count)

    def part(which: str) -> Part:
        wanted = labels if which == "train" else test_labels
        assert wanted is not None
        return _checked_images(path, _member(path, f"x_{which}"), f"x_{which}", wanted), wanted

    if test_labels is None and _member(path, "x_test") is not None:
        raise DataError(f"{path} has x_test but lacks y_test; give both or neither")
    train = part("train")
    if test_labels is not None:
        _same_shape(train, part("test"), f"{path}: x_test")
    classes = known.classes if known else tuple(str(index) for index in range(count))
    return Source(name, str(path), classes, lambda: train, partial(part, "test") if test_labels is not None else None)


def _same_shape(train: Part, test: Part, where: str) -> None:
    """Check the test part before hours are spent on the train part; nothing of it is kept."""
    shapes = [tuple(images.shape[1:]) for images, _ in (train, test)]
    if shapes[0] != shapes[1]:
        raise DataError(f"{where} holds images of (C, H, W) {shapes[1]}, the train part of {shapes[0]}")


def _check_headers(path: Path, limit: int) -> None:
    """Raise DataError if what the headers of an `.npz` announce is too large, or is not one label per image.

    A thousand bytes can unpack to gigabytes, so this comes before anything is unpacked.
    """
    import zipfile

    told: dict[str, tuple[tuple[int, ...], Any]] = {}
    total = 0
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                with archive.open(member) as file:
                    shape, dtype = _announced(file)
                told[member.filename.removesuffix(".npy")] = shape, dtype
                total += max(math.prod(shape) * dtype.itemsize, member.file_size)
    except Exception:  # damaged, or no archive: who reads it says so
        return
    if total > limit:
        raise _too_large(path, total, limit)
    for part in ("train", "test"):
        if f"x_{part}" in told and f"y_{part}" in told:
            (images, _), (labels, kind) = told[f"x_{part}"], told[f"y_{part}"]
            if len(images) in (3, 4) and len(labels) == 1 and kind.kind in "iu" and images[0] != labels[0]:
                raise DataError(f"{path}: x_{part} has {images[0]} images for {labels[0]} labels")


def _announced(file: Any) -> tuple[tuple[int, ...], Any]:
    """Shape and type of the array that `file`, a member of an `.npz`, says that it holds."""
    from numpy.lib import format as npy

    first = npy.read_magic(file) == (1, 0)
    shape, _, dtype = npy.read_array_header_1_0(file) if first else npy.read_array_header_2_0(file)
    return shape, dtype


def _too_large(path: Path, total: int, limit: int) -> DataError:
    return DataError(
        f"{path} would take {total:,} bytes in memory, and {limit:,} are allowed; --data-limit allows more, if the "
        "machine has them"
    )


def _member(path: Path, key: str) -> Any:
    import numpy as np

    try:
        # Opened here, because np.load leaves a file that is no archive open.
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it holds a single array")
            with archive:
                return archive[key] if key in archive.files else None
    except Exception as error:  # zipfile alone raises seven kinds for damaged files
        raise DataError(f"{path} cannot be read as .npz ({_one_line(error)}); copy or save it again") from None


def _checked_labels(path: Path, array: Any, key: str, classes: int | None) -> Tensor | None:
    if array is None:
        return None
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise DataError(f"{path}: {key} must be one whole number per image, but is {array.dtype} {array.shape}")
    labels = torch.from_numpy(array.astype("int64"))
    if len(labels) == 0:
        raise DataError(f"{path}: {key} is empty")
    if labels.min() < 0 or (classes is not None and labels.max() >= classes):
        allowed = f"0 to {classes - 1}" if classes else "0 or more"
        raise DataError(f"{path}: {key} has labels from {labels.min()} to {labels.max()}, allowed are {allowed}")
    if classes is None:
        if labels.max() > len(labels):
            raise DataError(
                f"{path}: {key} has label {labels.max()} but only {len(labels)} images; number classes from 0"
            )
        counts = torch.bincount(labels)
        empty = (counts == 0).nonzero().flatten().tolist()
        if empty:
            raise DataError(
                f"{path}: no image has label {empty[0]}; number the classes 0 to {len(counts) - 1 - len(empty)}"
            )
        if len(counts) < 2:
            raise DataError(f"{path}: {key} has one class only; at least two are needed")
    return labels


def _checked_images(path: Path, array: Any, key: str, labels: Tensor) -> Tensor:
    if array is None:
        raise DataError(f"{path} lacks {key}")
    shape = "N×H×W or N×H×W×C"
    if array.dtype != "uint8":
        raise DataError(f"{path}: {key} must hold uint8 grey levels 0 to 255, but holds {array.dtype}")
    if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] not in (1, 3)):
        raise DataError(f"{path}: {key} must have shape {shape} with C of 1 or 3, but has {array.shape}")
    if 0 in array.shape[1:]:
        raise DataError(f"{path}: {key} holds images without pixels: {array.shape}")
    if len(array) != len(labels):
        raise DataError(f"{path}: {key} has {len(array)} images for {len(labels)} labels")
    images = torch.from_numpy(array)
    return images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()


def _torchvision(name: str, root: Path, *, download: bool) -> Source:
    try:
        from torchvision import datasets
    except (RuntimeError, ImportError) as error:
        raise DataError(
            f"torchvision does not fit torch {torch.__version__} ({_one_line(error)}); install the two of one release, "
            f"or put {name}.npz into SEARCH_DATA_DIR"
        ) from None
    make = getattr(datasets, KNOWN[name].torchvision)
    try:
        make(root, train=True, download=download)
        make(root, train=False, download=False)
    except Exception as error:
        if download:
            raise
        raise DataError(f"{name} in {root} cannot be read ({_one_line(error)}); copy it again") from None

    def part(train: bool) -> Part:
        dataset = make(root, train=train, download=False)
        images = torch.as_tensor(dataset.data)
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
        return images, torch.as_tensor(dataset.targets, dtype=torch.int64)

    return Source(name, str(root), KNOWN[name].classes, partial(part, True), partial(part, False))


def _offered(name: str, cache: Path) -> Source:
    """What `_torchvision` would come to with the `cache`, without a download; raises URLError if no server has it."""
    from torchvision import datasets

    with suppress(DataError):  # what is damaged there would be fetched again
        found = _in_folder(name, cache)
        if found:
            return found
    known, make = KNOWN[name], getattr(datasets, KNOWN[name].torchvision)
    files = [mirror + make.resources[0][0] for mirror in make.mirrors] if hasattr(make, "mirrors") else [make.url]
    for number, file in enumerate(files, start=1):
        try:
            urllib.request.urlopen(urllib.request.Request(file, method="HEAD"), timeout=5).close()
            break
        except OSError:
            if number == len(files):
                raise

    def noise() -> Part:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (known.images, *known.shape), dtype=torch.uint8, generator=generator)
        return images, torch.arange(known.images) % len(known.classes)

    return Source(name, "to be downloaded", known.classes, noise, None, missing=True)


def _image_folder(root: Path, limit: int) -> Source:
    classes = sorted(folder.name for folder in (root / "train").iterdir() if folder.is_dir())
    if len(classes) < 2:
        raise DataError(f"{root}/train has {len(classes)} class folders; at least two are needed, each with images")
    test = partial(_read_folder, root / "test", classes, limit) if (root / "test").is_dir() else None
    train = _read_folder(root / "train", classes, limit)
    if test is not None:
        _same_shape(train, test(), str(root / "test"))
    return Source(root.name, str(root), tuple(classes), lambda: train, test)


def _read_folder(folder: Path, classes: list[str], limit: int) -> Part:
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    images, labels, first, total = [], [], None, 0
    for label, name in enumerate(classes):
        files = sorted(f for f in (folder / name).glob("*") if f.suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp"))
        if not files:
            raise DataError(f"{folder / name} holds no images (.png, .jpg, .bmp)")
        for file in files:
            if not file.is_file():
                raise DataError(f"{file} is no file but a pipe, a device, a folder or a broken link; remove it")
            try:
                with Image.open(file) as picture:
                    total += picture.width * picture.height * len(picture.getbands())
                    if total > limit:  # told by the file's head, before its pixels are unpacked
                        raise _too_large(folder, total, limit)
                    grey = picture.mode in ("1", "L", "I;16") if first is None else first[1]
                    if picture.mode.startswith(("I", "F")):
                        raise OSError(f"its mode is {picture.mode}; save it with 8 bits per channel")
                    array = np.asarray(picture.convert("L" if grey else "RGB"))
            except DataError:
                raise
            except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
                raise DataError(f"{file} is no readable image ({_one_line(error)})") from None
            first = first or (array.shape, grey)
            if array.shape != first[0]:
                raise DataError(
                    f"{file} is {array.shape[:2]}, but the first image is {first[0][:2]}; make all one size"
                )
            images.append(array)
            labels.append(label)
    stacked = torch.from_numpy(np.stack(images))
    stacked = stacked.unsqueeze(1) if stacked.ndim == 3 else stacked.permute(0, 3, 1, 2).contiguous()
    return stacked, torch.tensor(labels)


@contextmanager
def _patience(seconds: float = 10.0) -> Iterator[None]:
    """Inside, a server that does not answer is given up; torchvision itself waits without end."""
    import socket

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
