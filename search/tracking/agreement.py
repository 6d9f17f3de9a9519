"""Whether MLflow shows what is recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from search.record.events import Event
from search.record.header import Header
from search.record.reading import finished, header_of, objective_of
from search.record.trial import Trial
from search.record.trials import replayed
from search.tracking.projection import status_of
from search.tracking.runs import runs_of
from search.tracking.shown import as_param, metric_key


def disagreements(client: Any, events: Sequence[Event]) -> list[str]:
    """Where the runs that MLflow's `client` shows differ from `events`.

    They are missing or doubled, or have another status or other values.
    """
    header = header_of(events[:1])
    experiment = client.get_experiment_by_name(header.experiment)
    if experiment is None:
        return [f"there is no experiment {header.experiment}"]
    parents, children = runs_of(header.id, client, experiment.experiment_id)
    lines = [] if len(parents) == 1 else [f"there are {len(parents)} parent runs instead of one"]
    for parent in parents:
        cursor = int(parent.data.tags.get("search.cursor", 0))
        if cursor != events[-1].id:
            lines.append(f"{cursor} of {events[-1].id} events are written")
    trials = replayed(events, objective_of(events))
    runs: dict[int, list[Any]] = {trial.number: [] for trial in trials}
    for run in children:
        runs.setdefault(int(run.data.tags["search.trial"]), []).append(run)
    for number, found in sorted(runs.items()):
        if number >= len(trials) or len(found) != 1:
            lines.append(f"trial {number} has {len(found)} runs")
        else:
            over, shared = finished(events) is not None, header.study_code is not None
            lines += _differences(client, header, trials[number], found[0], over=over, shared=shared)
    return lines


def _differences(client: Any, header: Header, trial: Trial, run: Any, *, over: bool, shared: bool) -> Iterator[str]:
    """Where `run` differs from `trial`; if it is `shared` with code of the user's own, that may show more."""
    status = status_of(trial.state, over=over)
    if run.info.status != status:
        yield f"trial {trial.number} is {run.info.status} instead of {status}"
    config = header.full_config(trial.point)
    for name in trial.epochs[-1].metrics if trial.epochs else ():
        rows = [(row.number, row.metrics[name]) for row in trial.epochs if name in row.metrics]
        curve = [(number, repr(float(value))) for number, value in rows if not as_param(name, value, trial, config)]
        if not curve:
            continue
        shown = sorted((m.step, repr(m.value)) for m in client.get_metric_history(run.info.run_id, metric_key(name)))
        # As text, because NaN is not equal to itself.
        if (not {*curve} <= {*shown}) if shared else shown != curve:
            yield f"trial {trial.number} shows another curve of {name}"
