"""A search taken home: exported, with the winner's networks checked on the validation part where that is at hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from search.errors import SearchError
from search.findings.export import export_search
from search.findings.model_files import Examples
from search.record.header import Header
from search.record.reader import FILE, read
from search.record.reading import header_of
from search.session.resume import recorded_data
from search.terminal.console import Display

MADE_UP = 64
"""So many images of noise are taken where the data are not at hand."""


def export(
    run: Path, folder: Path, display: Display, say: Callable[[str], None], *, force: bool, limit: int | None = None
) -> list[Path]:
    """Write the search in `run` into `folder`, and return the files; raises as `export_search`.

    `say` hears of each network how near it comes to the checkpoint, and on what. Of data, at most `limit` bytes are
    read; where they cannot be had, noise takes their place, and one line says why.
    """
    events = read(run / FILE)
    header = header_of(events)
    if not header.knows_input:
        return export_search(run, folder, None, force=force, say=say)
    try:
        examples = Examples(recorded_data(run, events, display, limit).val.images, "validation images")
    except SearchError as error:
        say(f"the winner is checked on noise, because the validation part could not be read: {error}")
        examples = noise(header)
    return export_search(run, folder, examples, force=force, say=say)


def noise(header: Header) -> Examples:
    """Images as the network of a search takes them, but of nothing."""
    import torch

    draws = torch.Generator().manual_seed(0)
    shape = (MADE_UP, *header.shape)
    if header.brightest == 0:
        return Examples(torch.randn(shape, generator=draws), "arrays of noise")
    levels = torch.randint(0, header.brightest + 1, shape, generator=draws)
    return Examples(levels.to(torch.uint8), "images of noise")
