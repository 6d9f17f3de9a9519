"""A recorded search, made ready to go on: its study, settings and budgets are those of its record."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import spaces
from search import provenance
from search.errors import BadInput, EnvironmentFault
from search.options import declared
from search.prepared import Prepared
from search.record.events import Event
from search.record.header import Header
from search.record.reader import FILE, read
from search.record.reading import header_of, spent
from search.session import data_read
from search.session.asked import adapted, to_search
from search.session.mlflow_address import address_of
from search.session.prepare import check_confirm, prepare, surroundings
from search.session.script import runnable
from search.session.weights import check_weights
from search.settings import ADJUSTED, More, OfOneCommand, Options, Settings, again, from_environment, masked, recorded
from search.storage import bucket, lock, mirror
from search.storage.runs import searches
from search.telling import Telling
from search.terminal.console import Display
from spaces.ranges import from_plain_range
from spaces.space import SpaceError
from spaces.study import Study, from_plain, script_of, to_plain
from trainables import datasets
from trainables.data import Data
from trainables.epoch import Epoch
from trainables.script.script import Script


@contextmanager
def ready(study: str, settings: Settings, display: Display, *, resume: bool) -> Iterator[Prepared]:
    """A search of `study` that `session.run` can begin; with `resume` the one that exists, if one does, to go on with.

    Call `session.run` inside. Raises SearchError, with nothing written.
    """
    folder = existing(study, settings) if resume else None
    if folder is None:
        yield prepare(study, settings, display)
        return

    def more(events: Sequence[Event]) -> More:
        asked, had = settings.trials, header_of(events).trials
        if asked is not None and asked < had:
            display.say(f"{folder.name} was asked for {had} trials before, so it is not ended at {asked}")
        return more_by_command(study, settings, events)

    given, came = {"source": spaces.source(study)}, provenance.job_folder()
    if settings.data:
        given["data"] = str(settings.data.resolve())
    if came:
        given["job_folder"] = str(came)
    with going_on(folder, more, settings.command, display, given) as prepared:
        yield replace(prepared, settings=replace(prepared.settings, wait_for_resources=settings.wait_for_resources))


@contextmanager
def going_on(
    folder: Path,
    more: Callable[[Sequence[Event]], More],
    command: str,
    display: Display,
    given: Mapping[str, str] | None = None,
    *,
    to_train: bool = True,
) -> Iterator[Prepared]:
    """The search in `folder`, locked, for `session.run` to go on with; `more` sees its events. Raises SearchError.

    `given` are the paths of study (`source`) and `data` as they are today, where the recorded ones were those of a job.
    `to_train` as for `recalled`.
    """
    with lock.held(folder, display.say):
        mirror.pull(folder, holding=True)
        events = read(folder / FILE)
        yield recalled(folder, events, more(events), command, display, given, to_train=to_train)


def recalled(
    folder: Path,
    events: Sequence[Event],
    more: More,
    command: str,
    display: Display,
    given: Mapping[str, str] | None = None,
    *,
    to_train: bool = True,
    to_report: bool = True,
) -> Prepared:
    """The search in `folder`, checked like a new one. Call it with the search's lock held.

    The study is the recorded one, whatever its file says today; only the trainable is imported, and that only
    `to_train`. With `to_report` its runs in MLflow will be written, at an address that is the user's. More trials come
    without a limit of time, unless more time is given too. A search that was confirmed and is given more trials or
    time is reopened: what its search proper left goes on, and then a confirmation follows of what is best by then, in
    which the runs that a setting has had count. Raises EnvironmentFault if the data are not the recorded
    ones, BadInput if the trainable cannot be found.
    """
    # By its folder, whatever it says: what is written later is written there.
    before = replace(header_of(events).changed(given or {}), name=folder.name)
    if to_train and spaces.is_file(before.source) and before.source != (given or {}).get("source"):
        display.say(f"running the code in {before.source}, which the record names")
    study = recorded_study(before, to_train=to_train)
    study = _in_this_job(study, header_of(events[:1]).job_folder, before.job_folder)
    check_weights(study)
    uri = address_of(folder, before.tracking_uri, display.say) if to_report else None
    settings = replace(_settings_again(folder, events, before, more, command), tracking_uri=uri)
    source, data, digest = surroundings(study, settings, display, before)
    if digest != before.digest:
        raise EnvironmentFault(
            f"{folder.name} was searched on other data ({before.where}, SHA-256 {before.digest[:12]}…) than there is "
            f"now ({source.where}, {digest[:12]}…); put the recorded data back, or start a new search"
        )
    now = provenance.code(before.source)
    mine = provenance.users_code(before.source) if to_train and spaces.is_file(before.source) else {}
    for line in drift(before, now):
        display.warn(f"{line}; trials that go on may come out otherwise")
    reports_to = masked(uri) if uri else before.tracking_uri
    changed = {"tracking_uri": reports_to, "resume_command": command, **now, **mine}
    header = replace(before, **recorded(settings), **changed)
    changes = {**{key: getattr(header, key) for key in (*ADJUSTED, *changed)}, **(given or {})}
    if header.confirm and any(
        each.reopens and getattr(more, name) and getattr(header, name) != getattr(before, name)
        for name, each in declared(More).items()
    ):
        changes["reopened"] = True
    return Prepared(study, settings, source, data, header, tuple(events), changes, runs_code=to_train)


def _settings_again(folder: Path, events: Sequence[Event], header: Header, more: More, command: str) -> Settings:
    """The settings with which the search in `folder` goes on. Raises BadInput."""
    trials, limit = header.trials + (more.trials or 0), header.time_budget
    if more.time_budget is not None:
        limit = more.time_budget + (limit if limit is not None else spent(events))
    elif more.trials is not None:
        limit = None
    options = again(header, more)
    check_confirm(options["confirm"], trials)
    data, there = header.data, header.data_dir
    if data is None and there and there in header.where and not os.environ.get("SEARCH_DATA_DIR"):
        data = there  # it was found there by a variable that is no longer set
    return Settings(
        **{**options, "trials": trials, "time_budget": limit},
        name=folder.name,
        runs=folder.parent,
        data=Path(data) if data else None,
        **{name: getattr(more, name) for name in (*declared(OfOneCommand), *declared(Telling))},
        epochs=header.epochs,
        sampler=header.sampler,
        scheduler=header.scheduler,
        ray_address=from_environment()["ray_address"],
        command=command,
    )


def _in_this_job(study: Study, then: str | None, now: str | None) -> Study:
    """`study`, whose script ran in the folder of a job `then`, and runs in that of the job of `now`."""
    mine = study.trainable
    if then is None or now is None or not isinstance(mine, Script) or not Path(mine.folder).is_relative_to(then):
        return study
    return replace(study, trainable=replace(mine, folder=str(Path(now, Path(mine.folder).relative_to(then)))))


def recorded_data(folder: Path, events: Sequence[Event], display: Display, limit: int | None = None) -> Data:
    """The data of the search in `folder`, read again where they are at hand; nothing is downloaded, no code is run.

    Raises BadInput for data that are not there, EnvironmentFault for others than the recorded ones.
    """
    header = header_of(events)
    more = More(data_limit=limit)
    settings = replace(_settings_again(folder, events, header, more, ""), dry_run=True)
    _, data, digest = data_read.read(recorded_study(header, to_train=False), settings, display, header)
    if digest != header.digest:
        raise EnvironmentFault(f"the data are not at hand, or not the recorded ones (SHA-256 {header.digest[:12]}…)")
    return data


def not_read() -> Data:
    """The data of a study that reads its own, and whose code is not run."""
    raise datasets.DataError("the study reads its own data, and this command does not run its code; `resume` does")


def not_run(config: Mapping[str, Any], data: Any, *, resume: Path | None = None) -> Iterator[Epoch]:
    """The trainable of a study whose code is not run."""
    raise AssertionError("a study that is only looked at cannot be trained")


def recorded_study(header: Header, *, to_train: bool = True) -> Study:
    """The study of a record, with the trainable that its name or file gives today.

    Raises BadInput if that can be had no more, EnvironmentFault if the record does not describe a study. Unless it is
    wanted `to_train`, nothing is imported: to look at a search runs no code of its author.
    """
    try:
        script = script_of(header.definition, header.source)
        if script is not None:
            return from_plain(header.definition, runnable(script) if to_train else script)
        if not to_train:
            return from_plain(header.definition, not_run, not_read)
        code = spaces.load(header.source)
        return from_plain(header.definition, code.trainable, code.data)
    except (spaces.UnknownStudy, SpaceError) as error:
        moved = spaces.is_file(header.source) and not os.path.exists(header.source)
        mend = "; if it was moved, `resume --study FILE` names its new place" if moved else ""
        raise BadInput(f"{header.name} was a search of {header.source}: {error}{mend}") from None
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        said = " ".join(str(error).split())[:200]
        raise EnvironmentFault(
            f"the record of {header.name} does not describe a study ({said}); it is damaged"
        ) from None


def drift(then: Header, now: Mapping[str, Any]) -> list[str]:
    """What has changed in code and versions, a line for each."""
    lines = [
        f"{name} was {version}, and is {now['versions'][name]}"
        for name, version in then.versions.items()
        if now["versions"].get(name) != version
    ]
    if then.code != now["code"]:
        lines.append("the code of this service has changed since the search began")
    if then.study_code != now["study_code"]:
        lines.append(
            f"the study file {then.source} has changed since the search began: its code is today's, its space, values "
            "and objective stay as recorded"
        )
    return lines


def existing(study: str, settings: Settings) -> Path | None:
    """The folder that `--resume auto` goes on with: that of `--name`, else the newest search of `study`; or None."""
    if settings.name:
        folder = settings.runs / settings.name
        mirror.pull(folder)
        if bucket.of(folder):
            return folder if (folder / FILE).exists() else None
        if folder.exists() and not (folder / FILE).exists():
            raise EnvironmentFault(
                f"{folder} exists and holds no record; it is damaged or of another make, move it away"
            )
        return folder if folder.exists() else None
    wanted = _from(provenance.job_folder(), spaces.source(study))
    found = []
    for folder in searches(settings.runs):
        try:
            first = read(folder / FILE)[0]
        except EnvironmentFault:
            # To pass over a damaged search of this study would be to start it afresh.
            if folder.name.startswith(f"{Path(study).stem}-"):
                raise
            continue
        header = Header.from_plain(first.body)
        if _from(header.job_folder, header.source) == wanted:
            found.append((first.at, folder))
    return max(found, default=(0.0, None))[1]


def _from(folder: Path | str | None, path: str) -> str:
    """`path` from the `folder` on that came with a job, if it lies there: Ray has it elsewhere for another job."""
    return str(Path(path).relative_to(folder)) if folder and Path(path).is_relative_to(folder) else path


def more_by_command(study: str, settings: Settings, events: Sequence[Event]) -> More:
    """What the command of `--resume auto`, given again, adds to the search that is recorded.

    Budgets in it are totals, so that a command that is given twice asks for no more than once. Raises BadInput if it
    asks for another search than the recorded one.
    """
    header = header_of(events)
    differences = [*_of_the_study(study, settings, header), *_of_the_options(settings, header)]
    if _from(header.job_folder, header.source) != _from(provenance.job_folder(), spaces.source(study)):
        differences = [f"it is of {header.source}"]
    if differences:
        raise BadInput(f"{header.name} is another search: {'; '.join(differences)[:400]}; choose another --name")
    more = {name: getattr(settings, name) for name in declared(More)}
    more["trials"] = max(0, (settings.trials or 0) - header.trials) or None
    if settings.time_budget:
        had = header.time_budget
        more["time_budget"] = max(0.0, settings.time_budget - (spent(events) if had is None else had))
    return More(**more)


def _of_the_study(name: str, settings: Settings, header: Header) -> Iterator[str]:
    """Where the study that `name` and `settings` ask for differs from the recorded one, a line for each."""
    # Not in records from before studies had them.
    pair = {"sampler": header.sampler, "scheduler": header.scheduler}
    had = {"constraint": {}, "published": [], **pair, **header.definition}
    study = adapted(name, settings, before=(had["sampler"], had["scheduler"]))
    # Through JSON, as the recorded one went, which knows no tuples.
    asked = {"constraint": {}, **json.loads(json.dumps(to_plain(to_search(study, settings))))}
    was, is_ = ({each["name"]: from_plain_range(each) for each in plain["space"]} for plain in (had, asked))
    for key in sorted({*was, *is_}):
        if was.get(key) != is_.get(key):
            yield f"{key} was {was.get(key) or 'not searched'}, asked is {is_.get(key) or 'not to search it'}"
    # What the earlier searches have since come to changes nothing of a search that began from them.
    asked_from, had_from = list(settings.warm_start), list(header.warm_start_from)
    if asked_from != had_from:
        yield f"warm start was from {had_from or 'nothing'}, asked is {asked_from or 'nothing'}"
    if settings.experience != header.experience_from:
        was_from, asked_for = header.experience_from or "the runs", settings.experience or "the runs"
        yield f"experience was from {was_from}, asked is {asked_for}"
    if (had_from or header.experience) and all(point in had["start"] for point in asked["start"]):
        asked["start"] = had["start"]
    if not settings.published:  # who does not ask for them may have got them: searches once trained them unasked
        asked["published"] = had["published"]
    same = ("dataset", "epochs", "objective", "constraint", "published", "start", "sampler", "scheduler", "first_rung")
    for key in (*same, "reduction_factor"):
        if asked[key] != had[key]:
            yield f"{key} was {had[key]}, asked is {asked[key]}"
    scripts = [each.get("script", {}) for each in (had, asked)]
    elsewhere = {"folder"} if header.job_folder and provenance.in_job() else set()  # another one in each job
    for name in sorted({*scripts[0], *scripts[1]} - {"switches"} - elsewhere):
        was_so, is_so = (each.get(name) for each in scripts)
        if was_so != is_so:
            yield f"the script's {name} was {was_so}, asked is {is_so}"
    # What "auto" came to was fixed when the search began.
    fixed = {key: value for key, value in had["fixed"].items() if key in asked["fixed"]}
    if asked["fixed"] != fixed:
        yield f"fixed were {fixed}, asked are {asked['fixed']}"


def _of_the_options(settings: Settings, header: Header) -> Iterator[str]:
    """Where the options and data asked for differ from the recorded ones, a line for each."""
    for name in declared(Options):
        if name not in declared(More) and getattr(settings, name) != getattr(header, name):
            yield f"{name} was {getattr(header, name)}, asked is {getattr(settings, name)}"
    for name in ("group_by", "skip_broken"):
        if getattr(settings, name) != getattr(header, name):
            yield f"{name} was {getattr(header, name)}, asked is {getattr(settings, name)}"
    if settings.val_as_test != header.val_as_test:
        yield f"val_as_test was {header.val_as_test}, asked is {settings.val_as_test}"
    if settings.image_size is not None and [settings.image_size] * 2 != list(header.shape[1:]):
        yield f"image_size was {header.image_size or header.shape[1]}, asked is {settings.image_size}"
    came = provenance.job_folder()
    if settings.data and _from(came, str(settings.data.resolve())) != _from(header.job_folder, header.data or ""):
        yield f"data was {header.data or header.where}, asked is {settings.data}"
