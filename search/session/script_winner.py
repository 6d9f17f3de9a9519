"""The winner of a script: measured once by its own program, and the model that it kept, made ready to be logged."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from search.decide.search import Search
from search.errors import EnvironmentFault
from search.findings import winner_model
from search.prepared import Prepared
from search.record.events import WinnerTested
from search.record.trial import EpochRow, Trial
from search.session.own_mlflow import place_for_trials
from search.storage import inside, mirror
from search.storage.runs import TRIALS, home_of
from search.terminal.console import Display
from search.tracking.exam import Exam
from search.tracking.forms import Form
from search.tracking.kept_model import ONNX, KeptFile, KeptGraph, KeptOnnx, NoGraph
from search.tracking.trial_run import active
from trainables import exported
from trainables.script.failures import ScriptFailed
from trainables.script.folder import FILES
from trainables.script.measured import ACCURACY, measured
from trainables.script.script import Script

TEST = "test"
"""In the folder of a trial: where its program measures what it has kept."""
GRAPHS = (".pt2", ONNX)
"""Files that can be run without their author's code."""


def test(prepared: Prepared, search: Search, trial: Trial, checkpoint: Path | None, display: Display) -> None:
    """Have the program of a script measure its winner `trial`, which kept `checkpoint`, and record what it says; once.

    Raises EnvironmentFault if it says nothing, or this process runs none of its code.
    """
    script, row = prepared.study.trainable, trial.best_epoch(search.study.objective)
    assert isinstance(script, Script)
    if script.test is None:
        display.say(f"{script.name} is asked for no test (--test), so the winner is not tested")
        return
    if trial.tested_at_best(search.study.objective) is not None:
        return
    name, folder = prepared.header.name, prepared.settings.runs / prepared.header.name
    if not prepared.runs_code:
        raise EnvironmentFault(
            f"the winner is to be measured by {script.name}, which this command does not run; `resume` does"
        )
    again = any(each.tested for each in search.trials)
    display.say(
        f"{script.tester().name} measures trial {trial.number} on its test set, "
        f"{'AGAIN, for another winner' if again else 'once'}"
    )
    if checkpoint is None:
        display.warn("the winner kept nothing, so its test run begins with an empty {folder}")
    mlflow = place_for_trials(prepared, lambda said: None)  # who listens has heard it before the trials
    try:
        with active(mlflow, trial.number):
            told = measured(script, search.config(trial), _place(folder, trial), checkpoint)
    except (ScriptFailed, ValueError) as error:
        raise EnvironmentFault(f"the winner was not tested: {error}; mend that, then resume {name}") from None
    if told.note:
        display.warn(told.note)
    beyond = {name: value for name, value in told.metrics.items() if name not in ACCURACY}
    body = WinnerTested(trial.number, row.number, told.accuracy, None, told.images, beyond or None)
    search.note(body, trial.number)


def served(
    prepared: Prepared, trial: Trial, row: EpochRow, checkpoint: Path | None, display: Display
) -> tuple[Form | KeptFile, Exam | None] | None:
    """The model that the winner `trial` kept in `checkpoint`, after its best epoch `row`, and the exam it must pass.

    A file that cannot be run without its author's code has none. None, with a warning, if there is no model.
    """
    script = prepared.study.trainable
    assert isinstance(script, Script)
    if not script.model:
        display.warn(f"no file is said to be the model of {script.name} (--model FILE), so none is registered")
        return None
    file = checkpoint / FILES / script.model if checkpoint is not None else None
    if file is None or not file.is_file():
        there = sorted(each.name for each in (checkpoint / FILES).rglob("*")) if checkpoint else []
        kept = f"it kept {', '.join(there[:5])}" if there else "it kept nothing"
        display.warn(f"the winner had no {script.model} after epoch {row.number}, so none is registered; {kept}")
        return None
    if file.suffix in GRAPHS:
        try:
            form = _graph(file, prepared.settings.runs / prepared.header.name, trial, row)
            return form, form.exam()
        except (NoGraph, ValueError) as error:
            display.warn(f"{file.name} is registered as a file and not as a model: {error}")
    display.say(f"{file.name} is registered as a file: it takes the code of {script.name} to use it")
    return KeptFile(file), None


def digest(script: Script) -> str:
    """What stands for the data of a script, which nobody else reads: two tests are of the same if this is."""
    plain = [script.name, list(script.arguments), list(script.test or ())]
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()


def _graph(file: Path, folder: Path, trial: Trial, row: EpochRow) -> KeptGraph | KeptOnnx:
    """The graph in `file`; one of torch is kept beside the record, as that of a network is. Raises ValueError."""
    if file.suffix == ONNX:
        return KeptOnnx(file)
    path = winner_model.kept(folder, trial, row)
    if path is None:
        path = folder / winner_model.FILE
        exported.adopt(file, path, winner_model.about(trial, row))
        mirror.push(path)
    return KeptGraph(path)


def _place(folder: Path, trial: Trial) -> Path:
    """A new folder for the test run of `trial`. Raises EnvironmentFault where a link is in the way."""
    homes, name = folder.resolve() / TRIALS, f"{home_of(trial.number)}/{TEST}"
    homes.mkdir(exist_ok=True)
    inside.remove(homes, name)
    inside.make(homes, name)
    return homes / name
