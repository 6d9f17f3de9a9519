"""What a search found, as one HTML page that needs nothing else: no network, no script, no data set.

All of it is told by the record, but for the pictures, which the one opening of the test set left behind
(test_pictures.py), and the weights of the winner, where its decisions can be drawn.
"""

from __future__ import annotations

import base64
import io
import math
import os
import statistics
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.errors import EnvironmentFault, StorageFull
from search.findings import audit, comparison, confirmed, importance, intervals, test_pictures
from search.findings.figures import course, hyperparameters, regions, seeds
from search.findings.figures.axes import window
from search.findings.summary import summarize
from search.findings.text import clock, setting, short
from search.record.events import BEGINNINGS, Event, Kind
from search.record.header import Header
from search.record.reading import header_of, objective_of, space_of
from search.record.record import FILE as RECORD
from search.record.record import read
from search.record.trials import WORTHLESS, State, Trial, Trials, replayed
from search.storage import checkpoints
from search.storage.runs import REPORT, command
from spaces.space import Choice, Range, Space, Value
from spaces.study import epochs_of
from trainables.classifier import ARCHITECTURE, load_classifier

if TYPE_CHECKING:
    from trainables.data import Data

MANY_CLASSES = 20
"""With more classes than these a confusion matrix is a grey square, and its largest entries say more."""
MOST_PAIRS = 20
MOST_GROUPS = 12
"""Comparisons that get a figure; all of them are in the table."""
EDGE = 0.05
PLANE = (2, 1, 1)
"""The shape of data that are points in the plane."""
GRID = 200
NAMES = {"val_accuracy": "validation accuracy", "val_loss": "validation loss", "train_loss": "training loss"}
FAULTS = (State.DIVERGED, State.OUT_OF_MEMORY, State.FAILED, State.TIMED_OUT, State.PREEMPTED)


def write(folder: Path, output: Path | None = None, data: Data | None = None) -> Path:
    """Write the report of the search in `folder` to `output` (`report.html` there), and return that path.

    It appears whole or not at all. Of `data` in the plane the training and validation points are drawn. Raises
    EnvironmentFault for a damaged record or a place that cannot be written, StorageFull where there is no room.
    """
    text = page(folder, read(folder / RECORD), data)
    path = output or folder / REPORT
    aside = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, path)
    except OSError as error:
        if checkpoints.is_full(error):
            raise StorageFull(f"no space for the report {path}: {len(text):,} bytes needed") from None
        raise EnvironmentFault(
            f"the report {path} cannot be written ({error.strerror}); choose another file with -o"
        ) from None
    finally:
        if aside.parent.is_dir():
            aside.unlink(missing_ok=True)
    return path


def page(folder: Path, events: Sequence[Event], data: Data | None = None) -> str:
    """The report as HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"value": value_text, "svg": Markup, "clock": clock}
    story = Story(folder, events, data)
    return environment.get_template("report.html").render(story=story, **summarize(folder, events), header=story.header)


def value_text(value: Any) -> str:
    """A number with four digits, and what it stands for where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


