"""A recorded search, made ready to go on: its study, settings and budgets are those of its record."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import spaces
from search import environment
from search.display import Display
from search.errors import BadInput, EnvironmentFault
from search.preflight import Prepared, adapted, surroundings
from search.record import FILE, Event, read
from search.settings import Settings, from_environment, masked
from search.stop import ending_seconds
from search.summary import about, last, objective_of, searches, spent
from search.trials import State, replayed
from spaces.space import SpaceError
from spaces.study import Study, from_plain, to_plain


@dataclass(frozen=True)
class More:
    """What a search is given beyond what it had: so many trials and seconds more; others at a time, if not None."""

    trials: int | None = None
    seconds: float | None = None
    concurrent: int | None = None

    def __post_init__(self) -> None:
        for option, value in (("trials", self.trials), ("concurrent", self.concurrent)):
            if value is not None and value < 1:
                raise BadInput(f"--{option} must be at least 1, but got {value}")


def recalled(folder: Path, events: Sequence[Event], more: More, command: str, display: Display) -> Prepared:
    """The search in `folder`, checked like a new one. Call it with the search's lock held.

    The study is the recorded one, whatever its file says today; only the trainable is imported. More trials come
    without a limit of time, unless more time is given too. Raises EnvironmentFault if the data are not the recorded
    ones, BadInput if the trainable cannot be found.
    """
    how = about(events)
    study = recorded_study(how)
    total, limit = how["trials"] + (more.trials or 0), how["time_budget"]
    if more.seconds is not None:
        limit = more.seconds + (limit if limit is not None else spent(events))
    elif more.trials is not None:
        limit = None
    uri = tracking_uri(folder, events)
    data = how["data"]
    if data is None and how["data_dir"] and not os.environ.get("SEARCH_DATA_DIR") and study.dataset != "digits":
        data = how["data_dir"]
    settings = Settings(
        name=folder.name,
        runs=folder.parent,
        data=Path(data) if data else None,
        trials=total,
        epochs=study.epochs,
        time_budget=limit,
        concurrent=more.concurrent or (how["asked_concurrent"]),
        cpus=how["cpus"],
        gpus=how["gpus"],
        seed=how["seed"],
        sampler=how["sampler"],
        scheduler=how["scheduler"],
        trial_timeout=how["trial_timeout"],
        checkpoint_budget=how["checkpoint_budget"],
        tracking_uri=uri,
        ray_address=from_environment()["ray_address"],
        command=command,
    )
    source, data_set, digest = surroundings(study, settings, display)
    if digest != how["digest"]:
        raise EnvironmentFault(
            f"{folder.name} was searched on other data ({how['where']}, SHA-256 {how['digest'][:12]}…) than there is "
            f"now ({source.where}, {digest[:12]}…); put the recorded data back, or start a new search"
        )
    now = environment.code(how["source"])
    for line in drift(how, now):
        display.warn(f"{line}; trials that go on may come out otherwise")
    changes = {"trials": total, "time_budget": limit, "resume_command": command, "tracking_uri": masked(uri), **now}
    return Prepared(study, settings, source, data_set, {**how, **changes}, tuple(events))


def tracking_uri(folder: Path, events: Sequence[Event] = ()) -> str:
    """Where the search in `folder` reports to: MLFLOW_TRACKING_URI, else what it recorded, else the store beside it.

    Raises EnvironmentFault if the recorded address had a password, which is not recorded.
    """
    given = from_environment()["tracking_uri"]
    try:
        recorded = about(events or read(folder / FILE))["tracking_uri"]
    except EnvironmentFault:  # a damaged record, as the doctor meets it
        recorded = Settings(runs=folder.parent).tracking
    uri: str = given or recorded
    if "***" in uri:
        raise EnvironmentFault(
            f"the search reports to {uri}, and passwords are not recorded; set MLFLOW_TRACKING_URI to the whole address"
        )
    return uri


def recorded_study(how: dict[str, Any]) -> Study:
    """The study of a record, with the trainable that its name or file gives today. Raises BadInput."""
    try:
        return from_plain(how["definition"], spaces.load(how["source"]).trainable)
    except (spaces.UnknownStudy, SpaceError) as error:
        raise BadInput(f"{how['name']} was a search of {how['source']}: {error}") from None


def drift(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What has changed in code and versions, a line for each."""
    lines = [
        f"{name} was {version}, and is {now['versions'][name]}"
        for name, version in then["versions"].items()
        if now["versions"].get(name) != version
    ]
    if then["code"] != now["code"]:
        lines.append("the code of this service has changed since the search began")
    if then["study_code"] != now["study_code"]:
        lines.append(f"the study file {then['source']} has changed since the search began")
    return lines


