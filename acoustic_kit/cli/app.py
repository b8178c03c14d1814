"""The application: global options, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from acoustic_kit import __version__
from acoustic_kit.cli.console import say, written_out
from acoustic_kit.cli.streams import flush_stdout, prepare_streams
from acoustic_kit.errors import AkitError

if TYPE_CHECKING:
    from acoustic_kit.workspace.workspace import Workspace


@dataclass
class Globals:
    """The options before the command."""

    folder: Path
    debug: bool


# typer exports no common class of its own signals; every mistake on the command line is a sub-class of this base
_MISUSE: type[BaseException] = typer.BadParameter.__bases__[0]
_SIGNALS: tuple[type[BaseException], ...] = (typer.Exit, typer.Abort, _MISUSE, BrokenPipeError)


_IN_ORDER = (
    *("init", "data", "features", "recipe", "runs"),
    *("blend", "submission", "submit", "score", "predict", "report", "demo"),
)


_STOPPED = "\nStopped. The same command goes on where it was."
PATIENCE = 1.5  # seconds from Ctrl-C to a hard end


class _Group(typer.core.TyperGroup):
    """Turns what a user can mend into one or two lines on stderr, and an interrupt into exit code 130."""

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order in which they are used."""
        return sorted(super().list_commands(ctx), key=_IN_ORDER.index)

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        try:
            return super().make_context(*arguments, **options)
        except KeyboardInterrupt:
            raise _stopped() from None
        except _MISUSE as error:
            raise _harmless(error) from None

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _stopped() from None
        except _SIGNALS as error:
            raise _harmless(error) from None
        except (AkitError, OSError) as error:
            _print_error(ctx, f"Error: {error}{_way_out(error)}")
            raise typer.Exit(error.exit_code if isinstance(error, AkitError) else 1) from None
        except MemoryError:
            _print_error(ctx, "Error: out of memory. Fewer --workers need less.")
            raise typer.Exit(1) from None
        except RecursionError:
            _print_error(ctx, "Error: a file, a folder or an option is nested too deeply; --debug shows where.")
            raise typer.Exit(1) from None
        except BaseException as error:
            if _is_interrupt_in_a_kernel(error):
                raise _stopped() from None
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # of a library in Rust
                raise
            text = (
                f"Error: {type(error).__name__}: {error}\nThis is a defect of akit or of a recipe; --debug shows where."
            )
            _print_error(ctx, text)
            raise typer.Exit(1) from None


def _harmless(error: BaseException) -> BaseException:
    """A mistake on the command line, whose message may quote a file's name, without codes that steer the terminal."""
    if isinstance(message := getattr(error, "message", None), str):
        error.message = written_out(message)  # type: ignore[attr-defined]
    return error


def _stopped() -> typer.Exit:
    say(_STOPPED)
    return typer.Exit(130)


def _is_interrupt_in_a_kernel(error: BaseException) -> bool:
    """Whether it was Ctrl-C, of which a compiled function that returned all the same makes a SystemError."""
    return isinstance(error, SystemError) and isinstance(error.__cause__, KeyboardInterrupt)


def _way_out(error: Exception) -> str:
    """The command that mends what the store can only report."""
    from acoustic_store import DamagedError

    mend = "\n`akit features verify --rebuild` finds and builds again what is damaged."
    return mend if isinstance(error, DamagedError) else ""


def _print_error(ctx: Any, text: str) -> None:
    if isinstance(ctx.obj, Globals) and ctx.obj.debug:
        traceback.print_exc()
    say(text)


app = typer.Typer(
    cls=_Group,
    help="akit: from audio clips to a competition's winning submission.",
    epilog="Example: akit init work --data clips && akit -C work recipe run stats_pca_linear && akit -C work blend",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"akit {__version__}")
        raise typer.Exit


@app.callback()
def _globals(
    ctx: typer.Context,
    folder: Annotated[
        Path,
        typer.Option("-C", metavar="DIR", help="The workspace; without it, the nearest folder upwards that is one."),
    ] = Path(),
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Leave the network alone; what is missing is an error.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if not folder.is_dir():
        raise typer.BadParameter(f"there is no folder {folder}", param_hint="-C")
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when the first Hugging Face library is loaded
    ctx.obj = Globals(folder, debug)


def folder_of(ctx: typer.Context) -> Path:
    """The folder that the command works in: of `-C`, else the current one."""
    found = ctx.find_object(Globals)
    assert found is not None
    return found.folder


def workspace_of(ctx: typer.Context, *, with_runs: bool = False) -> Workspace:
    """The workspace that the command works in; `with_runs`, where they lie on S3, as they are there now."""
    from acoustic_kit.workspace.workspace import Workspace

    workspace = Workspace.find(folder_of(ctx))
    if with_runs:
        from acoustic_kit.runs import remote_runs

        remote_runs.pull(workspace)
    return workspace


def warn_of_leaks(workspace: Workspace) -> None:
    """Say on stderr which clips are both trained on and scored on."""
    from acoustic_kit.data.leaks import leak_warnings

    for warning in leak_warnings(workspace.manifest):
        say(f"Warning: {warning}")


def main() -> None:
    """The entry point of the `akit` command."""
    # Threads that wait for each other asleep instead of spinning: with one busy neighbour on two cores, a training step
    # takes 0.6 s instead of 4 s. To be set before the first library with OpenMP is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "NO_COLOR" in os.environ:
        os.environ.setdefault("TERM", "dumb")
    prepare_streams()
    _end_soon_after_ctrl_c()
    code = 0
    try:
        app()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except KeyboardInterrupt:  # before the command began
        code = _stopped().exit_code
    except OSError as error:  # of --help, which is printed before the command begins
        say(f"Error: {error}")
        code = 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # there is nothing left to stop
    if (unwritten := flush_stdout()) and not code:
        say(f"Error: stdout cannot be written: {unwritten.strerror}.")
    sys.exit(1 if unwritten and not code else code)


def _end_soon_after_ctrl_c() -> None:
    """End hard where Ctrl-C has not ended the process in time: it only takes effect between two steps of Python's.

    One step may be the fit of a model, and a library may swallow the interrupt. What is on disk is whole at any time.
    """

    def end() -> None:
        show_cursor = "\x1b[?25h" if os.isatty(2) else ""  # a progress bar hid it
        os.write(2, f"{show_cursor}{_STOPPED}\n".encode())
        os._exit(130)

    def on_unraisable(problem: Any) -> None:
        if issubclass(problem.exc_type, KeyboardInterrupt):  # it fell into a callback, which cannot pass it on
            end()
        sys.__unraisablehook__(problem)

    sys.unraisablehook = on_unraisable
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)

    def watch() -> None:
        while os.read(readable, 1)[0] != signal.SIGINT:
            pass
        time.sleep(PATIENCE)
        end()

    threading.Thread(target=watch, daemon=True).start()
