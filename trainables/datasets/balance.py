"""What must be said of classes that have few pictures, or many more than others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from trainables.datasets.source import counted, listed

FEW = 5
"""A class with fewer training pictures than these is warned of."""

UNBALANCED = 10
"""So many times the pictures of the smallest class in the largest make accuracy mislead."""


def balance(labels: Sequence[str]) -> list[str]:
    """What is to be said of classes with few pictures, and of classes with many more than others."""
    counts = Counter(labels)
    said = []
    few = sorted(name for name, count in counts.items() if count < FEW)
    if few:
        shown_ = [f"{name} ({counts[name]})" for name in few]
        said.append(
            f"{counted(len(few), 'class', 'classes')} with fewer than {FEW} training pictures, too few to learn or "
            f"judge: {listed(shown_)}"
        )
    (largest, most), (smallest, least) = counts.most_common()[0], counts.most_common()[-1]
    if most >= UNBALANCED * least:
        said.append(
            f"class {largest} has {most:,} training pictures, {smallest} has {least:,}: accuracy says little then; "
            "--metric val_balanced_accuracy judges all classes alike"
        )
    return said
