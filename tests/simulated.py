"""A search without Ray and without training: made-up curves on made-up workers, which die and come back in any order.

What Ray Tune and its workers are to a search is played by `work`; the record is kept in memory, through JSON.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from search.decide.search import Search
from search.record.events import EpochReport, Event, Finished, Kind, Repeated
from search.record.header import Header, Process
from search.record.reader import FILE
from search.record.reading import header_of
from search.record.record import Record
from search.record.state import State
from search.record.trial import Trial
from search.storage import checkpoints
from spaces.study import Objective, Study, to_plain
from spaces.values import config_to_plain
from trainables.classifier import Architecture

HEADER = Header(
    study="tiny",
    about="",
    experiment="tiny",
    dataset="digits",
    where="made up",
    stand_in=False,
    digest="ab" * 32,
    train_images=64,
    val_images=16,
    classes=[],
    shape=[1, 8, 8],
    objective=Objective(),
    space={},
    fixed={},
    start=[],
    epochs=9,
    rungs=[],
    trials=8,
    time_budget=None,
    seed=0,
    sampler="random",
    scheduler="asha",
    cpus=1.0,
    gpus=0.0,
    concurrent=None,
    tracking_uri="sqlite:///mlflow.db",
    trial_timeout=None,
    checkpoint_budget=None,
    command="python -m search tiny",
    definition={"space": []},
    source="tiny",
    data=None,
    data_dir=None,
    user="me",
    versions={"python": "3"},
    commit="",
    code="00",
    study_code=None,
    name="tiny-1",
    id="0f",
    process=Process(concurrent=2, cores=2.0, pid=1, node="here"),
)
"""A search that has begun, but for what a study says."""


class Memory:
    """A record in memory. `batches` counts the events after each append: a kill leaves no other number of them."""

    def __init__(self, events: Sequence[Event] = (), now: float = 1000.0) -> None:
        self.events, self.batches, self.now = list(events), [len(events)], now

    def append(self, *events: tuple[str, int | None, Mapping[str, Any]]) -> list[Event]:
        made = [
            Event(len(self.events) + number, self.now, kind, trial, json.loads(json.dumps(body, sort_keys=True)))
            for number, (kind, trial, body) in enumerate(events, start=1)
        ]
        self.events += made
        self.batches.append(len(self.events))
        return made


def header(**changes: Any) -> dict[str, Any]:
    """The body of a `search` event, with these keys of it changed."""
    return Header.from_plain({**HEADER.to_plain(), **changes}).to_plain()


def first_event(study: Study, **changes: Any) -> tuple[str, None, dict[str, Any]]:
    told = {
        "objective": study.objective.to_plain(),
        "fixed": config_to_plain(study.fixed),
        "epochs": study.epochs,
        "definition": to_plain(
            replace(study, sampler=study.sampler or "tpe", scheduler=study.scheduler or "asha")  # as a search has them
        ),
    }
    return "search", None, header(**{**told, **changes})


def searching(study: Study, record: Any, past: Sequence[Event]) -> Search:
    """The search that `past`, the events of `record` so far, describe."""
    return Search.of(header_of(past[:1]), study, record, past=past)


def note(search: Search, kind: str, body: Mapping[str, Any], trial: int | None = None) -> None:
    """Write down an event, as a part of the product does that no test takes part in."""
    for event in search.record.append((Kind(kind), trial, body)):
        search.apply(event)


def begun(study: Study, record: Any, **changes: Any) -> Search:
    return searching(study, record, record.append(first_event(study, **changes)))


def resumed(study: Study, record: Any, past: Sequence[Event], **changes: Any) -> Search:
    """A later process goes on with `past`: as the product does, it writes that down and then rebuilds the search."""
    told = {"trials": past[0].body["trials"], "time_budget": None, "after_s": 0.0, "pid": 2, **changes}
    return searching(study, record, [*past, *record.append(("resumed", None, told))])


@dataclass(frozen=True)
class Curves:
    """What trials give, all of it drawn from `seed`, their own seed and the epoch: the same in whatever order.

    In the share `ends` of epochs a trial ends for a reason of its own, in the share `losses` its worker is lost.
    """

    seed: int
    ends: float = 0.06
    losses: float = 0.0

    def metrics(self, config: Mapping[str, Any], epoch: int) -> dict[str, float]:
        """Better the nearer lr is to 0.03, and the later; ties are common, now and then a value is not finite."""
        chance = self._chance("value", config, epoch)
        near = 1 / (1 + abs(math.log10(config["train/lr"] / 0.03)))
        value = round(near * (1 - 0.7**epoch) + 0.05 * chance.random(), 2)
        return {"val_accuracy": math.nan if chance.random() < self.ends / 3 else value, "val_loss": chance.random()}

    def end(self, config: Mapping[str, Any], epoch: int) -> tuple[State, str] | None:
        chance = self._chance("end", config, epoch)
        if chance.random() > self.ends:
            return None
        state = chance.choice([State.FAILED, State.DIVERGED, State.OUT_OF_MEMORY])
        return state, "".join(chance.choices("abcdefgh", k=12))

    def lost(self, config: Mapping[str, Any], epoch: int, losses: int) -> State | None:
        chance = self._chance(f"loss {losses}", config, epoch)
        states = [State.FAILED, State.TIMED_OUT, State.OUT_OF_MEMORY, State.PREEMPTED]
        return chance.choice(states) if chance.random() < self.losses else None

    def _chance(self, what: str, config: Mapping[str, Any], epoch: int) -> random.Random:
        return random.Random(f"{self.seed} {what} {config['train/seed']} {epoch}")


PLACE = {"pid": 1, "node": "here", "began": 2.5}


def work(search: Search, curves: Curves, *, workers: int = 1, order: int = 0, steps: int | None = None) -> None:
    """Work on `search` until nothing is left, or for so many `steps`, on `workers` in an order drawn from `order`.

    A trial that comes back goes on after any epoch that it has, as if the later checkpoints were damaged.
    """
    chance, idle = random.Random(order), False
    busy: dict[int, int] = {}
    while steps is None or steps > 0:
        steps = None if steps is None else steps - 1
        choices: list[int | None] = [*busy]
        if len(busy) < workers and not idle:
            choices.append(None)
        if not choices:
            return
        number = chance.choice(choices)
        if number is not None:
            if _train(search, curves, search.trials[number], busy[number]):
                busy[number] += 1
            else:
                del busy[number]
                idle = False
        elif (waiting := search.again()) is not None:
            row = chance.choice([None, *waiting.epochs])
            search.restart(waiting, row)
            busy[waiting.number] = (row.number if row else 0) + 1
        elif (asked := search.ask()) is not None:
            busy[asked.number] = 1
        else:
            idle = True


def _train(search: Search, curves: Curves, trial: Trial, epoch: int) -> bool:
    """One epoch, or the end instead of it; whether its worker goes on with the trial."""
    config = search.config(trial)
    if epoch > len(trial.epochs):
        end = curves.end(config, epoch)
        if end is not None:
            search.end(trial.number, *end)
            return False
        lost = curves.lost(config, epoch, len(trial.losses))
        if lost is not None:
            search.lost(trial.number, lost, "made up")
            return False
    name = f"trial-{trial.number:04d}/attempt-{trial.attempt}/epoch-{epoch:04d}"
    saved = {"checkpoint": name, "sha256": "00", "bytes": 1}
    report = EpochReport(epoch, curves.metrics(config, epoch), 1.0, **saved, **PLACE)
    return search.report(trial.number, report) or search.goes_on_at_once(trial.number)


def decisions(events: Sequence[Event]) -> list[str]:
    """What a search decided, as text, in which NaN equals itself; not how often a worker was lost on the way."""
    return [
        re.sub(r"\(\d+ attempts\)", "", f"{event.kind} {event.trial} {sorted(event.body.items())}")
        for event in events
        if event.kind in ("asked", "decided", "ended")
    ]


def kept(
    runs: Path, study: Study, *, seed: int = 8, steps: int | None = None, end: str | None = "done", **changes: Any
) -> tuple[Path, Search]:
    """A search of `study` on disk, `tiny-1` in `runs`, whose best epoch has the checkpoint of a real classifier.

    So many `steps` of it, all by default; it was left in the state `end`, or was killed if that is None.
    """
    folder = runs / "tiny-1"
    (folder / "checkpoints").mkdir(parents=True)
    space = {name: str(range_) for name, range_ in study.ranges.items()}
    with Record(folder / FILE, create=True) as record:
        search = begun(study, record, **{"space": space, "rungs": [1, 3], **changes})
        work(search, Curves(seed), workers=2, steps=steps)
        best = search.trials.best()
        if best is not None:
            torch.manual_seed(seed)
            built = Architecture("mlp", (1, 8, 8), ("a", "b", "c", "d"), {"depth": 1, "width": 8})
            shelf = checkpoints.Shelf(folder / "checkpoints")
            saved = shelf.write(best.number, 1, lambda into: built.save(into, built.build()))
            epoch = best.best_epoch(study.objective).number
            search.note(Repeated(epoch, True, saved.name, saved.sha256, saved.bytes), best.number)
        if end is not None:
            search.note(Finished(end, "", 1.0))
    return folder, search
