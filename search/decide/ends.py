"""How a trial ends of itself, whatever the others are worth."""

from __future__ import annotations

import math
from collections.abc import Mapping

from search.record.events import Ended, EpochReport
from search.record.state import FINISHED_EARLY, State
from search.record.trial import Trial
from spaces.study import Study


def by_its_epoch(trial: Trial, report: EpochReport, study: Study) -> Ended | None:
    """The end of `trial` with the epoch in `report`, which follows those that it has; None if it goes on.

    The metric may come every few epochs only, but it must come.
    """
    metric = study.objective.metric
    value = report.metrics.get(metric)
    if value is not None and not math.isfinite(value):
        why = f"{metric} is {value} after epoch {report.epoch}; reported were: {_named(report.metrics)}"
        return Ended(State.DIVERGED, why)
    broken = _broken(study, report)
    if broken is not None:
        return broken
    if report.epoch < study.epochs_of(trial.point):
        return None
    if value is None and not trial.has_value(study.objective):
        return _without_the_metric(trial, study, report.metrics)
    return Ended(State.COMPLETE, "reached the full budget")


def _broken(study: Study, report: EpochReport) -> Ended | None:
    """The end of a trial by a constraint that its epoch breaks; one that it says nothing of is a fault of the code."""
    metrics, epoch = report.metrics, report.epoch
    broken = [why for each in study.constraints if (why := each.broken(metrics))]
    if broken:
        return Ended(State.INFEASIBLE, f"{'; '.join(broken)} after epoch {epoch}")
    for each in study.constraints if study.objective.metric in metrics else ():
        if each.metric not in metrics:
            why = f"epoch {epoch} lacks the metric {each.metric}; reported were: {_named(metrics)}"
            return Ended(State.FAILED, f"{why}; yield it, or leave out the constraint")
    return None


def by_its_return(trial: Trial, study: Study) -> Ended:
    """The end of `trial` whose trainable returned before its last epoch: it is complete, and worth its best."""
    if not trial.has_value(study.objective):
        return _without_the_metric(trial, study, {})
    budget = study.epochs_of(trial.point)
    return Ended(State.COMPLETE, f"{FINISHED_EARLY}, after {len(trial.epochs)} of {budget} epochs")


def _without_the_metric(trial: Trial, study: Study, last: Mapping[str, float]) -> Ended:
    """A fault of the code, which other values of hyperparameters would not mend."""
    metrics = {**last, **{name: value for row in trial.epochs for name, value in row.metrics.items()}}
    needed = next((name for name in study.objective.needed if name not in metrics), study.objective.metric)
    why = f"no epoch has the metric {needed}; reported were: {_named(metrics)}"
    return Ended(State.FAILED, f"{why}; yield it, or set the objective")


def _named(metrics: Mapping[str, float]) -> str:
    return ", ".join(sorted(metrics)) or "none"
