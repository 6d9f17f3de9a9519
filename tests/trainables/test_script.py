"""A script as a trainable: its command, what it says, its process, and what is kept for it. In this process, no Ray."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search import report
from trainables.epoch import Epoch
from trainables.script import command, guard
from trainables.script.command import Given
from trainables.script.failures import ScriptFailed, ScriptOutOfMemory, ScriptUnusable
from trainables.script.folder import FILES, Home
from trainables.script.metrics import Added, Epochs, Rows, form_of
from trainables.script.run import Numbers
from trainables.script.script import Script

GIVEN = Given(epochs=9, seed=7, folder="/kept", config="/values.yaml")
CONFIG = {"train/epochs": 3, "train/seed": 7, "lr": 0.1}

# The command


@pytest.mark.parametrize(
    ("style", "value", "words"),
    [
        ("flags", 1e-05, ["--x", "1e-05"]),
        ("flags", 3, ["--x", "3"]),
        ("flags", -0.5, ["--x=-0.5"]),
        ("flags", "adam w", ["--x", "adam w"]),
        ("flags", None, []),
        ("flags", True, ["--x", "True"]),
        ("flags", (64, 128), ["--x", "64", "128"]),
        ("hydra", 0.1, ["x=0.1"]),
        ("hydra", True, ["x=true"]),
        ("hydra", None, ["x=null"]),
        ("hydra", (64, 128), ["x=[64,128]"]),
        ("file", 0.1, []),
        ("module", 0.1, []),
    ],
)
def test_a_value_is_written_as_the_program_takes_it(style: str, value: Any, words: list[str]) -> None:
    assert command.words(["--data", "photos"], {"x": value}, GIVEN, style=style) == ["--data", "photos", *words]


@pytest.mark.parametrize(
    ("switches", "value", "words"),
    [
        (["--x"], True, ["--x"]),
        (["--x"], False, []),
        (["--x/--no-x"], True, ["--x"]),
        (["--x/--no-x"], False, ["--no-x"]),
        (["-x"], 0.5, ["-x", "0.5"]),
    ],
)
def test_an_option_that_takes_no_value_is_a_switch(switches: list[str], value: Any, words: list[str]) -> None:
    assert command.words([], {"x": value}, GIVEN, style="flags", switches=switches) == words


def test_placeholders_stand_for_what_a_trial_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_MINE", "secret")
    arguments = ["{epochs}", "s={seed}", "{folder}/last.pt", "{config:base.yaml}", "{env:KEY_OF_MINE}", "--rate={lr}"]
    words = ["9", "s=7", "/kept/last.pt", "/values.yaml", "secret", "--rate=0.1"]
    assert command.words(arguments, {"lr": 0.1, "b": 2}, GIVEN, style="flags") == [*words, "--b", "2"]


@pytest.mark.parametrize("text", ['{"a": {"b": 1}}', "{}", "{a b}", "model.sizes={0: 1}", "}{"])
def test_other_text_in_braces_is_left_alone(text: str) -> None:
    command.check([text], [])
    assert command.words([text], {}, GIVEN, style="flags") == [text]


def test_braces_twice_are_the_letters_themselves() -> None:
    assert command.words(["{{epochs}}"], {}, GIVEN, style="flags") == ["{epochs}"]


def test_a_placeholder_that_stands_for_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\{epoch\} stands for nothing .* what does is \{epochs\}, .*\{lr\}"):
        command.check(["--epochs", "{epoch}"], ["lr"])


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_the_file_has_what_its_base_has_with_the_values_at_their_names(suffix: str, tmp_path: Path) -> None:
    import yaml

    path = tmp_path / f"values.{suffix}"
    base = {"model": {"lr": 1.0, "depth": 3}, "epochs": "{epochs}", "out": "{folder}/x", "text": "{epochs} epochs"}
    command.written(path, base, {"model.lr": 1e-05, "new.name": (1, 2)}, GIVEN)
    read = json.loads(path.read_text()) if suffix == "json" else yaml.safe_load(path.read_text())
    assert read == {
        "model": {"lr": 1e-05, "depth": 3},
        "epochs": 9,
        "out": "/kept/x",
        "text": "9 epochs",
        "new": {"name": [1, 2]},
    }


@given(st.dictionaries(st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True), st.floats(0, 1) | st.text(max_size=9)))
def test_no_value_is_lost_on_its_way_to_a_program(values: dict[str, Any]) -> None:
    words = command.words([], values, GIVEN, style="hydra")
    assert dict(word.split("=", 1) for word in words) == {name: str(value) for name, value in values.items()}


# What it says


@pytest.mark.parametrize(
    ("form", "line", "numbers"),
    [
        ("json", '{"loss": 1, "val": {"acc": 0.5}, "note": "x", "done": true}', {"loss": 1.0, "val/acc": 0.5}),
        ("json", "epoch 1: loss=2", {}),
        ("json", '{"mAP50-95(B)": 0.5}', {"mAP50-95_B_": 0.5}),
        ("json", "{broken", {}),
        ("pairs", "epoch=3 loss: 1e-3, val_acc=.97 lr=x", {"epoch": 3.0, "loss": 0.001, "val_acc": 0.97}),
        ("pairs", "{'loss': 0.5, 'val_acc': 0.97}", {"loss": 0.5, "val_acc": 0.97}),
        ("pairs", "{'loss': '0.5', \"val_acc\": np.float64(0.97)}", {"loss": 0.5, "val_acc": 0.97}),
        ("pairs", "INFO val_acc=tensor(0.97). loss: 0.5.", {"val_acc": 0.97, "loss": 0.5}),
        ("pairs", "loss: 1,234.5 val_acc: 0,97", {}),
        ("pairs", "loss: 0.5,val_acc: 0.97 v=1.2.3", {"loss": 0.5, "val_acc": 0.97}),
        ("json", '\ufeff{"loss": 1}', {"loss": 1.0}),
        ("pairs", "12:30:15 step 3/9 eta=0:12", {}),
        ("Epoch {epoch}/{_} - loss {loss} - acc: {val_acc}%", "Epoch 3/9 -  loss 0.5 - acc: 97.5% (1s)", None),
        ("acc {val_acc}", "val acc nan", {"val_acc": float("nan")}),
        ("acc {val_acc}", "acc none", {}),
    ],
)
def test_numbers_are_read_in_the_form_that_was_said(form: str, line: str, numbers: dict[str, float] | None) -> None:
    wanted = {"epoch": 3.0, "loss": 0.5, "val_acc": 97.5} if numbers is None else numbers
    assert repr(form_of(form).numbers(line)) == repr(wanted)


@pytest.mark.parametrize("form", ["", "xml", "{}", "{a} {a}", "{_}"])
def test_a_form_without_names_is_refused(form: str) -> None:
    with pytest.raises(ValueError, match=r"names no metric|names a metric twice"):
        form_of(form)


@given(st.text())
def test_whatever_a_program_prints_is_read_without_an_error(line: str) -> None:
    for form in ("json", "pairs", "acc {acc}", "{a}{b}"):
        assert all(isinstance(value, float) for value in form_of(form).numbers(line).values())


def test_what_is_said_before_the_metric_belongs_to_the_same_epoch() -> None:
    epochs = Epochs("acc")
    assert epochs.heard([{"train_loss": 3.0}]) == []
    assert epochs.heard([{"epoch": 1.0, "acc": 0.5}, {"train_loss": 2.0}, {"acc": 0.6}]) == [
        {"train_loss": 3.0, "epoch": 1.0, "acc": 0.5},
        {"train_loss": 2.0, "acc": 0.6},
    ]


def test_rows_of_a_csv_are_read_as_they_are_added(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    rows = Rows(path)
    assert rows.added() == []
    path.write_text("  epoch, metrics/mAP(B),name\n1, 0.5,x\n2, 0.")
    assert rows.added() == [{"epoch": 1.0, "metrics/mAP_B_": 0.5}]
    with path.open("a") as file:
        file.write("75,y\n3,")
    assert rows.added() == [{"epoch": 2.0, "metrics/mAP_B_": 0.75}]
    assert rows.added(whole=True) == [{"epoch": 3.0}]


def test_a_file_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    lines = Added(path)
    path.write_text("first line\n")
    assert lines.lines() == ["first line"]
    path.write_text("a\n")
    assert lines.lines() == ["a"]


@pytest.mark.parametrize(
    ("before", "said", "numbers"),
    [
        ([], [0, 1, 2], [1, 2, 3]),
        ([], [10, 20], [1, 2]),
        ([], [None, None], [1, 2]),
        ([0, 1], [2, 3], [3, 4]),
        ([0, 1], [1, 2], [2, 3]),
        ([0, 1], [0, 1], [1, 2]),
        ([10, 20], [30], [3]),
        ([0, 1], [None], [1]),
    ],
)
def test_epochs_are_numbered_from_one_however_the_program_does(
    before: list[float], said: list[float | None], numbers: list[int]
) -> None:
    known = Numbers(before)
    assert [known.number(each) for each in said] == numbers


def test_a_program_that_goes_on_somewhere_else_is_refused() -> None:
    with pytest.raises(ValueError, match="goes on with epoch 15, but the epochs that it had said are … 10, 20"):
        Numbers([10, 20]).number(15)


# Its process


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., Script]:
    """A script of so much Python text."""

    def made(text: str, *arguments: str, **more: Any) -> Script:
        (tmp_path / "mine.py").write_text(textwrap.dedent(text))
        return Script(str(tmp_path / "mine.py"), str(tmp_path), arguments, **{"metric": "acc", **more})

    return made


def values(epochs: Iterator[Epoch]) -> list[tuple[int, float]]:
    return [(epoch.number, epoch.metrics["acc"]) for epoch in epochs]


ARGPARSE = """
    import argparse, json, pathlib, sys
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path)
    given = parser.parse_args()
    state = given.out / "state.json" if given.out else None
    done = json.loads(state.read_text()) if state and state.exists() else 0
    for number in range(done + 1, given.epochs + 1):
        if state:
            state.write_text(str(number))
        print(json.dumps({"epoch": number, "acc": number * given.lr}))
