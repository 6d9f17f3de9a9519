"""The verbs that check what is kept, and mend it: replay, reproduce, sync, doctor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from search.cli.clock import on_signals
from search.cli.options import DEBUG, JSON, RUNS, command_line, declared_options
from search.cli.output import echo
from search.errors import BadInput, EnvironmentFault, SearchFailed
from search.options import read as read_options
from search.record.events import Kind
from search.settings import More, OfOneCommand

if TYPE_CHECKING:  # which brings Ray's neighbours and MLflow's with it
    from search.session.doctor import Finding


@click.command()
@click.argument("name")
@RUNS
@JSON
@DEBUG
def replay(name: str, runs: Path, as_json: bool) -> None:
    """Derive every suggestion and every stop of a search anew from its record, without training; compare."""
    from search.decide.replay import differences
    from search.record.reader import FILE, read
    from search.record.reading import header_of
    from search.session.resume import drift, recorded_study
    from search.storage.runs import find_search

    events = read(find_search(name, runs) / FILE)
    header = header_of(events)
    different = differences(events, recorded_study(header, to_train=False))
    counts = {str(kind): sum(event.kind == kind for event in events) for kind in (Kind.ASKED, Kind.DECIDED, Kind.ENDED)}
    if as_json:
        echo(json.dumps({"name": name, "same": not different, "differences": different, **counts}, indent=1))
    else:
        counted = f"{counts['asked']} suggestions, {counts['decided']} decisions at rungs, {counts['ended']} ends"
        echo(f"{name}: {counted}: " + ("all as recorded" if not different else "not as recorded"))
    if different:
        from search import provenance

        since = drift(header, provenance.code(header.source))
        raise SearchFailed("; ".join([*different, *since]))


@click.command()
@click.argument("name")
@click.option("--trial", "number", type=int, help="Its number; the winner's if left out.")
@RUNS
@declared_options(OfOneCommand)
@JSON
@DEBUG
def reproduce(name: str, number: int | None, runs: Path, as_json: bool, **options: Any) -> None:
    """Train a trial again from its seed, and say whether it comes out as recorded."""
    from search.session.reproduce import reproduce as train_again
    from search.storage.runs import find_search
    from search.terminal import screen

    display = screen.for_stderr(quiet=as_json)
    more = More(**read_options(OfOneCommand, options))
    again = train_again(find_search(name, runs), number, command_line(), display, more)
    echo(json.dumps(again.document(), indent=1) if as_json else str(again))
    if not again.match:
        raise SearchFailed(again.verdict)


@click.command()
@click.argument("name")
@RUNS
@declared_options(OfOneCommand)
@DEBUG
def sync(name: str, runs: Path, **options: Any) -> None:
    """Write to MLflow what it lacks of a search, and register its winner if that is still to do."""
    from search.session import run
    from search.session.resume import going_on
    from search.storage.runs import find_search
    from search.terminal import screen

    more = More(**read_options(OfOneCommand, options))
    folder = find_search(name, runs)
    display = screen.for_stderr(quiet=False)
    on_signals()
    with going_on(folder, lambda events: more, command_line(), display, to_train=False) as prepared:
        if not run.sync(prepared, folder, display):
            raise EnvironmentFault(f"MLflow still does not take all of {name}; try again when it answers")
    echo(f"{name}: MLflow has all of the record")


@click.command()
@click.argument("name", required=False)
@RUNS
@click.option("--repair", is_flag=True, help="Mend what can be mended, from the record.")
@click.option(
    "--study",
    type=click.Path(path_type=Path),
    help="With --repair: the search's own study file, whose code may run to train a lost checkpoint again.",
)
@JSON
@DEBUG
def doctor(name: str | None, runs: Path, repair: bool, study: Path | None, as_json: bool) -> None:
    """Examine this machine; or a search: do its record, decisions, checkpoints and MLflow runs agree?"""
    findings = []
    with _examined(name, runs, repair=repair, study=study) as examined:
        for finding in examined:
            repaired = finding.repair() if repair and not finding.well and finding.repair else ""
            findings.append({"what": finding.what, "well": finding.well, "seen": finding.seen, "repaired": repaired})
            if not as_json:
                echo(f"{'ok ' if finding.well else 'BAD'} {finding.what:<12} {finding.seen}")
                if repaired:
                    echo(f"    {'':<12} repaired: {repaired}")
    if as_json:
        echo(json.dumps(findings, indent=1))
    bad = [str(each["what"]) for each in findings if not each["well"] and not each["repaired"]]
    if bad:
        hint = "" if repair or name is None else "; --repair mends what can be mended"
        raise EnvironmentFault(f"not well: {', '.join(bad)}{hint}")


@contextmanager
def _examined(name: str | None, runs: Path, *, repair: bool, study: Path | None) -> Iterator[Iterator[Finding]]:
    """What is found of this machine, or of the search `name`, which is held inside if it may be mended."""
    from search.session import doctor
    from search.settings import Settings, check_name, from_environment
    from search.storage import lock, mirror
    from search.storage.bucket import shown

    if name is None:
        yield doctor.machine(Settings(runs=runs, **from_environment()))
        return
    check_name(name)
    folder = runs / name
    mirror.pull(folder)
    if not folder.is_dir():
        raise BadInput(f"no search {name!r} in {shown(runs)}; `python -m search list` shows those there are")
    running = lock.is_held(folder)
    if repair:
        on_signals()
    with lock.held(folder) if repair else nullcontext():
        yield doctor.search(folder, running=running, study=study)
