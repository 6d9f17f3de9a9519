"""The end of a search: the test set is opened, here and only here, once, for the winner alone."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

from search.decide.search import Search
from search.errors import EnvironmentFault, SearchError, SearchFailed
from search.findings import model_card, predictions
from search.findings.snapshot import Snapshot
from search.findings.worth import against_the_largest_class
from search.prepared import Prepared
from search.record.events import InMLflow, WinnerTested
from search.record.state import State
from search.record.trial import EpochRow, Trial
from search.session import script_winner
from search.session.obtained import obtained
from search.settings import masked
from search.storage import checkpoints, mirror
from search.terminal.console import Display
from search.tracking.exam import Exam, OnImages
from search.tracking.forms import Form, OfImages
from search.tracking.kept_model import KeptFile
from search.tracking.registry import Card, Winner, registry
from spaces.study import Objective
from trainables.data import Split
from trainables.datasets import Source, file_names_of_val
from trainables.evaluation import examined
from trainables.folds import SERVED
from trainables.script.script import Script


def winner(search: Search) -> Trial:
    """The best trial. Raises SearchFailed, with the most frequent reason, if no trial has a finite value."""
    best = search.trials.best()
    if search.hopeless():
        found = f"; best so far: trial {best.number}, {_worth(search, best)}" if best is not None else ""
        left = (search.rules.trials or search.study.trials) - len(search.trials.searched)
        given_up = f"; {left} trials were not begun" if left > 0 else ""
        raise SearchFailed(f"the last trials all failed, the last with: {search.streak.why}{given_up}{found}")
    if best is not None:
        return best
    reasons = Counter(trial.why for trial in search.trials)
    if not reasons:
        raise SearchFailed("the time budget was spent before a trial began; give more with --time-budget")
    if not any(reasons):  # all of them still ran
        raise SearchFailed(
            f"the search ended before any of {len(search.trials)} trials had come to its first result; give more with "
            "--time-budget, or make an epoch cheaper (smaller images or network, no folds)"
        )
    why, count = reasons.most_common(1)[0]
    raise SearchFailed(f"none of {len(search.trials)} trials has a result; the most frequent end ({count}): {why}")


def _worth(search: Search, trial: Trial) -> str:
    objective = search.study.objective
    return f"{objective.metric} {trial.best_value(objective):.4f}"


def key_of(search_id: str, trial: Trial, objective: Objective) -> str:
    """What names the best epoch of `trial` for good, in MLflow too."""
    return f"{search_id}/{trial.number}/{trial.best_epoch(objective).number}"


def measure_winner(search: Search, trial: Trial, source: Source, folder: Path, form: OfImages) -> float | None:
    """The test accuracy (0 to 1) of the best epoch of `trial`, recorded; None if the data has no test part.

    `folder` is that of the search, `form` has the network.

    Once it is in the record, the test set stays closed: a search that goes on after a crash reads it there. What the
    winner made of each image is kept beside the record, from the same opening, for those who want to see its mistakes.
    Raises StorageFull where there is no room for it, EnvironmentFault if the checkpoint is missing or damaged.
    """
    row = trial.best_epoch(search.study.objective)
    known = trial.tested_at_best(search.study.objective)
    if known is not None:
        return known.test_accuracy
    assert row.checkpoint is not None
    assert row.sha256 is not None
    checkpoints.verified(checkpoints.shelf(folder), row.checkpoint, row.sha256)
    if source.test is None:
        return None
    model = form.network()
    try:
        split = Split(*source.test())
    except Exception as error:  # a user's own code may read it; whatever it does, the search itself has succeeded
        why = " ".join(str(error).split())[:300] or type(error).__name__
        raise EnvironmentFault(f"the test part cannot be read ({why}); mend that, then resume") from error
    metrics, predicted, confidence = examined(model, split)
    files = source.file_names("test") if source.file_names else ()
    kept = predictions.chosen(trial.number, row.number, split, predicted, confidence, files)
    # Before the event, because once that is written nothing may open the test set again.
    mirror.push(predictions.write(folder, kept))
    accuracy, loss = metrics.pop("val_accuracy"), metrics.pop("val_loss")
    beyond = {name.removeprefix("val_"): value for name, value in metrics.items()}
    low, chance = against_the_largest_class(search.study.objective.metric, split.labels, predicted)
    tested = WinnerTested(trial.number, row.number, accuracy, loss, len(split), beyond, low, chance)
    search.note(tested, trial.number)
    return accuracy


def keep_val(prepared: Prepared, trial: Trial, row: EpochRow, folder: Path, form: OfImages) -> None:
    """Keep what the winner makes of the validation part beside the record, so that its mistakes can be looked at.

    Of folds there is nothing to keep: the network that is served was trained on all. Raises as `measure_winner`.
    """
    val = prepared.data.val
    if SERVED in row.metrics or not len(val):
        return
    with contextlib.suppress(EnvironmentFault):  # damaged: it is made again
        known = predictions.read(folder, predictions.OF_VAL)
        if known is not None and (known.trial, known.epoch) == (trial.number, row.number):
            return
    _, predicted, confidence = examined(form.network(), val)
    study, split = prepared.study, prepared.header.split
    files = file_names_of_val(prepared.source, split, val_fraction=study.val_fraction, seed=study.split_seed)
    kept = predictions.chosen(trial.number, row.number, val, predicted, confidence, files)
    mirror.push(predictions.write(folder, kept, predictions.OF_VAL))


def crown(prepared: Prepared, search: Search, folder: Path, display: Display) -> Winner | None:
    """Measure the winner on the test set; None, with a warning, if there is no network that could be measured.

    `folder` is that of the search. Raises SearchFailed if there is no winner, EnvironmentFault if its checkpoint is
    missing or damaged, StorageFull if there is no room for what it made of the images.
    """
    header, shelf = prepared.header, checkpoints.shelf(folder)
    best = winner(search)
    if best.state is not State.COMPLETE:
        display.warn("no trial had time for its full budget; the winner is the best of those that got furthest")
    row = best.best_epoch(search.study.objective)
    checkpoint = None
    if row.checkpoint is not None and row.sha256 is not None:
        checkpoint = checkpoints.verified(shelf, row.checkpoint, row.sha256)
    if isinstance(search.study.trainable, Script):
        found = _of_script(prepared, search, best, checkpoint, display)
    else:
        found = _of_network(prepared, search, best, checkpoint, display)
    if found is None:
        return None
    form, exam = found
    tested = best.tested_at_best(search.study.objective)
    script = search.study.trainable
    return Winner(
        study=search.study.name,
        search=header.name,
        key=key_of(header.id, best, search.study.objective),
        form=form,
        exam=exam,
        test_accuracy=tested.test_accuracy if tested is not None else None,
        no_better=tested is not None and tested.no_better,
        data_digest=script_winner.digest(script) if isinstance(script, Script) else header.digest,
        dataset=header.dataset,
        classes=tuple(header.classes),
        shape=tuple(header.shape),
        card=_card(folder) if isinstance(exam, OnImages) else None,
        brightest=header.brightest,
    )


def _card(folder: Path) -> Card:
    """What gives the model card of the winner, as the record in `folder` has it by now."""
    kept = Snapshot.read(folder)

    def card(uri: str, longest: int | None) -> str:
        return model_card.build(kept, uri, longest=longest)

    return card


def _of_script(
    prepared: Prepared, search: Search, best: Trial, checkpoint: Path | None, display: Display
) -> tuple[Form | KeptFile, Exam | None] | None:
    """What a script kept of its winner, measured by the script; None, with a warning, if that is no model."""
    mine = search.study.trainable
    assert isinstance(mine, Script)
    if mine.test is None and not mine.model:
        kept = "its settings are recorded" if checkpoint is None else "its checkpoint is kept"
        display.warn(
            f"{mine.name} was given no --test and no --model, so the winner is neither tested nor registered; {kept}"
        )
        return None
    script_winner.test(prepared, search, best, checkpoint, display)
    return script_winner.served(prepared, best, best.best_epoch(search.study.objective), checkpoint, display)


def _of_network(
    prepared: Prepared, search: Search, best: Trial, checkpoint: Path | None, display: Display
) -> tuple[Form | KeptFile, Exam | None] | None:
    """The network of the winner, measured here; None, with a warning, if there is none that could be."""
    objective = search.study.objective
    row, folder = best.best_epoch(objective), prepared.settings.runs / prepared.header.name
    if checkpoint is None or "val_accuracy" not in row.metrics:
        why = "kept no checkpoint" if checkpoint is None else "was yielded without val_accuracy"
        kept = "its settings are recorded" if checkpoint is None else "its checkpoint is kept"
        display.warn(f"the winner {why}, so it is neither tested nor registered; {kept}")
        return None
    form = obtained(prepared, search, best, row, checkpoint, display)
    if form is None:
        return None
    keep_val(prepared, best, row, folder.resolve(), form)
    if prepared.source.test is None:
        display.say("the data has no test part, so the winner is not tested")
    elif best.tested_at_best(objective) is None:
        again = any(trial.tested for trial in search.trials)
        display.say(
            f"measuring trial {best.number} on the test set, {'AGAIN, for another winner' if again else 'once'}"
        )
    measure_winner(search, best, prepared.source, folder.resolve(), form)
    tested = best.tested_at_best(objective)
    if tested is not None and tested.no_better:
        display.warn(
            f"THE WINNER IS NO BETTER THAN ALWAYS SAYING THE LARGEST CLASS: at least {tested.low:.3f} of the test set, "
            f"with 95 % confidence, where that gives {tested.chance:.3f}; it is not made champion"
        )
    return form, OnImages(prepared.data.val, row.metrics, prepared.header.classes)


def publish(prepared: Prepared, model: Winner, place: InMLflow, instead: str) -> InMLflow:
    """Log and register the winner's model in the runs at `place`, and return where all that is in MLflow.

    Safe to repeat. Raises EnvironmentFault if MLflow does not take it, or gives back another model; the message names
    the command to use `instead`, later.
    """
    run_id, experiment = place.parent_run_id, place.experiment_id
    assert run_id is not None
    assert experiment is not None
    try:
        with registry(prepared.settings.tracking) as models:
            logged = models.log(model, run_id, experiment)
            registered = {} if prepared.header.stand_in else models.register(model, logged, run_id)
    except SearchError:
        raise
    except Exception as error:  # MLflow, its store or the disk; the search itself has succeeded
        why = " ".join(masked(str(error)).split())[:300]
        raise EnvironmentFault(
            f"MLflow did not take the model ({why}); its checkpoint is kept, `{instead}` tries again"
        ) from error
    return replace(place, **{"model_uri": logged, "winner": model.key, **registered})
