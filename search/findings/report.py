"""What a search found, as one HTML page that needs nothing else: no network, no script, no data set.

All of it comes from the record, but for what the one opening of the test set left behind (predictions.py), and the
weights of the winner, where its decisions can be drawn.
"""

from __future__ import annotations

import math
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.errors import EnvironmentFault, StorageFull
from search.findings.sections import (
    comparison,
    confirmation,
    course,
    head,
    hyperparameters,
    limits,
    mistakes,
    regions,
    reproduction,
    start_points,
    stopping,
    winner,
)
from search.findings.snapshot import Snapshot
from search.findings.text import clock
from search.storage import checkpoints
from search.storage.runs import REPORT

if TYPE_CHECKING:
    from trainables.data import Data


def write(folder: Path, output: Path | None = None, data: Data | None = None) -> Path:
    """Write the report of the search in `folder` to `output` (`report.html` there), and return that path.

    It appears whole or not at all. Of `data` in the plane the training and validation points are drawn. Raises
    EnvironmentFault for a damaged record or a place that cannot be written, StorageFull where there is no room.
    """
    text = page(Snapshot.read(folder), data)
    path = output or folder / REPORT
    aside = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, path)
    except OSError as error:
        if checkpoints.is_full(error):
            raise StorageFull(f"no space for the report {path}: {len(text):,} bytes needed") from None
        raise EnvironmentFault(
            f"the report {path} cannot be written ({error.strerror}); choose another file with -o"
        ) from None
    finally:
        if aside.parent.is_dir():
            aside.unlink(missing_ok=True)
    return path


def page(search: Snapshot, data: Data | None = None) -> str:
    """The report on `search` as HTML; for `data` see `write`."""
    return _template().render(
        head=head.build(search),
        winner=winner.build(search),
        confirmation=confirmation.build(search),
        comparisons=comparison.build(search),
        course=course.build(search),
        hyperparameters=hyperparameters.build(search),
        start_points=start_points.build(search),
        mistakes=mistakes.build(search),
        regions=regions.build(search, data),
        stopping=stopping.build(search),
        limits=limits.build(search),
        reproduction=reproduction.build(search),
    )


def _template() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"value": value_text, "svg": Markup, "clock": clock}
    return environment.get_template("report.html")


def value_text(value: Any) -> str:
    """A number with four digits, and what it stands for where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
