"""Command line: thin Typer commands that parse, call one function of the package and print its result."""

import sys

try:
    from acoustic_kit.cli import (
        blend,
        data,
        demo,
        features,
        init,
        predict,
        recipe_run,
        recipes,
        report,
        runs,
        submission,
        tune,
    )
    from acoustic_kit.cli.app import app, main
except KeyboardInterrupt:  # while modules are imported
    print("\nStopped. Nothing was started.", file=sys.stderr)
    raise SystemExit(130) from None

for module in (init, data, features, recipes, recipe_run, tune, runs, blend, submission, predict, report, demo):
    module.register(app)

__all__ = ["app", "main"]
