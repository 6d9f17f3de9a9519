"""Checkpoints on disk: whole or absent, verified, and removed only when nobody needs them."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.errors import EnvironmentFault
from search.record.events import Event
from search.record.state import State
from search.record.trials import Trials
from search.storage.checkpoints import FULL, Retention, Shelf, bytes_under, digest, newest, verified
from spaces.study import Objective

ENDS = [state for state in State if state not in (State.RUNNING, State.INTERRUPTED)]


def saving(content: str) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        (folder / "weights.safetensors").write_text(content)
        (folder / "progress.json").write_text("{}")

    return save


def files(root: Path) -> list[str]:
    return sorted(str(file.relative_to(root)) for file in root.rglob("*") if file.is_file())


def test_a_checkpoint_is_where_its_name_says(tmp_path: Path) -> None:
    written = Shelf(tmp_path).write(3, 12, saving("weights"), attempt=2)
    assert written.name == "trial-0003/attempt-2/epoch-0012"
    assert files(tmp_path) == [f"{written.name}/progress.json", f"{written.name}/weights.safetensors"]
    assert verified(Shelf(tmp_path), written.name, written.sha256) == tmp_path / written.name
    assert written.bytes == len("weights") + len("{}")


@pytest.mark.parametrize("error", [OSError("no space left on device"), KeyboardInterrupt("stop")], ids=repr)
def test_a_save_that_breaks_off_leaves_nothing(error: BaseException, tmp_path: Path) -> None:
    def save(folder: Path) -> None:
        saving("half")(folder)
        raise error

    with pytest.raises(type(error), match=str(error)):
        Shelf(tmp_path).write(0, 1, save)
    assert [path for path in tmp_path.rglob("*") if path.name.startswith("epoch")] == []


def test_a_save_that_breaks_off_leaves_what_was_there(tmp_path: Path) -> None:
    def save(folder: Path) -> None:
        saving("half")(folder)
        raise OSError("made up")

    first = Shelf(tmp_path).write(0, 1, saving("first"))
    with pytest.raises(OSError, match="made up"):
        Shelf(tmp_path).write(0, 2, save)
    assert verified(Shelf(tmp_path), first.name, first.sha256)
    assert len(files(tmp_path)) == 2


def test_attempts_at_a_trial_do_not_touch_each_other(tmp_path: Path) -> None:
    # The first was taken for dead, and is not: it writes the epoch that the second has written already.
    second = Shelf(tmp_path).write(0, 1, saving("second"), attempt=2)
    first = Shelf(tmp_path).write(0, 1, saving("first"), attempt=1)
    assert first.name != second.name
    for written in (first, second):
        assert verified(Shelf(tmp_path), written.name, written.sha256)


def test_what_a_killed_process_left_half_written_is_no_obstacle(tmp_path: Path) -> None:
    left = tmp_path / "trial-0000/attempt-1/epoch-0001.part"
    left.mkdir(parents=True)
    (left / "weights.safetensors").write_text("half")
    (left / "optimizer.safetensors").write_text("half")
    written = Shelf(tmp_path).write(0, 1, saving("whole"))
    assert verified(Shelf(tmp_path), written.name, written.sha256)
    assert len(files(tmp_path)) == 2


def test_the_folder_is_not_seen_before_it_is_whole_and_then_moved_not_copied(tmp_path: Path) -> None:
    final, files = tmp_path / "trial-0000/attempt-1/epoch-0001", []

    def save(folder: Path) -> None:
        assert not final.exists()
        saving("whole")(folder)
        files.append((folder / "weights.safetensors").stat().st_ino)

    Shelf(tmp_path).write(0, 1, save)
    assert [(final / "weights.safetensors").stat().st_ino] == files


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

    written = Shelf(tmp_path).write(0, 1, save)
    assert verified(Shelf(tmp_path), written.name, written.sha256)
    (tmp_path / written.name / "tokenizer" / "words.txt").write_text("a b d")
    with pytest.raises(EnvironmentFault, match="is damaged: its SHA-256 is not the recorded one"):
        verified(Shelf(tmp_path), written.name, written.sha256)


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match=r"the checkpoint .*trial-0001/attempt-1/epoch-0002 is missing"):
        verified(Shelf(tmp_path), "trial-0001/attempt-1/epoch-0002", "00")


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    written = Shelf(tmp_path).write(1, 2, saving("weights"))
    (tmp_path / written.name / "weights.safetensors").write_text("weighty")
    with pytest.raises(EnvironmentFault, match=rf"{written.name} is damaged: its SHA-256 is not the recorded"):
        verified(Shelf(tmp_path), written.name, written.sha256)


class Told:
    """Trials that are told of events, and the checkpoints that a search writes and sweeps beside it."""

    def __init__(self, root: Path, mode: str = "max") -> None:
        self.root, self.trials, self.retention = root, Trials(Objective(mode=mode)), Retention(Shelf(root))

    def asked(self, trial: int) -> None:
        self._apply("asked", trial, {"point": {}, "origin": "sampler"})

    def epoch(self, trial: int, value: float) -> None:
        number = len(self.trials[trial].epochs) + 1
        metrics = {"val_accuracy": value}
        self._apply("epoch", trial, {"epoch": number, "metrics": metrics, "seconds": 1.0, **self._saved(trial, number)})

    def repeated(self, trial: int, number: int) -> None:
        self._apply("repeated", trial, {"epoch": number, "same": True, **self._saved(trial, number)})

    def restarted(self, trial: int) -> None:
        self._apply("restarted", trial, {"attempt": self.trials[trial].attempt + 1, "checkpoint": None, "epoch": 0})

    def ended(self, trial: int, state: State) -> None:
        self._apply("ended", trial, {"state": state, "why": ""})

    def finished(self) -> None:
        self._apply("finished", None, {"state": "interrupted", "why": "stopped by SIGINT", "wall_s": 1.0})

    def resumed(self) -> None:
        self._apply("resumed", None, {})

    def left(self) -> set[str]:
        """The checkpoints on disk after a sweep."""
        self.retention.sweep(self.trials)
        return {str(folder.relative_to(self.root)) for folder in self.root.glob("*/*/*")}

    def _saved(self, trial: int, number: int) -> dict[str, object]:
        attempt = self.trials[trial].attempt
        written = Shelf(self.root).write(trial, number, saving(f"{trial} {number}"), attempt=attempt)
        self.retention.added(written.name)
        return {"checkpoint": written.name, "sha256": written.sha256, "bytes": written.bytes}

    def _apply(self, kind: str, trial: int | None, body: dict[str, object]) -> None:
        self.trials.apply(Event(1, 0.0, kind, trial, body))


def kept(*epochs: int, attempt: int = 1) -> set[str]:
    return {f"trial-0000/attempt-{attempt}/epoch-{epoch:04d}" for epoch in epochs}


def test_the_best_and_the_last_two_of_a_live_trial_are_kept_and_the_rest_removed(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.asked(0)
    for value in (0.1, 0.7, 0.3, 0.4, 0.5):
        told.epoch(0, value)
    assert told.left() == kept(2, 4, 5)


def test_the_least_is_the_best_where_the_objective_says_so(tmp_path: Path) -> None:
    told = Told(tmp_path, mode="min")
    told.asked(0)
    for value in (0.7, 0.1, 0.3, 0.4, 0.5):
        told.epoch(0, value)
    assert told.left() == kept(2, 4, 5)


def test_of_ended_trials_only_the_best_ones_best_is_kept(tmp_path: Path) -> None:
    told = Told(tmp_path)
    for trial, curve in enumerate([(0.1, 0.9, 0.8), (0.2, 0.5, 0.6)]):
        told.asked(trial)
        for value in curve:
            told.epoch(trial, value)
        told.ended(trial, State.COMPLETE)
    assert told.left() == {"trial-0000/attempt-1/epoch-0002"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trial-0000"]


def test_a_diverged_trial_keeps_nothing(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.asked(0)
    told.epoch(0, 0.9)
    told.epoch(0, float("nan"))
    told.ended(0, State.DIVERGED)
    assert told.left() == set()


def test_a_live_trial_without_a_finite_value_keeps_its_last_two(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.asked(0)
    for value in ("nan", "inf", "nan"):
        told.epoch(0, float(value))
    assert told.left() == kept(2, 3)


def test_a_running_trial_that_is_ahead_does_not_cost_the_best_ended_one_its_checkpoint(tmp_path: Path) -> None:
    told = Told(tmp_path)
    for trial, curve in enumerate([(0.7,), (0.8, 0.9)]):
        told.asked(trial)
        for value in curve:
            told.epoch(trial, value)
    told.ended(0, State.STOPPED)
    assert "trial-0000/attempt-1/epoch-0001" in told.left()
    told.ended(1, State.FAILED)
    assert told.left() == {"trial-0000/attempt-1/epoch-0001"}
    assert told.trials.best() is told.trials[0]


def test_tidying_removes_also_what_nobody_reported(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.asked(0)
    told.epoch(0, 0.5)
    told.ended(0, State.COMPLETE)
    Shelf(tmp_path).write(1, 7, saving("after the last report"))
    (tmp_path / "trial-0002/attempt-3/epoch-0001.part").mkdir(parents=True)
    # A new process, which was told of nothing.
    Retention(Shelf(tmp_path)).tidy(told.trials)
    assert [path.name for path in tmp_path.glob("*/*/*")] == ["epoch-0001"]
    assert [path.name for path in tmp_path.iterdir()] == ["trial-0000"]


def test_an_interrupted_trial_keeps_what_it_can_go_on_from(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.asked(0)
    for value in (0.1, 0.7, 0.3, 0.4, 0.5):
        told.epoch(0, value)
    told.finished()
    assert told.trials[0].state is State.INTERRUPTED
    Retention(Shelf(tmp_path)).tidy(told.trials)
    assert told.left() == kept(2, 4, 5)


def test_an_epoch_that_was_repeated_is_kept_where_it_was_written_last(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.asked(0)
    for value in (0.1, 0.7, 0.3):
        told.epoch(0, value)
    told.restarted(0)
    told.repeated(0, 2)
    assert told.left() == kept(2, attempt=2) | kept(3)
    told.repeated(0, 3)
    assert told.left() == kept(2, 3, attempt=2)
    assert [path.name for path in (tmp_path / "trial-0000").iterdir()] == ["attempt-2"]


def test_what_was_not_told_of_is_left_alone(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.asked(0)
    told.epoch(0, 0.5)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    writing = tmp_path / "trial-0000" / "attempt-1" / "epoch-0002.part"
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
                st.sampled_from(ENDS),
                st.sampled_from(["restarted", "repeated", "finished"]),
            ),
        ),
        max_size=25,
    ),
    mode=st.sampled_from(["max", "min"]),
)
def test_whatever_happens_the_best_can_be_verified_and_nothing_else_piles_up(
    steps: list[tuple[int, float | str]], mode: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    told = Told(tmp_path_factory.mktemp("checkpoints"), mode)
    for trial in range(4):
        told.asked(trial)
    for number, what in steps:
        trial = told.trials[number]
        if what == "finished":
            told.finished()
        else:
            told.resumed()
            if trial.state is not State.RUNNING:
                continue
            if isinstance(what, State):
                told.ended(number, what)
            elif what == "restarted":
                told.restarted(number)
            elif what == "repeated":
                if trial.epochs:
                    told.restarted(number)
                    told.repeated(number, 1 + len(steps) % len(trial.epochs))
            else:
                assert isinstance(what, float)
                told.epoch(number, what)
        left = told.left()
        objective = told.trials.objective
        live = [trial for trial in told.trials if trial.state in (State.RUNNING, State.INTERRUPTED)]
        needed = [row for trial in live for row in trial.epochs[-2:]]
        best = next((trial for trial in told.trials.ranking() if trial not in live), None)
        ranked = [trial for trial in [*live, best] if trial and trial.has_value(objective)]
        needed += [trial.best_epoch(objective) for trial in ranked]
        for row in needed:
            assert row.checkpoint is not None
            assert row.sha256 is not None
            assert verified(Shelf(told.root), row.checkpoint, row.sha256)
        assert left == {row.checkpoint for row in needed}


# Where to go on from


def spoil(root: Path, name: str | None) -> None:
    assert name is not None
    (root / name / "weights.safetensors").write_text("spoilt")


def told_of_five(root: Path) -> Told:
    """One running trial of five epochs, the second the best; the first and the third are removed."""
    told = Told(root)
    told.asked(0)
    for value in (0.1, 0.7, 0.3, 0.5, 0.6):
        told.epoch(0, value)
    assert told.left() == kept(2, 4, 5)
    return told


def test_a_trial_goes_on_from_its_last_epoch(tmp_path: Path) -> None:
    trial = told_of_five(tmp_path).trials[0]
    assert newest(Shelf(tmp_path), trial) == (trial.epochs[4], "")


@pytest.mark.parametrize("damage", ["is damaged", "is missing"])
@pytest.mark.parametrize(("gone", "left"), [((5,), 4), ((5, 4), 2), ((5, 4, 2), None), ((4,), 5), ((2,), 5)], ids=str)
def test_a_trial_goes_on_from_the_last_checkpoint_that_is_whole_and_names_those_that_are_not(
    gone: tuple[int, ...], left: int | None, damage: str, tmp_path: Path
) -> None:
    trial = told_of_five(tmp_path).trials[0]
    for epoch in gone:
        name = str(trial.epochs[epoch - 1].checkpoint)
        if damage == "is missing":
            shutil.rmtree(tmp_path / name)
        else:
            (tmp_path / name / "weights.safetensors").write_text("spoilt")
    row, faults = newest(Shelf(tmp_path), trial)
    assert (row.number if row else None) == left
    told = [part.partition("epoch-")[2][:15] for part in faults.split("; ") if part]
    named = [epoch for epoch in gone if left is None or epoch > left]
    if damage == "is missing":
        # Where an epoch was the best once, and its checkpoint removed for a better one, that is no fault.
        named = [epoch for epoch in named if epoch > 3]
    assert told == [f"{epoch:04d} {damage}" for epoch in named]


def test_a_trial_without_epochs_or_checkpoints_starts_from_the_beginning(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.asked(0)
    assert newest(Shelf(tmp_path), told.trials[0]) == (None, "")
    row = {"epoch": 1, "metrics": {"val_accuracy": 0.5}, "seconds": 1.0, "checkpoint": None, "sha256": None}
    told.trials.apply(Event(1, 0.0, "epoch", 0, row))
    assert newest(Shelf(tmp_path), told.trials[0]) == (None, "")


def test_a_checkpoint_that_was_written_again_is_the_one_to_go_on_from(tmp_path: Path) -> None:
    told = told_of_five(tmp_path)
    told.restarted(0)
    told.repeated(0, 5)
    row, faults = newest(Shelf(tmp_path), told.trials[0])
    assert row is not None
    assert (row.checkpoint, faults) == ("trial-0000/attempt-2/epoch-0005", "")


# No room


class Disk:
    """Fails the `at`-th step of writing, and the steps after it while `broken`: making a folder, a file, or moving."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int, at: int, *, lasting: bool) -> None:
        self.number, self.at, self.lasting, self.steps = number, at, lasting, 0
        for name in ("mkdir", "replace"):
            monkeypatch.setattr(os, name, self._counted(getattr(os, name)))
        monkeypatch.setattr(time, "sleep", lambda seconds: None)

    def save(self, folder: Path) -> None:
        self._step()
        (folder / "weights.safetensors").write_text("weights")
        (folder / "progress.json").write_text("{")  # half of it, then perhaps no more
        self._step()
        (folder / "progress.json").write_text("{}")

    def _step(self) -> None:
        self.steps += 1
        if self.steps == self.at or (self.lasting and self.steps > self.at):
            raise OSError(self.number, os.strerror(self.number))

    def _counted(self, real: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: object, **options: object) -> None:
            self._step()
            real(*arguments, **options)

        return call


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO], ids=errno.errorcode.get)
def test_whichever_step_fails_a_checkpoint_is_whole_or_absent(number: int, lasting: bool, tmp_path: Path) -> None:
    for at in range(1, 30):
        root = tmp_path / str(at)
        root.mkdir()
        with pytest.MonkeyPatch.context() as patched:
            disk, raised = Disk(patched, number, at, lasting=lasting), None
            try:
                written = Shelf(root).write(0, 1, disk.save, patience=0.05 if lasting else 60)
            except OSError as error:
                raised = error
        final = root / "trial-0000/attempt-1/epoch-0001"
        assert not list(root.rglob("*.part"))
        if raised is None:
            assert verified(Shelf(root), written.name, written.sha256) == final
            assert files(final) == ["progress.json", "weights.safetensors"]
            assert (final / "progress.json").read_text() == "{}"
        else:
            assert raised.errno == number
            assert not final.exists()
        # A full disk that has room again a moment later is waited for; anything else that fails is told at once.
        assert (raised is None) == (disk.steps < at or (number in FULL and not lasting))
        if disk.steps < at:
            break
    else:
        raise AssertionError("no step was the last")
    assert at == 7, "three folders are made, then come two files, and one folder is moved"


