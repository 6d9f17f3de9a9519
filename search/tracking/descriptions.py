"""What stands on the pages of runs in MLflow: descriptions of a search and of its trials, as Markdown.

Names, choices and messages in it are other people's. They are shown as they are; nothing in them is a tag or a link.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from search.findings.intervals import share_interval
from search.findings.text import clock
from search.printable import fenced, markdown
from search.record.events import Decided, Finished, InMLflow, WinnerTested
from search.record.header import Header
from search.record.state import State
from search.record.trial import Trial
from search.record.trials import Trials
from spaces.study import epochs_of

MOST_STEERED = 20
"""So many requests, the latest, are told of."""
WHY_LENGTH = 1000
"""So much of a reason is shown."""


@dataclass
class Told:
    """What the record has said so far that only descriptions need: how it ended, where its model is, who steered it."""

    ending: Finished | None = None
    model: InMLflow | None = None
    steering: list[str] = field(default_factory=list)


def of_search(header: Header, trials: Trials, told: Told) -> str:
    """The parent run's description: what was searched, how it stands or ended, what is best."""
    lines = []
    where = markdown(header.where)
    if header.stand_in:
        lines.append(f"**STAND-IN DATA**: {markdown(header.dataset)} could not be had; this ran on {where}.\n")
    lines += [f"{markdown(header.about)}\n", f"{fenced(header.command)}\n", *_standing(header, trials, told)]
    best = trials.best()
    if best is not None:
        lines += ["| hyperparameter | value |", "|---|---|"]
        config = header.full_config(best.point)
        lines += [f"| {markdown(name)} | {markdown(str(value))} |" for name, value in config.items()]
    if told.steering:
        lines += ["\nSteered while it ran:\n", *(f"- {markdown(each)}" for each in told.steering[-MOST_STEERED:])]
    versions = ", ".join(f"{name} {version}" for name, version in header.versions.items())
    lines.append(f"\n{markdown(versions)}; data SHA-256 {markdown(header.digest[:16])}…; {where}")
    return "\n".join(lines)


def _standing(header: Header, trials: Trials, told: Told) -> list[str]:
    """How the search stands, and its best."""
    best, objective = trials.best(), trials.objective
    counts = ", ".join(f"{count} {state}" for state, count in trials.counts().items()) or "none yet"
    lines = []
    if told.ending is None:
        lines.append(f"Running. Trials: {counts}\n")
    else:
        why = f" ({markdown(told.ending.why[:WHY_LENGTH])})" if told.ending.why else ""
        lines.append(f"**{told.ending.state.capitalize()}** after {clock(told.ending.wall_s)}{why}. Trials: {counts}\n")
    if best is None:
        return lines
    value = f"{markdown(objective.metric)} {best.best_value(objective):.4f}"
    done = told.ending is not None and told.ending.state == "done"
    lines.append(f"{'Winner' if done else 'Best so far'}: trial {best.number}, {value}\n")
    tested = best.tested_at_best(objective)
    if tested is not None:
        lines.append(f"{_tested(tested)}\n")
    if told.model is not None and told.model.model_uri is not None and done:
        lines.append(f"Model: `{markdown(told.model.model_uri)}`\n")
    if done:
        lines.append("The report of the search is among the artifacts: `report.html`\n")
    return lines


def of_trial(header: Header, trials: Trials, trial: Trial, decided: Decided | None) -> str:
    """The description of a trial's run: how it ended and why, what it came to; `decided` is what it was last told."""
    objective, budget = trials.objective, epochs_of(trial.point, header.epochs)
    lines = [f"{_end(trial, decided)}\n"]
    if trial.has_value(objective):
        best = trial.best_epoch(objective)
        value = f"{markdown(objective.metric)} {trial.best_value(objective):.4f} after epoch {best.number}"
        lines.append(f"Best: {value}; trained {len(trial.epochs)} of {budget} epochs\n")
    if trial.tested is not None:
        lines.append(f"{_tested(trial.tested)}\n")
    lines.append(f"From: {markdown(trial.origin)}")
    return "\n".join(lines)


def _end(trial: Trial, decided: Decided | None) -> str:
    if trial.state is State.STOPPED and decided is not None and not decided.go_on and decided.cutoff is not None:
        return f"Stopped at rung {decided.rung}: {decided.value:.4f}, {decided.cutoff:.4f} was needed"
    why = markdown(trial.why[:WHY_LENGTH])
    return str(trial.state).capitalize() + (f": {why}" if why else "")


def _tested(tested: WinnerTested) -> str:
    """What the test set gave; a script may say other measures only, and not of how many images."""
    if tested.test_accuracy is None:
        said = ", ".join(f"{markdown(name)} {value:.4f}" for name, value in (tested.beyond or {}).items())
        return f"On the test set: {said or 'nothing that was said'}"
    line = f"Test accuracy {tested.test_accuracy:.4f}"
    if tested.images is not None and 0 <= tested.test_accuracy <= 1:
        low, high = share_interval(round(tested.test_accuracy * tested.images), tested.images)
        line += f" (95 %: {low:.4f} … {high:.4f}, {tested.images:,} images)"
    return f"{line}; **NO BETTER THAN ALWAYS SAYING THE LARGEST CLASS**" if tested.no_better else line
