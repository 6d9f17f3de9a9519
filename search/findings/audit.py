"""An audit of early stopping: what became of trials that the scheduler would have stopped, and that ran on by lot.

Nobody can tell of a stopped trial what it would have come to. A share of them, drawn by seed and number and so whatever
their values, is a fair sample of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search.findings.intervals import share_interval
from search.record.events import Decided, Event, Kind
from search.record.state import State
from search.record.trial import AUDIT
from search.record.trials import Trials

FEWEST = 4
"""With fewer trials than these a rank correlation says nothing."""


def document(events: Sequence[Event], trials: Trials) -> dict[str, Any] | None:
    """What the audit of the search that `events` record tells, as JSON can hold it; None if nothing was audited.

    `trials` has a row for each: the first `rung` at which it would have been stopped, its `value` there and the
    `cutoff`, what it came to (`final`, None without the full budget), and whether a winner would have been
    `thrown_away`: whether it ended above the best of all that were trained in full by right (`best_by_right`).
    `share` is that of winners among the `complete` ones, with its 95 % `interval` (Wilson); `stopped` trials, or left
    paused, were not audited. `rank_correlation` is Spearman's between the value at the first rung and the end, over the
    complete trials that went on whatever their value (audited ones and start points); None of fewer than FEWEST.
    """
    decisions = [(event.trial, Decided.of(event)) for event in events if event.kind == Kind.DECIDED]
    rows: dict[int, dict[str, Any]] = {}
    for trial, decided in decisions:
        if decided.spared == AUDIT and trial is not None:
            at_rung = {"rung": decided.rung, "value": decided.value, "cutoff": decided.cutoff}
            rows.setdefault(trial, {"trial": trial, **at_rung})
    if not rows:
        return None
    objective = trials.objective
    complete = [trial for trial in trials.searched if trial.state is State.COMPLETE]
    best = objective.best(trial.best_value(objective) for trial in complete if trial.number not in rows)
    for number, row in rows.items():
        done = trials[number].state is State.COMPLETE
        row["final"] = trials[number].best_value(objective) if done else None
        row["thrown_away"] = done and objective.better(row["final"], best)
    finals = [row for row in rows.values() if row["final"] is not None]
    thrown = sum(row["thrown_away"] for row in finals)
    first = min(decided.rung for _, decided in decisions)
    fair = [trial for trial in complete if trial.number in rows or trial.given]
    pairs = [(trial.best_so_far(objective, first)[first - 1], trial.best_value(objective)) for trial in fair]
    return {
        "trials": list(rows.values()),
        "complete": len(finals),
        "thrown_away": thrown,
        "best_by_right": best if objective.better(best, objective.worst) else None,
        "share": thrown / len(finals) if finals else None,
        "interval": list(share_interval(thrown, len(finals))) if finals else None,
        "stopped": sum(trial.state in (State.STOPPED, State.PAUSED) for trial in trials.searched),
        "first_rung": first,
        "rank_correlation": _spearman(pairs),
    }


def lines(audit: Mapping[str, Any]) -> list[str]:
    """What a `document` says, for people."""
    count, correlation = audit["complete"], audit["rank_correlation"]
    if not count:
        return [f"audit               {len(audit['trials'])} ran on by lot, and none had time for its full budget"]
    low, high = audit["interval"]
    cost = (
        f"audit               {audit['thrown_away']} of {count} that ran on by lot ended above the best by right: of "
        f"the {audit['stopped']} stopped, {100 * low:.0f} … {100 * high:.0f} % would have (95 %)"
    )
    if correlation is None:
        return [cost]
    return [
        cost,
        f"                    rank correlation of epoch {audit['first_rung']} with the end: {correlation:.2f}",
    ]


def _spearman(pairs: Sequence[tuple[float, float]]) -> float | None:
    """None where it is not defined: too few, or all alike."""
    if len(pairs) < FEWEST or any(len({pair[side] for pair in pairs}) < 2 for side in (0, 1)):
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(*zip(*pairs, strict=True)).statistic)
