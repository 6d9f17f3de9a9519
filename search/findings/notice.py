"""That a search has ended, in a few words, for people who do not look at it."""

from __future__ import annotations

from typing import Any

from search.findings.text import clock
from search.printable import one_line

LONGEST = 500
"""So many characters a reason may have."""


def text(summary: dict[str, Any]) -> str:
    """One line on the search of which `summary` is the document: how it ended, its winner, where to look or go on."""
    best, link = summary["best"], summary["mlflow"]["link"]
    ended = sum(summary["trials"].values())
    parts = [f"{summary['name']}: {summary['state']} after {clock(summary['wall_s'])}, {ended} trials"]
    if best is not None:
        parts.append(f"{best['metric']} {best[best['metric']]:.4f} (trial {best['trial']})")
        if best["test_accuracy"] is not None:
            parts.append(f"test accuracy {best['test_accuracy']:.4f}")
        if best["no_better_than_largest_class"]:
            parts.append("NO BETTER THAN ALWAYS SAYING THE LARGEST CLASS")
    if summary["stand_in"]:
        parts.append("STAND-IN DATA")
    if summary["state"] != "done":
        parts += [summary["why"][:LONGEST]] if summary["why"] else []
        parts.append(f"to go on: {summary['resume']}")
    elif summary["mlflow"]["tracking_uri"].startswith("http") and link:
        parts.append(link)
    return one_line("; ".join(parts))


def document(summary: dict[str, Any]) -> dict[str, Any]:
    """What is sent: `text`, which Slack and others show, and for programs what it says, under `search`."""
    names = ("name", "study", "state", "why", "stand_in", "trials", "wall_s", "run_dir", "resume")
    best = summary["best"] or {}
    told = ("trial", "epoch", "metric", "test_accuracy", *([best["metric"]] if best else ()))
    return {
        "text": text(summary),
        "search": {**{name: summary[name] for name in names}, "best": {name: best.get(name) for name in told} or None},
    }
