"""`akit runs`: the leaderboard, one run in detail, import and deletion."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acoustic_kit.api.progress import say
from acoustic_kit.cli.app import app, opened, workspace_of
from acoustic_kit.cli.console import Json, print_json, print_table
from acoustic_kit.tables import duration

if TYPE_CHECKING:
    from acoustic_kit.runs.leaderboard import Placing, Standing

commands = typer.Typer(no_args_is_help=True, help="Rank, show, import and delete runs.")
app.add_typer(commands, name="runs")


@commands.command("list", epilog="Example: akit runs list --metric map3")
def list_(
    ctx: typer.Context,
    metric: Annotated[str | None, typer.Option(help="Rank by this metric instead of the workspace's.")] = None,
    as_json: Json = False,
) -> None:
    """Show the leaderboard.

    Ranks runs by their out-of-fold score and shows its standard deviation over folds. Seeds of one setting are averaged
    in one row.
    """
    from acoustic_kit.ensemble.best_subset import BestSubset
    from acoustic_kit.runs.leaderboard import by_setting, ranks

    workspace = opened(ctx)
    metric = workspace.files.metric(metric)
    together = BestSubset(workspace.files.training_set, metric)
    standings = workspace.standings(metric, on_scored=together.add)
    if as_json:
        print_json(
            [_as_json(standing, placing, metric) for placing in by_setting(standings) for standing in placing.standings]
        )
    elif not standings:
        say("No runs yet. `akit recipe run stats_pca_linear` makes the first.")
    else:
        placings = by_setting(standings)
        rows = [_row(rank, placing) for rank, placing in zip(ranks(placings), placings, strict=True)]
        columns = ["", "run", metric, "± folds", "95 % interval", "folds", "parameters", "time", "notes"]
        print_table(columns, rows, right=["", metric, "± folds", "parameters", "time"])
        if best := together.best():
            shares = ", ".join(f"{name} {share:.0%}" for name, share in best.shares.items())
            typer.echo(f"\nBest together: {shares}: {metric} {best.score:.4f}.")
            typer.echo("That score is of the predictions that chose them; `akit blend` estimates it on other clips.")


def _row(rank: int | None, placing: Placing) -> list[object]:
    runs = placing.runs
    interval = "none" if placing.interval is None else "{:.4f} – {:.4f}".format(*placing.interval)
    size = runs[0].n_parameters
    return [
        "" if rank is None else rank,
        ", ".join([runs[0].name, *(run.name.removeprefix(f"{run.record.recipe}-") for run in runs[1:])]),
        "" if placing.score is None else f"{placing.score:.4f}",
        "" if placing.spread is None else f"{placing.spread:.4f}",
        "" if placing.score is None else interval,
        placing.folds,
        "" if size is None else f"{size:,}",
        duration(placing.seconds),
        ", ".join(placing.notes),
    ]


def _as_json(standing: Standing, placing: Placing, metric: str) -> dict[str, Any]:
    record = standing.run.record
    return {
        "run": standing.run.name,
        "recipe": record.recipe,
        "metric": metric,
        "score": standing.score,
        "fold_scores": standing.fold_scores,
        "spread": standing.spread,
        "interval": placing.interval,
        "parameters": standing.run.n_parameters,
        "complete": standing.complete,
        "clips": int(standing.known.sum()),
        "training_clips": len(standing.known),
        "folds_done": list(standing.run.done),
        "seconds": standing.run.seconds,
        "settings": record.settings,
        "seed": record.seed,
        "setting": record.setting,
        "setting_score": placing.score,
        "setting_spread": placing.spread,
        "fast": record.fast,
        "full": record.full,
        "imported": bool(record.imported),
        "optimistic": standing.run.bias_warnings,
        "warnings": standing.run.warnings,
        "other_labels": standing.other_labels,
        "pseudo": record.pseudo and record.pseudo.model_dump(mode="json"),
        "note": record.note,
    }


@commands.command(epilog="Example: akit runs show stats_pca_linear-1a2b3c4d")
def show(
    ctx: typer.Context,
    run: Annotated[str, typer.Argument(help="Name of the run, or enough of its beginning or end.")],
    as_json: Json = False,
) -> None:
    """Show one run: its settings, features, scores and versions."""
    from acoustic_kit.runs.run import find_run, open_run

    found = open_run(find_run(workspace_of(ctx, with_runs=True).runs_path, run))
    record = found.record
    if as_json:
        folds = {fold: done.model_dump(mode="json") for fold, done in found.done.items()}
        print_json(record.model_dump(mode="json") | {"path": str(found.path), "folds_done": folds})
        return
    rows: list[tuple[str, object]] = [("run", found.name), ("recipe", record.title), ("folder", found.path)]
    rows += [(f"setting {key}", value) for key, value in record.settings.items()]
    rows += [("pseudo-labels", record.pseudo)]
    rows += [("seed", record.seed), ("note", record.note or None), ("made", record.created)]
    rows += [(f"feature {name}", key) for name, key in record.features.items()]
    rows += [(f"out-of-fold {metric}", f"{value:.4f}") for metric, value in record.metrics.items()]
    for fold, done in found.done.items():
        without = f", {len(done.without_features)} without features" if done.without_features else ""
        rows.append((f"fold {fold}", f"{done.trained_on} training clips, {duration(done.seconds)}{without}"))
    rows += [("folds missing", ", ".join(found.missing_folds) or None)]
    rows += [("warning", why) for why in found.warnings]
    rows += [("optimistic", why) for why in found.bias_warnings]
    rows += [("note", note) for note in found.notes]
    rows += [("device", compute) for compute in found.compute]
    rows += [("imported", f"{file}, sha256 {digest[:16]}…") for file, digest in record.imported.items()]
    rows += [("versions", ", ".join(f"{package} {version}" for package, version in record.versions.items()))]
    print_table(["", "value"], [row for row in rows if row[1] is not None])


@commands.command("import", epilog="Example: akit runs import test.csv --oof oof.csv --name birdnet")
def import_(
    ctx: typer.Context,
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE…", help="Predictions of the test clips; one run per file.")
    ] = None,
    oof: Annotated[Path | None, typer.Option(help="Out-of-fold predictions of the training clips.")] = None,
    ids: Annotated[Path | None, typer.Option(help="Ids of the rows of an .npy FILE, one per line.")] = None,
    oof_ids: Annotated[Path | None, typer.Option(help="Ids of the rows of an .npy --oof file, one per line.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Beginning of the run's name (default: the name of the file).")
    ] = None,
    note: Annotated[str, typer.Option(help="A remark, shown in the leaderboard.")] = "",
) -> None:
    """Import predictions made elsewhere: CSV, parquet or .npy.

    A table has an id column and one column of probabilities per class. A run without --oof is blended only by name.
    """
    from acoustic_kit.errors import UsageError
    from acoustic_kit.runs.imported import import_run

    if files and len(files) > 1 and (oof or ids or name):
        raise UsageError("--oof, --ids and --name apply to one FILE; import the files one by one.")
    workspace = workspace_of(ctx)
    alone: list[Path | None] = [None]  # --oof without a FILE
    for file in files or alone:
        run = import_run(workspace, file, oof, ids=ids, oof_ids=oof_ids, name=name, note=note)
        scores = ", ".join(f"{metric} {value:.4f}" for metric, value in run.record.metrics.items())
        predicted, n = len(run.oof.ids) if run.oof else 0, len(workspace.clip_ids("train"))
        part = f", of {predicted} of {n} training clips, so it has no rank" if 0 < predicted < n else ""
        say(f"Imported {run.name}: {scores or 'without out-of-fold predictions, so it is blended only by name'}{part}.")


@commands.command(epilog="Example: akit runs rm stats_pca_linear-1a2b3c4d")
def rm(
    ctx: typer.Context,
    run: Annotated[list[str], typer.Argument(help="Names of runs.")],
) -> None:
    """Delete runs: their models, predictions and records."""
    from acoustic_kit.runs.remote_runs import remove_runs

    for name in remove_runs(workspace_of(ctx, with_runs=True), run):
        say(f"Deleted {name}.")
