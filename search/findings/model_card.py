"""The winner's model card, as Markdown, for whoever finds the model without its search.

It tells what the model is, of what data, how good, how it is called, what it cannot do, and how it was found. The
sections follow Mitchell et al. 2019, "Model Cards for Model Reporting". Names of classes and of data are other
people's: they are shown as they are, and nothing in them is a tag or a link.
"""

from __future__ import annotations

from collections.abc import Sequence

from search.findings import confirmed
from search.findings.sections import mistakes
from search.findings.snapshot import Snapshot
from search.findings.text import clock
from search.printable import fenced, markdown, one_line
from search.record.reading import spent
from spaces.values import config_to_plain

MOST_CLASSES = 12
"""With more classes than these their pairs that are confused say more than the matrix."""
MOST_NAMES = 100
"""So many classes are named."""


def build(search: Snapshot, uri: str, *, longest: int | None = None) -> str:
    """The card of the winner of `search`, of which there must be one, as MLflow serves it at `uri`.

    What is of least use is left out, and that is said, until the card has at most so many characters as the `longest`
    may.
    """
    sections = [
        _head(search),
        _data(search),
        _accuracy(search),
        _call(search, uri),
        _limits(search),
        _found(search),
        _confusion(search),
        _settings(search),
    ]
    kept = [section for section in sections if section]
    text = "\n\n".join(kept)
    while longest is not None and len(text) > longest and len(kept) > 1:
        kept.pop()
        text = "\n\n".join([*kept, "The whole card is `README.md` among the model's artifacts."])
    return text if longest is None else text[:longest]


def _head(search: Snapshot) -> str:
    header, trial = search.header, search.winner
    assert trial is not None
    epoch = trial.best_epoch(search.objective).number
    lines = [f"# {markdown(header.study)}: a classifier of {len(header.classes)} classes"]
    if header.stand_in:
        lines.append(f"**STAND-IN DATA**: {markdown(header.dataset)} could not be had; this says nothing about it.")
    lines.append(f"{markdown(header.about)}")
    lines.append(f"Trial {trial.number} of the search `{header.name}`, as it was after epoch {epoch}.")
    return "\n\n".join(lines)


def _data(search: Snapshot) -> str:
    header = search.header
    names = [f"`{code(name)}`" for name in header.classes[:MOST_NAMES]]
    more = f" and {len(header.classes) - MOST_NAMES:,} more" if len(header.classes) > MOST_NAMES else ""
    parts = f"{header.train_images:,} {search.unit} for training, {header.val_images:,} for validation"
    if search.tested is not None and search.tested.images is not None:
        parts += f", {search.tested.images:,} for the test"
    channels, height, width = header.shape
    size = "" if search.unit == "points" else f"; {width}×{height} pixels, {channels} channel{'s'[: channels > 1]}"
    lines = [
        f"## Data\n\n{markdown(header.dataset)} ({markdown(header.where)}): {parts}{size}.",
        f"SHA-256 `{header.digest}`",
        f"Classes, in the order of the answers: {', '.join(names)}{more}",
        *(f"- {markdown(note)}" for note in header.notes),
    ]
    return "\n\n".join(lines)


def _accuracy(search: Snapshot) -> str:
    trial, tested, objective = search.winner, search.tested, search.objective
    assert trial is not None
    row = trial.best_epoch(objective)
    lines = ["## How good it is", "| measure | value | 95 % interval |\n|---|---|---|"]
    rows = []
    if tested is not None:
        if tested.value is not None:
            interval = "{:.4f} … {:.4f}".format(*tested.interval) if tested.interval else ""
            rows.append(f"| test accuracy | {tested.value:.4f} | {interval} |")
        rows += [f"| test {markdown(name)} | {value:.4f} | |" for name, value in tested.beyond.items()]
    measured = {
        name: row.metrics[name] for name in dict.fromkeys(["val_accuracy", objective.metric]) if name in row.metrics
    }
    rows += [f"| {markdown(name)} | {value:.4f} | |" for name, value in measured.items()]
    best = confirmed.of_winner(search.confirmation)
    if best is not None:
        interval = "{:.4f} … {:.4f}".format(*best["interval"]) if best["interval"] else ""
        rows.append(f"| mean of {len(best['values'])} fresh seeds | {best['mean']:.4f} | {interval} |")
    lines[1] += "\n" + "\n".join(rows)
    if tested is None:
        lines.append("It was not tested: the data have no test part.")
    elif tested.no_better:
        lines.append("**IT IS NO BETTER THAN ALWAYS SAYING THE LARGEST CLASS**, as far as the test set can tell.")
    return "\n\n".join(lines)


