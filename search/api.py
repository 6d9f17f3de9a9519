"""The command line for Python: `run` searches, `load` reads, and both give a result with tables and plots."""

from __future__ import annotations

import html
import inspect
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.errors import BadInput, EnvironmentFault, SearchFailed
from search.findings.snapshot import Snapshot
from search.findings.summary import summary_of
from search.findings.tables import Table, curve_table, trial_table
from search.findings.text import configuration
from search.options import names, plain
from search.options import read as read_options
from search.secrets import hidden
from search.settings import Settings, from_environment
from search.signals import Interrupted, Stop
from search.storage import checkpoints
from search.storage.bucket import runs_folder
from search.storage.runs import REPORT, find_search
from search.telling import notified
from search.terminal.screen import for_stderr

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure
    from torch import nn

    from search.session.reproduce import Reproduction

SHOWN = 10
"""Trials in the table that a notebook shows of a result."""


def run(
    study: str | Path,
    *,
    name: str | None = None,
    data: str | Path | None = None,
    trials: int | None = None,
    epochs: int | None = None,
    time_budget: float | str | None = None,
    concurrent: int | None = None,
    cpus: float = 1.0,
    gpus: float = 0.0,
    also_cpus: bool = False,
    seed: int = 0,
    sampler: str | None = None,
    scheduler: str | None = None,
    folds: int | None = None,
    weights: str | Path | None = None,
    val_as_test: bool = False,
    set: Mapping[str, Any] | None = None,
    arguments: Sequence[str] = (),
    metric: str | None = None,
    mode: str | None = None,
    report: str | None = None,
    style: str | None = None,
    test: str | None = None,
    model: str | None = None,
    runs: str | Path = "runs",
    resume: bool = False,
    trial_timeout: float | str | None = None,
    checkpoint_budget: int | str | None = None,
    data_limit: int | str | None = None,
    notify: str | Sequence[str] = (),
    notify_command: str | None = None,
    confirm: int | None = None,
    confirm_seeds: int | None = None,
    warm_start: str | Sequence[str] = (),
    experience: str | Path | None = None,
    audit: float = 0.0,
    until_settled: bool = False,
    fresh_workers: bool = False,
    published: bool = False,
    image_size: int | None = None,
    skip_broken: bool = False,
    group_by: str | None = None,
    stand_in: bool = True,
    quiet: bool = False,
) -> Result:
    """Search `study`, a name or the path of a study file, as `python -m search` does, and return what was found.

    Every argument is the option of that name, with its default; times are seconds or text such as "5m",
    `checkpoint_budget` and `data_limit` are bytes or text such as "2GB", and `set` gives hyperparameters values, or
    ranges as text: `{"train/lr": "log(1e-4, 1e-1)", "train/optimizer": "sgd"}`. `study` may be a script, of which
    `arguments` are the words. `resume=True` is `--resume auto`. A `Study` object is refused: the record tells by name
    or file where a later process finds the study, and would have nothing to tell.

    Raises the SearchError that the command line would end with. Ctrl-C (SIGTERM, SIGHUP) ends the search so that it
    can be resumed, and then raises KeyboardInterrupt; `load` gives what was found so far. Handlers of these signals
    are as before when it returns. On a thread other than the main one no signal ends the search, only its budgets do.
    One search at a time: Ray serves a process once.
    """
    began, given = time.monotonic(), dict(locals())
    return _searched(str(study), _settings(given), Stop(began), resume=resume, quiet=quiet)


def _settings(given: Mapping[str, Any]) -> Settings:
    """The settings that the arguments of `run` ask for. Raises BadInput."""
    study, name, data = given["study"], given["name"], given["data"]
    words, secrets = hidden(list(map(str, given["arguments"])))
    os.environ.update(secrets)
    if not isinstance(study, (str, Path)):
        raise BadInput(
            f"study must be a name or the path of a study file, but got a {type(study).__name__}: who goes on with "
            "the search has to find it; write STUDY = Study(…) into a file and give its path"
        )
    return Settings(
        **read_options(Settings, given),
        name=None if name is None else str(name),
        runs=runs_folder(given["runs"]),
        data=None if data is None else Path(data),
        arguments=tuple(words),
        command=_call({**given, "arguments": tuple(words)}),
        **from_environment(),
    )


