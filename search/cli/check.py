"""The verbs that check what is kept, and mend it: replay, reproduce, sync, doctor."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import click

from search.cli.clock import on_signals
from search.cli.options import DEBUG, JSON, RUNS, command_line
from search.errors import BadInput, EnvironmentFault, SearchFailed
from search.record.events import Kind


@click.command()
@click.argument("name")
@RUNS
@JSON
@DEBUG
def replay(name: str, runs: Path, as_json: bool) -> None:
    """Derive every suggestion and every stop of a search anew from its record, without training; compare."""
    from search.decide.replay import differences
    from search.record.reading import header_of
    from search.record.record import FILE, read
    from search.session.resume import drift, recorded_study
    from search.storage.runs import found

    events = read(found(name, runs) / FILE)
    header = header_of(events)
    different = differences(events, recorded_study(header, to_train=False))
    counts = {str(kind): sum(event.kind == kind for event in events) for kind in (Kind.ASKED, Kind.DECIDED, Kind.ENDED)}
    if as_json:
        click.echo(json.dumps({"name": name, "same": not different, "differences": different, **counts}, indent=1))
    else:
        told = f"{counts['asked']} suggestions, {counts['decided']} decisions at rungs, {counts['ended']} ends"
        click.echo(f"{name}: {told}: " + ("all as recorded" if not different else "not as recorded"))
    if different:
        from search import provenance

        since = drift(header, provenance.code(header.source))
        raise SearchFailed("; ".join([*different, *since]))


@click.command()
@click.argument("name")
@click.option("--trial", "number", type=int, help="Its number; the winner's if left out.")
@RUNS
@JSON
@DEBUG
def reproduce(name: str, number: int | None, runs: Path, as_json: bool) -> None:
    """Train a trial again from its seed, and say whether it comes out as recorded."""
    from search.session.reproduce import reproduce as train_again
    from search.storage.runs import found
    from search.terminal import screen

    display = screen.for_stderr(quiet=as_json)
    again = train_again(found(name, runs), number, command_line(), display)
    click.echo(json.dumps(again.document(), indent=1) if as_json else str(again))
    if not again.match:
        raise SearchFailed(again.verdict)


@click.command()
@click.argument("name")
@RUNS
@DEBUG
def sync(name: str, runs: Path) -> None:
    """Write to MLflow what it lacks of a search, and register its winner if that is still to do."""
    from search.session import run
    from search.session.resume import More, going_on
    from search.storage.runs import found
    from search.terminal import screen

    folder = found(name, runs)
    display = screen.for_stderr(quiet=False)
    on_signals()
    with going_on(folder, lambda events: More(), command_line(), display) as prepared:
        if not run.sync(prepared, folder, display):
            raise EnvironmentFault(f"MLflow still does not take all of {name}; try again when it answers")
    click.echo(f"{name}: MLflow has all of the record")


@click.command()
@click.argument("name", required=False)
@RUNS
@click.option("--repair", is_flag=True, help="Mend what can be mended, from the record.")
@JSON
@DEBUG
def doctor(name: str | None, runs: Path, repair: bool, as_json: bool) -> None:
    """Examine this machine; or a search: do its record, decisions, checkpoints and MLflow runs agree?"""
    from search.session import doctor
    from search.session.resume import tracking_uri
    from search.settings import Settings, check_name, from_environment
    from search.storage import lock, mirror
    from search.storage.bucket import shown

    findings = []
    with ExitStack() as stack:
        if name is None:
            look = doctor.surroundings(Settings(runs=runs, **from_environment()))
        else:
            check_name(name)
            mirror.pull(runs / name)
            if not (runs / name).is_dir():
                raise BadInput(f"no search {name!r} in {shown(runs)}; `python -m search list` shows those there are")
            running = lock.is_held(runs / name)
            if repair:
                on_signals()
                stack.enter_context(lock.held(runs / name))
            look = doctor.search(runs / name, tracking_uri(runs / name), running=running)
        for finding in look:
            told = finding.repair() if repair and not finding.well and finding.repair else ""
            findings.append({"what": finding.what, "well": finding.well, "seen": finding.seen, "repaired": told})
            if not as_json:
                mark = "ok " if finding.well else "BAD"
                click.echo(
                    f"{mark} {finding.what:<12} {finding.seen}" + (f"\n    {'':<12} repaired: {told}" if told else "")
                )
    if as_json:
        click.echo(json.dumps(findings, indent=1))
    bad = [str(each["what"]) for each in findings if not each["well"] and not each["repaired"]]
    if bad:
        hint = "" if repair or name is None else "; --repair mends what can be mended"
        raise EnvironmentFault(f"not well: {', '.join(bad)}{hint}")
