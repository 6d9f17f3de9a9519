"""Searches that an earlier commit recorded are still listed, shown, derived anew, reported, and gone on with.

`old/` has what commit 5488133 wrote and what it said of that; its README tells how they came about. A record is built
from the dump by plain SQL, so that nothing here depends on how the record is read and written today.
"""

from __future__ import annotations

import gzip
import html
import json
import math
import os
import sqlite3
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from search import load

pytestmark = [pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

OLD = Path(__file__).with_name("old")
NAMES = sorted(file.name.partition(".")[0] for file in OLD.glob("*.jsonl.gz"))

UNFINISHED = {
    "fitted": {15: 0},
    "interrupted": {0: 7, 2: 3},
    "killed": {4: 2},
    "measured": {},
    "own": {3: 2, 5: 0},
}
"""Searches whose process was killed or told to end. By trials that ran then: the epoch from which each can go on."""

KINDS = {
    *("search", "resumed", "asked", "lost", "restarted", "epoch", "repeated", "decided", "ended", "confirming"),
    *("settled", "tested", "published", "finished"),
}
EXPORTED = ("moons", "grid")
FOREIGN = ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "SEARCH_DATA_DIR", "SEARCH_RUNS_DIR")

Row = tuple[int, float, str, int | None, str, int]


def dumped(name: str) -> list[Row]:
    """The rows of a record as the old code wrote them."""
    with gzip.open(OLD / f"{name}.jsonl.gz", "rt") as file:
        return [tuple(json.loads(line)) for line in file]  # type: ignore[misc]


def expected(name: str) -> dict[str, Any]:
    """What the old code said of the search."""
    document: dict[str, Any] = json.loads((OLD / f"{name}.json").read_text())
    return document


def shown_now(name: str) -> dict[str, Any]:
    """What `show` said of the search, but that MLflow is opened at that search by now."""
    return {**expected(name)["show"], "ui": f"python -m search ui {name}"}


def checksum(number: int, at: float, kind: str, trial: int | None, text: str) -> int:
    return zlib.crc32(f"{number} {at!r} {kind} {trial} {text}".encode())


def moved(rows: Sequence[Row], folder: Path) -> list[Row]:
    """The rows as they would be had the search run in `folder`: who goes on has study and data where they were."""
    texts = [row[4].replace("/tmp/old/", f"{folder}/") for row in rows]
    return [(*row[:4], text, checksum(*row[:4], text)) for row, text in zip(rows, texts, strict=True)]


