"""What all of the lab's commands share: how something that goes wrong is told, what is printed, common options.

Exit status: 0; 1, the work falls short; 2, the call is wrong, or the lab or the machine fails; 130, Ctrl-C.
With --json whatever ends with 2 or 130 prints {"error": …} too.
"""

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from lab import _process
from lab._terminal import harmless
from lab.errors import LabError

WRONG, INTERRUPTED = 2, 130


class Commands(click.Group):
    """Shows whatever goes wrong as a message alone, and ends with a status that says so; never with 1."""

    def invoke(self, ctx: click.Context) -> Any:
        _process.set_up()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # for names that the terminal can't show
        as_json = "--json" in [*ctx._protected_args, *ctx.args]
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            if as_json:
                say(json.dumps({"error": error.format_message()}))
            raise
        except (click.ClickException, click.exceptions.Exit):
            raise
        except (KeyboardInterrupt, click.Abort):
            fail("interrupted: nothing is judged.", as_json, INTERRUPTED)
        except LabError as error:
            fail(str(error), as_json)
        except BrokenPipeError:  # who read the answer has gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(WRONG)
        except OSError as error:
            fail(_in_words(error), as_json)
        except ModuleNotFoundError as error:
            fail(_missing(error), as_json)
        except Exception as error:  # whatever it is, it is not the person's work that falls short
            fail(_own_fault(error), as_json)


def fail(message: str, as_json: bool, status: int = WRONG) -> NoReturn:
    """Tell what went wrong, and end with a status that says so."""
    if os.environ.get("LAB_DEBUG"):
        import traceback

        traceback.print_exc()
    if as_json:
        say(json.dumps({"error": message}))
    click.echo(harmless(f"error: {message}"), err=True)
    sys.exit(status)


def _own_fault(error: Exception) -> str:
    what = f"{type(error).__name__}: {error}".splitlines()[0][:500]
    advice = "Please report this with what you typed and what LAB_DEBUG=1 in front of it prints (CONTRIBUTING.md)."
    return f"the lab itself fails: {what}. {advice}"


def _missing(error: ModuleNotFoundError) -> str:
    """What a package is part of that `pip install lab994` alone does not bring."""
    from lab.ready import extra_with

    package = (error.name or "").partition(".")[0]
    extra = extra_with(package)
    if extra is None:
        return _own_fault(error)
    return f"{package} is not installed, which this needs: pip install 'lab994[{extra}]' brings it."


def _in_words(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}. Is the disk full, or may you not write there?"


def say(text: str) -> None:
    """To stdout; names in it are a person's own, and draw nothing on the terminal."""
    click.echo(harmless(text))


Command = TypeVar("Command", bound=Callable[..., Any])
FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
GIVEN_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
SEED = click.IntRange(0, 2**32 - 1)
seed_option = click.option("--seed", type=SEED, default=0, help="Seed of the first weights and of training.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for a machine to read.")


def options(*them: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """One decorator for several options, in their order."""

    def with_them(command: Command) -> Command:
        for option in reversed(them):
            command = option(command)
        return command

    return with_them
