"""All that can be checked before Ray starts; nothing is written here but what experience keeps of earlier searches."""

from __future__ import annotations

import difflib
import inspect
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import spaces
from search import provenance
from search import settings as choices
from search.decide.samplers.grid import grid
from search.decide.schedulers import SCHEDULERS
from search.engine import ray_session
from search.engine.worker import send_along
from search.errors import BadInput, EnvironmentFault, NameInUse
from search.prepared import Prepared
from search.record.header import Header
from search.record.reader import FILE
from search.session import data_read, experience, script
from search.session.asked import adapted, check_metric, to_search
from search.session.warm_start import warmed
from search.session.weights import with_weights
from search.settings import Settings
from search.storage import bucket, mirror
from search.terminal.console import Display
from search.tracking import store
from spaces.study import Study, to_plain
from trainables.data import Data
from trainables.datasets import Source
from trainables.device import pick_device
from trainables.epoch import takes_resume
from trainables.request import brightest
from trainables.started import started

OWN = "photos"
"""The data set of a study that has none of its own."""

OF_THE_DEVICE = ("train/precision", "train/channels_last")
"""What "auto" comes to on one device, and may not on another."""


def prepare(name: str, settings: Settings, display: Display) -> Prepared:
    """Check all that can be checked without Ray; begins nothing. Raises SearchError."""
    whole = adapted(name, settings)
    if settings.data is None and whole.dataset == OWN:
        raise BadInput(f"{whole.name} is for photos of your own: give --data PATH, a folder with one folder per class")
    study = to_search(whole, settings)
    settings = replace(settings, sampler=study.sampler, scheduler=study.scheduler)
    trials = _trials(study, settings.trials or study.trials)
    check_confirm(settings.confirm, trials)
    _check_name(study, settings)
    experience.check(study, settings)
    study, taken = warmed(study, settings.warm_start, settings.runs)
    for each in taken:
        display.say(f"start point from {each}")
    _check_trainable(study, from_file=spaces.is_file(name))
    for line in script.notes(name):
        display.warn(line)
    study = script.asked(study, display)
    source, data, digest = surroundings(study, settings, display)
    check_metric(study, data)
    study = data_read.with_folds(study, source, settings)
    study = with_weights(study, display, download=not settings.dry_run)
    study, learned, notes = _with_experience(study, source, data, digest, settings, display)
    for line in notes:
        display.warn(line)
    idle = ray_session.idle_gpus(settings)
    if idle:
        display.warn(
            f"trials train on processors, though this machine has {idle} GPU{'s' * (idle > 1)}; --gpus 1 gives each "
            "trial one, --gpus 0.25 a quarter"
        )
    resolved = replace(settings, trials=trials, time_budget=settings.time_budget or study.time_budget)
    header = replace(
        _header(spaces.source(name), study, resolved, source, data, digest),
        # A claim about a data set says nothing of another one.
        published=whole.published[0].test_accuracy if _claim_holds(whole, source, settings) else None,
        warm_start=[each.plain() for each in taken],
        experience=[each.plain() for each in learned],
    )
    return Prepared(study, settings, source, data, header)


def _with_experience(
    study: Study, source: Source, data: Data, digest: str, settings: Settings, display: Display
) -> tuple[Study, list[experience.Learned], list[str]]:
    """`_rehearsed` of `study` with what earlier searches taught, unless that cannot run on these data."""
    known, learned = experience.experienced(study, source, digest, settings, display)
    try:
        known, notes = _rehearsed(known, data, settings)
    except BadInput as error:
        if not learned:
            raise
        study, notes = _rehearsed(study, data, settings)
        display.warn(f"no start point from experience is used: {error}")
        return study, [], notes
    for each in learned:
        display.say(f"start point from experience: {each}")
    return known, learned, notes


