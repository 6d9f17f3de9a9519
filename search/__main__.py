"""The command line: `python -m search`."""

from __future__ import annotations

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
if __name__ == "__main__" and sys.path[0] not in ("", ROOT) and sys.path[0] == os.getcwd():
    # `python -m` looks into the working folder before all others, so that a study there called json.py would be what
    # everybody gets who imports json.
    sys.path.append(sys.path.pop(0))

# ruff: noqa: E402
import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

BEGAN = time.monotonic()
"""Time budgets count from here, before anything heavy is imported."""

INTERRUPTED = "interrupted; if the search had begun, it is in `python -m search list`, and resume goes on with it"

import click

from search.errors import BadInput, ClusterLost, EnvironmentFault, SearchError, SearchFailed
from search.options import (
    CHECKPOINT_BUDGET,
    CONFIRM,
    CONFIRM_SEEDS,
    DEBUG,
    JSON,
    RUNS,
    TRIAL_TIMEOUT,
    command_line,
    read,
    settings_of,
)
from search.submit import logs, status, stop, submit

EXAMPLES = """
\b
  python -m search                                  list the studies
  python -m search digits_cnn                       a first result in under a minute
  python -m search fashion_cnn --time-budget 5m     the best that five minutes allow
  python -m search fashion_cnn --set 'train/lr=log(1e-3, 1e-1)' --set train/optimizer=sgd
  python -m search show digits_cnn-1                what a search found
"""


