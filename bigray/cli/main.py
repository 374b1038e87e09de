"""The command line: one file per verb in this folder, imported only when it is the one asked for.

A verb's file holds ``command``, a function whose signature typer reads, or ``app`` where a verb has verbs of its own.
It parses, calls and prints. What goes wrong ends here: errors of bigray become one message on stderr and the exit code
of their class (2 for what the caller can mend, 3 when no candidate qualified, else 1), never a traceback.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from bigray.errors import BigrayError

VERBS = (
    "init",
    "run",
    "train",
    "search",
    "predict",
    "up",
    "deploy",
    "undeploy",
    "promote",
    "rollback",
    "status",
    "keys",
    "capacity",
    "down",
    "submit",
    "jobs",
    "doctor",
    "demo",
)
"""In the order of a user's journey."""


class _Verbs(TyperGroup):
    """Imports a verb's file when that verb (or the list of all) is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        # An unknown name loads all, so that typer can suggest the nearest.
        for verb in [cmd_name] if cmd_name in VERBS else VERBS:
            if verb not in self.commands:
                self.commands[verb] = _load(verb)
        return self.commands.get(cmd_name)


def _load(verb: str) -> Any:
    module = importlib.import_module(f"bigray.cli.{verb}")
    app = getattr(module, "app", None)
    if app is None:
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command(verb)(module.command)
    command = typer.main.get_command(app)
    command.name = verb
    return command


def _show_version(value: bool) -> None:
    if value:
        from bigray import __version__

        typer.echo(f"bigray {__version__}")
        raise typer.Exit


app = typer.Typer(
    name="bigray",
    cls=_Verbs,
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    invoke_without_command=True,
)


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Train, compress under an accuracy guarantee, and serve models on Ray.

    Start with:  bigray run text_classification.tiny
    """


def run(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command line and leave with its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words or bool(os.environ.get("BIGRAY_DEBUG"))
    words = [word for word in words if word != "--debug"]  # so that it may stand anywhere
    sys.exit(_answer(words, debug))


def _answer(words: list[str], debug: bool) -> int:
    try:
        code = typer.main.get_command(app).main(words, prog_name="bigray", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        print("\nstopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if debug:
            raise
        return _report(error)
    return code if isinstance(code, int) else 0


def _report(error: Exception) -> int:
    if isinstance(error, BigrayError):
        print(f"error: {error.detail}", file=sys.stderr)
        return error.exit_code
    if hasattr(error, "format_message"):  # typer's own: unknown option, missing argument
        context = getattr(error, "ctx", None)
        if type(error).__name__ == "NoArgsIsHelpError":  # bare `bigray`: its message is the whole help
            print(error.format_message(), file=sys.stderr)
            return 2
        print(f"error: {error.format_message()}", file=sys.stderr)
        if context is not None:
            print(f"Try '{context.command_path} --help'.", file=sys.stderr)
        return 2
    print(
        f"error: unexpected {type(error).__name__}: {error}\nRun again with --debug for the traceback.", file=sys.stderr
    )
    return 1


if __name__ == "__main__":
    run()