def _header(path: str, study: Study, settings: Settings, source: Source, data: Data, digest: str) -> Header:
    """What is said of a search of the study at `path`, whose budgets are those of `settings`."""
    came = provenance.job_folder()
    return Header(
        study=study.name,
        about=study.about,
        experiment=study.name + ("-stand-in" if source.stand_in else ""),
        dataset=source.name,
        where=source.where,
        stand_in=source.stand_in,
        digest=digest,
        train_images=len(data.train),
        val_images=len(data.val),
        classes=list(data.classes),
        shape=list(data.shape),
        **data_read.header_fields(source, settings),
        brightest=brightest(data.val.images),
        objective=study.objective,
        space={key: str(range_) for key, range_ in study.ranges.items()},
        fixed=dict(study.fixed),
        start=[dict(point) for point in study.start],
        warm_start_from=list(settings.warm_start),
        experience_from=settings.experience,
        trains=spaces.trained_by(study.trainable),
        epochs=study.epochs,
        rungs=list(SCHEDULERS[study.scheduler](study).rungs),
        sampler=study.sampler,
        scheduler=study.scheduler,
        tracking_uri=choices.masked(settings.tracking),
        command=settings.command,
        definition=to_plain(study),
        source=path,
        job_folder=str(came) if came else None,
        data=str(settings.data.resolve()) if settings.data else None,
        data_dir=os.environ.get("SEARCH_DATA_DIR") if settings.data is None else None,
        user=provenance.user(),
        **choices.recorded(settings),
        **provenance.code(path),
        **(provenance.users_code(path) if spaces.is_file(path) else {}),
    )


def _check_name(study: Study, settings: Settings) -> None:
    """Raise NameInUse if a search has the name already, BadInput if none can be made of the study's."""
    if settings.name:
        _free(settings.runs / settings.name)
        return
    try:
        choices.check_name(f"{study.name}-1")
    except BadInput:
        raise BadInput(
            f"a search is named after its study, but {study.name!r} is not made of letters, digits, '.', '_' and "
            "'-'; rename the file, or give --name"
        ) from None


def _free(folder: Path) -> None:
    """Raise NameInUse if the search that is to be made in `folder` exists."""
    mirror.pull(folder)
    mirrored = bucket.of(folder) is not None
    if (folder / FILE).exists() or (folder.exists() and not mirrored):
        where = bucket.shown(folder.parent)
        raise NameInUse(f"a search named {folder.name} exists in {where}; choose another --name, or remove that one")


def check_confirm(confirm: int | None, trials: int) -> None:
    """Raise BadInput if more are to be confirmed than there will be."""
    if confirm is not None and confirm > trials:
        raise BadInput(
            f"--confirm must be at most the number of trials, which is {trials}, but got {confirm}; "
            "confirm fewer, or search more with --trials"
        )


def _trials(study: Study, asked: int) -> int:
    """How many trials there will be at most: a grid has no more than its points."""
    return min(asked, len(study.published) + len(grid(study.ranges))) if study.sampler == "grid" else asked


def _claim_holds(study: Study, source: Source, settings: Settings) -> bool:
    """Whether what is published was said of these data, and the setting, if trained, gets the epochs it was said of."""
    if not study.published or source.name != study.dataset or source.stand_in:
        return False
    if not settings.published:
        return True
    config = study.published[0].config
    return study.epochs_of(config) == config["train/epochs"]


def surroundings(
    study: Study, settings: Settings, display: Display, before: Header | None = None
) -> tuple[Source, Data, str]:
    """Check storage, resources and MLflow, and read the data as `data_read.read` does."""
    _writable(settings.runs)
    ray_session.available_locally(settings)
    store.probe(settings.tracking)
    return data_read.read(study, settings, display, before)


