"""The `akit` application: its global options, the workspace of a command, and the entry point."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acoustic_kit import __version__
from acoustic_kit.api.progress import say
from acoustic_kit.cli.group import STOPPED, GlobalOptions, RootGroup, stopped
from acoustic_kit.cli.streams import flush_stdout, prepare_streams

if TYPE_CHECKING:
    from acoustic_kit.api.open_workspace import OpenWorkspace
    from acoustic_kit.workspace.workspace import Workspace

PATIENCE = 1.5  # seconds from Ctrl-C to a forced exit

app = typer.Typer(
    cls=RootGroup,
    help="akit: from audio clips to a competition's winning submission.\n\n"
    "The options -C, --offline and --debug may also follow the command: akit runs list -C work",
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
        typer.Option(
            "-C",
            metavar="DIR",
            show_default=False,
            help="Work in this workspace (default: the nearest one from the current folder upwards).",
        ),
    ] = Path(),
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Do not access the network.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if not folder.is_dir():
        raise typer.BadParameter(f"there is no folder {folder}", param_hint="-C")
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when the first Hugging Face library is loaded
    ctx.obj = GlobalOptions(folder, debug)


def folder_of(ctx: typer.Context) -> Path:
    """Return the folder in which the command works: that of `-C`, else the current one."""
    found = ctx.find_object(GlobalOptions)
    assert found is not None
    return found.folder


def opened(ctx: typer.Context) -> OpenWorkspace:
    """Return the workspace in which the command works, as Python opens it; its warnings are printed."""
    from acoustic_kit.api.open_workspace import OpenWorkspace

    return OpenWorkspace(workspace_of(ctx).root)


def workspace_of(ctx: typer.Context, *, with_runs: bool = False) -> Workspace:
    """Return the workspace in which the command works; `with_runs` downloads runs that are stored on S3."""
    from acoustic_kit.workspace.workspace import Workspace

    workspace = Workspace.find(folder_of(ctx))
    if with_runs:
        from acoustic_kit.runs import remote_runs

        remote_runs.pull(workspace)
    return workspace


def main() -> None:
    """Run the `akit` command."""
    # OpenMP threads that sleep while they wait: with another busy process on two cores, a training step takes 0.6 s;
    # with spinning threads, 4 s. Must be set before the first library with OpenMP is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "NO_COLOR" in os.environ:
        os.environ.setdefault("TERM", "dumb")
    prepare_streams()
    _exit_soon_after_ctrl_c()
    code = 0
    try:
        app()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except KeyboardInterrupt:  # before the command began
        code = stopped().exit_code
    except OSError as error:  # --help is printed before the command begins
        say(f"Error: {error}")
        code = 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing is left to interrupt
    if (unwritten := flush_stdout()) and not code:
        say(f"Error: cannot write to stdout: {unwritten.strerror}.")
    sys.exit(1 if unwritten and not code else code)


def _exit_soon_after_ctrl_c() -> None:
    """Force an exit if Ctrl-C has not ended the process in time.

    Python handles the interrupt only between two bytecode instructions, one of which may be the fit of a model, and a
    library may suppress it. Files on disk are consistent at any time.
    """

    def end() -> None:
        show_cursor = "\x1b[?25h" if os.isatty(2) else ""  # progress bars hide it
        os.write(2, f"{show_cursor}{STOPPED}\n".encode())
        os._exit(130)

    def on_unraisable(problem: Any) -> None:
        if issubclass(problem.exc_type, KeyboardInterrupt):  # raised in a callback, which cannot propagate it
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
