"""Checkpoints on disk: whole or absent, verified, and removed only when nobody needs them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.checkpoints import Retention, digest, verified, write
from search.errors import EnvironmentFault
from search.record import Event
from search.trials import State, Trials
from spaces.study import Objective


def saving(content: str) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        (folder / "weights.safetensors").write_text(content)
        (folder / "progress.json").write_text("{}")

    return save


def files(root: Path) -> list[str]:
    return sorted(str(file.relative_to(root)) for file in root.rglob("*") if file.is_file())


def test_a_checkpoint_is_where_its_name_says(tmp_path: Path) -> None:
    name, sha256 = write(tmp_path, 3, 12, saving("weights"))
    assert name == "trial-0003/epoch-0012"
    assert files(tmp_path) == [f"{name}/progress.json", f"{name}/weights.safetensors"]
    assert verified(tmp_path, name, sha256) == tmp_path / name


@pytest.mark.parametrize("error", [OSError("no space left on device"), KeyboardInterrupt("stop")], ids=repr)
def test_a_save_that_breaks_off_leaves_nothing(error: BaseException, tmp_path: Path) -> None:
    def save(folder: Path) -> None:
        saving("half")(folder)
        raise error

    with pytest.raises(type(error), match=str(error)):
        write(tmp_path, 0, 1, save)
    assert [path for path in tmp_path.rglob("*") if path.name.startswith("epoch")] == []


def test_a_save_that_breaks_off_leaves_what_was_there(tmp_path: Path) -> None:
    def save(folder: Path) -> None:
        saving("half")(folder)
        raise OSError("no space left on device")

    name, sha256 = write(tmp_path, 0, 1, saving("first"))
    with pytest.raises(OSError, match="no space left on device"):
        write(tmp_path, 0, 1, save)
    assert verified(tmp_path, name, sha256)
    assert len(files(tmp_path)) == 2


def test_a_repeated_epoch_replaces_the_first(tmp_path: Path) -> None:
    _, first = write(tmp_path, 0, 1, saving("first"))
    name, second = write(tmp_path, 0, 1, saving("second"))
    assert first != second
    assert verified(tmp_path, name, second)
    assert len(files(tmp_path)) == 2


def test_what_a_killed_process_with_the_same_id_left_behind_is_no_obstacle(tmp_path: Path) -> None:
    # In a container, processes of a restarted search often have the ids of those before.
    left = tmp_path / f"trial-0000/epoch-0001.{os.getpid()}.part"
    left.mkdir(parents=True)
    (left / "weights.safetensors").write_text("half")
    name, sha256 = write(tmp_path, 0, 1, saving("whole"))
    assert verified(tmp_path, name, sha256)
    assert len(files(tmp_path)) == 2


def test_the_folder_is_not_seen_before_it_is_whole(tmp_path: Path) -> None:
    def save(folder: Path) -> None:
        assert not (tmp_path / "trial-0000/epoch-0001").exists()
        saving("whole")(folder)

    write(tmp_path, 0, 1, save)
    assert (tmp_path / "trial-0000/epoch-0001").is_dir()


@settings(max_examples=25)
@given(
    contents=st.dictionaries(
        st.text("abc", min_size=1, max_size=4), st.binary(min_size=1, max_size=50), min_size=1, max_size=4
    ),
    data=st.data(),
)
def test_a_digest_tells_any_change(
    contents: dict[str, bytes], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("checkpoint")
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    before = digest(folder)
    assert digest(folder) == before
    name = data.draw(st.sampled_from(sorted(contents)))
    content, change = contents[name], data.draw(st.sampled_from(["flip", "cut", "add", "rename", "remove", "new"]))
    at = data.draw(st.integers(0, len(content) - 1))
    if change == "flip":
        (folder / name).write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    elif change == "cut":
        (folder / name).write_bytes(content[:at])
    elif change == "add":
        (folder / name).write_bytes(content + b"\0")
    elif change == "rename":
        (folder / name).rename(folder / f"{name}d")
    elif change == "remove":
        (folder / name).unlink()
    else:
        (folder / "d").write_bytes(b"")
    assert digest(folder) != before


def test_a_digest_covers_folders_within(tmp_path: Path) -> None:
    def save(folder: Path) -> None:
        (folder / "tokenizer").mkdir()
        (folder / "tokenizer" / "words.txt").write_text("a b c")

    name, sha256 = write(tmp_path, 0, 1, save)
    assert verified(tmp_path, name, sha256)
    (tmp_path / name / "tokenizer" / "words.txt").write_text("a b d")
    with pytest.raises(EnvironmentFault, match="is damaged: its SHA-256 is not the recorded one"):
        verified(tmp_path, name, sha256)


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match=r"the checkpoint .*trial-0001/epoch-0002 is missing"):
        verified(tmp_path, "trial-0001/epoch-0002", "00")


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    name, sha256 = write(tmp_path, 1, 2, saving("weights"))
    (tmp_path / name / "weights.safetensors").write_text("weighty")
    with pytest.raises(EnvironmentFault, match=r"trial-0001/epoch-0002 is damaged: its SHA-256 is not the recorded"):
        verified(tmp_path, name, sha256)


class Told:
    """Trials that are told of events, and the checkpoints that a search writes and sweeps beside it."""

    def __init__(self, root: Path, mode: str = "max") -> None:
        self.root, self.trials, self.retention = root, Trials(Objective(mode=mode)), Retention(root)

    def asked(self, trial: int) -> None:
        self._apply("asked", trial, {"point": {}, "origin": "sampler"})

    def epoch(self, trial: int, value: float) -> None:
        number = len(self.trials[trial].epochs) + 1
        name, sha256 = write(self.root, trial, number, saving(f"{trial} {number}"))
        self.retention.added(name)
        metrics = {"val_accuracy": value}
        body = {"epoch": number, "metrics": metrics, "seconds": 1.0, "checkpoint": name, "sha256": sha256}
        self._apply("epoch", trial, body)

    def ended(self, trial: int, state: State) -> None:
        self._apply("ended", trial, {"state": state, "why": ""})

    def left(self) -> set[str]:
        """The checkpoints on disk after a sweep."""
        self.retention.sweep(self.trials)
        return {str(folder.relative_to(self.root)) for folder in self.root.glob("*/*")}

    def _apply(self, kind: str, trial: int, body: dict[str, object]) -> None:
        self.trials.apply(Event(1, 0.0, kind, trial, body))


def test_best_and_last_of_a_live_trial_are_kept_and_the_rest_removed(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.asked(0)
    for value in (0.1, 0.7, 0.3, 0.5):
        told.epoch(0, value)
    assert told.left() == {"trial-0000/epoch-0002", "trial-0000/epoch-0004"}


def test_the_least_is_the_best_where_the_objective_says_so(tmp_path: Path) -> None:
    told = Told(tmp_path, mode="min")
    told.asked(0)
    for value in (0.7, 0.1, 0.3, 0.5):
        told.epoch(0, value)
    assert told.left() == {"trial-0000/epoch-0002", "trial-0000/epoch-0004"}


def test_of_ended_trials_only_the_best_ones_best_is_kept(tmp_path: Path) -> None:
    told = Told(tmp_path)
    for trial, curve in enumerate([(0.1, 0.9, 0.8), (0.2, 0.5, 0.6)]):
        told.asked(trial)
        for value in curve:
            told.epoch(trial, value)
        told.ended(trial, State.COMPLETE)
    assert told.left() == {"trial-0000/epoch-0002"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trial-0000"]


def test_a_diverged_trial_keeps_nothing(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.asked(0)
    told.epoch(0, 0.9)
    told.epoch(0, float("nan"))
    told.ended(0, State.DIVERGED)
    assert told.left() == set()


def test_a_live_trial_without_a_finite_value_keeps_its_last(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.asked(0)
    told.epoch(0, float("nan"))
    told.epoch(0, float("inf"))
    assert told.left() == {"trial-0000/epoch-0002"}


def test_a_running_trial_that_is_ahead_does_not_cost_the_best_ended_one_its_checkpoint(tmp_path: Path) -> None:
    told = Told(tmp_path)
    for trial, curve in enumerate([(0.7,), (0.8, 0.9)]):
        told.asked(trial)
        for value in curve:
            told.epoch(trial, value)
    told.ended(0, State.STOPPED)
    assert "trial-0000/epoch-0001" in told.left()
    told.ended(1, State.FAILED)
    assert told.left() == {"trial-0000/epoch-0001"}
    assert told.trials.best() is told.trials[0]


def test_the_end_removes_also_what_nobody_reported(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.asked(0)
    told.epoch(0, 0.5)
    told.ended(0, State.COMPLETE)
    write(tmp_path, 1, 7, saving("after the last report"))
    (tmp_path / "trial-0002" / "epoch-0001.77.part").mkdir(parents=True)
    told.retention.finish(told.trials)
    assert [path.name for path in tmp_path.glob("*/*")] == ["epoch-0001"]
    assert [path.name for path in tmp_path.iterdir()] == ["trial-0000"]


def test_what_was_not_told_of_is_left_alone(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.asked(0)
    told.epoch(0, 0.5)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    writing = tmp_path / "trial-0000" / "epoch-0002.77.part"
    writing.mkdir()
    told.ended(0, State.FAILED)
    told.retention.sweep(told.trials)
    assert (tmp_path / "mine" / "notes.txt").is_file()
    assert writing.is_dir()


@settings(max_examples=25)
@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 3),
            st.one_of(
                st.sampled_from([0.1, 0.5, 0.9, float("nan")]),
                st.sampled_from([state for state in State if state is not State.RUNNING]),
            ),
        ),
        max_size=25,
    ),
    mode=st.sampled_from(["max", "min"]),
)
def test_whatever_happens_the_best_can_be_verified_and_nothing_else_piles_up(
    steps: list[tuple[int, float | State]], mode: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    told = Told(tmp_path_factory.mktemp("checkpoints"), mode)
    for trial in range(4):
        told.asked(trial)
    for trial, what in steps:
        if told.trials[trial].state is not State.RUNNING:
            continue
        if isinstance(what, State):
            told.ended(trial, what)
        else:
            told.epoch(trial, what)
        left = told.left()
        objective, running = told.trials.objective, told.trials.running()
        needed = [live.epochs[-1] for live in running if live.epochs]
        best = told.trials.best()
        for kept in [*running, *([best] if best else [])]:
            if objective.better(kept.best_value(objective), objective.worst):
                needed.append(kept.best_epoch(objective))
        for row in needed:
            assert row.checkpoint is not None
            assert row.sha256 is not None
            assert verified(told.root, row.checkpoint, row.sha256)
        assert left == {row.checkpoint for row in needed}