@dataclass
class Story:
    """What the page says of the search in `folder`, part by part; a part without data is None or empty."""

    folder: Path
    events: Sequence[Event]
    data: Data | None = None
    header: Header = field(init=False)
    trials: Trials = field(init=False)
    space: Space = field(init=False)

    def __post_init__(self) -> None:
        self.header = header_of(self.events)
        self.objective = objective_of(self.events)
        self.trials = replayed(self.events, self.objective)
        self.space = space_of(self.events)
        self.metric = NAMES.get(self.objective.metric, self.objective.metric)
        self.winner = self.trials.best()
        self.found = (
            self.winner and self.trials[self.winner.number if self.winner.confirms is None else self.winner.confirms]
        )
        self.classes = [str(name) for name in self.header.classes]

    # Head

    @property
    def tested(self) -> dict[str, Any] | None:
        """The winner on the test set: accuracy, its interval, images; None if it was not measured."""
        told = self._told
        if not told:
            return None
        low, high = intervals.share_interval(round(told["test_accuracy"] * told["images"]), told["images"])
        return {"accuracy": told["test_accuracy"], "low": low, "high": high, "images": told["images"]}

    @cached_property
    def _told(self) -> Mapping[str, Any]:
        if self.winner is None:
            return {}
        told = self.winner.tested
        return told if told.get("epoch") == self.winner.best_epoch(self.objective).number else {}

    @property
    def examples_are(self) -> str:
        """What the data consists of."""
        return "points" if tuple(self.header.shape) == PLANE else "images"

    @property
    def short_of_budget(self) -> bool:
        """Whether the winner did not get its full budget."""
        return self.winner is not None and self.winner.state is not State.COMPLETE

    @property
    def config(self) -> list[tuple[str, str]]:
        """The winner's hyperparameters, the searched ones first."""
        if self.winner is None:
            return []
        whole = self.header.full_config(self.winner.point)
        return [(name, short(whole[name])) for name in sorted(whole, key=lambda name: (name not in self.space, name))]

    # Course

    def _worth(self, trial: Trial) -> float:
        return math.nan if trial.state in WORTHLESS or not trial.has_value(self.objective) else self._best(trial)

    def _best(self, trial: Trial) -> float:
        return trial.best_value(self.objective)

    @property
    def valued(self) -> bool:
        """Whether any trial has a finite value."""
        return any(trial.has_value(self.objective) for trial in self.trials)

    @property
    def history(self) -> str:
        """The figure of the optimisation history."""
        searched = self.trials.searched
        points = [course.Point(t.number, self._worth(t), str(t.state), _is_start(t)) for t in searched]
        # As the winner is chosen: once a trial is complete, those that are not lead no more.
        of_use = [t for t in searched if t.state is State.COMPLETE and math.isfinite(self._worth(t))]
        of_use = of_use or [t for t in searched if math.isfinite(self._worth(t))]
        leader: list[tuple[int, float]] = []
        for trial in of_use:
            if not leader or self.objective.better(self._worth(trial), leader[-1][1]):
                leader.append((trial.number, self._worth(trial)))
        return course.history(points, leader, self.metric, self.objective.mode)

    @property
    def curves(self) -> str:
        """The figure of the learning curves."""
        lines = []
        for trial in self.trials:
            if not trial.has_value(self.objective) or (trial.confirms is not None and trial is not self.winner):
                continue
            role = "start" if _is_start(trial) else "other"
            label = f"trial {trial.number}, {trial.origin}" if role == "start" else f"trial {trial.number}"
            if trial is self.winner:
                role, label = "winner", f"winner, trial {trial.number}"
            lines.append(course.Curve(label, trial.values(self.objective), role))
        return course.curves(lines, self.rungs, self.metric, self.objective.mode)

    @property
    def rungs(self) -> list[int]:
        """The epochs at which trials were compared."""
        return list(self.header.rungs)

    def _budget(self, trial: Trial) -> int:
        """The epochs of `trial` at its full budget; a published setting has its own."""
        return epochs_of(trial.point, self.header.epochs)

    # What mattered

    @property
    def _alike(self) -> list[Trial]:
        """Trials that differ in what was searched and nothing else."""
        return [trial for trial in self.trials if not trial.exempt]

    @property
    def left_out(self) -> int:
        """How many trials have settings of their own outside of the space."""
        return sum(trial.published for trial in self.trials)

    @property
    def needed(self) -> int:
        """So many trials make importance worth a look: two per searched hyperparameter, and `importance.FEWEST`."""
        return max(importance.FEWEST, 2 * len(self.space))

    @cached_property
    def at(self) -> importance.Slice:
        """The trials at the rung at which hyperparameters are compared."""
        rungs = self.rungs or [1]
        return importance.at_rung(self._alike, [*rungs, self.header.epochs], self.needed, self.objective)

    @property
    def enough(self) -> bool:
        """Whether there are so many trials at the rung that something can be said at all."""
        return len(self.at.trials) >= importance.FEWEST

    @property
    def parallel(self) -> str:
        """The figure of parallel coordinates."""
        names = list(self.space)
        values = self.at.values
        axes = [_axis(name.split("/", 1)[1], self.space[name]) for name in names]
        low, high = window(values, self.objective.mode)
        axes.append(hyperparameters.Axis(f"value, epoch {self.at.epoch}", low, high))
        rows = [
            [*(self._place(name, trial.point.get(name)) for name in names), min(max(value, low), high)]
            for trial, value in zip(self.at.trials, values, strict=True)
        ]
        ranked = sorted(range(len(values)), key=lambda i: values[i], reverse=self.objective.mode == "min")
        strength = [0.0] * len(values)
        for rank, index in enumerate(ranked):
            strength[index] = rank / max(1, len(values) - 1)
        return hyperparameters.parallel(
            axes, rows, strength, f"hyperparameters and {self.metric} of trials at one rung"
        )

    def _place(self, name: str, value: Value | None) -> Any:
        """`value` as a figure's axis takes it: the index of a choice; None where it does not exist or is foreign."""
        range_ = self.space[name]
        if value is None or value not in range_:
            return None
        if isinstance(range_, Choice):
            return [type(value) is type(own) and value == own for own in range_.values].index(True)
        return value

    @cached_property
    def importances(self) -> list[tuple[str, float]]:
        """Hyperparameters and their shares in the variance of values at the rung, the largest first."""
        points = [trial.point for trial in self.at.trials]
        found = importance.importances(self.space, points, self.at.values, seed=self.header.seed)
        return list(found.items())

    @property
    def conditional(self) -> list[tuple[str, str]]:
        """Hyperparameters that only some trials have, and their conditions."""
        return [
            (name, " and ".join(f"{parent} is {_spelled(wanted)}" for parent, wanted in range_.when.items()))
            for name, range_ in self.space.items()
            if range_.when
        ]

    @property
    def slices(self) -> list[tuple[str, str]]:
        """Each searched hyperparameter with the figure of values against it, in order of importance."""
        order = [name for name, _ in self.importances]
        made, bounds = [], window(self.at.values, self.objective.mode)
        for name in sorted(self.space, key=lambda name: order.index(name) if name in order else len(order)):
            pairs = [
                (self._place(name, trial.point.get(name)), value, trial)
                for trial, value in zip(self.at.trials, self.at.values, strict=True)
            ]
            there = [(place, value) for place, value, _ in pairs if place is not None]
            mark = next(((p, v) for p, v, trial in pairs if trial is self.found and p is not None), None)
            if there:
                axis = _axis(name, self.space[name])
                made.append((name, hyperparameters.slices(name, axis, there, mark, bounds)))
        return made

    # The winner

    @property
    def starts(self) -> list[dict[str, Any]]:
        """The winner, every published setting and every start point, a row each."""
        tried = [trial for trial in self.trials if _is_start(trial)]
        if not tried or self.winner is None:
            return []
        best = self._best(self.winner)
        rows = []
        for each in [self.winner, *(trial for trial in tried if trial is not self.winner)]:
            finite = each.has_value(self.objective)
            rows.append(
                {
                    "trial": each.number,
                    "winner": each is self.winner,
                    "origin": each.origin,
                    "value": self._best(each) if finite else None,
                    "epochs": f"{len(each.epochs)} of {self._budget(each)}",
                    "state": str(each.state),
                    "difference": f"{self._best(each) - best:+.4f}" if finite and each is not self.winner else "",
                }
            )
        return rows

    @property
    def published(self) -> float | None:
        """The test accuracy that the published setting is said to have."""
        return self.header.published

    @cached_property
    def _examples(self) -> tuple[test_pictures.Examples | None, str]:
        """What the winner made of the test set, or why that cannot be told."""
        if not self._told:
            return None, "The test set was not opened for this winner."
        try:
            found = test_pictures.read(self.folder)
        except EnvironmentFault:
            return None, f"The file {test_pictures.FILE} beside the record is damaged."
        assert self.winner is not None
        if found is None:
            return (
                None,
                f"There is no {test_pictures.FILE} beside the record, and the test set is not opened again for it.",
            )
        if (found.trial, found.epoch) != (self.winner.number, self._told["epoch"]):
            return None, f"The file {test_pictures.FILE} beside the record is of another winner."
        if abs(found.accuracy - self._told["test_accuracy"]) > 1e-9 or len(found.labels) != self._told["images"]:
            return None, f"The file {test_pictures.FILE} beside the record is not of the measurement that is recorded."
        if max(found.labels.max(), found.predicted.max()) >= len(self.classes):
            return None, f"The file {test_pictures.FILE} beside the record has classes that the data does not have."
        return found, ""

    @property
    def no_examples(self) -> str:
        """Why there is nothing to say of single test images, or ""."""
        return self._examples[1]

    @cached_property
    def confusion(self) -> dict[str, Any] | None:
        """How often which class was taken for which: rows of counts, or the most frequent pairs of many classes."""
        found, count = self._examples[0], len(self.classes)
        if found is None:
            return None
        pairs = Counter(zip(found.labels.tolist(), found.predicted.tolist(), strict=True))
        rows = []
        for true in range(count):
            total = sum(pairs[true, taken] for taken in range(count)) if count <= MANY_CLASSES else 0
            total = total or sum(n for (label, _), n in pairs.items() if label == true)
            right = pairs[true, true]
            interval = intervals.share_interval(right, total) if total else None
            row: dict[str, Any] = {"name": self.classes[true], "total": total, "right": right, "interval": interval}
            row["share"] = right / total if total else None
            row["cells"] = [
                (pairs[true, taken], pairs[true, taken] / total if total else 0.0) for taken in range(count)
            ]
            rows.append(row)
        wrong = [(n, true, taken) for (true, taken), n in pairs.items() if true != taken]
        ranked = sorted(wrong, key=lambda each: (-each[0], each[1], each[2]))[:MOST_PAIRS]
        return {
            "rows": rows if count <= MANY_CLASSES else [],
            "worst": sorted((r for r in rows if r["total"]), key=lambda r: r["share"])[:MOST_PAIRS],
            "pairs": [(self.classes[true], self.classes[taken], n) for n, true, taken in ranked],
            "mistakes": sum(n for n, _, _ in wrong),
        }

    @property
    def pictures(self) -> list[dict[str, Any]]:
        """Test images, mistakes first, each as a data URI with truth, prediction and confidence."""
        found = self._examples[0]
        if found is None or str(found.images.dtype) != "uint8" or found.images.shape[1] not in (1, 3):
            return []
        made = []
        # Some sets use few of the 256 levels (digits 17), which would be black on black.
        most = max(1, int(found.images.max()))
        for index, image in list(zip(found.shown.tolist(), found.images, strict=True))[: test_pictures.MOST]:
            true, taken = int(found.labels[index]), int(found.predicted[index])
            bright = (image * (255.0 / most)).astype("uint8")
            made.append(
                {
                    "uri": f"data:image/png;base64,{base64.b64encode(png(bright)).decode()}",
                    "true": self.classes[true],
                    "taken": self.classes[taken],
                    "right": true == taken,
                    "confidence": float(found.confidence[index]),
                }
            )
        return made

    @cached_property
    def regions(self) -> str:
        """The figure of what the winner decides, where data are points in the plane; else ""."""
        if tuple(self.header.shape) != PLANE or self.winner is None:
            return ""
        row = self.winner.best_epoch(self.objective)
        if row.checkpoint is None or row.sha256 is None:
            return ""
        try:
            where = checkpoints.verified(checkpoints.shelf(self.folder), row.checkpoint, row.sha256)
        except EnvironmentFault:
            return ""
        if not (where / ARCHITECTURE).is_file():
            return ""
        points = self._points()
        return _decided(where, points, self.classes) if points else ""

    def _points(self) -> list[tuple[str, Any, Any]]:
        points = []
        if self.data is not None and self.data.shape == PLANE:
            for part, split in (("training", self.data.train), ("validation", self.data.val)):
                points.append((part, split.images.flatten(1).cpu().numpy(), split.labels.cpu().numpy()))
        found = self._examples[0]
        if not points and found is not None and found.images.shape[1:] == PLANE:
            points.append(("test", found.images.reshape(-1, 2), found.labels[found.shown]))
        return points

    # Cost

    @property
    def survival(self) -> list[dict[str, Any]]:
        """Of each rung, and of the full budget: how many trials came to it, how many went on, how many still may."""
        rows = []
        for rung in self.rungs:
            there = [trial for trial in self.trials if len(trial.epochs) >= rung and not trial.exempt]
            open_ = (State.RUNNING, State.INTERRUPTED)
            # One that has more epochs went on, however it ended; one that stands at the rung may be told to still.
            on = sum(len(trial.epochs) > rung for trial in there)
            waiting = sum(len(trial.epochs) == rung and trial.state in open_ for trial in there)
            rows.append({"epoch": rung, "arrived": len(there), "on": on, "waiting": waiting})
        return rows

    @property
    def completed(self) -> int:
        """How many trials got their full budget."""
        return sum(trial.state is State.COMPLETE for trial in self.trials.searched)

    @property
    def saving(self) -> dict[str, Any] | None:
        """Epochs that the search proper trained, those that full budgets would have taken, what stopping saved."""
        searched = self.trials.searched
        trained, whole = sum(len(trial.epochs) for trial in searched), sum(map(self._budget, searched))
        if not trained:
            return None
        stopped = [trial for trial in searched if trial.state is State.STOPPED]
        saved = sum(max(0, self._budget(trial) - len(trial.epochs)) for trial in stopped)
        mean = statistics.fmean(row.seconds for trial in searched for row in trial.epochs)
        return {
            "trained": trained,
            "whole": whole,
            "saved": saved,
            "share": saved / whole,
            "seconds": saved * mean,
            "mean": mean,
            "stopped": len(stopped),
            "other": whole - trained - saved,
        }

    @property
    def edges(self) -> list[dict[str, str]]:
        """Hyperparameters of the winner that lie at an end of their range, where more may lie beyond it."""
        found = []
        for name, value in (self.winner.point if self.winner else {}).items():
            range_ = self.space.get(name)
            if range_ is None or isinstance(range_, Choice) or range_.low == range_.high or value not in range_:
                continue
            place = _axis(name, range_).place(value)
            if min(place, 1 - place) <= EDGE:
                end = "lower" if place <= EDGE else "upper"
                found.append({"name": name, "value": short(value), "end": end, "range": str(range_)})
        return found

    @property
    def failures(self) -> list[dict[str, Any]]:
        """Ends that were nobody's wish: state, how many, and the reasons with how often they came."""
        rows = []
        for state in FAULTS:
            those = [trial for trial in self.trials if trial.state is state]
            if those:
                reasons = Counter(_clipped(trial.why) for trial in those).most_common(3)
                rows.append({"state": str(state), "count": len(those), "reasons": reasons})
        return rows

    @cached_property
    def audit(self) -> dict[str, Any] | None:
        """What became of trials that the scheduler would have stopped, as `audit.document` has it, and in lines."""
        told = audit.document(self.events, self.trials)
        return None if told is None else {**told, "lines": audit.lines(told)}

    # Confirmation

    @cached_property
    def confirmation(self) -> dict[str, Any] | None:
        """What fresh seeds made of the best settings: `rows`, the best first, what is said of them, and the figure."""
        told = confirmed.document(self.header.fixed, self.trials)
        if told is None:
            return None
        control = told["control"]
        rows = [
            {**each, "control": control is not None and each["trial"] == control["trial"]}
            for each in told["candidates"]
        ]
        if control is not None and not any(row["control"] for row in rows):
            rows.append({**control, "control": True})
        rows = [{**row, "winner": row["trial"] == told["winner"]} for row in rows]
        drawn = [
            seeds.Confirmed(
                f"trial {r['trial']}", r["values"], r["mean"], r["interval"], r["search_value"], r["winner"]
            )
            for r in rows
            if r["values"]
        ]
        figure = seeds.confirmation(drawn, self.metric) if drawn else ""
        return {**told, "rows": rows, "figure": figure, "lines": confirmed.lines(told)}

    # Controlled comparison

    @cached_property
    def groups(self) -> list[comparison.Group]:
        """Comparisons with all else equal, if the sampler went over a grid."""
        return comparison.compare(self.space, self.trials) if self.header.sampler == "grid" else []

    @property
    def comparisons(self) -> list[dict[str, Any]]:
        """Each comparison with its figure, as long as there are not too many, and its rows."""
        made = []
        for index, group in enumerate(self.groups):
            levels = [(str(level.value), list(level.curves.values())) for level in group.levels]
            drawn = index < MOST_GROUPS and any(runs for _, runs in levels)
            figure = seeds.comparison(f"comparison-{index}", levels, self.metric) if drawn else ""
            held = setting(group.others)
            made.append({"name": group.name, "others": held, "levels": group.levels, "figure": figure})
        return made

    # Again

    @property
    def again(self) -> list[tuple[str, str]]:
        """Commands, and what each is good for."""
        trial = f" --trial {self.winner.number}" if self.winner else " --trial 0"
        return [
            (self.header.command, "the search, as it was begun"),
            (
                command("replay", self.folder),
                "derives every suggestion and stop anew from the record, and compares",
            ),
            (command("reproduce", self.folder) + trial, "trains a trial again from its seed, and compares"),
            (
                command("resume", self.folder),
                "goes on with it if it was interrupted, or given --trials or --time-budget",
            ),
        ]

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What the numbers depend on: seeds, data, code, versions."""
        header, definition = self.header, self.header.definition
        versions = ", ".join(f"{name} {version}" for name, version in header.versions.items())
        told = [
            ("seed", f"{header.seed}; the one of each trial is made from it and the trial's number"),
            ("sampler, scheduler", f"{header.sampler}, {header.scheduler}"),
            (
                "split",
                f"{definition['val_fraction']:.3g} held out for validation, seed {definition.get('split_seed')}",
            ),
            ("data", f"{header.dataset}: {header.where}"),
            ("data SHA-256", header.digest),
            ("commit", header.commit),
            ("code SHA-256", header.code),
            ("study file SHA-256", header.study_code or ""),
            ("versions", versions),
            (
                "resources",
                f"{header.cpus:g} CPU and {header.gpus:g} GPU{' or none' if header.also_cpus else ''} per trial; "
                f"{header.process.cores or '?'} cores",
            ),
            ("platform", header.platform),
        ]
        return [(name, text) for name, text in told if text]

    @property
    def sessions(self) -> list[dict[str, str]]:
        """Every process that worked on the search: when it began, where, by which command, and how it left."""
        rows: list[dict[str, str]] = []
        for event in self.events:
            if event.kind in BEGINNINGS:
                body = event.body
                began = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(event.at - body.get("after_s", 0.0)))
                told = body.get("resume_command") or body.get("command", "")
                rows.append({"began": began, "node": str(body.get("node", "")), "command": str(told), "left": ""})
            elif event.kind == Kind.FINISHED and rows:
                rows[-1]["left"] = f"{event.body['state']} {event.body.get('why', '')}".strip()
        return rows


def png(image: Any) -> bytes:
    """An image `(C, H, W)` uint8, grey or RGB, as a PNG file."""
    from PIL import Image

    with io.BytesIO() as file:
        Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(file, "PNG", optimize=True)
        return file.getvalue()


def _is_start(trial: Trial) -> bool:
    return trial.published or trial.given


def _axis(name: str, range_: Range) -> hyperparameters.Axis:
    if isinstance(range_, Choice):
        return hyperparameters.Axis(name, choices=tuple(str(value) for value in range_.values))
    return hyperparameters.Axis(name, float(range_.low), float(range_.high), range_.log)


def _spelled(wanted: Any) -> str:
    return " or ".join(map(str, wanted)) if isinstance(wanted, (tuple, list)) else str(wanted)


def _clipped(text: str, most: int = 200) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _decided(where: Path, points: Sequence[tuple[str, Any, Any]], classes: Sequence[str]) -> str:
    import numpy as np
    import torch

    every = np.concatenate([positions for _, positions, _ in points])
    low, high = every.min(0), every.max(0)
    room = 0.08 * np.maximum(high - low, 1e-6)
    xs, ys = (np.linspace(low[i] - room[i], high[i] + room[i], GRID) for i in (0, 1))
    across, up = np.meshgrid(xs, ys)
    places = torch.from_numpy(np.stack([across.ravel(), up.ravel()], 1).astype(np.float32)).view(-1, *PLANE)
    model: Callable[[Any], Any] = load_classifier(where)[1]
    with torch.inference_mode():
        taken = torch.cat([model(batch).argmax(1) for batch in places.split(4096)])
    return regions.regions(xs, ys, taken.view(GRID, GRID).numpy(), points, classes)
