"""What there is to see in a data set before anything is searched: parts, classes, sizes, and what is suspicious."""

from __future__ import annotations

import base64
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from search.errors import EnvironmentFault
from search.findings import markup
from search.findings.sections.mistakes import png
from trainables.datasets import Source
from trainables.datasets.balance import UNBALANCED
from trainables.datasets.files import shown

EXAMPLES = 8
"""Pictures of each class on the page."""

MOST_CLASSES = 200
"""Classes on the page, so that it stays one; the document has all."""

SMALL = 200
"""A validation part with fewer pictures judges by so few that several folds say more."""


@dataclass(frozen=True)
class Look:
    """What is to be said of the data at `path`; the keys of the JSON document are the names of the fields.

    `parts` counts pictures by part and class, `classes` are in their order, `sizes` and `kinds` count files, `shape` is
    what a network gets (C, H, W). `split` says how a validation part is made. `warnings` and `notes` are what a search
    would say. `broken` has path and reason of files that cannot be read. `recommended` are options of a search, each
    with the reason.
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

    def to_plain(self) -> dict[str, Any]:
        """As `--json` shows it."""
        return asdict(self)


def look(path: Path, source: Source) -> Look:
    """What is to be said of `source`, the data at `path`."""
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
        recommended=_recommended(source, parts),
    )


def _recommended(source: Source, parts: Mapping[str, Mapping[str, int]]) -> dict[str, str]:
    """Options of a search that these data ask for, each with the reason."""
    counts = sorted(parts["train"].values())
    told = {}
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
    totals = {part: sum(of.values()) for part, of in found.parts.items()}
    lines = [
        f"{found.name}: {', '.join(f'{totals[part]:,} {part}' for part in parts)} in {len(found.classes)} classes",
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


def write_page(found: Look, source: Source, file: Path) -> Path:
    """Write what was found, with training pictures of each class, as one HTML page. Raises EnvironmentFault."""
    examples = {name: pictures for name, pictures in _examples(source).items() if pictures}
    environment = markup.environment(markup.as_svg)
    page = environment.get_template("look.html").render(
        look=found, examples=examples, totals={part: sum(of.values()) for part, of in found.parts.items()}
    )
    aside = file.with_name(f".{file.name}-{uuid.uuid4().hex}")
    try:
        aside.write_text(page, encoding="utf-8")
        os.replace(aside, file)
    except OSError as error:
        raise EnvironmentFault(
            f"the page {file} cannot be written ({error.strerror}); choose another file with -o"
        ) from None
    finally:
        if aside.parent.is_dir():
            aside.unlink(missing_ok=True)
    return file


def _examples(source: Source) -> dict[str, list[str]]:
    """Training pictures of each class as data URIs, evenly over the part; none of data that are no pictures."""
    images, labels = source.train()
    if str(images.dtype) != "torch.uint8" or images.shape[1] not in (1, 3):
        return {}
    brightest = max(1, int(images[:: max(1, len(images) // 500)].max()))
    made: dict[str, list[str]] = {}
    for number, name in enumerate(source.classes[:MOST_CLASSES]):
        rows = (labels == number).nonzero().flatten()
        chosen = rows[:: max(1, len(rows) // EXAMPLES)][:EXAMPLES]
        levels = (images[chosen].float() * (255.0 / brightest)).clamp(max=255).byte().numpy()
        made[name] = [f"data:image/png;base64,{base64.b64encode(png(each)).decode()}" for each in levels]
    return made