def test_a_writer_without_room_says_how_much_there_is_and_how_much_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch, errno.ENOSPC, 5, lasting=True)
    with pytest.raises(OSError, match=r"No space left on device: [\d,]+ bytes free, too few for 8 and") as raised:
        Shelf(tmp_path).write(0, 1, disk.save, patience=0)
    assert raised.value.errno == errno.ENOSPC


def test_checkpoints_never_need_more_than_their_budget(tmp_path: Path) -> None:
    for epoch in range(1, 4):
        Shelf(tmp_path).write(0, epoch, saving("x" * 98), budget=300)
    with pytest.raises(OSError, match="more than the 300 bytes of --checkpoint-budget") as raised:
        Shelf(tmp_path).write(0, 4, saving("x" * 98), budget=300, patience=0)
    assert raised.value.errno == errno.EDQUOT
    assert bytes_under(tmp_path) == 300
    assert not list(tmp_path.rglob("*.part"))


def test_a_writer_waits_for_room_in_the_budget(tmp_path: Path) -> None:
    first = Shelf(tmp_path).write(0, 1, saving("x" * 98), budget=150)
    freed = threading.Timer(0.3, lambda: shutil.rmtree(tmp_path / first.name))
    freed.start()
    second = Shelf(tmp_path).write(0, 2, saving("x" * 98), budget=150, patience=30)
    freed.join()
    assert verified(Shelf(tmp_path), second.name, second.sha256)


def test_what_disappears_while_sizes_are_summed_counts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Shelf(tmp_path).write(0, 1, saving("x" * 98))
    real = os.lstat

    def stat(path: str, **options: object) -> os.stat_result:
        if str(path).endswith("progress.json"):
            raise FileNotFoundError(path)
        return real(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "lstat", stat)
    assert bytes_under(tmp_path) == 98
