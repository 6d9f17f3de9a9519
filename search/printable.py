"""Text that a terminal, a log or MLflow can show as it is: no control character reaches them.

Names, choices and error messages come from studies, data and records, and so from other people; an escape sequence in
one could move the cursor, rename the window or hide a line.
"""

from __future__ import annotations

import html
import re

HARMLESS = "\n\t"
CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1, of which lines and tabs are kept
    "\u2028\u2029"  # other ends of lines
    "\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c"  # which turn the direction of what follows
    "\ud800-\udfff]"  # halves of characters, as in file names that are no UTF-8
)


def printable(text: str) -> str:
    r"""`text` with every control character written out, as `\x1b`; lines and tabs stay."""
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """The same on one line."""
    return printable(" ".join(text.split()))


def markdown(text: str) -> str:
    """The same as Markdown that shows it as it is: no tag, link, image, table cell or emphasis of its own."""
    return re.sub(r"([\\`*\[\]|~#])", r"\\\1", html.escape(one_line(text), quote=False))


def fenced(text: str) -> str:
    """Lines of Markdown that show `text` as code, whatever fences are in it."""
    fence = "`" * (1 + max([2, *(len(run) for run in re.findall("`+", text))]))
    return f"{fence}\n{printable(text)}\n{fence}"