class Commands(click.Group):
    """Every command that is not a verb is the name of a study, or the path of a study file."""

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        """Insert the verb `run` before a study."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            self._check_verb(args[0])
            args = ["run", *args]
        return super().resolve_command(context, args)

    def _check_verb(self, word: str) -> None:
        import difflib

        import spaces

        near = difflib.get_close_matches(word, self.commands, n=1)
        if near and word not in spaces.names() and not word.endswith(".py") and "/" not in word:
            raise click.UsageError(f"no command or study {word!r}; did you mean {near[0]}?")

    def list_commands(self, context: click.Context) -> list[str]:
        """The verbs, in the order in which one needs them."""
        return list(self.commands)


@click.group(cls=Commands, invoke_without_command=True, epilog=EXAMPLES, context_settings={"max_content_width": 120})
@click.pass_context
def cli(context: click.Context) -> None:
    """Find a well-tuned image classifier: python -m search STUDY."""
    if context.invoked_subcommand is None:
        studies()


def studies() -> None:
    """Print the studies there are."""
    import spaces

    names = spaces.names()
    width = max(map(len, names))
    for name in names:
        click.echo(f"{name:<{width}}  {spaces.describe(name)}")


@cli.command(name="run", epilog=EXAMPLES)
@click.argument("study")
@click.option("--name", help="Name of the search; the study's name and a counter if left out.")
@RUNS
@click.option(
    "--data", type=click.Path(path_type=Path), help="An .npz file, an image folder, or a folder of known sets."
)
@click.option("--trials", type=int, help="At most so many trials.")
@click.option("--epochs", type=int, help="Full budget of a trial.")
@click.option("--time-budget", metavar="TIME", help="Wall time of the whole command: 90s, 10m, 2h.")
@click.option("--concurrent", type=int, help="At most so many trials at a time; as many as fit if left out.")
@click.option("--cpus", type=float, default=1.0, show_default=True, help="CPUs per trial.")
@click.option("--gpus", type=float, default=0.0, show_default=True, help="GPUs per trial; fractions share one.")
@click.option("--also-cpus", is_flag=True, help="Let trials for which no GPU is free train on CPUs.")
@click.option("--seed", type=int, default=0, show_default=True, help="All random draws come from it.")
@click.option("--sampler", help="What proposes: tpe, random, or grid; the study's (tpe, as a rule) if left out.")
@click.option("--scheduler", help="What stops the weak: asha or none; the study's (asha, as a rule) if left out.")
@click.option(
    "--set", "changes", multiple=True, metavar="NAME=VALUE", help="Fix a hyperparameter, or search it in another range."
)
@CONFIRM
@CONFIRM_SEEDS
@click.option(
    "--warm-start", multiple=True, metavar="NAME", help="Begin with the best of the search NAME; can be given again."
)
@click.option(
    "--audit",
    type=float,
    default=0.0,
    show_default=True,
    metavar="SHARE",
    help="Let this share of the trials that would be stopped run on, to tell what stopping costs.",
)
@click.option("--published", is_flag=True, help="Train the study's published settings first, to check what they claim.")
@click.option("--until-settled", is_flag=True, help="End when going on would gain less than a seed decides.")
@click.option("--resume", type=click.Choice(["auto"]), help="auto: go on with the search if it exists, else start it.")
@TRIAL_TIMEOUT
@CHECKPOINT_BUDGET
@click.option(
    "--wait-for-resources", metavar="TIME", help="On a cluster: wait so long for a node that can hold a trial."
)
@click.option("--dry-run", is_flag=True, help="Check everything, say what it will take, start and write nothing.")
@click.option("--probe", metavar="TIME", help="How long a dry run may measure (10s); 0 measures nothing.")
@JSON
@click.option("--quiet", is_flag=True, help="Warnings only.")
@click.option("--no-stand-in", is_flag=True, help="Fail if the data cannot be had.")
@DEBUG
def run_study(study: str, **options: Any) -> None:
    """Search STUDY: a name that `python -m search` lists, or the path of a study file."""
    from search import display as displays
    from search.resume import ready

    settings = settings_of(options)
    probe = _probe_seconds(options["probe"], dry_run=options["dry_run"])
    display, stop = displays.for_stderr(quiet=options["quiet"]), _on_signals()
    with ready(study, settings, display, resume=options["resume"] is not None) as prepared:
        if options["dry_run"]:
            _plan(prepared, stop, probe, as_json=options["as_json"])
        else:
            _search(prepared, display, stop, as_json=options["as_json"])


@cli.command(name="resume")
@click.argument("name")
@RUNS
@click.option("--trials", type=int, help="So many trials more.")
@click.option("--time-budget", metavar="TIME", help="So much time more.")
@click.option("--concurrent", type=int, help="At most so many trials at a time from now on.")
@CONFIRM
@CONFIRM_SEEDS
@TRIAL_TIMEOUT
@CHECKPOINT_BUDGET
@JSON
@click.option("--quiet", is_flag=True, help="Warnings only.")
@DEBUG
def resume_search(name: str, runs: Path, **options: Any) -> None:
    """Go on with a search that was interrupted, or give a finished one more."""
    from search import display as displays
    from search.resume import More, going_on
    from search.settings import seconds, size
    from search.summary import found

    more = More(
        trials=options["trials"],
        seconds=read(options["time_budget"], seconds),
        concurrent=options["concurrent"],
        trial_timeout=read(options["trial_timeout"], seconds, "--trial-timeout"),
        checkpoint_budget=read(options["checkpoint_budget"], size),
        confirm=options["confirm"],
        confirm_seeds=options["confirm_seeds"],
    )
    display, stop = displays.for_stderr(quiet=options["quiet"]), _on_signals()
    with going_on(found(name, runs), lambda events: more, command_line(), display) as prepared:
        _search(prepared, display, stop, as_json=options["as_json"])


for each in (submit, status, logs, stop):
    cli.add_command(each)


def _search(prepared: Any, display: Any, stop: Any, *, as_json: bool) -> None:
    from search.session import run  # after the checks, so that what is refused is refused sooner

    _tell(*run(prepared, display, stop), as_json=as_json)


def _probe_seconds(text: str | None, *, dry_run: bool) -> float | None:
    from search.settings import seconds

    if text is not None and not dry_run:
        raise BadInput("--probe is for --dry-run, which measures; a search is not held up by it")
    return 0.0 if text in ("0", "0s") else read(text, seconds, "--probe")


def _plan(prepared: Any, stop: Any, probe: float | None, *, as_json: bool) -> None:
    from search import display, plan

    told = plan.plan(prepared, elapsed=stop.elapsed, **({} if probe is None else {"probe_seconds": probe}))
    if as_json:
        click.echo(json.dumps({**prepared.about, "plan": told}, indent=1))
    else:
        click.echo(f"{display.plan(prepared.study, prepared.about)}\n\n{plan.text(told, prepared.about)}")


def _tell(summary: dict[str, Any], fault: SearchError | None, exit_code: int, *, as_json: bool) -> None:
    """Print the result, and end as the search did."""
    from search.display import result

    if as_json:
        click.echo(json.dumps(summary, indent=1))
    elif summary["best"]:
        click.echo(result(summary))
    if summary["state"] == "interrupted":
        click.echo(f"to go on: {summary['resume']}", err=True)
    if fault is not None:
        raise fault
    if exit_code:
        raise SystemExit(exit_code)


def _on_signals() -> Any:
    """The clock of one command, which takes the signals from now on."""
    from search.stop import Stop

    stop = Stop(BEGAN)
    stop.install()
    return stop


@cli.command(name="list")
@RUNS
@JSON
def list_searches(runs: Path, as_json: bool) -> None:
    """List the searches in the runs folder."""
    from search.bucket import shown
    from search.summary import searches, summarize

    summaries = []
    for folder in searches(runs):
        try:
            summaries.append(summarize(folder))
        except EnvironmentFault as error:  # one damaged record must not hide the others
            click.echo(f"warning: {error}", err=True)
    if as_json:
        click.echo(json.dumps(summaries, indent=1))
        return
    if not summaries:
        click.echo(f"no searches in {shown(runs)}; start one with python -m search STUDY", err=True)
    for each in summaries:
        best = each["best"]
        accuracy = (
            f"{best['metric'].replace('val_accuracy', 'val')} {best[best['metric']]:.4f}" if best else "no result"
        )
        test = f"test {best['test_accuracy']:.4f}" if best and best["test_accuracy"] is not None else ""
        counts = ", ".join(f"{count} {state}" for state, count in each["trials"].items())
        click.echo(f"{each['name']:<24} {each['state']:<12} {accuracy:<12} {test:<12} {counts}")


@cli.command()
@click.argument("name")
@RUNS
@JSON
def show(name: str, runs: Path, as_json: bool) -> None:
    """Show a search: its trials, the best first, and its winner."""
    from search import display as displays
    from search.record import FILE, read
    from search.summary import found, leaderboard, summarize

    folder = found(name, runs)
    events = read(folder / FILE)
    summary = {**summarize(folder, events), "leaderboard": leaderboard(events)}
    if as_json:
        click.echo(json.dumps(summary, indent=1))
        return
    click.echo(f"{summary['name']}: {summary['state']}, {summary['epochs']} epochs in {summary['wall_s']:.0f} s")
    for row in summary["leaderboard"]:
        value = f"{row['value']:.4f}" if row["value"] is not None else "      "
        point = " ".join(f"{key.split('/', 1)[1]}={displays.short(item)}" for key, item in row["point"].items())
        click.echo(f"  trial {row['trial']:3d}  {row['state']:<13} {row['epochs']:2d} epochs  {value}  {point}")
    compared = _compared(events)
    if compared:
        click.echo(compared)
    if summary["best"]:
        click.echo(displays.result(summary))


def _compared(events: Any) -> str:
    """What each setting of a grid changes, as lines of text; nothing for another sampler."""
    from search import comparison
    from search.summary import about, objective_of, space_of
    from search.trials import replayed

    if about(events).get("sampler") != "grid":
        return ""
    trials = replayed(events, objective_of(events))
    return comparison.table(comparison.compare(space_of(events), trials), trials.objective.metric)


@cli.command()
@click.argument("name")
@RUNS
@JSON
def best(name: str, runs: Path, as_json: bool) -> None:
    """Print the winner of a search: configuration, accuracies, where its model is."""
    from search import display as displays
    from search.summary import found, summarize

    summary = summarize(found(name, runs))
    if not summary["best"]:
        raise SearchFailed(f"{name} has no result yet; it is {summary['state']}")
    click.echo(json.dumps(summary["best"], indent=1) if as_json else displays.result(summary))


@cli.command()
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path))
@RUNS
def export(name: str, folder: Path, runs: Path) -> None:
    """Write a search into FOLDER: the winner's weights and configuration, trials and curves as CSV, an Optuna study."""
    from search.export import export_search
    from search.summary import found

    for file in export_search(found(name, runs), folder):
        click.echo(str(file))


