"""The public data sets: found in torchvision's layout, downloaded, or stood in for by the digits."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

from trainables.datasets.generated import digits_part
from trainables.datasets.source import DataError, Part, Source


@dataclass(frozen=True)
class Known:
    """A public data set: its class in torchvision, `(C, H, W)`, its classes, and how many images its train part has."""

    torchvision: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    images: int


FINE = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can "
    "castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin "
    "elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster "
    "man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck "
    "pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk "
    "skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger "
    "tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)
"""The classes of CIFAR-100, as they are numbered, those of the fine kind."""

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
    "cifar100": Known("CIFAR100", (3, 32, 32), tuple(FINE.split()), 50_000),
}

FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
"""As what those are published that are one folder."""

SUBSETS: Mapping[str, tuple[str, tuple[int, ...]]] = {"cifar2": ("cifar10", (0, 2))}
"""Data sets that are some classes of a public one; cifar2 has its airplanes and birds."""


def stand_in(name: str) -> Source:
    """The digits, scaled to the shape of data set `name` and to grey levels 0 to 255."""
    if name in SUBSETS:
        return subset(name, stand_in(SUBSETS[name][0]))
    known = KNOWN[name]

    def part(which: str) -> Part:
        images, labels = digits_part(which)
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


def subset(name: str, whole: Source) -> Source:
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


def torchvision(name: str, root: Path, *, download: bool) -> Source:
    """The known set `name` as torchvision keeps it in `root`, or downloads it there. Raises DataError."""
    try:
        from torchvision import datasets
    except (RuntimeError, ImportError) as error:
        raise DataError(
            f"torchvision does not fit torch {torch.__version__} ({one_line(error)}); install the two of one release, "
            f"or put {name}.npz into SEARCH_DATA_DIR"
        ) from None
    make = getattr(datasets, KNOWN[name].torchvision)
    try:
        make(root, train=True, download=download)
        make(root, train=False, download=False)
    except Exception as error:
        if download:
            raise
        why = one_line(error)
        if "download=True" in why:  # which is an argument of torchvision's
            why = "files are missing, or are not those that were published"
        raise DataError(f"{name} in {root} cannot be read ({why}); copy it again") from None

    def part(train: bool) -> Part:
        dataset = make(root, train=train, download=False)
        images = torch.as_tensor(dataset.data)
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
        return images, torch.as_tensor(dataset.targets, dtype=torch.int64)

    return Source(name, str(root), KNOWN[name].classes, partial(part, True), partial(part, False))


def offered(name: str, at_hand: Callable[[], Source | None]) -> Source:
    """What `torchvision` would come to, without a download; `at_hand` looks for what is there already.

    Raises URLError if no server has it.
    """
    from torchvision import datasets

    with suppress(DataError):  # what is damaged there would be fetched again
        found = at_hand()
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


@contextmanager
def patience(seconds: float = 10.0) -> Iterator[None]:
    """Inside, a server that does not answer is given up; torchvision itself waits without end."""
    import socket

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def one_line(error: BaseException) -> str:
    """What an error says, on one line; its kind if it says nothing."""
    return " ".join(str(error).split())[:200] or type(error).__name__
