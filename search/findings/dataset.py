"""What there is to see in a data set, read now or as a record keeps it: parts, classes, sizes, what is suspicious."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.findings.snapshot import PLANE
from search.record.header import Header

if TYPE_CHECKING:  # readers of data import torch, for which nobody who looks at a search need wait
    from trainables.datasets import Source

PARTS = ("train", "val", "test")

SMALL = 200
"""A validation part with fewer pictures judges by so few that several folds say more."""


@dataclass(frozen=True)
class Look:
    """What is to be said of the data at `path`; the keys of the JSON document are the names of the fields.

    `parts` counts pictures by part and class, `totals` by part. `classes` are in their order, `sizes` (and so many
    `further_sizes` that are not counted) and `kinds` count files, `shape` is what a network gets (C, H, W). `split`
    says how a validation part is made; `held_out` pictures of the train part are it, 0 where nobody has parted them
    yet. `warnings` and `notes` are what a search says. `broken` has path and reason of files that cannot be read.
    `recommended` are a study and options of a search, each with the reason. `unit` is "pictures" or "points".
    """

    path: str
    name: str
    classes: Sequence[str]
    parts: Mapping[str, Mapping[str, int]]
    shape: Sequence[int]
    image_size: int | None
    split: str
    sizes: Mapping[str, int]
    kinds: Mapping[str, int]
    warnings: Sequence[str]
    notes: Sequence[str]
    broken: Sequence[Sequence[str]]
    recommended: Mapping[str, str]
    totals: Mapping[str, int] = field(default_factory=dict)
    further_sizes: int = 0
    held_out: int = 0
    unit: str = "pictures"

    def classes_to_show(self, most: int = 20) -> Sequence[str]:
        """All classes, or, if these are more than `most`, those with the most and the fewest training pictures."""
        counts = self.parts.get("train", {})
        if len(self.classes) <= most or not counts:
            return self.classes if counts else ()
        ranked = sorted(self.classes, key=lambda name: -counts.get(name, 0))
        return [*ranked[: most // 2], *ranked[-(most - most // 2) :]]

    def to_plain(self) -> dict[str, Any]:
        """As `--json` shows it."""
        return asdict(self)


def look(path: Path, source: Source) -> Look:
    """What is to be said of `source`, the data at `path`."""
    from trainables.datasets.files import shown

    images, labels = source.train()
    facts = source.facts
    parts = facts.counts if facts else {"train": _counted(labels.tolist(), source.classes)}
    return Look(
        path=shown(str(path)),
        name=source.name,
        classes=list(source.classes),
        parts={part: dict(of) for part, of in parts.items()},
        shape=list(images.shape[1:]),
        image_size=source.image_size,
        split=source.split,
        sizes=dict(facts.sizes) if facts else {},
        kinds=dict(facts.kinds) if facts else {},
        warnings=list(source.warnings),
        notes=list(source.notes),
        broken=[list(each) for each in facts.broken] if facts else [],
        recommended=_recommended(source, parts, in_colour=images.shape[1] == 3),
        totals=_totals(parts),
        unit="points" if images.is_floating_point() else "pictures",
    )


def recorded(header: Header) -> Look | None:
    """The same of the data of a search, as its record keeps it; None where the trainable reads its own.

    Of known sets, and in records of earlier versions, pictures are counted by part and not by class.
    """
    if not header.dataset:
        return None
    contents = header.contents
    # A record sorts by name.
    parts = {part: contents.parts[part] for part in PARTS if part in contents.parts} if contents else {}
    train = header.train_images + (0 if header.split == "own" else header.val_images)
    val = {"val": header.val_images} if header.split == "own" else {}
    warnings = list(contents.warnings) if contents else []
    return Look(
        path=header.where,
        name=header.dataset,
        classes=[str(name) for name in header.classes],
        parts=parts,
        shape=list(header.shape),
        image_size=header.image_size,
        split=header.split,
        sizes=_most_first(contents.sizes) if contents else {},
        kinds=_most_first(contents.kinds) if contents else {},
        warnings=warnings,
        notes=[text for text in header.notes if text not in warnings],
        broken=list(contents.broken) if contents else [],
        recommended={},
        totals=_totals(parts) if parts else {"train": train, **val},
        further_sizes=contents.further_sizes if contents else 0,
        held_out=0 if header.split == "own" else header.val_images,
        unit="points" if tuple(header.shape) == PLANE else "pictures",
    )


def _most_first(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda each: -each[1]))


def _totals(parts: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    return {part: sum(of.values()) for part, of in parts.items()}


def _recommended(source: Source, parts: Mapping[str, Mapping[str, int]], *, in_colour: bool) -> dict[str, str]:
    """The study, and options of a search, that these data ask for, each with the reason."""
    from trainables.datasets.balance import UNBALANCED

    counts = sorted(parts["train"].values())
    told = {}
    if in_colour:
        told["photos"] = (
            "the study for pictures in colour: in ten minutes with 10,000 of CIFAR-10 a backbone that ImageNet has "
            "trained got 88.8 %, the networks of fashion_cnn 74.1 %"
        )
    if counts[-1] >= UNBALANCED * counts[0]:
        told["--metric val_balanced_accuracy"] = (
            f"the largest class has {counts[-1]:,} training pictures, the smallest {counts[0]:,}, and accuracy says "
            "little then"
        )
    judged = sum(parts["val"].values()) if "val" in parts else sum(counts) // 12
    if judged < SMALL:
        told["--folds 5"] = f"some {judged:,} pictures to validate on tell settings apart badly; folds judge by all"
    if source.facts and source.facts.broken:
        told["--skip-broken"] = f"{len(source.facts.broken):,} files are no readable pictures, and stop a search"
    return told


def _counted(labels: Sequence[int], classes: Sequence[str]) -> dict[str, int]:
    counts = dict.fromkeys(classes, 0)
    for label in labels:
        counts[classes[label]] += 1
    return counts


def text(found: Look) -> str:
    """What was found, for a terminal: a line for each class, at most 30, and one for each remark."""
    parts = list(found.parts)
    lines = [
        f"{found.name}: {', '.join(f'{total:,} {part}' for part, total in found.totals.items())} in "
        f"{len(found.classes)} classes",
        f"  a network gets {'×'.join(map(str, found.shape))} (channels, height, width)",
    ]
    if found.sizes:
        sizes = [f"{size} ({count:,})" for size, count in list(found.sizes.items())[:5]]
        more = f" and {len(found.sizes) - 5:,} other sizes" if len(found.sizes) > 5 else ""
        lines.append(f"  sizes  {', '.join(sizes)}{more}")
    if found.kinds:
        lines.append(f"  kinds  {', '.join(f'{kind} ({count:,})' for kind, count in found.kinds.items())}")
    if "val" not in found.parts:
        lines.append(f"  val    held out of train, {found.split}")
    width = max(5, *(len(name) for name in found.classes[:30]))
    lines += ["", f"  {'class':<{width}}  " + "  ".join(f"{part:>7}" for part in parts)]
    for name in found.classes[:30]:
        row = "  ".join(f"{found.parts[part].get(name, 0):>7,}" for part in parts)
        lines.append(f"  {name:<{width}}  {row}")
    if len(found.classes) > 30:
        lines.append(f"  … and {len(found.classes) - 30:,} classes more")
    lines += ["", *(f"warning: {each}" for each in found.warnings), *(f"note: {each}" for each in found.notes)]
    lines += [f"recommended: {option} ({why})" for option, why in found.recommended.items()]
    return "\n".join(lines).rstrip()