def _rehearsed(study: Study, data: Data, settings: Settings) -> tuple[Study, list[str]]:
    """Call the trainable at the start points and the corners of the space, without training: bad values show now.

    Returns the study with what "auto" comes to on this machine's processor fixed, so that all trials compute alike,
    here and after a resume; on GPUs each worker finds out for its own what depends on the device. Only what is the same
    at every point that leaves it open is fixed: what is worked out at one point is no setting of another. With it come
    the lines that the trainable has for the user.
    """
    notes: dict[str, None] = {}
    points = [*(each.config for each in study.published), *study.start, *study.ranges.corners().values()]
    resolved: dict[str, set[Any]] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, int(settings.cpus)))  # as in a worker, where the answer is to hold
    try:
        for point in points:
            config = study.full_config(point, seed=0)
            _check_device(str(config.get("train/device", "auto")), settings)
            # Weights are made on the processor, wherever the trials will run.
            try:
                epochs = started(study.trainable, {**config, "train/device": "cpu"}, data)
            except (TypeError, ValueError, OverflowError, RuntimeError, MemoryError) as error:
                hint = _misspelt(study, settings)
                raise BadInput(f"{hint}{study.name} cannot run with {_short(point)}: {error}") from None
            # Whatever a user's code does, sys.exit too; of many kinds the text alone says nothing.
            except (Exception, SystemExit) as error:
                raise BadInput(
                    f"{study.name} cannot run with {_short(point)}: {type(error).__name__}: {error}"
                ) from None
            if not isinstance(epochs, Iterator):
                raise BadInput(
                    f"the trainable of {study.name} returned a {type(epochs).__name__}, but must be a generator: "
                    "let it `yield Epoch(number, metrics, model=…)` after each epoch"
                )
            notes.update(dict.fromkeys(getattr(epochs, "notes", ())))
            for key, value in getattr(epochs, "resolved", {}).items():
                resolved.setdefault(key, set()).add(value)
    finally:
        torch.set_num_threads(threads)
    if settings.gpus or torch.backends.mps.is_available():
        resolved = {key: values for key, values in resolved.items() if key not in OF_THE_DEVICE}
    same = {key: values.pop() for key, values in resolved.items() if len(values) == 1 and key not in study.ranges}
    return replace(study, fixed={**same, **study.fixed}), [*notes]


def _misspelt(study: Study, settings: Settings) -> str:
    """What may be meant by names that --set gave and nobody else knows, "" if there are none."""
    known = [name for name in (*study.ranges, *study.fixed) if name not in settings.changes]
    near = {name: difflib.get_close_matches(name, known, n=1, cutoff=0.8) for name in settings.changes}
    return "".join(f"--set {name}: did you mean {found[0]}? " for name, found in near.items() if found)


def _check_trainable(study: Study, *, from_file: bool) -> None:
    try:
        going_on = {"resume": None} if takes_resume(study.trainable) else {}
        inspect.signature(study.trainable).bind({}, None, **going_on)
    except TypeError as error:
        raise BadInput(
            f"the trainable of {study.name} must be a generator function (config, data) or (config, data, *, "
            f"resume=None): {error}"
        ) from None
    except ValueError:  # written in C; its call will tell
        pass
    if not from_file:  # whose code travels as files
        send_along(study.trainable)


def _check_device(name: str, settings: Settings) -> None:
    try:
        kind = pick_device(name).type if name != "auto" else "cpu"
    except ValueError as error:
        raise BadInput(str(error)) from None
    if kind == "cuda" and not settings.gpus:
        raise BadInput(f"train/device={name} needs GPUs for the trials; add --gpus 1, or leave the device out")
    if kind == "cuda" and settings.also_cpus:
        raise BadInput(f"train/device={name} leaves nothing to --also-cpus; leave one of them out")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise BadInput(f"train/device={name}, but this machine has no such device; leave the device out")


def _short(point: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in point.items()) or "its fixed values"


def _writable(runs: Path) -> None:
    storage = bucket.of(runs)
    if storage is not None:
        storage.check()
        runs.mkdir(parents=True, exist_ok=True)
    copy = provenance.job_folder()
    if copy and runs.resolve().is_relative_to(copy):
        raise EnvironmentFault(
            f"{runs} would lie in Ray's copy of the working folder, which is deleted with the job; give --runs with an "
            "absolute path, to a folder that all nodes share"
        )
    try:
        existing = next(folder for folder in [runs, *runs.resolve().parents] if folder.exists())
    except OSError as error:  # a name too long
        raise EnvironmentFault(f"no runs can be kept in {runs} ({error.strerror}); choose another --runs") from None
    if not existing.is_dir():
        raise EnvironmentFault(f"{existing} is no folder, so no runs can be kept there; choose another with --runs")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise EnvironmentFault(
            f"no runs can be kept in {runs} ({error.strerror}); choose another with --runs"
        ) from None
