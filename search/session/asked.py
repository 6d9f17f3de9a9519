"""The study that a command asks for: one by name or file, or a script, changed as the settings say."""

from __future__ import annotations

from dataclasses import replace

import spaces
from search import settings as choices
from search.decide.pair import paired
from search.decide.prospects import Judge, cannot_judge
from search.decide.samplers import SAMPLERS
from search.decide.schedulers import SCHEDULERS
from search.errors import BadInput
from search.session import script
from search.session.weights import check_path
from search.settings import Settings
from spaces.objective import Objective, mode_of
from spaces.space import SpaceError
from spaces.study import Study
from spaces.written import parse
from trainables.data import Data
from trainables.evaluation import METRICS
from trainables.script.script import Script
from trainables.started import trains_by_our_loop


def adapted(name: str, settings: Settings, *, before: tuple[str, str] = ("", "")) -> Study:
    """The study called `name`, changed as the settings say. Raises BadInput.

    Where neither names a sampler or a scheduler those of `before` are taken, or what suits the study.
    """
    try:
        changes = {key: parse(text) for key, text in settings.changes.items()}
        study = script.study_of(name, settings, changes) if spaces.is_script(name) else _of_ours(name, settings)
        study = replace(study, epochs=settings.epochs or study.epochs)
        if settings.weights is not None:
            changes["weights/path"] = check_path(study, settings.weights)
        if settings.folds is not None:
            changes["train/folds"] = settings.folds
            if not spaces.is_ours(study.trainable) or isinstance(study.trainable, Script):
                raise BadInput(f"--folds is for networks that our loop trains, and {study.name} has a loop of its own")
        study = study.changed(changes)
        study = _with_pair(study, settings, before)
    except (spaces.UnknownStudy, SpaceError) as error:
        raise BadInput(str(error)) from None
    return study


def _with_pair(study: Study, settings: Settings, before: tuple[str, str]) -> Study:
    """`study` with the names of the sampler and the scheduler that are used. Raises BadInput, SpaceError."""
    saves = trains_by_our_loop(study.trainable) and not isinstance(study.trainable, Script)
    asked = (settings.sampler or study.sampler or before[0], settings.scheduler or study.scheduler or before[1])
    sampler, scheduler = paired(*asked, saves=saves)
    for kind, name, known in (("sampler", sampler, SAMPLERS), ("scheduler", scheduler, SCHEDULERS)):
        if name not in known:
            raise BadInput(choices.nearest(kind, name, sorted(known)))
    study = replace(study, sampler=sampler, scheduler=scheduler)
    made = SAMPLERS[sampler](study, settings.seed)  # a grid needs a space without real numbers
    if SCHEDULERS[scheduler](study).pauses and not isinstance(made, Judge):
        raise BadInput(cannot_judge(sampler, scheduler, SAMPLERS))
    return study


def _of_ours(name: str, settings: Settings) -> Study:
    """The study in a file of studies, for which no option of a script is. Raises BadInput."""
    study = spaces.load(name)
    if settings.arguments:
        told = " ".join(settings.arguments)[:60]
        raise BadInput(f"unexpected extra argument ({told}): a script takes some, but {name} is a study; leave it out")
    for_scripts = {"--report": settings.report, "--style": settings.style, "--test": settings.test}
    given = [flag for flag, value in {**for_scripts, "--model": settings.model}.items() if value]
    if given:
        is_, it = ("are", "them") if len(given) > 1 else ("is", "it")
        raise BadInput(f"{' and '.join(given)} {is_} for a script, but {name} is a study; leave {it} out")
    if settings.metric is None and settings.mode is None:
        return study
    had = study.objective
    metric = settings.metric or had.metric
    mode = settings.mode or (had.mode if metric == had.metric else mode_of(metric))
    return replace(study, objective=Objective(metric, mode))


def check_metric(study: Study, data: Data) -> None:
    """Raise BadInput if our loop never reports what `study` is to be judged by on `data`."""
    metric = study.objective.metric
    if isinstance(study.trainable, Script) or not trains_by_our_loop(study.trainable) or study.objective.weights:
        return
    known = [name for name in METRICS if name != "val_roc_auc" or len(data.classes) == 2]
    if metric not in known:
        raise BadInput(choices.nearest("metric", metric, known))


def to_search(study: Study, settings: Settings) -> Study:
    """`study` with its published settings only if they are to be trained. Raises BadInput if it has none to train."""
    if not settings.published:
        return replace(study, published=())
    if not study.published:
        raise BadInput(f"--published trains the published settings of a study first, but {study.name} has none")
    return study
