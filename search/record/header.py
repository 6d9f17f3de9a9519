"""What a search is and how it runs: the body of a record's first event, as a type.

The keys of that body are the names of the fields. What earlier versions did not write has the default that it had for
them; what a later version writes, and this one does not know, is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from search.options import declared
from search.record.contents import Contents
from search.settings import Options
from spaces.study import Objective
from spaces.values import Config, Value, config_from_plain, config_to_plain


@dataclass(frozen=True)
class Process:
    """A process that works on a search, and what it found there; all zero before one does.

    `concurrent` trials run at a time on `cores`; `after_s` seconds after its command it wrote its first event.
    """

    concurrent: int = 0
    cores: float = 0.0
    pid: int = 0
    node: str = ""
    after_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Header(Options):
    """What a search is and how it runs; of several processes that worked on it, as the last one ran it.

    `where`, `digest` (SHA-256), `classes` and `shape` (C, H, W) are of the data, `experiment` is MLflow's. Pictures
    were fitted to `image_size`, None if they stayed as they are; `skip_broken` and `group_by` are how they were read;
    `split` says how the train part was parted ("own": the validation part is the data's own), `val_as_test` that their
    validation part is the test part, and `notes` what had to be said; `contents` is what was found in data of a user's
    own, None of others and in records of earlier versions. `brightest` is the brightest grey level, see
    `trainables.request.brightest`. `fixed` and `space` are the hyperparameters,
    those of a space as text; `definition` is the whole study, which `source` names: a name, or the path of a file.
    `job_folder` is the folder that came with a job of a cluster; study file and `data` in it have another path in every
    job. `commit` is of this service; `study_commit` and `study_diff` are of a user's own code, in its checkout.
    `published` is the test accuracy to beat, as claimed. `warm_start` and `experience` are the start points that were
    taken from earlier searches, `warm_start_from` and `experience_from` from where they were asked for (None: from the
    runs folder); `trains` says whose code trains (`spaces.trained_by`), "" in records of earlier versions. The options
    are as asked for, but for the budgets, which are what the study comes to; None is no limit. `name`, `id`,
    `started_at` (seconds since 1970) and `process` are of a search that has begun.
    """

    study: str
    about: str
    experiment: str
    dataset: str
    where: str
    stand_in: bool
    digest: str
    train_images: int
    val_images: int
    classes: Sequence[str]
    shape: Sequence[int]
    image_size: int | None = None
    skip_broken: bool = False
    group_by: str | None = None
    split: str = "shuffled"
    val_as_test: bool = False
    notes: Sequence[str] = ()
    contents: Contents | None = None
    brightest: int = 255
    objective: Objective
    space: Mapping[str, str]
    fixed: Mapping[str, Value]
    start: Sequence[Config]
    published: float | None = None
    warm_start: Sequence[Mapping[str, Any]] = ()
    warm_start_from: Sequence[str] = ()
    experience: Sequence[Mapping[str, Any]] = ()
    experience_from: str | None = None
    trains: str = ""
    epochs: int
    rungs: Sequence[int]
    trials: int = field()  # here it is known
    sampler: str
    scheduler: str
    tracking_uri: str
    command: str
    definition: Mapping[str, Any]
    source: str
    job_folder: str | None = None
    data: str | None
    data_dir: str | None
    user: str
    versions: Mapping[str, str]
    platform: str = ""
    commit: str
    code: str
    study_code: str | None
    study_commit: str = ""
    study_diff: str = ""
    resume_command: str = ""
    name: str = ""
    id: str = ""
    started_at: float = 0.0
    process: Process = Process()

    @property
    def at_a_time(self) -> int | str:
        """How many trials run at once, for people: before a process has counted, what was asked for."""
        return self.process.concurrent or self.concurrent or "as many as fit"

    def full_config(self, point: Mapping[str, Value]) -> dict[str, Any]:
        """Every hyperparameter of a trial at `point`: what was fixed and what was searched."""
        return dict(sorted({**self.fixed, **point}.items()))

    def to_plain(self) -> dict[str, Any]:
        """As a record and `--json` show it: without what is not known before a search has begun."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        plain = {
            name: value for name, value in own.items() if name not in (*declared(Options), *NOT_ALWAYS, *OF_PICTURES)
        }
        plain |= {name: own[name] for name in declared(Options)}
        plain |= {"objective": self.objective.to_plain(), "concurrent": self.at_a_time}
        plain |= {"fixed": config_to_plain(self.fixed), "start": [config_to_plain(point) for point in self.start]}
        plain |= {name: own[name] for name in OF_SOME if own[name]}
        plain |= {name: own[name] for name, usual in OF_PICTURES.items() if own[name] and own[name] != usual}
        if self.contents is not None:
            plain |= {"contents": self.contents.to_plain()}
        if self.brightest != 255:
            plain["brightest"] = self.brightest
        if self.name:
            plain |= {"name": self.name, "id": self.id, "started_at": self.started_at}
        return {**plain, **self.here()} if self.process.pid else plain

    def here(self) -> dict[str, Any]:
        """What is said of each process that begins a search or goes on with it."""
        return {"asked_concurrent": self.concurrent, **asdict(self.process)}

    @property
    def knows_input(self) -> bool:
        """Whether it says what a network takes; of a script it does not."""
        return bool(self.shape) and all(self.shape)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Header:
        """Read what `to_plain` gave, by this version or an earlier one. Raises TypeError if it is of no search."""
        known = {name: each.unset for name, each in declared(Options).items() if each.unset is not None}
        known |= {each.name: plain[each.name] for each in fields(cls) if each.name in plain}
        return cls(
            **{
                **known,
                "objective": Objective(**plain["objective"]),
                "fixed": config_from_plain(plain["fixed"]),
                "start": [config_from_plain(point) for point in plain["start"]],
                "contents": Contents.from_plain(plain["contents"]) if plain.get("contents") else None,
                "concurrent": plain.get("asked_concurrent"),
                "process": Process(**{each.name: plain[each.name] for each in fields(Process) if each.name in plain}),
                "job_folder": plain.get("job_folder") or _folder_of_ray(plain["source"], plain["data"]),
            }
        )

    def changed(self, resumed: Mapping[str, Any]) -> Header:
        """As a process that went on with the search left it, by the body of its event."""
        return self.from_plain({**self.to_plain(), **resumed})


def _folder_of_ray(*paths: str | None) -> str | None:
    """The `job_folder` of which an earlier version said nothing, if one of `paths` has a name as Ray gives to one."""
    found = (re.match(r"(.*/_ray_pkg_[0-9a-f]+)/", path or "") for path in paths)
    return next((match[1] for match in found if match), None)


OF_SOME = ("resume_command", "job_folder", "study_commit", "study_diff")
NOT_ALWAYS = (*OF_SOME, "brightest", "name", "id", "started_at", "process")
"""What is written only of a search that has it."""

OF_PICTURES: Mapping[str, Any] = {
    "image_size": None,
    "skip_broken": False,
    "group_by": None,
    "split": "shuffled",
    "val_as_test": False,
    "notes": (),
    "contents": None,
}
"""How data of a user's own were read, where that was not in the usual way."""
