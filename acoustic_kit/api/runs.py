"""Runs of an open workspace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from acoustic_kit.api.progress import progress as progress_bars
from acoustic_kit.api.progress import run_events
from acoustic_kit.api.session import Session, cluster_at
from acoustic_kit.features.build.worker import worker_count
from acoustic_kit.recipe.job import SILENT
from acoustic_kit.recipe.predictions import Predictions
from acoustic_kit.runs.leaderboard import Standing, leaderboard
from acoustic_kit.runs.remote_runs import remove_runs
from acoustic_kit.runs.run import Run, find_run, list_runs, open_run
from acoustic_kit.runs.runner import run_job
from acoustic_kit.runs.training_log import read_log

if TYPE_CHECKING:
    import polars as pl

    from acoustic_kit.device import Compute
    from acoustic_kit.recipe.job import Job
    from acoustic_kit.workspace.workspace import Workspace


class TrainedRun:
    """A run: a recipe trained on the folds, or imported predictions.

    >>> run = ws.run("stats_pca_linear")
    >>> run.score
    0.8772
    """

    def __init__(self, run: Run, workspace: Workspace) -> None:
        self.stored = run
        self._workspace = workspace

    def __repr__(self) -> str:
        metric = self._workspace.config.metric
        score = "not scored" if self.score is None else f"{metric} {self.score:.4f}"
        folds = f", {len(self.stored.done)}/{len(self.stored.record.folds)} folds" if self.stored.record.folds else ""
        return f"<TrainedRun {self.name}: {score}{folds}>"

    @property
    def name(self) -> str:
        """The name, `<recipe>-<8 hex>`."""
        return self.stored.name

    @property
    def path(self) -> Path:
        """The folder, with models, predictions and a copy of the recipe."""
        return self.stored.path

    @property
    def settings(self) -> dict[str, object]:
        """All settings of the recipe."""
        return self.stored.record.settings

    @property
    def score(self) -> float | None:
        """The out-of-fold score in the metric of the workspace; None without out-of-fold predictions."""
        return self._standing.score if self._standing else None

    @property
    def fold_scores(self) -> dict[str, float]:
        """The score of each fold that is trained."""
        return self._standing.fold_scores if self._standing else {}

    @property
    def metrics(self) -> dict[str, float]:
        """All metrics of the out-of-fold predictions."""
        return self.stored.record.metrics

    @property
    def missing_folds(self) -> list[str]:
        """The folds that are not trained yet."""
        return self.stored.missing_folds

    @property
    def warnings(self) -> list[str]:
        """Signs that the predictions are no better than chance."""
        return self.stored.warnings

    @property
    def oof(self) -> pl.DataFrame:
        """Out-of-fold predictions of the training clips: `id`, then one probability column per class.

        Empty for a run on all clips (`full=True`).
        """
        return self._frame(self.stored.oof)

    @property
    def test(self) -> pl.DataFrame:
        """Predictions of the test clips, the mean over fold models: `id`, then one probability column per class.

        Empty without test clips.
        """
        return self._frame(self.stored.test)

    @cached_property
    def log(self) -> pl.DataFrame:
        """Training log: `fold`, `stage`, `epoch`, then `lr`, `train_loss`, `valid_loss`, …; empty without a network."""
        import polars as pl

        rows = [
            {"fold": path.parent.name, "stage": path.stem, **entry}
            for path in sorted(self.path.glob("folds/*/*.jsonl"))
            for entry in read_log(path).values()
        ]
        schema = {"fold": pl.String, "stage": pl.String, "epoch": pl.Int64}
        return (
            pl.DataFrame(rows, infer_schema_length=None, schema_overrides=schema) if rows else pl.DataFrame([], schema)
        )

    @cached_property
    def _standing(self) -> Standing | None:
        found = leaderboard([self.stored], self._workspace.manifest, self._workspace.config.task_spec)
        return found[0] if found else None

    def _frame(self, found: Predictions | None) -> pl.DataFrame:
        classes = self.stored.record.classes
        return (found or Predictions((), np.empty((0, len(classes))))).frame(classes)


class WorkspaceRuns(Mapping[str, TrainedRun]):
    """The runs of a workspace by name.

    >>> ws.runs["stats_pca_linear-bbc1ea93"].oof
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def __getitem__(self, name: str) -> TrainedRun:
        """Return the run of this name, or the only one whose name begins or ends so. Raises UsageError."""
        workspace = self._session.files_with_runs()
        return TrainedRun(open_run(find_run(workspace.runs_path, name)), workspace)

    def __contains__(self, name: object) -> bool:
        return name in list(self)

    def __iter__(self) -> Iterator[str]:
        return iter([run.name for run in list_runs(self._session.files_with_runs().runs_path)])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __repr__(self) -> str:
        return f"<WorkspaceRuns: {', '.join(self) or 'none'}>"

    def remove(self, *names: str) -> None:
        """Delete runs: their models, predictions and records. Raises UsageError for an unknown name."""
        for _ in remove_runs(self._session.files_with_runs(), names):
            pass


def fold_names(folds: Sequence[int | str] | None) -> list[str] | None:
    """Return folds by name; None for all."""
    return None if folds is None else list(map(str, folds))


class TrainOptions(TypedDict):
    """Options that apply to every run, see `run_job`."""

    folds: Sequence[str] | None
    note: str
    fresh: bool
    compute: Compute


def train_jobs(
    jobs: Sequence[Job],
    workers: int | None,
    cluster: str | None,
    options: TrainOptions,
    *,
    progress: bool = True,
    messages: bool = True,
) -> Iterator[tuple[Run, bool]]:
    """Train jobs one by one or, if `cluster` is the address of a Dask scheduler, all at once on its workers.

    - `progress`, `messages`: show bars, and messages

    Yields each run, and whether anything of it was trained.
    """
    with cluster_at(cluster, workers, messages=messages) as machines:
        if machines is not None:
            from acoustic_kit.cluster.folds import run_on_cluster

            with progress_bars(progress) as bar:
                events = run_events(bar, parallel=True) if messages else SILENT
                runs = run_on_cluster(jobs, machines, **options, events=events)
            yield from runs
            return
        for job in jobs:
            with progress_bars(progress) as bar:
                events = run_events(bar) if messages else SILENT
                run = run_job(job, workers=worker_count(workers), **options, events=events)
            yield run
