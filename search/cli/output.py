"""What the command line prints: text in which no control character of somebody else's is left."""

from __future__ import annotations

import click

from search.printable import printable


def echo(text: str, *, nl: bool = True, err: bool = False) -> None:
    """Print `text`, with a line end unless `nl` is False, on standard error if `err`."""
    click.echo(printable(text), nl=nl, err=err)
