"""`status`, `logs` and `stop` for searches in the runs folder, whoever runs them: by their records."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.cli.output import echo
from search.errors import EnvironmentFault

if TYPE_CHECKING:  # names and no more
    from search.record.events import Event
    from search.record.trials import Trials

LOOK_SECONDS = 0.5
STOP_SECONDS = 120.0
"""So long a search may take to leave: its trials, MLflow and Ray end first."""
EXIT = {"done": 0, "failed": 1, "interrupted": 130}
"""How `logs` ends, by how the search did."""


def status(name: str | None, runs: Path, *, as_json: bool) -> None:
    """Print how the search `name` stands, or those that run; a line each."""
    from search.findings.summary import summarize
    from search.storage.runs import find_search, searches

    told = []
    for folder in [find_search(name, runs)] if name else searches(runs):
        try:
            told.append(summarize(folder))
        except EnvironmentFault as error:  # one damaged record must not hide the others
            if name:
                raise
            echo(f"warning: {error}", err=True)
    rows = [each for each in told if name or each["state"] == "running"]
    if as_json:
        echo(json.dumps(rows[0] if name else rows, indent=1))
        return
    if not rows:
        echo("no search runs here; --address asks a cluster, `python -m search list` lists all that are here", err=True)
    for each in rows:
        far, best = each["progress"], each["best"]
        value = f", best {best[best['metric']]:.4f} (trial {best['trial']})" if best else ""
        why = f": {each['why']}" if each["why"] else ""
        echo(f"{each['name']}  {each['state']}{why}  {far['ended']} of {far['trials']} trials{value}")


def follow(name: str, runs: Path) -> None:
    """Print what has happened in the search `name`, and what happens while it runs; end as it ends."""
    from search.record.reader import FILE, Follower
    from search.record.reading import finished, objective_of
    from search.record.trials import Trials
    from search.storage import lock, mirror
    from search.storage.runs import find_search

    folder = find_search(name, runs)
    record, trials = Follower(folder / FILE), None
    while True:
        running = lock.is_held(folder)  # before its events: what it wrote last is not missed
        mirror.pull(folder)
        fresh, anew = record.news()
        if anew or trials is None:
            trials = Trials(objective_of(record.events))
        for event in fresh:
            trials.apply(event)
            for line in _lines(event, trials):
                echo(f"{time.strftime('%H:%M:%S', time.localtime(event.at))}  {line}")
        if not running:
            break
        time.sleep(LOOK_SECONDS)
    ending = finished(record.events)
    if ending is None:
        raise EnvironmentFault(f"the process of {name} died; `python -m search resume {name}` goes on")
    if EXIT.get(ending.state):
        raise SystemExit(EXIT[ending.state])


def _lines(event: Event, trials: Trials) -> Iterator[str]:
    """What is said of an event; of most nothing."""
    from search.record.events import Kind, Steered
    from search.record.steering import in_words

    body: Any = event.body
    if event.kind == Kind.SEARCH:
        yield f"{body['name']}: {body['study']}, {body['command']}"
    elif event.kind == Kind.RESUMED:
        yield f"goes on: {body.get('resume_command', '')}"
    elif event.kind == Kind.ASKED:
        yield f"trial {event.trial} begins ({body['origin']})"
    elif event.kind == Kind.EPOCH:
        value = body["metrics"].get(trials.objective.metric)
        shown = f"{trials.objective.metric} {value:.4f}" if isinstance(value, float) else "no value"
        yield f"trial {event.trial} epoch {body['epoch']}: {shown}"
    elif event.kind in (Kind.LOST, Kind.ENDED):
        yield f"trial {event.trial} {'lost its worker' if event.kind == Kind.LOST else body['state']}: {body['why']}"
    elif event.kind == Kind.STEERED:
        yield in_words(Steered.of(event))
    elif event.kind == Kind.TESTED:
        told = {"accuracy": body.get("test_accuracy"), "loss": body.get("test_loss"), **(body.get("beyond") or {})}
        name, value = next((name, value) for name, value in told.items() if value is not None)
        yield f"test {name} of trial {event.trial}: {value:.4f}"
    elif event.kind == Kind.FINISHED:
        yield f"{body['state']}{': ' if body['why'] else ''}{body['why']}"


def stop(name: str, runs: Path) -> None:
    """Have the search `name` leave so that it can be resumed, and wait until it has."""
    from search.cli.steer import who
    from search.record.steering import Request
    from search.storage import lock
    from search.storage.requests import answer, send
    from search.storage.runs import command, find_search

    folder = find_search(name, runs)
    if not lock.is_held(folder):
        echo(f"{name} was over already")
        return
    request = Request("stop", who=who())
    send(folder, request)
    answer(folder, request)
    deadline = time.monotonic() + STOP_SECONDS
    while lock.is_held(folder):
        if time.monotonic() > deadline:
            raise EnvironmentFault(f"{name} has not left within {STOP_SECONDS:.0f} s; it ends as soon as it can")
        time.sleep(LOOK_SECONDS)
    echo(f"{name} was stopped; `{command('resume', folder)}` goes on with it")
