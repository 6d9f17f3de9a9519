"""The verb that puts a winner to use: predict."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from search.cli.options import DEBUG, JSON, RUNS
from search.cli.output import echo
from search.errors import BadInput
from search.options import size

if TYPE_CHECKING:
    from search.findings.answers import Answers


@click.command()
@click.argument("model", metavar="NAME_OR_MODEL")
@click.argument("paths", metavar="PATH…", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--top", type=click.IntRange(1), default=1, metavar="K", help="So many classes of each picture.")
@click.option("--csv", "table", type=click.Path(path_type=Path, dir_okay=False), help="Write the answers as a table.")
@click.option("--data-limit", metavar="SIZE", help="As in a search.")
@RUNS
@JSON
@DEBUG
def predict(
    model: str, paths: Sequence[Path], top: int, table: Path | None, data_limit: str | None, runs: Path, as_json: bool
) -> int:
    """Say what the pictures at PATH show: files, folders, archives, arrays.

    NAME_OR_MODEL is a search, whose winner is asked; a model in MLflow (models:/NAME@champion); or a folder that export
    wrote. Files that are no pictures are named and left out, and the command ends with 2.
    """
    from search.session.predict import model_called, predicted

    limit = size(data_limit, "--data-limit") if data_limit else None
    found = predicted(model_called(model, runs), paths, limit)
    if table is not None:
        _write(table, found, top)
    if as_json:
        echo(json.dumps(found.document(top), indent=1))
    else:
        for line in found.lines(top):
            echo(line)
    for line in found.notes:
        echo(f"note: {line}", err=True)
    for line in found.unread():
        echo(f"warning: {line}", err=True)
    return BadInput.exit_code if found.broken else 0


def _write(file: Path, found: Answers, top: int) -> None:
    """Write the answers into `file`. Raises BadInput."""
    heads, rows = found.table(top)
    try:
        with file.open("w", newline="", encoding="utf-8", errors="backslashreplace") as into:
            writer = csv.DictWriter(into, heads)
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise BadInput(f"{file} cannot be written ({error.strerror}); give another file with --csv") from None
