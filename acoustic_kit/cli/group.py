"""The root command group: commands by stage, global options anywhere, errors as messages and exit codes."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import typer
import typer.core

from acoustic_kit.api.progress import escape_controls, say
from acoustic_kit.errors import AkitError, AkitWarning

STAGES = {
    "Data": ("init", "data"),
    "Features": ("features",),
    "Train": ("recipe", "pseudo", "runs"),
    "Blend": ("blend", "submission", "submit", "score"),
    "Use": ("predict", "export", "bundle", "report", "demo"),
}
STOPPED = "\nStopped. Run the same command again to continue."

# Typer exports no common class of usage errors; every one of them is a sub-class of this base
_USAGE_ERROR: type[BaseException] = typer.BadParameter.__bases__[0]
_SIGNALS: tuple[type[BaseException], ...] = (typer.Exit, typer.Abort, _USAGE_ERROR, BrokenPipeError)


@dataclass
class GlobalOptions:
    """The options of every command."""

    folder: Path
    debug: bool


class RootGroup(typer.core.TyperGroup):
    """Groups commands by stage and turns errors into one or two lines on stderr, an interrupt into exit code 130."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the commands in the order in which they are used."""
        return [name for names in STAGES.values() for name in names]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands of each stage."""
        width = max(map(len, self.commands))
        limit = formatter.width - width - 6
        for stage, names in STAGES.items():
            with formatter.section(stage):
                formatter.write_dl(
                    [(name.ljust(width), self.commands[name].get_short_help_str(limit)) for name in names]
                )

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; the group's own options may follow the command."""
        return super().parse_args(ctx, hoist_options(self, args))

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse the global options."""
        try:
            return super().make_context(*arguments, **options)
        except KeyboardInterrupt:
            raise stopped() from None
        except _USAGE_ERROR as error:
            raise _without_controls(error) from None

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            with _warnings_as_messages(), _unwrapped_interrupts():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            raise stopped() from None
        except _SIGNALS as error:
            raise _without_controls(error) from None
        except (AkitError, OSError) as error:
            _print_error(ctx, f"Error: {error}{_recovery_hint(error)}")
            raise typer.Exit(error.exit_code if isinstance(error, AkitError) else 1) from None
        except MemoryError:
            _print_error(ctx, "Error: out of memory. Use fewer --workers.")
            raise typer.Exit(1) from None
        except RecursionError:
            _print_error(ctx, "Error: a file, a folder or an option is nested too deeply; --debug shows where.")
            raise typer.Exit(1) from None
        except BaseException as error:
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # of a Rust library
                raise
            text = (
                f"Error: {type(error).__name__}: {error}\nThis is a defect of akit or of a recipe; --debug shows where."
            )
            _print_error(ctx, text)
            raise typer.Exit(1) from None


@contextmanager
def _warnings_as_messages() -> Iterator[None]:
    """Print warnings of akit on stderr as messages; those of libraries stay as they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", AkitWarning)
        show = warnings.showwarning

        def show_or_say(message: Warning | str, category: type[Warning], *where: Any) -> None:
            say(f"Warning: {message}") if issubclass(category, AkitWarning) else show(message, category, *where)

        warnings.showwarning = show_or_say  # type: ignore[assignment]
        yield


def hoist_options(group: Any, arguments: list[str]) -> list[str]:
    """Return the arguments with the group's own options moved before the command.

    Values of the command's options and everything after `--` stay in place. Raises BadParameter if a value is missing.
    """
    hoisted: list[str] = []
    others: list[str] = []
    command, left = group, iter(arguments)
    for argument in left:
        if argument == "--":
            others += [argument, *left]
            break
        option, target = _option(command, argument), others
        if option is None or command is group:
            option, target = _option(group, argument), hoisted
        if option is None:
            others.append(argument)
            command = getattr(command, "commands", {}).get(argument, command)
            continue
        target.append(argument)
        if not option.is_flag and argument in option.opts:  # the value is an argument of its own
            target += (values := list(islice(left, option.nargs)))
            if target is hoisted and len(values) < option.nargs:
                raise typer.BadParameter("a value is missing", param_hint=argument)
    return hoisted + others


def _option(command: Any, argument: str) -> Any | None:
    """Return the command's option that an argument such as `--top`, `--top=3` or `-C` begins, or None."""
    name = argument.partition("=")[0] if argument.startswith("--") else argument[:2]
    return next((option for option in command.params if name[:1] == "-" and name in option.opts), None)


def stopped() -> typer.Exit:
    """Say that the command was interrupted and return the exit for it."""
    say(STOPPED)
    return typer.Exit(130)


def _without_controls(error: BaseException) -> BaseException:
    """Escape control codes in a usage error, whose message may quote a file name."""
    if isinstance(message := getattr(error, "message", None), str):
        error.message = escape_controls(message)  # type: ignore[attr-defined]
    return error


@contextmanager
def _unwrapped_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt in place of an error that was caused by one.

    Python itself wraps it, in a compiled function that returned a result anyway, a SystemError, and in a class that is
    being made, a RuntimeError until Python 3.11.
    """
    try:
        yield
    except Exception as error:
        cause = error.__cause__
        while cause is not None and not isinstance(cause, KeyboardInterrupt):
            cause = cause.__cause__
        if cause is not None:
            raise KeyboardInterrupt from None
        raise


def _recovery_hint(error: Exception) -> str:
    """Return the command that repairs a store, which itself can only report the damage."""
    from acoustic_store import DamagedError

    hint = "\n`akit features verify --rebuild` finds damaged clips and builds them again."
    return hint if isinstance(error, DamagedError) else ""


def _print_error(ctx: Any, text: str) -> None:
    if isinstance(ctx.obj, GlobalOptions) and ctx.obj.debug:
        traceback.print_exc()
    say(text)
