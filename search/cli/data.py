"""The verb that looks at data before a search: look."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from search.cli.options import DEBUG, JSON
from search.cli.output import echo
from search.errors import BadInput
from search.options import size


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="The HTML page; NAME-look.html if left out."
)
@click.option("--image-size", type=click.IntRange(1, 4096), metavar="N", help="Look at pictures of N×N pixels.")
@click.option("--group-by", metavar="PATTERN", help="As in a search.")
@click.option("--near", is_flag=True, help="Also count pictures of one part that look like those of another.")
@click.option("--data-limit", metavar="SIZE", help="As in a search.")
@JSON
@DEBUG
def look(
    path: Path,
    output: Path | None,
    image_size: int | None,
    group_by: str | None,
    near: bool,
    data_limit: str | None,
    as_json: bool,
) -> None:
    """Say what is in the data at PATH: parts, classes, sizes, copies, broken files; and write a page with examples."""
    from search.findings import dataset, look_page
    from search.terminal import screen
    from trainables.datasets import LIMIT, DataError, Reading, find, names

    display = screen.for_stderr(quiet=as_json)
    reading = Reading(
        limit=size(data_limit, "--data-limit") if data_limit else LIMIT,
        image_size=image_size,
        skip_broken=True,
        group_by=group_by,
        progress=display.reading,
        near=near,
    )
    try:
        known = not os.path.lexists(path) and str(path) in names()
        source = find(str(path), download=False, warn=display.warn) if known else find("", path, reading=reading)
    except DataError as error:
        raise BadInput(str(error)) from None
    finally:
        display.reading(0, 0)
    if source.missing or source.stand_in:
        raise BadInput(f"{path} is not at hand; put it into SEARCH_DATA_DIR, or let a search download it")
    found = dataset.look(path, source)
    page = look_page.write(found, source, output or Path(f"{_plain(source.name)}-look.html"))
    if as_json:
        echo(json.dumps({**found.to_plain(), "page": str(page)}, indent=1))
    else:
        echo(f"{dataset.text(found)}\npage: {page}")


def _plain(name: str) -> str:
    """`name` as the beginning of a file's name."""
    return "".join(each if each.isalnum() or each in "._-" else "_" for each in name)[:100] or "data"