def _searched(study: str, settings: Settings, stop: Stop, *, resume: bool, quiet: bool) -> Result:
    display = for_stderr(quiet=quiet)  # first: what is imported next would complain in a notebook's cell
    from search.session.resume import ready

    try:
        with stop.installed(), ready(study, settings, display, resume=resume) as prepared:
            from search.session import run

            summary, fault, _ = run.run(prepared, display, stop)
    except OSError as error:
        full = checkpoints.as_fault(error)
        if full is None:
            raise
        raise full from error
    if fault is not None:
        raise fault
    if stop.signal is not None:
        raise Interrupted(stop.signal, f"; `{summary['resume']}` goes on with it, or run(…, resume=True)")
    return Result(settings.runs / summary["name"])


def load(name: str, runs: str | Path = "runs") -> Result:
    """The search `name` in the folder `runs` as it stands, also while it runs; load it again to see it further on.

    Raises BadInput if there is none, EnvironmentFault if its record is damaged.
    """
    return Result(find_search(str(name), runs_folder(runs)))


class Result:
    """What the record in `folder` said when this was made: a search that is done, was interrupted, or still runs.

    `summary` is the document that `--json` prints.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._search = Snapshot.read(folder)
        self.summary: dict[str, Any] = summary_of(self._search)

    @property
    def name(self) -> str:
        """The search's name."""
        return str(self.summary["name"])

    @property
    def state(self) -> str:
        """`done`, `failed`, `interrupted` or `running`."""
        return str(self.summary["state"])

    @property
    def best(self) -> dict[str, Any] | None:
        """The winner: number, epoch, every hyperparameter, accuracies; None if no trial has a finite value."""
        best: dict[str, Any] | None = self.summary["best"]
        return best

    @property
    def trials(self) -> pandas.DataFrame:
        """One row per trial, the best first, by its number: state, why, origin, epochs, value, what was searched."""
        frame = _frame(trial_table(self._search))
        return frame.astype({"value": float}).set_index("trial")

    @property
    def curves(self) -> pandas.DataFrame:
        """One row per epoch of each trial: `trial`, `epoch`, `seconds` (of training and validation), every metric."""
        return _frame(curve_table(self._search))

    @property
    def report(self) -> Path | None:
        """The search's HTML page, if one was made."""
        page = self._folder / REPORT
        return page if page.is_file() else None

    def model(self) -> nn.Module:
        """The winner with its best weights, on the CPU and in evaluation mode: images uint8 N×C×H×W to logits.

        A network of one's own is what torch.export made of it, so none of its code is run. Raises SearchFailed if there
        is no winner or none that was exported, EnvironmentFault if its checkpoint is missing or is not what was
        recorded.
        """
        from search.findings import winner_model

        if self.best is None:
            raise SearchFailed(f"{self.name} has no result yet; it is {self.state}")
        try:
            there = winner_model.found(self._folder, self._search.trials)
            model = there.network() if there else None
        except EnvironmentFault as error:
            if self.state != "running":
                raise
            raise EnvironmentFault(
                f"{error}; the search runs on and may have a better one by now: load it again"
            ) from None
        if model is None:
            raise SearchFailed(f"the winner of {self.name} was not exported, so its own code must load its checkpoint")
        return model

    def predict(self, pictures: Any, top: int = 1) -> pandas.DataFrame:
        """What the winner says of `pictures`: a row each, with `path`, `class`, `probability`, and so for the `top` K.

        `pictures` are a path or a list of paths (files, folders, archives, `.npz`), or pictures in memory: an array
        `(N, H, W)` or `(N, H, W, C)`, a list of arrays, of files' bytes or of Pillow's images. Files that cannot be
        read are told in a warning, and left out. Raises BadInput for what are no pictures, and what `model` raises.
        """
        import warnings

        from search.session import predict

        model = predict.model_of(self._search)
        some = pictures if isinstance(pictures, (list, tuple)) else [pictures]
        paths = bool(some) and all(isinstance(each, (str, os.PathLike)) for each in some)
        found = predict.predicted(model, some) if paths else predict.asked(model, pictures)
        for line in (*found.notes, *found.unread()):
            warnings.warn(line, stacklevel=2)
        return _frame(found.table(top))

    def reproduce(self, trial: int | None = None) -> Reproduction:
        """Train `trial`, or the winner if it is None, again in this process, and compare it with the record.

        Takes as long as its epochs took. `match` and `verdict` of what is returned say whether it came out the same,
        `curves` how each metric went. Raises SearchFailed if there is no winner, BadInput if the trial has no epoch or
        its trainable cannot be found, EnvironmentFault if the data are not the recorded ones.
        """
        from search.session.reproduce import reproduce

        again = "" if trial is None else f"trial={trial}"
        call = f"search.load({self.name!r}).reproduce({again})"
        return reproduce(self._folder, trial, call, for_stderr(quiet=False))

    def watch(self) -> str:
        """Serve the live page of the search while this Python process lives, and return its link.

        The link carries a token: who has it can watch the searches of this folder, and steer those that run.
        """
        import subprocess
        import sys

        from search.storage.bucket import shown

        words = ["-m", "search", "watch", self.name, "--runs", shown(self._folder.parent), "--beside", str(os.getpid())]
        page = subprocess.Popen([sys.executable, *words], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert page.stderr is not None
        line = page.stderr.readline().strip()
        if not line.startswith("http://"):
            raise EnvironmentFault(f"the live page was not served: {line or 'its process ended'}")
        threading.Thread(target=page.stderr.read, daemon=True).start()  # or what it says later would fill the pipe
        return line

    def plot(self) -> Figure:
        """What each trial came to, and the learning curves with the rungs at which trials were compared."""
        from search.findings.figures.overview import overview

        return overview(self.name, self._search.trials, self._search.header.rungs)

    def __repr__(self) -> str:
        return f"<search {self._line()}>"

    def _line(self) -> str:
        count, best = sum(self.summary["trials"].values()), self.best
        metric = self._search.objective.metric
        value = f"{metric} {best[metric]:.4f} (trial {best['trial']})" if best else "no result"
        test = f", test {best['test_accuracy']:.4f}" if best and best["test_accuracy"] is not None else ""
        stand_in = ", STAND-IN DATA" if self.summary["stand_in"] else ""
        return f"{self.name}: {self.state}, {count} trials, {value}{test}{stand_in}"

    def _repr_html_(self) -> str:
        trials = self._search.trials
        ranked = trials.ranking()
        head = _row("th", "trial", "state", "epochs", trials.objective.metric, "configuration")
        rows = []
        for trial in [*ranked, *(each for each in trials if each not in ranked)][:SHOWN]:
            worth = f"{trial.best_value(trials.objective):.4f}" if trial.has_value(trials.objective) else ""
            rows.append(_row("td", trial.number, trial.state, len(trial.epochs), worth, configuration(trial)))
        more = f"<p>… and {len(trials) - SHOWN} more in <code>.trials</code></p>" if len(trials) > SHOWN else ""
        return f"<p><b>{html.escape(self._line())}</b></p><table>{head}{''.join(rows)}</table>{more}"


def _row(tag: str, *cells: object) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"


def _call(given: Mapping[str, Any]) -> str:
    """The call as one would write it again, with what differs from the defaults."""
    told = []
    secret = {"notify": tuple(map(notified, names(given["notify"], "notify")))}
    given = {**given, **secret, "notify_command": given["notify_command"] and "***"}
    for key, parameter in inspect.signature(run).parameters.items():
        value = str(given[key]) if isinstance(given[key], Path) else plain(given[key])
        text = repr({name: plain(each) for name, each in value.items()} if isinstance(value, Mapping) else value)
        if parameter.default is parameter.empty:
            told.append(text)
        elif text != repr(parameter.default):
            told.append(f"{key}={text}")
    return f"search.run({', '.join(told)})"


def _frame(table: Table) -> pandas.DataFrame:
    import pandas

    columns, rows = table
    return pandas.DataFrame(rows, columns=columns)
