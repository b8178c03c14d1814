"""Command line: thin Typer commands that parse, call one function of the package and print its result."""

import sys

try:
    from acoustic_kit.cli import (  # noqa: F401 (each adds its commands)
        blend,
        bundle,
        data,
        demo,
        export,
        features,
        init,
        predict,
        pseudo,
        recipe_run,
        recipes,
        report,
        runs,
        submission,
        tune,
    )
    from acoustic_kit.cli.app import app, main
except (KeyboardInterrupt, RuntimeError) as error:  # while modules are imported
    # Python 3.11 wraps an interrupt that falls into the making of a class.
    if not isinstance(error, KeyboardInterrupt) and not isinstance(error.__cause__, KeyboardInterrupt):
        raise
    print("\nStopped. Nothing was started.", file=sys.stderr)
    raise SystemExit(130) from None

__all__ = ["app", "main"]
