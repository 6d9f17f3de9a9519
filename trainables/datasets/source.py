"""What a data set is once it was found: where it comes from, its parts, and what had to be said about it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trainables.data import Mapped

Part = tuple[Tensor, Tensor]

LIMIT = 2 * 10**9
"""So many bytes a data set of a user's own may take in memory, if nothing else is said."""

SIDE = 64
"""Pictures of one size that are no larger than this stay as they are; others are fitted into it if nothing is said."""


class DataError(ValueError):
    """A data set that is missing or cannot be used; the message says which, why, and what to do."""


@dataclass(frozen=True)
class Reading:
    """How data of a user's own are to be read.

    They may take `limit` bytes, which their heads tell before anything is unpacked. Pictures become `image_size`
    pixels wide and high; if it is None, those that have one size of `SIDE` at most stay as they are, and others get
    `otherwise`. If that is None too, all stay as they are, and must have one size. With `skip_broken` files that cannot
    be read are left out, and else refused. `group_by` is a pattern (a regular expression) for the names of files, or
    the name of a column: what has the same group stays in one part. `progress` hears how many of how many pictures are
    read. With `near` pictures of one part that look like those of another are counted, too.
    """

    limit: int = LIMIT
    image_size: int | None = None
    otherwise: int | None = SIDE
    skip_broken: bool = False
    group_by: str | None = None
    progress: Callable[[int, int], None] = lambda done, of: None
    near: bool = False


@dataclass(frozen=True)
class Facts:
    """What was counted when data were read: pictures by part and class, by size ("640×480"), and by kind ("JPEG").

    `broken` has path and reason of each file that was left out.
    """

    counts: Mapping[str, Mapping[str, int]]
    sizes: Mapping[str, int] = field(default_factory=dict)
    kinds: Mapping[str, int] = field(default_factory=dict)
    broken: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Source:
    """Where a data set comes from. `where` is for people; `stand_in` says that it is not the one that was asked for.

    `missing` says that it is yet to be downloaded: its train part is noise of the same shape and size, its test part
    nothing, so that what a search of it will take can be measured and nothing else.

    `val` is a validation part of the data's own, which is used in place of one split off `train`. `notes` tell what
    was passed over, converted or cut, a line for each kind with its count; `warnings` what the user must see.
    `image_size` is what pictures were fitted to, None if they stayed as they are. `split` says how the train part is
    to be parted (see `trainables.splits`), `groups` `(N,)` int64 which of its images belong together. `files` says of
    parts that are mapped from where, and `key` names what they were made of. `facts` are what was counted of data of
    a user's own. `file_names` gives the names of the pictures of a part, in its order, as paths from `where` on; it is
    None where pictures are no files.
    """

    name: str
    where: str
    classes: tuple[str, ...]
    train: Callable[[], Part]
    test: Callable[[], Part] | None
    stand_in: bool = False
    missing: bool = False
    val: Callable[[], Part] | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    image_size: int | None = None
    split: str = "shuffled"
    groups: Tensor | None = None
    files: Mapping[str, Mapped] = field(default_factory=dict)
    key: str = ""
    facts: Facts | None = None
    file_names: Callable[[str], Sequence[str]] | None = None


def of_its_own() -> Source:
    """No data set: the trainable reads data of its own, of which nothing is known."""
    return Source("", "read by the trainable itself", (), lambda: (torch.empty(0), torch.empty(0)), None)


def digest(*parts: tuple[Tensor, ...]) -> str:
    """SHA-256 of the images and labels of a part, or of several, by which a record names its data."""
    hash_ = hashlib.sha256()
    for part in parts:
        for tensor in part:
            hash_.update(str(tuple(tensor.shape)).encode())
            hash_.update(tensor.contiguous().numpy().data)
    return hash_.hexdigest()


def listed(names: list[str], most: int = 5) -> str:
    """Up to `most` of `names`, and how many more there are."""
    more = f", and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def counted(number: int, one: str, many: str = "") -> str:
    """`1 file`, `1,200 files`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
