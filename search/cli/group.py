"""The command line as a whole: its verbs, studies as commands, and how errors end it."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from search.cli import check, cluster, data, experience, look, predict, run, steer
from search.cli.output import echo
from search.errors import BadInput, ClusterLost, SearchError
from search.printable import one_line

INTERRUPTED = "interrupted; if the search had begun, it is in `python -m search list`, and resume goes on with it"

PHOTOS = "photos"
"""The study of data of which no study is said."""


def version() -> str:
    """Which version this is, and of what checkout."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    from search.provenance import commit

    try:
        number = installed("search")
    except PackageNotFoundError:  # run from a checkout that was not installed
        number = "not installed"
    at = commit()
    return f"search {number}" + (f" ({at[:12]}{'+' if at.endswith('+') else ''})" if at else "")


def tell_version(context: click.Context, option: click.Parameter, wanted: bool) -> None:
    """Print the version, and nothing else."""
    if wanted:
        echo(version())
        context.exit()


class Commands(click.Group):
    """Every command that is not a verb is the name of a study, or the path of a study file."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Data without a verb or a study are photos."""
        return super().parse_args(context, _of_photos(args))

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        """Insert the verb `run` before a study."""
        args = _of_photos(args)
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            self._check_verb(args[0])
            args = ["run", *args]
        return super().resolve_command(context, args)

    def _check_verb(self, word: str) -> None:
        import difflib

        import spaces

        near = difflib.get_close_matches(word, self.commands, n=1)
        if near and word not in spaces.names() and not spaces.is_file(word):
            raise click.UsageError(f"no command or study {word!r}; did you mean {near[0]}?")

    def list_commands(self, context: click.Context) -> list[str]:
        """The verbs, in the order in which one needs them."""
        return list(self.commands)


def _of_photos(args: list[str]) -> list[str]:
    """`args` with the study for data of which no study is said."""
    bare = args[:1] and args[0].startswith("--") and any(word.partition("=")[0] == "--data" for word in args)
    return ["run", PHOTOS, *args] if bare else args


@click.group(
    cls=Commands,
    invoke_without_command=True,
    epilog=run.EXAMPLES,
    context_settings={"max_content_width": 120, "help_option_names": ["-h", "--help"]},
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=tell_version, help="Say which.")
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
        echo(f"{name:<{width}}  {spaces.describe(name)}")


for verb in (
    run.run_study,
    run.resume_search,
    cluster.submit,
    cluster.run_order,
    cluster.status,
    cluster.logs,
    cluster.stop,
    data.look,
    look.list_searches,
    look.show,
    look.best,
    predict.predict,
    look.export,
    look.report,
    look.ui,
    look.watch,
    steer.steer,
    experience.experience,
    check.replay,
    check.reproduce,
    check.sync,
    check.doctor,
):
    cli.add_command(verb)


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
        from search.storage.checkpoints import as_fault

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

        echo(traceback.format_exc(), err=True)
    echo(f"error: {one_line(text)}", err=True)
    if at_once:
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)
