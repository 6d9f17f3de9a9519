"""What a model says of pictures that nobody has labelled: class names with their probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search.errors import EnvironmentFault
from search.findings.tables import Table
from search.printable import one_line

if TYPE_CHECKING:
    from torch import nn

    from trainables.request import Intake

MOST_NAMED = 20
"""Broken files that one line names."""

WIDEST = 60
"""Characters of a name in a table."""


@dataclass(frozen=True)
class Model:
    """A network on the CPU, what it takes, and the `classes` that its logits stand for; `name` is for people."""

    name: str
    network: nn.Module
    intake: Intake
    classes: Sequence[str]

    def probabilities(self, images: Any) -> Any:
        """float32 `(n, classes)` of an array of images `(n, C, H, W)`. Raises EnvironmentFault if it takes no such."""
        import torch

        from trainables.evaluation import logits_of

        try:
            with torch.inference_mode():
                return logits_of(self.network, torch.from_numpy(images)).float().softmax(1).numpy()
        except (RuntimeError, AssertionError) as error:  # an exported graph checks shape and type by assertions
            why = one_line(str(error))[:200]
            raise EnvironmentFault(f"the network of {self.name} does not take these images ({why})") from None


@dataclass(frozen=True)
class Answers:
    """What `model` says of pictures: `names` and `probabilities` `(N, classes)`, a row each.

    `broken` has name and reason of those that cannot be read, `notes` say what had to be converted, with counts.
    """

    model: str
    classes: Sequence[str]
    names: Sequence[str]
    probabilities: Any
    broken: Sequence[tuple[str, str]]
    notes: Sequence[str]

    def best(self, row: int, top: int) -> list[tuple[str, float]]:
        """The `top` most probable classes of a picture, the most probable first."""
        chances = self.probabilities[row]
        order = (-chances).argsort(kind="stable")[:top]
        return [(self.classes[index], float(chances[index])) for index in order]

    def table(self, top: int) -> Table:
        """Heads and rows: `path`, `class`, `probability`; further classes as `class_2`, `probability_2` and so on."""
        top = min(top, len(self.classes))
        ends = ["", *(f"_{rank}" for rank in range(2, top + 1))]
        heads = ["path", *(f"{what}{end}" for end in ends for what in ("class", "probability"))]
        rows = [[name, *(cell for pair in self.best(row, top) for cell in pair)] for row, name in enumerate(self.names)]
        return heads, [dict(zip(heads, row, strict=True)) for row in rows]

    def document(self, top: int) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "model": self.model,
            "classes": list(self.classes),
            "predictions": [
                {"path": name, "top": [{"class": each, "probability": p} for each, p in self.best(row, top)]}
                for row, name in enumerate(self.names)
            ],
            "broken": [{"path": name, "why": why} for name, why in self.broken],
            "notes": list(self.notes),
        }

    def unread(self) -> list[str]:
        """A line that names what cannot be read, with the count; none if all could be."""
        if not self.broken:
            return []
        count, told = len(self.broken), "; ".join(f"{name} ({why})" for name, why in self.broken[:MOST_NAMED])
        more = f"; and {count - MOST_NAMED:,} more, which --json names" if count > MOST_NAMED else ""
        of = f"{count:,} of {count + len(self.names):,} pictures cannot be read"
        return [f"{of}: {one_line(told)}{more}"]

    def lines(self, top: int) -> Iterator[str]:
        """A line for each picture, for a terminal: its name and the most probable classes."""
        shown = [one_line(name) for name in self.names]
        shown = [name if len(name) <= WIDEST else f"…{name[1 - WIDEST :]}" for name in shown]
        width = max(map(len, shown), default=0)
        for row, name in enumerate(shown):
            said = "  ".join(f"{one_line(each)} {chance:.4f}" for each, chance in self.best(row, top))
            yield f"{name:<{width}}  {said}"


def answers(model: Model, batches: Callable[[], Iterator[tuple[list[str], Any]]]) -> tuple[list[str], Any]:
    """Names and probabilities `(N, classes)` of all pictures in `batches`."""
    import numpy as np

    names: list[str] = []
    rows: list[Any] = [np.empty((0, len(model.classes)), np.float32)]
    for some, images in batches():
        names += some
        rows.append(model.probabilities(images))
    return names, np.concatenate(rows)
