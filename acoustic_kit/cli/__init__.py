"""The command line: thin Typer commands that parse, call one function of the package and print what it returns."""

import sys

try:
    from acoustic_kit.cli import blend, data, demo, features, predict, recipes, report, runs, tune
    from acoustic_kit.cli.app import app, main
except KeyboardInterrupt:  # in the first tenth of a second
    print("\nStopped. Nothing was begun.", file=sys.stderr)
    raise SystemExit(130) from None

for module in (data, features, recipes, tune, runs, blend, predict, report, demo):
    module.register(app)

__all__ = ["app", "main"]