def something_left(prepared: Prepared) -> bool:
    """Whether a recalled search has trials to run, or its end to come to; else it is finished as it is."""
    events, limit = prepared.past, prepared.settings.time_budget
    trials = replayed(events, objective_of(events))
    openings = [event.id for event in events if event.kind in ("search", "resumed")]
    finished = last([event for event in events if event.id > openings[-1]], "finished")
    if finished.get("state") not in ("done", "failed"):
        return True
    if limit is not None and limit - spent(events) <= ending_seconds(limit):
        return False
    unfinished = any(trial.state in (State.RUNNING, State.INTERRUPTED) for trial in trials)
    return unfinished or len(trials) < prepared.about["trials"] or finished["state"] == "failed"


def closing_event(events: Sequence[Event]) -> tuple[str, int | None, Mapping[str, Any]] | None:
    """What the process of a search would have written in the end, if it died without; None if it has said its word."""
    openings = [event.id for event in events if event.kind in ("search", "resumed")]
    if any(event.kind == "finished" for event in events if event.id > openings[-1]):
        return None
    why = "its process died; the search can be resumed"
    return "finished", None, {"state": "interrupted", "why": why, "wall_s": round(spent(events), 1)}


def existing(study: str, settings: Settings) -> Path | None:
    """The folder that `--resume auto` goes on with: that of `--name`, else the newest search of `study`; or None."""
    if settings.name:
        folder = settings.runs / settings.name
        if folder.exists() and not (folder / FILE).exists():
            raise EnvironmentFault(
                f"{folder} exists and holds no record; it is damaged or of another make, move it away"
            )
        return folder if folder.exists() else None
    wanted = spaces.source(study)
    found = []
    for folder in searches(settings.runs):
        first = read(folder / FILE)[0]
        if first.body["source"] == wanted:
            found.append((first.at, folder))
    return max(found, default=(0.0, None))[1]


def more_by_command(study: str, settings: Settings, events: Sequence[Event]) -> More:
    """What the command of `--resume auto`, given again, adds to the search that is recorded.

    Budgets in it are totals, so that a command that is given twice asks for no more than once. Raises BadInput if it
    asks for another search than the recorded one.
    """
    how = about(events)
    asked, recorded = to_plain(adapted(study, settings)), how["definition"]
    differences = []
    for key in ("dataset", "epochs", "objective", "space", "start", "first_rung", "reduction_factor"):
        if asked[key] != recorded[key]:
            differences.append(f"{key} was {recorded[key]}, asked is {asked[key]}")
    # What "auto" came to was fixed when the search began.
    fixed = {key: value for key, value in recorded["fixed"].items() if key in asked["fixed"]}
    if asked["fixed"] != fixed:
        differences.append(f"fixed were {fixed}, asked are {asked['fixed']}")
    for key in ("seed", "sampler", "scheduler", "cpus", "gpus"):
        if getattr(settings, key) != how[key]:
            differences.append(f"{key} was {how[key]}, asked is {getattr(settings, key)}")
    if how["source"] != spaces.source(study):
        differences = [f"it is of {how['source']}"]
    if differences:
        raise BadInput(f"{how['name']} is another search: {'; '.join(differences)[:400]}; choose another --name")
    seconds = None
    if settings.time_budget and how["time_budget"] and settings.time_budget > how["time_budget"]:
        seconds = settings.time_budget - how["time_budget"]
    trials = max(0, (settings.trials or 0) - how["trials"]) or None
    return More(trials=trials, seconds=seconds, concurrent=settings.concurrent)
