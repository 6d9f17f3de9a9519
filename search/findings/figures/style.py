"""How figures become SVG text in colours that the page decides on, so that light and dark share them.

matplotlib draws in colours that mean something else (`INK`, `LINES`), and those become the page's CSS variables. Text
stays text, in the page's font; every id has the figure's name before it, so that many fit into one page.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import escape
from typing import Any

INK, SOFT, GRID, FAINT, PAGE = "#010101", "#010102", "#010103", "#010104", "#010105"
LINES = ("#020201", "#020202", "#020203", "#020204", "#020205", "#020206", "#020207")
"""For series: seven colours that people with any colour vision tell apart."""
STEPS = ("#030301", "#030302", "#030303", "#030304", "#030305")
"""From weak to strong, by lightness alone."""
_CSS = {
    INK: "currentColor",
    SOFT: "var(--soft)",
    GRID: "var(--grid)",
    FAINT: "var(--faint)",
    PAGE: "var(--page)",
    **{colour: f"var(--c{number})" for number, colour in enumerate(LINES, start=1)},
    **{colour: f"var(--v{number})" for number, colour in enumerate(STEPS, start=1)},
}
WIDTH, HEIGHT = 5.0, 3.1
"""Inches of a figure that takes half a wide page, or all of a narrow one."""


def variable(colour: str) -> str:
    """The page's variable that `colour` stands for."""
    return _CSS[colour]


@contextmanager
def styled() -> Iterator[None]:
    """Inside, matplotlib draws as the page wants it; its settings outside stay as they are."""
    import matplotlib

    settings: dict[str, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "search",  # or the same figure would be another file each time
        "text.parse_math": False,
        "font.family": ["DejaVu Sans"],
        "font.size": 9,
        "text.color": INK,
        "axes.edgecolor": SOFT,
        "axes.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "axes.grid": True,
        "grid.color": GRID,
        "grid.linewidth": 0.7,
        "axes.axisbelow": True,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "axes.formatter.useoffset": False,
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a sign that matplotlib's font lacks; the page's has it
        yield


def new_figure(width: float = WIDTH, height: float = HEIGHT) -> tuple[Any, Any]:
    """A figure of so many inches with one pair of axes, and these; no pyplot, so nothing is kept after use."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    axes = figure.add_subplot()
    figure.subplots_adjust(left=0.13, right=0.98, top=0.8, bottom=0.14)
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    return figure, axes


def svg(figure: Any, name: str, label: str) -> str:
    """`figure` as an SVG element; `name` tells its ids from those of other figures, `label` is read aloud."""
    out = io.StringIO()
    nothing: Mapping[str, Any] = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(out, format="svg", metadata=nothing, transparent=True)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    # Of one document each these were a global style and foreign names; in one page they would be everybody's.
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    box = re.search(r'viewBox="([^"]*)"', text)
    assert box is not None
    name = f"{name}-"
    text = re.sub(r"^<svg[^>]*>", f'<svg viewBox="{box[1]}" role="img" aria-label="{escape(label)}">', text)
    text = re.sub(r' id="(?:figure|axes|patch|line2d|text|matplotlib|xtick|ytick|legend|\w*Coll)[^"]*"', "", text)
    text = re.sub(r'( id="|"#|url\(#)', lambda found: found[0] + name, text).replace("xlink:href", "href")
    text = re.sub(r"#0[123]0[123]0\d", lambda found: _CSS.get(found[0], found[0]), text)
    return re.sub(r"\n\s*", "\n", text).strip()
