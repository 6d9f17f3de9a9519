"""The names that a table may have for pictures: paths from here or from another machine, with and without suffix."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from trainables.datasets.files import SUFFIXES, Found
from trainables.datasets.layout import folded


@dataclass
class Names:
    """Pictures by their paths, and by the names that a table may have for them; one for two pictures means none.

    `by_folded` has the names without suffix, in small letters, with accents written in one way.
    """

    by_path: dict[str, Found] = field(default_factory=dict)
    by_name: dict[str, Found | None] = field(default_factory=dict)
    by_folded: dict[str, Found | None] = field(default_factory=dict)

    @classmethod
    def of(cls, pictures: Iterable[Found], roots: Sequence[str]) -> Names:
        """The names of `pictures`: paths from one of `roots` on, the name alone, with and without suffix."""
        names = cls()
        for each in pictures:
            paths = {os.path.relpath(each.path, root).replace(os.sep, "/") for root in roots}
            base = os.path.basename(each.path)
            names.by_path[each.path] = each
            for name in {*paths, *(_stem(path) for path in paths), base, _stem(base)}:
                for of, key in ((names.by_name, name), (names.by_folded, folded(_bare(name)))):
                    of[key] = each if of.get(key, each) is each else None
        return names

    def get(self, text: str, folder: str, *, exactly: bool = False) -> Found | None:
        """The picture that a cell of a table in `folder` names: seen from there, or from where all begins.

        Of a path on another machine the end counts, as far as it is known here. Unless `exactly` is wanted, a name may
        be written in another case, with other accents or with the suffix of another kind of picture.
        """
        name = _slashes(text)
        beside = self.by_path.get(os.path.join(folder, name))
        if beside is not None:
            return beside
        parts = name.split("/")
        ends = ["/".join(parts[start:]) for start in range(len(parts))]
        found = next((found for end in ends if (found := self.by_name.get(end))), None)
        if found is not None or exactly:
            return found
        return next((found for end in ends if (found := self.by_folded.get(folded(_bare(end))))), None)


def named_so(picture: Found, cell: str) -> bool:
    """Whether a cell has the very name of a picture, with or without suffix."""
    own = os.path.basename(picture.path)
    return _slashes(cell).rpartition("/")[2] in (own, _stem(own))


def _slashes(cell: str) -> str:
    """A path in a cell, as it is written here."""
    return cell.strip().replace("\\", "/").removeprefix("./")


def _bare(name: str) -> str:
    """A name without the suffix of a picture."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in SUFFIXES else name


def _stem(path: str) -> str:
    return os.path.splitext(path)[0]