def built(name: str, folder: Path, rows: Sequence[Row] | None = None) -> Path:
    """Make the search in `folder` as the old code left it, with those of its files that are kept; return its record."""
    record = folder / "runs" / name / "record.db"
    record.parent.mkdir(parents=True)
    database = sqlite3.connect(record, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute(
        "CREATE TABLE events (id INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL,"
        " trial INTEGER, body TEXT NOT NULL, crc INTEGER NOT NULL)"
    )
    database.execute("PRAGMA user_version=2")
    database.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", dumped(name) if rows is None else rows)
    database.close()
    if (OLD / f"{name}.tar.gz").exists():
        with tarfile.open(OLD / f"{name}.tar.gz") as tar:
            tar.extractall(folder, filter="data")
    return record


def rows_of(record: Path) -> list[Row]:
    database = sqlite3.connect(record)
    rows = list(database.execute("SELECT id, at, kind, trial, body, crc FROM events ORDER BY id"))
    database.close()
    return rows


def bodies(rows: Sequence[Row], kind: str) -> list[dict[str, Any]]:
    return [json.loads(row[4]) for row in rows if row[2] == kind]


ALL_IN_ONE = """
import contextlib, io, json, runpy, sys, traceback

answers = []
for command in json.load(sys.stdin):
    sys.argv, out, err, code = ["search", *command], io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_module("search", run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            code = traceback.format_exc()
    answers.append({"returncode": code, "stdout": out.getvalue(), "stderr": err.getvalue()})
json.dump(answers, sys.stdout)
"""
"""Many commands in one process, because most of what such a command takes is to import torch, SciPy and the like."""


@dataclass(frozen=True)
class Said:
    """How a command ended: its exit code, or the traceback of what it should not have raised."""

    returncode: int | str
    stdout: str
    stderr: str


def environment(cwd: Path) -> dict[str, str]:
    """Nobody's variables, and an MLflow store in `cwd`."""
    kept = {key: text for key, text in os.environ.items() if key not in FOREIGN}
    return {**kept, "MLFLOW_TRACKING_URI": f"sqlite:///{cwd}/mlflow.db", "RAY_USAGE_STATS_ENABLED": "0"}


def search(*arguments: str, cwd: Path) -> Said:
    """`python -m search …` in `cwd`."""
    command = [sys.executable, "-m", "search", *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment(cwd), capture_output=True, text=True, timeout=600)
    return Said(done.returncode, done.stdout, done.stderr)


def document_of(said: Said, cwd: Path) -> Any:
    """What a command printed with `--json`, paths relative to `cwd`; of one that failed exit code and last line."""
    if said.returncode:
        return {"exit": said.returncode, "error": (said.stderr.strip().splitlines() or [""])[-1]}
    return json.loads(said.stdout.replace(f"{cwd}/", ""))


def lacking(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """Where `new` does not say what `old` says, a line for each place; keys that only `new` has are none of them."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key, value in old.items():
            if key in new:
                yield from lacking(value, new[key], f"{where}/{key}")
            else:
                yield f"{where}/{key} is gone"
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (was, is_) in enumerate(zip(old, new, strict=True)):
            yield from lacking(was, is_, f"{where}/{number}")
    elif isinstance(old, float) and isinstance(new, float):
        if not math.isclose(old, new, rel_tol=1e-9):  # another SciPy may add up otherwise
            yield f"{where} was {old!r}, is {new!r}"
    elif old != new or type(old) is not type(new):
        yield f"{where} was {old!r}, is {new!r}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with all old searches; nothing writes into them."""
    folder = tmp_path_factory.mktemp("old").resolve()
    for name in NAMES:
        built(name, folder)
    return folder


Answers = dict[tuple[str, ...], Said]


@pytest.fixture(scope="module")
def answers(folder: Path) -> Answers:
    """What today's code says of the old searches, by command."""
    commands = [
        ["list", "--json"],
        *(["show", name, "--json"] for name in NAMES),
        *(["show", name] for name in NAMES),
        *(["best", name, "--json"] for name in NAMES),
        *(["replay", name, "--json"] for name in NAMES),
        *(["report", name, "-o", f"{name}.html"] for name in NAMES),
        *(["export", name, f"out-{name}"] for name in EXPORTED),
    ]
    done = subprocess.run(
        [sys.executable, "-c", ALL_IN_ONE],
        cwd=folder, env=environment(folder), input=json.dumps(commands), capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = [Said(**each) for each in json.loads(done.stdout)]
    return {tuple(command): each for command, each in zip(commands, said, strict=True)}


# What there is


def test_the_old_searches_have_every_kind_of_event_and_of_end() -> None:
    rows = [row for name in NAMES for row in dumped(name)]
    assert {row[2] for row in rows} == KINDS
    ends = {body["state"] for body in bodies(rows, "ended")}
    assert ends == {"complete", "stopped", "diverged", "failed", "out of memory", "timed out"}
    assert {body["state"] for body in bodies(rows, "finished")} == {"done", "failed", "interrupted"}
    assert {body["state"] for body in bodies(rows, "lost")} == {"failed", "timed out"}
    assert {body.get("spared") for body in bodies(rows, "decided")} == {None, "audit", "start point"}
    origins = {body["origin"].rstrip("0123456789 ") for body in bodies(rows, "asked")}
    assert origins == {"published setting", "start point", "sampler", "repeat of trial", "confirmation of trial"}
    first = bodies(rows, "search")
    assert {(body["sampler"], body["scheduler"]) for body in first} >= {
        ("tpe", "asha"),
        ("random", "asha"),
        ("random", "none"),
        ("grid", "none"),
    }
    assert {body["objective"]["mode"] for body in first} == {"max", "min"}
    assert any(body["published"] for body in first)
    assert any(body["warm_start"] for body in first)
    assert any(body["data"] for body in first)
    assert any(body.get("reopened") for body in bodies(rows, "resumed"))
    assert any(body.get("posthumous") for body in bodies(rows, "finished"))


@pytest.mark.parametrize("name", NAMES)
def test_an_old_record_is_built_row_by_row_as_it_was(name: str, folder: Path) -> None:
    rows = rows_of(folder / "runs" / name / "record.db")
    assert rows == dumped(name)
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
    for row in rows:
        assert row[5] == checksum(*row[:5])


def test_of_the_unfinished_searches_none_came_to_its_end_and_all_others_did() -> None:
    for name in NAMES:
        last = dumped(name)[-1]
        over = last[2] == "finished" and json.loads(last[4])["state"] != "interrupted"
        assert over is (name not in UNFINISHED), name


# Looking at them


def test_all_old_searches_are_listed_as_they_were(answers: Answers, folder: Path) -> None:
    listed = {each["name"]: each for each in document_of(answers["list", "--json"], folder)}
    assert sorted(listed) == NAMES
    for name in NAMES:
        row = {key: value for key, value in shown_now(name).items() if key != "leaderboard"}
        assert list(lacking(row, listed[name], name)) == []


@pytest.mark.parametrize("name", NAMES)
def test_an_old_search_is_shown_as_it_was(name: str, answers: Answers, folder: Path) -> None:
    shown = document_of(answers["show", name, "--json"], folder)
    assert list(lacking(shown_now(name), shown)) == []


@pytest.mark.parametrize("name", NAMES)
def test_an_old_search_is_shown_to_people(name: str, answers: Answers) -> None:
    said, shown = answers["show", name], expected(name)["show"]
    assert said.returncode == 0, said
    assert f"{name}: {shown['state']}, {shown['epochs']} epochs" in said.stdout
    for row in shown["leaderboard"]:
        assert f"trial {row['trial']:3d}  {row['state']:<13} {row['epochs']:2d} epochs" in said.stdout


@pytest.mark.parametrize("name", NAMES)
def test_an_old_search_has_the_winner_that_it_had_or_none(name: str, answers: Answers, folder: Path) -> None:
    best = document_of(answers["best", name, "--json"], folder)
    assert list(lacking(expected(name)["best"], best)) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_decision_of_an_old_search_is_derived_anew(name: str, answers: Answers, folder: Path) -> None:
    derived = document_of(answers["replay", name, "--json"], folder)
    assert derived.get("same") is True, derived
    assert list(lacking(expected(name)["replay"], derived)) == []


@pytest.mark.parametrize("name", NAMES)
def test_an_old_search_gets_its_report(name: str, answers: Answers, folder: Path) -> None:
    said = answers["report", name, "-o", f"{name}.html"]
    assert said.returncode == 0, said
    page = html.unescape((folder / f"{name}.html").read_text())
    first, best = bodies(dumped(name), "search")[0], expected(name)["show"]["best"]
    for text in (name, first["command"], first["commit"], first["versions"]["torch"]):
        assert text in page
    if best:
        assert f"{best[best['metric']]:.4f}" in page
    if best and best["test_accuracy"] is not None:
        assert f"{best['test_accuracy']:.4f}" in page
    if (folder / "runs" / name / "test.npz").exists():
        assert f"of {best['test_images']} " in page, "the pictures of the test set are not used"


@pytest.mark.parametrize("name", NAMES)
def test_an_old_search_is_loaded_from_python(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    result, shown = load(name), expected(name)["show"]
    assert len(result.trials) == len(shown["leaderboard"])
    assert len(result.curves) == shown["epochs"]
    assert (result.best or {}).get("trial") == (shown["best"] or {}).get("trial")


def test_an_old_search_is_exported_with_the_weights_of_its_winner(answers: Answers, folder: Path) -> None:
    said, shown, out = answers["export", "moons", "out-moons"], expected("moons")["show"], folder / "out-moons"
    assert said.returncode == 0, said
    assert len((out / "trials.csv").read_text().splitlines()) == len(shown["leaderboard"]) + 1
    assert len((out / "curves.csv").read_text().splitlines()) == shown["epochs"] + 1
    assert json.loads((out / "config.json").read_text()) == shown["best"]["config"]
    assert (out / "model" / "weights.safetensors").stat().st_size > 100


def test_an_old_search_whose_checkpoints_are_gone_is_not_exported_and_says_so(answers: Answers, folder: Path) -> None:
    said = answers["export", "grid", "out-grid"]
    assert said.returncode == 3
    assert "is missing" in said.stderr
    assert not (folder / "out-grid").exists()


# Going on with them


@dataclass(frozen=True)
class Resumed:
    """A search that went on: the rows that it had, those that it has now, and what the command said."""

    name: str
    folder: Path
    before: list[Row]
    after: list[Row]
    document: dict[str, Any]
    stderr: str

    @property
    def new(self) -> list[Row]:
        return self.after[len(self.before) :]


@pytest.fixture(scope="module", params=UNFINISHED)
def resumed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Resumed:
    """Each of the unfinished searches, gone on with by today's code to its end."""
    name: str = request.param
    folder = tmp_path_factory.mktemp(name).resolve()
    before = moved(dumped(name), folder) if name == "own" else dumped(name)
    record = built(name, folder, before)
    done = search("resume", name, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return Resumed(name, folder, before, rows_of(record), json.loads(done.stdout), done.stderr)


@pytest.mark.slow
@pytest.mark.nightly
def test_an_old_search_goes_on_to_its_end(resumed: Resumed) -> None:
    first = bodies(resumed.before, "search")[0]
    sessions = sum(row[2] in ("search", "resumed") for row in resumed.before)
    assert resumed.document["state"] == "done"
    assert resumed.document["sessions"] == sessions + 1
    assert sum(resumed.document["trials"].values()) == first["trials"]
    assert not {"running", "interrupted"} & set(resumed.document["trials"])
    assert resumed.after[-1][2] == "finished"


@pytest.mark.slow
@pytest.mark.nightly
def test_what_was_recorded_stays_as_it_was(resumed: Resumed) -> None:
    assert resumed.after[: len(resumed.before)] == resumed.before
    assert resumed.new[0][2] == "resumed"


@pytest.mark.slow
@pytest.mark.nightly
def test_trials_that_ran_go_on_from_their_last_checkpoint(resumed: Resumed) -> None:
    """And from the beginning where it is missing, or none was written yet; all before any new trial begins."""
    wanted = UNFINISHED[resumed.name]
    again = {row[3]: json.loads(row[4])["epoch"] for row in resumed.new if row[2] == "restarted"}
    assert again == wanted
    assert {row[3] for row in resumed.new if row[2] == "asked"}.isdisjoint(wanted)
    if resumed.name == "fitted":
        assert "from the beginning" in resumed.stderr


@pytest.mark.slow
@pytest.mark.nightly
def test_no_epoch_is_recorded_twice_and_none_is_left_out(resumed: Resumed) -> None:
    epochs: dict[int | None, list[int]] = {}
    for row in resumed.after:
        if row[2] == "epoch":
            epochs.setdefault(row[3], []).append(json.loads(row[4])["epoch"])
    for trial, numbers in epochs.items():
        assert numbers == list(range(1, len(numbers) + 1)), f"trial {trial}"
    asked = [row[3] for row in resumed.after if row[2] == "asked"]
    assert asked == list(range(len(asked)))


@pytest.mark.slow
@pytest.mark.nightly
def test_decisions_of_both_processes_are_derived_from_the_whole_record(resumed: Resumed) -> None:
    derived = document_of(search("replay", resumed.name, "--json", cwd=resumed.folder), resumed.folder)
    assert derived.get("same") is True, derived


@pytest.mark.slow
@pytest.mark.nightly
def test_all_trials_of_both_processes_are_in_mlflow(resumed: Resumed) -> None:
    from mlflow import MlflowClient

    place = resumed.document["mlflow"]
    assert place["tracking_uri"] == f"sqlite:///{resumed.folder}/mlflow.db"
    everything = MlflowClient(tracking_uri=place["tracking_uri"]).search_runs([place["experiment_id"]])
    children = {run.data.tags["search.trial"] for run in everything if "mlflow.parentRunId" in run.data.tags}
    assert children == {str(number) for number in range(sum(resumed.document["trials"].values()))}
    assert place["parent_run_id"] in {run.info.run_id for run in everything}


@pytest.mark.slow
@pytest.mark.nightly
def test_the_test_set_is_opened_once_also_where_the_killed_process_had_opened_it(resumed: Resumed) -> None:
    assert resumed.document["test_openings"] == sum(row[2] == "tested" for row in resumed.after)
    if resumed.name == "own":  # a network of one's own is not measured
        assert resumed.document["test_openings"] == 0
        return
    assert resumed.document["test_openings"] == 1
    (tested,) = bodies(resumed.after, "tested")
    assert resumed.document["best"]["test_accuracy"] == tested["test_accuracy"]


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("resumed", ["killed"], indirect=True)
def test_a_killed_search_is_given_the_suggestions_that_it_would_have_been_given(resumed: Resumed) -> None:
    """The random sampler's depend on seed and number alone; the old code ran the same search undisturbed."""
    suggested = [
        [row[3], json.loads(row[4])["origin"], json.loads(row[4])["point"]]
        for row in resumed.after
        if row[2] == "asked"
    ]
    assert suggested == expected("killed")["undisturbed"]


@pytest.mark.slow
@pytest.mark.nightly
def test_a_finished_old_search_is_given_more_trials(tmp_path: Path) -> None:
    folder = tmp_path.resolve()
    record = built("moons", folder)
    before = rows_of(record)
    done = search("resume", "moons", "--trials", "1", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    document, after = json.loads(done.stdout), rows_of(record)
    assert after[: len(before)] == before
    assert document["state"] == "done"
    assert sum(document["trials"].values()) == sum(expected("moons")["show"]["trials"].values()) + 1
    assert document_of(search("replay", "moons", "--json", cwd=folder), folder).get("same") is True