"""


def test_a_script_is_run_with_the_values_and_its_json_lines_are_epochs(script: Callable[..., Script]) -> None:
    assert values(script(ARGPARSE)(CONFIG, None)) == [(1, 0.1), (2, 0.2), (3, pytest.approx(0.3))]


def test_it_goes_on_from_what_it_kept(script: Callable[..., Script], tmp_path: Path) -> None:
    mine = script(ARGPARSE, "--epochs", "{epochs}", "--out", "{folder}")
    home, checkpoint = tmp_path / "home", tmp_path / "checkpoint"
    checkpoint.mkdir()
    epochs = mine.at(home)(CONFIG, None)
    next(epochs)
    next(epochs).save(checkpoint)
    epochs.close()
    assert (checkpoint / FILES / "state.json").read_text() in ("2", "3")
    (home / "files" / "left over").write_text("from after the checkpoint")
    (checkpoint / FILES / "state.json").write_text("2")
    assert values(mine.at(home)(CONFIG, None, resume=checkpoint)) == [(3, pytest.approx(0.3))]
    assert not (home / "files" / "left over").exists()


def test_what_it_said_while_its_files_were_copied_is_not_lost(script: Callable[..., Script], tmp_path: Path) -> None:
    mine = script(ARGPARSE, "--epochs", "{epochs}", "--out", "{folder}")
    home, checkpoint, whole = tmp_path / "home", tmp_path / "checkpoint", [(n, n * 0.1) for n in (1, 2, 3)]
    checkpoint.mkdir()
    epochs = mine.at(home)(CONFIG, None)
    first = next(epochs)
    while (home / "files" / "state.json").read_text() != "3":  # the program runs ahead of a slow machine
        time.sleep(0.01)
    time.sleep(0.1)
    first.save(checkpoint)
    epochs.close()
    assert values(mine.at(home)(CONFIG, None, resume=checkpoint)) == [*map(pytest.approx, whole[1:])]
    (checkpoint / FILES / "state.json").write_text("1")  # all of that was not kept yet
    assert values(mine.at(home)(CONFIG, None, resume=checkpoint)) == [*map(pytest.approx, whole[1:])]
    assert "begun again" not in (home / "log.txt").read_text()


@pytest.mark.parametrize("kept", [7, 9])
def test_one_whose_files_are_of_later_epochs_than_it_has_said_begins_again(
    script: Callable[..., Script], tmp_path: Path, kept: int
) -> None:
    mine = script(ARGPARSE, "--epochs", "{epochs}", "--out", "{folder}")
    config, home, checkpoint = {**CONFIG, "train/epochs": 9}, tmp_path / "home", tmp_path / "checkpoint"
    (checkpoint / FILES).mkdir(parents=True)
    (checkpoint / "trial.json").write_text('{"epochs": [1, 2, 3]}')
    (checkpoint / FILES / "state.json").write_text(str(kept))
    again = values(mine.at(home)(config, None, resume=checkpoint))
    assert again == [*map(pytest.approx, [(n, n * 0.1) for n in range(1, 10)])]
    assert "had said is 3; so it has begun again, with an empty folder" in (home / "log.txt").read_text()


def test_one_that_does_not_number_its_epochs_begins_again_with_nothing(
    script: Callable[..., Script], tmp_path: Path
) -> None:
    mine = script(ARGPARSE.replace('"epoch": number, ', ""), "--out", "{folder}")
    home, checkpoint = tmp_path / "home", tmp_path / "checkpoint"
    checkpoint.mkdir()
    epochs = mine.at(home)(CONFIG, None)
    next(epochs).save(checkpoint)
    epochs.close()
    assert [number for number, _ in values(mine.at(home)(CONFIG, None, resume=checkpoint))] == [1, 2, 3]


def test_three_functions_are_enough(script: Callable[..., Script], tmp_path: Path) -> None:
    mine = script(
        """
        from search.report import config, epoch, folder
        settings = config({"model.lr": 1.0}, lr=5.0, epochs=99, seed=1, other="own")
        assert settings == {"model.lr": 1.0, "lr": 0.1, "epochs": 3, "seed": 7, "other": "own"}, settings
        for number in range(settings["epochs"]):
            (folder() / "last").write_text(str(number))
            epoch(number, acc=settings["lr"] * number)
        """,
        style="module",
    )
    kept = []
    for epoch in mine.at(tmp_path / "home")(CONFIG, None):
        time.sleep(0.03)  # it waits for its epoch to be kept
        (into := tmp_path / f"checkpoint-{epoch.number}").mkdir()
        epoch.save(into)
        kept.append((epoch.number, epoch.metrics["acc"], (into / FILES / "last").read_text()))
    assert kept == [(1, 0.0, "0"), (2, 0.1, "1"), (3, 0.2, "2")]


def test_by_hand_the_three_functions_do_as_if_there_were_no_search(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(report.VARIABLE, raising=False)
    assert report.config({"a.b": 1}, lr=0.1) == {"a.b": 1, "lr": 0.1}
    assert report.folder("here") == Path("here")
    report.epoch(3, acc=0.5)
    assert json.loads(capsys.readouterr().out) == {"epoch": 3, "acc": 0.5}


def test_the_module_of_the_three_functions_imports_nothing_heavy() -> None:
    heavy = "import sys, search.report; print([m for m in ('torch','ray','numpy','click') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_csv_in_the_folder_of_the_trial_is_read(script: Callable[..., Script]) -> None:
    text = """
        import sys
        with open(f"{sys.argv[1]}/log.csv", "w") as file:
            print("epoch, acc", "1, 0.5", "2, 0.75", sep="\\n", file=file)
    """
    assert values(script(text, "{folder}", report="{folder}/log.csv")(CONFIG, None)) == [(1, 0.5), (2, 0.75)]


def test_the_last_epoch_of_one_that_knows_it_comes_after_its_end(script: Callable[..., Script], tmp_path: Path) -> None:
    mine = script(ARGPARSE + "    (given.out / 'end').write_text('')\n", "--epochs", "{epochs}", "--out", "{folder}")
    *_, last = mine.at(tmp_path / "home")(CONFIG, None)
    assert last.number == 3
    assert (tmp_path / "home" / "files" / "end").exists()


def test_what_it_prints_is_in_a_log(script: Callable[..., Script], tmp_path: Path) -> None:
    mine = script("import sys; print('{\"acc\": 1}'); print('a warning', file=sys.stderr)")
    list(mine.at(tmp_path / "home")(CONFIG, None))
    log = (tmp_path / "home" / "log.txt").read_text()
    assert "[search] python mine.py --lr 0.1\n" in log
    assert "a warning\n" in log


FAILURES: dict[str, tuple[str, dict[str, Any], type[ScriptFailed], str]] = {
    "an error": (
        "print('{\"acc\": 1}'); raise ValueError('too bad')",
        {},
        ScriptFailed,
        "exit code 1: ValueError: too bad",
    ),
    "exit with a text": ("import sys; print('{\"acc\": 1}'); sys.exit('no data')", {}, ScriptFailed, "code 1: no data"),
    "an unknown argument": (ARGPARSE, {"arguments": ("--lrr", "1")}, ScriptUnusable, "unrecognized arguments: --lrr 1"),
    "no memory": ("raise MemoryError('of 9 GB')", {}, ScriptOutOfMemory, "MemoryError: of 9 GB"),
    "killed": ("import os; os.kill(os.getpid(), 9)", {}, ScriptOutOfMemory, "was killed, as the system does"),
    "nothing printed": ("", {}, ScriptUnusable, "ended without saying acc; it printed nothing"),
    "only errors": (
        "import sys; print('Traceback: it broke', file=sys.stderr)",
        {},
        ScriptUnusable,
        "ended without saying acc; it printed nothing but errors, the last 'Traceback: it broke'",
    ),
    "logged to standard error": (
        "import logging; logging.basicConfig(level=20); logging.info('acc: 0.5')",
        {},
        ScriptUnusable,
        "it says so on standard error, which is not read: print it, or log it to sys.stdout",
    ),
    "a dict as Python prints it": ("print({'acc': 0.5})", {}, ScriptUnusable, "but --report pairs does"),
    "no numbers": ("print('training')", {}, ScriptUnusable, "its last line was 'training'; --report says how"),
    "another name": (
        "print('{\"accuracy\": 1}')",
        {},
        ScriptUnusable,
        "what it says is accuracy: name one",
    ),
    "another form": ("print('acc=0.5')", {}, ScriptUnusable, "--report json does not find it, but --report pairs does"),
    "not numbers in that form": ("print('val_acc: 0.5')", {}, ScriptUnusable, "its last lines name val_acc: say which"),
}


@pytest.mark.parametrize(("text", "more", "kind", "match"), FAILURES.values(), ids=FAILURES.keys())
def test_a_script_that_ends_badly_says_why(
    script: Callable[..., Script], text: str, more: dict[str, Any], kind: type[ScriptFailed], match: str
) -> None:
    more = dict(more)
    with pytest.raises(ScriptFailed, match=match) as failed:
        list(script(text, *more.pop("arguments", ()), **more)(CONFIG, None))
    assert type(failed.value) is kind


def test_colours_of_a_terminal_are_not_read(script: Callable[..., Script]) -> None:
    coloured = script(r"print('\x1b[1macc\x1b[0m: \x1b[32m0.5\x1b[0m')", report="pairs")
    assert [dict(epoch.metrics) for epoch in coloured(CONFIG, None)] == [{"acc": 0.5}]


def test_values_that_make_no_command_are_refused_before_anything_is_started(script: Callable[..., Script]) -> None:
    with pytest.raises(ValueError, match="the environment variable NOT_SET is not set where the program runs"):
        script("", "{env:NOT_SET}")(CONFIG, None)


def test_a_program_that_cannot_be_started_is_told_as_unusable(tmp_path: Path) -> None:
    with pytest.raises(ScriptUnusable, match="cannot be started"):
        list(Script(str(tmp_path / "gone.sh"), str(tmp_path))(CONFIG, None))


# Its end

FAMILY = """
    import os, subprocess, sys, time
    child = "import time, pathlib, os, sys; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(60)"
    for number in range(2):  # one of them in a session of its own
        subprocess.Popen([sys.executable, "-c", child, f"pid-{number}"], start_new_session=bool(number))
    while not all(os.path.exists(f"pid-{number}") and open(f"pid-{number}").read() for number in range(2)):
        time.sleep(0.01)
    print('{"acc": 1}', flush=True)
