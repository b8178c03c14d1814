"""Lists of features, recipes, runs and submissions as polars frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from acoustic_kit.errors import AkitError
from acoustic_kit.recipe.catalog import find_recipes, summarize
from acoustic_kit.runs.feature_maintenance import own_parameters
from acoustic_kit.runs.leaderboard import Placing, ranks
from acoustic_kit.submission.record import list_records

if TYPE_CHECKING:
    from acoustic_kit.features import BuildReport
    from acoustic_kit.prediction import ClipPredictions
    from acoustic_store import StoredFeature

TEXT, COUNT, NUMBER = pl.String(), pl.Int64(), pl.Float64()


def stored_frame(stored: Sequence[StoredFeature]) -> pl.DataFrame:
    """Return built features: `feature` (key), `name`, `clips`, `failed`, `bytes`, `parameters`."""
    schema = {"feature": TEXT, "name": TEXT, "clips": COUNT, "failed": COUNT, "bytes": COUNT, "parameters": TEXT}
    rows = [(s.key, s.attributes["name"], len(s), len(s.failures), s.n_bytes, own_parameters(s)) for s in stored]
    return pl.DataFrame(rows, schema, orient="row")


def report_frame(reports: Sequence[BuildReport]) -> pl.DataFrame:
    """Return what builds did: `feature` (key), `built`, `held` and `failed` (clips), `seconds`."""
    schema = {"feature": TEXT, "built": COUNT, "held": COUNT, "failed": COUNT, "seconds": NUMBER}
    rows = [(r.feature.key, r.built, r.held, len(r.failures), r.seconds) for r in reports]
    return pl.DataFrame(rows, schema, orient="row")


def recipe_frame(folders: Sequence[Path], on_unreadable: Callable[[str], None]) -> pl.DataFrame:
    """Return recipes: `recipe`, `title`, `published` (score), `source`, `features`.

    - `on_unreadable`: called with the reason why a recipe is left out
    """
    rows = []
    for name, path in find_recipes(folders).items():
        try:
            summary = summarize(name, path)
        except AkitError as error:
            on_unreadable(f"{name} is left out: {error}")
            continue
        rows.append((name, summary.title, summary.published, summary.source, list(summary.features)))
    schema = {"recipe": TEXT, "title": TEXT, "published": TEXT, "source": TEXT, "features": pl.List(TEXT)}
    return pl.DataFrame(rows, schema, orient="row")


def leaderboard_frame(placings: Sequence[Placing]) -> pl.DataFrame:
    """Return the rows of a leaderboard, see `OpenWorkspace.leaderboard`."""
    schema = {
        "rank": COUNT,
        "run": TEXT,
        "seeds": pl.List(COUNT),
        "score": NUMBER,
        "fold_std": NUMBER,
        "low": NUMBER,
        "high": NUMBER,
        "folds": TEXT,
        "parameters": COUNT,
        "seconds": NUMBER,
        "notes": TEXT,
    }
    rows = []
    for rank, placing in zip(ranks(placings), placings, strict=True):
        best = placing.runs[0]
        seeds = sorted(run.record.seed for run in placing.runs)
        low, high = placing.interval if placing.interval and placing.score is not None else (None, None)
        numbers = (placing.score, placing.spread, low, high, placing.folds, best.n_parameters, placing.seconds)
        rows.append((rank, best.name, seeds, *numbers, ", ".join(placing.notes)))
    return pl.DataFrame(rows, schema, orient="row")


def submission_frame(folder: Path, on_unreadable: Callable[[str], None]) -> pl.DataFrame:
    """Return submissions, oldest first: `submission`, `metric`, scores, `submitted` (date or null), `note`.

    - `on_unreadable`: called with the reason why a submission is left out
    """
    rows = []
    for name, record in list_records(folder):
        if isinstance(record, AkitError):
            on_unreadable(str(record))
            continue
        scores = (record.scores.out_of_fold, record.scores.nested) if record.scores else (None, None)
        submitted = record.submitted[-1].partition("T")[0] if record.submitted else None
        rows.append((name, record.metric, *scores, record.public, submitted, record.note))
    schema = {
        "submission": TEXT,
        "metric": TEXT,
        "out_of_fold": NUMBER,
        "nested": NUMBER,
        "public": NUMBER,
        "submitted": TEXT,
        "note": TEXT,
    }
    return pl.DataFrame(rows, schema, orient="row")


def prediction_frame(found: ClipPredictions) -> pl.DataFrame:
    """Return predictions of new clips: `id`, one probability column per class, `error` (null if the clip was read)."""
    columns = {name: found.probabilities[:, i] for i, name in enumerate(found.classes)}
    reasons = [found.errors.get(id) for id in found.ids]
    return pl.DataFrame({"id": list(found.ids), **columns, "error": pl.Series(reasons, dtype=TEXT)})
