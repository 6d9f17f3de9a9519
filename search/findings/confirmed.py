"""Whether a winner can be believed: what fresh seeds made of the best settings, what of the first value was luck."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.findings.intervals import difference_interval, mean_interval
from search.record.state import State
from search.record.trials import Confirmed, Trials


def document(fixed: Mapping[str, Any], trials: Trials) -> dict[str, Any] | None:
    """What the confirmation says, as JSON can hold it; None if there was none. `fixed` are values that no trial varies.

    `candidates` are the confirmed settings, the best first, and `control` is the first start point's, which may be one
    of them: `trial` is the one that the search had of it, `search_value` what that was worth, `values` those of its
    complete runs from fresh seeds, `mean` and 95 % t `interval` theirs, `shrinkage` the search value less the mean,
    None where the search had not given the trial its full budget, so that the two do not compare. `control` also tells
    by how much the winner's mean differs from its own (`difference`, with Welch's 95 % interval). `winner` is a `trial`
    of these. No interval allows for the winner being the best of several means.
    """
    if not trials.plans:
        return None
    plan, confirmed = trials.plans[-1], trials.confirmed()
    given = None if plan.control is None else trials[plan.control].setting
    control = next((each for each in confirmed if each.trial.setting == given), None)
    chosen = {trials[number].setting for each in trials.plans for number in each.trials}
    winner = confirmed[0] if confirmed and confirmed[0].complete else None
    return {
        "mode": trials.objective.mode,
        "seeds": plan.seeds,
        "candidates": [_entry(fixed, each) for each in confirmed if each.trial.setting in chosen],
        "control": None if control is None else {**_entry(fixed, control), **_difference(winner, control)},
        "winner": winner.trial.number if winner else None,
    }


def of_winner(confirmation: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The winner's entry in a `document`; None if no confirmation is complete."""
    if confirmation is None or confirmation["winner"] is None:
        return None
    entries = [*confirmation["candidates"], *([confirmation["control"]] if confirmation["control"] else [])]
    return next(each for each in entries if each["trial"] == confirmation["winner"])


def _entry(fixed: Mapping[str, Any], each: Confirmed) -> dict[str, Any]:
    search_value, mean, bounds = each.trial.best_value(each.objective), each.mean, mean_interval(each.values)
    whole = each.trial.state is State.COMPLETE
    return {
        "trial": each.trial.number,
        "config": dict(sorted({**fixed, **each.trial.point}.items())),
        "search_value": search_value,
        "values": each.values,
        "mean": mean,
        "interval": list(bounds) if bounds else None,
        "shrinkage": search_value - mean if mean is not None and whole else None,
    }


def _difference(winner: Confirmed | None, control: Confirmed) -> dict[str, Any]:
    if winner is None or winner.mean is None or control.mean is None or winner.trial is control.trial:
        return {"difference": None, "difference_interval": None}
    bounds = difference_interval(winner.values, control.values)
    return {
        "difference": winner.mean - control.mean,
        "difference_interval": list(bounds) if bounds else None,
    }


def lines(confirmation: Mapping[str, Any]) -> list[str]:
    """What a `document` says of the winner, for people."""
    best, control = of_winner(confirmation), confirmation["control"]
    if best is None:
        return ["confirmed           by no complete run, so what the search saw stands"]
    text = f"confirmed           {_mean(best, confirmation['seeds'])}; "
    if best["shrinkage"] is None:
        text += f"the search had given trial {best['trial']} no full budget"
    else:
        text += f"the search had said {best['search_value']:.4f}: {_apart(-best['shrinkage'], 'more', 'less')}"
    if control is None or control["mean"] is None:
        return [text]
    if control["trial"] == best["trial"]:
        return [text, "control             the winner is the first start point itself: nothing was found to be better"]
    return [text, f"control             {_against(control, confirmation['mode'])}"]


def _mean(entry: Mapping[str, Any], seeds: int) -> str:
    reach = f" ± {(entry['interval'][1] - entry['interval'][0]) / 2:.4f}" if entry["interval"] else ""
    count = len(entry["values"])
    of = f" of {seeds}" if count < seeds else ""
    return f"{entry['mean']:.4f}{reach} ({count}{of} fresh seed{'' if seeds == 1 else 's'}{', 95 %' if reach else ''})"


def _against(control: Mapping[str, Any], mode: str) -> str:
    difference, bounds = control["difference"], control["difference_interval"]
    text = f"{control['mean']:.4f} (first start point): the winner is "
    text += _apart(difference if mode == "max" else -difference, "better", "worse")
    text += f" (95 %: {bounds[0]:+.4f} … {bounds[1]:+.4f})" if bounds else ""
    return text + (", which may be chance" if bounds is None or bounds[0] <= 0 <= bounds[1] else "")


def _apart(difference: float, more: str, less: str) -> str:
    text = f"{abs(difference):.4f}"
    return "the same" if float(text) == 0 else f"{text} {more if difference > 0 else less}"