@cli.command()
@click.argument("name")
@RUNS
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file, instead of runs/NAME/report.html.",
)
@DEBUG
def report(name: str, runs: Path, output: Path | None) -> None:
    """Write what a search found as one HTML page that needs nothing else, and print its path."""
    from search.report import write
    from search.summary import found

    click.echo(str(write(found(name, runs), output)))


@cli.command()
@RUNS
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
def ui(runs: Path, port: int) -> None:
    """Open MLflow's pages on the store beside the runs folder, on this machine only."""
    from search.mlflow_store import serve
    from search.settings import Settings, from_environment

    settings = Settings(runs=runs, tracking_uri=from_environment()["tracking_uri"])
    raise SystemExit(serve(settings.tracking, port, say=lambda text: click.echo(text, err=True)))


@cli.command()
@click.argument("name")
@RUNS
@JSON
@DEBUG
def replay(name: str, runs: Path, as_json: bool) -> None:
    """Derive every suggestion and every stop of a search anew from its record, without training; compare."""
    from search.record import FILE, read
    from search.replay import differences
    from search.resume import drift, recorded_study
    from search.summary import about, found

    events = read(found(name, runs) / FILE)
    how = about(events)
    different = differences(events, recorded_study(how, to_train=False))
    counts = {kind: sum(event.kind == kind for event in events) for kind in ("asked", "decided", "ended")}
    if as_json:
        click.echo(json.dumps({"name": name, "same": not different, "differences": different, **counts}, indent=1))
    else:
        told = f"{counts['asked']} suggestions, {counts['decided']} decisions at rungs, {counts['ended']} ends"
        click.echo(f"{name}: {told}: " + ("all as recorded" if not different else "not as recorded"))
    if different:
        from search import environment

        since = drift(how, environment.code(how["source"]))
        raise SearchFailed("; ".join([*different, *since]))