def _call(search: Snapshot, uri: str) -> str:
    channels, height, width = search.header.shape
    if (height, width) == (1, 1):
        shape, dtype, takes = f"(7, 1, 1, {channels})", "np.float32", "float32 `(N, 1, 1, features)`"
    else:
        own = f"({height}, {width})" if channels == 1 else f"({height}, {width}, {channels})"
        shape = f"(7, {own[1:]}"
        takes = (
            f"uint8 pictures `(N, {own[1:]}`, raw grey levels of 0 to {search.header.brightest}; "
            "other sizes are brought to that. Shares of 1, files' bytes and their base64 are taken too"
        )
        dtype = "np.uint8"
    example = (
        "import mlflow, numpy as np\n\n"
        f"model = mlflow.pyfunc.load_model({uri!r})\n"
        f"probabilities = model.predict(np.zeros({shape}, {dtype}))  # a table (7, {len(search.header.classes)})\n"
        "classes = probabilities.idxmax(axis=1)"
    )
    answers = "It answers with a table of probabilities: a row for each picture, a column for each class."
    return f"## How to call it\n\nIt takes {takes}. {answers}\n\n{fenced(example)}"


def _limits(search: Snapshot) -> str:
    header, openings = search.header, sum(trial.tested is not None for trial in search.trials)
    lines = [
        "It knows these classes only, and answers with one of them whatever it is shown.",
        "It was measured on data like those of its training. Others were not tried.",
        "Its validation accuracy is the best of many, and so too good by some.",
    ]
    if openings > 1:
        lines.append(f"The test set was opened for {openings} winners of this search, and so is known to it a little.")
    if header.val_as_test:
        lines.append("The test part is the data's own validation part.")
    interval = search.tested.interval if search.tested is not None else None
    if interval is not None and interval[1] - interval[0] > 0.1:
        lines.append(f"Few test {search.unit}: the interval of its accuracy is wide.")
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _found(search: Snapshot) -> str:
    header, trials = search.header, search.trials
    counts = ", ".join(f"{count} {state}" for state, count in trials.counts().items())
    versions = ", ".join(f"{name} {version}" for name, version in header.versions.items())
    lines = [
        "## How it was found",
        fenced(header.command),
        f"{len(trials)} trials ({counts}), {trials.epochs:,} epochs, {clock(spent(search.events))} of wall time; "
        f"sampler {header.sampler}, scheduler {header.scheduler}, seed {header.seed}.",
        f"{markdown(versions)}; commit `{code(header.commit or 'unknown')}`",
    ]
    return "\n\n".join(lines)


def _confusion(search: Snapshot) -> str:
    """How often which class was taken for which; "" where that is not known."""
    confusion = mistakes.build(search).confusion
    if confusion is None:
        return ""
    head = "## What it confuses"
    rows = confusion.rows
    if rows and len(rows) <= MOST_CLASSES:
        names = [markdown(row.name) for row in rows]
        table = [f"| true, taken for | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
        for name, row in zip(names, rows, strict=True):
            table.append(f"| {name} | {' | '.join(str(count) for count, _ in row.cells)} |")
        return f"{head}\n\nTest {search.unit}, one row for each class:\n\n" + "\n".join(table)
    pairs = [f"| {markdown(true)} | {markdown(taken)} | {count} |" for true, taken, count in confusion.pairs]
    return f"{head}\n\n" + _table(("true", "taken for", f"test {search.unit}"), pairs) if pairs else ""


def _settings(search: Snapshot) -> str:
    assert search.winner is not None
    config = config_to_plain(search.header.full_config(search.winner.point))
    rows = [f"| {markdown(name)} | {markdown(str(value))} |" for name, value in config.items()]
    return "## Hyperparameters\n\n" + _table(("name", "value"), rows)


def _table(head: Sequence[str], rows: Sequence[str]) -> str:
    return "\n".join([f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *rows])


def code(text: str) -> str:
    """`text` on one line as it may stand between backticks."""
    return one_line(str(text)).replace("`", "'")
