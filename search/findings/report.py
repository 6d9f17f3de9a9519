"""What a search found, as one HTML page that needs nothing else: no network, no script, no data set.

All of it comes from the record, but for what the one opening of the test set left behind (predictions.py), and the
weights of the winner, where its decisions can be drawn.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from search.errors import EnvironmentFault, StorageFull
from search.findings import markup
from search.findings.snapshot import Snapshot
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
    text: str = markup.environment(markup.as_svg).get_template("report.html").render(markup.sections(search, data))
    return text