@cli.command()
@click.argument("name")
@click.option("--trial", "number", type=int, help="Its number; the winner's if left out.")
@RUNS
@JSON
@DEBUG
def reproduce(name: str, number: int | None, runs: Path, as_json: bool) -> None:
    """Train a trial again from its seed, and say whether it comes out as recorded."""
    from search import display as displays
    from search import reproduce as again
    from search.record import FILE, read
    from search.resume import More, recalled
    from search.summary import found, objective_of
    from search.trials import replayed

    folder = found(name, runs)
    events = read(folder / FILE)
    trials = replayed(events, objective_of(events))
    best = trials.best()
    if number is None:
        if best is None:
            raise SearchFailed(f"{name} has no winner; name a trial with --trial")
        number = best.number
    if number not in range(len(trials)) or not trials[number].epochs:
        known = ", ".join(str(trial.number) for trial in trials if trial.epochs)
        raise BadInput(f"--trial {number}: {name} has epochs of trials {known or 'none'}")
    display = displays.for_stderr(quiet=as_json)
    prepared = recalled(folder, events, More(), command_line(), display)
    curves = again.reproduce(prepared, number, display.say)
    document = {
        "name": name,
        "trial": number,
        "match": bool(curves)
        and all(curve.first is None and len(curve.again) == len(trials[number].epochs) for curve in curves),
        "epochs": len(trials[number].epochs),
        "metrics": {c.metric: {"recorded": c.recorded, "again": c.again, "drift": c.drift} for c in curves},
    }
    if as_json:
        click.echo(json.dumps(document, indent=1))
    else:
        click.echo(again.overlaid(curves, len(trials[number].epochs)))
    if not curves:
        raise SearchFailed(f"trial {number} has {document['epochs']} epochs on record, and came to none this time")
    if not document["match"]:
        worst = max(curves, key=lambda curve: (curve.first is not None, curve.drift))
        raise SearchFailed(
            f"trial {number} drifted: {worst.metric} by up to {worst.drift:.3g}, first at epoch {worst.first}"
        )


@cli.command()
@click.argument("name")
@RUNS
@DEBUG
def sync(name: str, runs: Path) -> None:
    """Write to MLflow what it lacks of a search, and register its winner if that is still to do."""
    from search import display as displays
    from search import session
    from search.resume import More, going_on
    from search.summary import found

    folder = found(name, runs)
    display = displays.for_stderr(quiet=False)
    _on_signals()
    with going_on(folder, lambda events: More(), command_line(), display) as prepared:
        if not session.sync(prepared, folder, display):
            raise EnvironmentFault(f"MLflow still does not take all of {name}; try again when it answers")
    click.echo(f"{name}: MLflow has all of the record")


@cli.command()
@click.argument("name", required=False)
@RUNS
@click.option("--repair", is_flag=True, help="Mend what can be mended, from the record.")
@JSON
@DEBUG
def doctor(name: str | None, runs: Path, repair: bool, as_json: bool) -> None:
    """Examine this machine; or a search: do its record, decisions, checkpoints and MLflow runs agree?"""
    from search import doctor, lock, mirror
    from search.bucket import shown
    from search.resume import tracking_uri
    from search.settings import Settings, check_name, from_environment

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
                _on_signals()
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


def main() -> None:
    """Run the command line; every error is one line on standard error and its exit code."""
    debug = "--debug" in sys.argv
    try:
        code = cli.main(prog_name="python -m search", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.UsageError as error:
        _fail(error.format_message(), BadInput.exit_code, debug)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        from search.checkpoints import as_fault

        full = as_fault(error)
        if full is None:
            raise
        _fail(str(full), full.exit_code, debug)
    except ClusterLost as error:
        _fail(str(error), error.exit_code, debug, at_once=True)
    except SearchError as error:
        _fail(str(error), error.exit_code, debug)
    except click.Abort as error:
        # click's name for KeyboardInterrupt; ours knows the signal.
        _fail(INTERRUPTED, getattr(error.__context__, "exit_code", 130), debug)
    except KeyboardInterrupt as error:
        _fail(INTERRUPTED, getattr(error, "exit_code", 130), debug)


def _fail(text: str, code: int, debug: bool, *, at_once: bool = False) -> None:
    if debug:
        import traceback

        traceback.print_exc()
    click.echo(f"error: {' '.join(text.split())}", err=True)
    if at_once:
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
