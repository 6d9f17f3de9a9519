"""What was found in data of a user's own when they were read: kept, so that nobody has to read them again to tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

MOST_SIZES = 50
"""Sizes that are kept by name, the most frequent ones; of photos from the web each may have its own."""


@dataclass(frozen=True)
class Contents:
    """`parts` counts pictures by part and class; `sizes` ("640×480") and `kinds` ("JPEG") count files.

    Of `further_sizes` sizes more the files are not counted. `broken` has path and reason of each file that was left
    out. `warnings` say what is suspicious: copies in two parts, classes of few pictures.
    """

    parts: Mapping[str, Mapping[str, int]]
    sizes: Mapping[str, int] = field(default_factory=dict)
    further_sizes: int = 0
    kinds: Mapping[str, int] = field(default_factory=dict)
    broken: Sequence[Sequence[str]] = ()
    warnings: Sequence[str] = ()

    @classmethod
    def of(
        cls,
        parts: Mapping[str, Mapping[str, int]],
        sizes: Mapping[str, int],
        kinds: Mapping[str, int],
        broken: Sequence[Sequence[str]],
        warnings: Sequence[str],
    ) -> Contents:
        """What was counted, with no more sizes than `MOST_SIZES`."""
        most = sorted(sizes.items(), key=lambda each: -each[1])[:MOST_SIZES]
        return cls(
            {part: dict(counts) for part, counts in parts.items()},
            dict(most),
            len(sizes) - len(most),
            dict(kinds),
            [list(each) for each in broken],
            list(warnings),
        )

    def to_plain(self) -> dict[str, Any]:
        """As a record keeps it."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Any) -> Contents:
        """Read what `to_plain` gave. Raises TypeError or ValueError for what no data can have."""
        made = cls(**{name: plain[name] for name in cls.__dataclass_fields__ if name in plain})
        counts = [made.sizes, made.kinds, *dict(made.parts).values()]
        if not all(isinstance(each, Mapping) for each in counts):
            raise TypeError("contents: its counts are no counts")
        numbers = [number for each in counts for number in each.values()] + [made.further_sizes]
        if not all(type(number) is int and 0 <= number < 2**53 for number in numbers):
            raise ValueError("contents: its counts cannot be")
        words = [*made.warnings, *(word for pair in made.broken for word in pair)]
        if not all(isinstance(word, str) for word in words) or any(len(pair) != 2 for pair in made.broken):
            raise TypeError("contents: what it says is no text")
        return made