"""


def pids(folder: Path) -> list[int]:
    return [int((folder / f"pid-{number}").read_text()) for number in range(2)]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(wanted: list[int], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while any(map(alive, wanted)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(alive, wanted))


@pytest.mark.parametrize("end", ["    time.sleep(60)\n", ""], ids=["stopped", "ended by itself"])
def test_nothing_is_left_of_a_script_and_what_it_started(
    script: Callable[..., Script], tmp_path: Path, end: str
) -> None:
    epochs = script(FAMILY + end)(CONFIG, None)
    next(epochs)
    family = pids(tmp_path)
    if not end:
        list(epochs)
    epochs.close()
    assert gone(family)


def test_nothing_is_left_when_the_process_that_runs_it_is_killed(script: Callable[..., Script], tmp_path: Path) -> None:
    mine = script(FAMILY + "    time.sleep(60)\n")
    code = (
        "from trainables.script.script import Script\n"
        f"epochs = Script({mine.program!r}, {mine.folder!r}, metric='acc')({CONFIG!r}, None)\n"
        "next(epochs); print('one', flush=True); import time; time.sleep(60)"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=root) as runner:
        assert runner.stdout is not None
        assert runner.stdout.readline()
        family = pids(tmp_path)
        assert all(map(alive, family))
        runner.send_signal(signal.SIGKILL)
    assert gone(family)


def test_one_that_does_not_listen_is_killed(script: Callable[..., Script], tmp_path: Path) -> None:
    mine = script(
        """
        import signal, os, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open("pid", "w").write(str(os.getpid()))
        print('{"acc": 1}', flush=True)
        time.sleep(60)
        """
    )
    epochs = mine(CONFIG, None)
    next(epochs)
    began = time.monotonic()
    epochs.close()
    assert time.monotonic() - began < 2  # Ray waits no longer
    assert gone([int((tmp_path / "pid").read_text())])


def test_two_runs_of_one_trial_do_not_overlap(tmp_path: Path) -> None:
    code = "import sys, time; print('begin', flush=True); time.sleep(0.3); print('end', flush=True)"
    words = [sys.executable, "-I", "-S", guard.__file__, str(tmp_path / "lock"), "5", sys.executable, "-c", code]
    with (tmp_path / "out").open("w") as out:
        running = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=out) for _ in range(2)]
        for each in running:
            each.wait(20)
            assert each.stdin is not None
            each.stdin.close()
    assert (tmp_path / "out").read_text().split() == ["begin", "end"] * 2


# What is kept


def test_a_file_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.begin(None)
    code = (
        "import sys, time\nwith open(sys.argv[1], 'w') as f:\n f.write('half'); f.flush(); print(); time.sleep(0.4)\n"
    )
    code += " f.write(' whole')\ntime.sleep(30)"
    with subprocess.Popen([sys.executable, "-uc", code, str(home.files / "state")], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        (tmp_path / "into").mkdir()
        assert home.save(tmp_path / "into", [1.0], guard=os.getpid(), ahead=list) == ""
        writer.kill()
    assert (tmp_path / "into" / FILES / "state").read_text() == "half whole"


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.begin(None)
    (tmp_path / "secret").write_text("of others")
    (home.files / "own").write_text("mine")
    (home.files / "last").symlink_to("own")
    (home.files / "out").symlink_to(tmp_path / "secret")
    (home.files / "nowhere").symlink_to("missing")
    (tmp_path / "into").mkdir()
    home.save(tmp_path / "into", [1.0], guard=None, ahead=list)
    assert {path.name: path.read_text() for path in (tmp_path / "into" / FILES).iterdir()} == {
        "own": "mine",
        "last": "mine",
    }


@pytest.mark.parametrize(
    "plain",
    [
        {"style": "loud"},
        {"arguments": "--lr"},
        {"arguments": [1]},
        {"base": [1]},
        {"report": "{}"},
        {"program": 3},
        {"folder": "a\0b"},
    ],
)
def test_what_is_no_script_is_refused_at_birth(plain: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        Script.from_plain({"program": "/a.py", "folder": "/", **plain})


def test_a_script_is_read_back_as_it_was() -> None:
    arguments, base = ("--x", "{lr}"), {"a": {"b": 1}}
    script = Script("/a/b.py", "/a", arguments, "hydra", ("--v",), "loss", "pairs", base, endless=True)
    assert Script.from_plain({**json.loads(json.dumps(script.to_plain())), "program": "/a/b.py"}) == script
