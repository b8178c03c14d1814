"""An open workspace: one method per command of `akit`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from acoustic_kit.api.blend import FittedBlend
from acoustic_kit.api.bundle import bundle
from acoustic_kit.api.features import WorkspaceFeatures
from acoustic_kit.api.predict import predict
from acoustic_kit.api.progress import progress
from acoustic_kit.api.recipes import WorkspaceRecipes
from acoustic_kit.api.runs import TrainedRun, WorkspaceRuns
from acoustic_kit.api.session import warn, warn_of_changes, warn_of_leaks
from acoustic_kit.api.submissions import WorkspaceSubmissions
from acoustic_kit.api.training import TrainingSession
from acoustic_kit.data import odd_clips, summarize
from acoustic_kit.ensemble import competition
from acoustic_kit.ensemble.run_blend import blend_runs
from acoustic_kit.report import write_report
from acoustic_kit.runs.data_update import Update, update_data
from acoustic_kit.runs.imported import import_run
from acoustic_kit.runs.leaderboard import OnScored, Standing, by_setting, rank_runs, ranks

if TYPE_CHECKING:
    import polars as pl

    from acoustic_kit.data import Summary
    from acoustic_kit.ensemble.result import By
    from acoustic_kit.prediction.bundle import Bundle
    from acoustic_kit.submission.submission import Problem


class OpenWorkspace(TrainingSession):
    """A competition's folder, opened for a notebook or a script.

    `akit.toml` and the manifest are read by each call, so that changes of them count.

    >>> ws = akit.open_workspace("work")
    >>> run = ws.run("logmel_cnn", epochs=20)
    >>> blend = ws.blend(top=2)

    Parameters
    ----------
    root : the folder that holds `akit.toml`
    progress : show progress bars and messages on stderr; the environment variable AKIT_PROGRESS=0 hides them, too

    Attributes
    ----------
    features : build, read, verify and prune features
    recipes : list and load recipes, write a new one
    runs : the runs by name
    submissions : list, annotate, choose, rebuild and submit submissions

    Raises AkitError if there is no valid `akit.toml`, or the folder belongs to another user.

    """

    def __init__(self, root: str | Path, *, progress: bool = True) -> None:
        super().__init__(root, progress=progress)
        self.features = WorkspaceFeatures(self)
        self.recipes = WorkspaceRecipes(self)
        self.runs = WorkspaceRuns(self)
        self.submissions = WorkspaceSubmissions(self)

    def __repr__(self) -> str:
        workspace = self.files
        train, test = (len(workspace.clip_ids(split)) for split in ("train", "test"))
        classes, metric = len(workspace.config.classes), workspace.config.metric
        return f"<OpenWorkspace {self.root}: {train} training clips, {test} test clips, {classes} classes, {metric}>"

    @property
    def manifest(self) -> pl.DataFrame:
        """One row per clip: `id`, `path`, `label`, `fold`, `group`, `split`, `duration`, …."""
        return self.files.manifest

    @property
    def classes(self) -> list[str]:
        """The class names, in the order of all probability columns."""
        return list(self.files.config.classes)

    def inspect(self) -> Summary:
        """Return what the data set holds: clips, classes, durations, folds, problems. See `odd_clips`, too."""
        workspace = self.files
        warn_of_changes(workspace)
        return summarize(workspace.manifest, workspace.config.classes)

    def odd_clips(self) -> pl.DataFrame:
        """Return the clips to listen to: `id` and `what`: silent, clipped, too short, unreadable, equal content."""
        return odd_clips(self.manifest)

    def update(self) -> Update:
        """Add new clips, corrected labels and changed files to the manifest, and remove deleted clips."""
        with progress(self.progress) as bar:
            return update_data(self.files, lambda done, total: bar("clips", done, total))

    def import_run(
        self,
        test: str | Path | None = None,
        oof: str | Path | None = None,
        *,
        test_ids: str | Path | None = None,
        oof_ids: str | Path | None = None,
        name: str | None = None,
        note: str = "",
    ) -> TrainedRun:
        """Import predictions that were made elsewhere as a run.

        Parameters
        ----------
        test : predictions of all test clips: CSV or parquet with an id column and one probability column per class, or
            `.npy`
        oof : out-of-fold predictions of training clips; a run without them is blended only by name
        test_ids, oof_ids : the ids of the rows of an `.npy` file, one per line
        name : the beginning of the run's name; default: the file's
        note : a remark, shown in the leaderboard

        Raises UsageError for options that contradict each other, AkitError for a file that is not such a table.

        """
        workspace = self.files
        run = import_run(
            workspace, _path(test), _path(oof), ids=_path(test_ids), oof_ids=_path(oof_ids), name=name, note=note
        )
        return TrainedRun(run, workspace)

    def leaderboard(self, metric: str | None = None) -> pl.DataFrame:
        """Return the runs, best first, seeds of one setting averaged in one row.

        The columns are `rank` (null for a score of other clips), `run`, `seeds`, `score` in `metric` (default: of the
        workspace), `fold_std` (standard deviation over folds), `low` and `high` (95 % bootstrap interval), `folds`
        (trained), `parameters`, `seconds` and `notes`. Damaged runs are left out with a warning.
        """
        import polars as pl

        placings = by_setting(self.standings(metric))
        numbers = dict.fromkeys(("score", "fold_std", "low", "high"), pl.Float64())
        schema = {"rank": pl.Int64(), "run": pl.String(), "seeds": pl.List(pl.Int64), **numbers, "folds": pl.String()}
        schema |= {"parameters": pl.Int64(), "seconds": pl.Float64(), "notes": pl.String()}
        rows = []
        for rank, placing in zip(ranks(placings), placings, strict=True):
            best = placing.runs[0]
            seeds = sorted(run.record.seed for run in placing.runs)
            low, high = placing.interval if placing.interval and placing.score is not None else (None, None)
            scores = (placing.score, placing.spread, low, high)
            cost = (placing.folds, best.n_parameters, placing.seconds)
            rows.append((rank, best.name, seeds, *scores, *cost, ", ".join(placing.notes)))
        return pl.DataFrame(rows, schema, orient="row")

    def standings(self, metric: str | None = None, on_scored: OnScored = lambda *_: None) -> list[Standing]:
        """Return the scored runs behind `leaderboard`, best first.

        - `on_scored`: called with each of them, the training clips that it predicted and their probabilities
        """
        workspace = self.files_with_runs()
        warn_of_leaks(workspace)
        return rank_runs(workspace, metric, on_scored=on_scored, on_unreadable=lambda _, error: warn(str(error)))

    def blend(
        self,
        *,
        top: int | None = None,
        metric: str | None = None,
        method: str = "auto",
        runs: Sequence[str | TrainedRun] = (),
        by: By = "run",
        diverse: bool = False,
        decision: Literal["argmax", "tuned"] = "argmax",
        name: str | None = None,
        overwrite: bool = False,
        seed: int = 0,
    ) -> FittedBlend:
        """Choose runs by their out-of-fold scores, blend them, and write a checked submission.

        >>> blend = ws.blend(top=12, metric="map3")
        >>> blend.nested_score

        Parameters
        ----------
        top : the number of runs to choose; default: the method chooses
        metric : default: of the workspace
        method : auto, mean, geometric, rank, greedy, weights or stack
        runs : the runs to choose from, or `RUN/FOLD` for models of one fold; default: all that can be scored
        by : "fold" takes every fold model as a run of its own
        diverse : with `top`, choose runs whose errors differ
        decision : "tuned" fits thresholds of several labels
        name : of the submission
        overwrite : replace another submission of this name
        seed : of the nested folds and the bootstrap

        Raises UsageError for unknown runs, methods or metrics, AkitError if no run can be blended.

        """
        workspace = self.files_with_runs()
        warn_of_leaks(workspace)
        with progress(self.progress) as bar:
            result = blend_runs(
                workspace,
                top=top,
                metric=metric,
                method=method,
                runs=[one.name if isinstance(one, TrainedRun) else one for one in runs],
                by=by,
                diverse=diverse,
                decision=decision,
                name=name,
                overwrite=overwrite,
                seed=seed,
                on_progress=lambda done, total: bar("fits", done, total),
            )
        return FittedBlend(result)

    def check(self, path: str | Path, metric: str | None = None) -> list[Problem]:
        """Return what the competition would reject in a submission, and warnings (`harmless`); empty if acceptable.

        - `metric`: `map3` accepts three labels; default: of the blend that wrote the file, else of the workspace
        """
        return competition.check(self.files, Path(path), metric)

    def score(
        self, path: str | Path, metric: str | None = None, *, truth: str | Path | None = None
    ) -> dict[str, float]:
        """Return all metrics of predictions against the held-out labels of `test_folds`, or a table of labels.

        - `truth`: a CSV of ids, and of labels or one column per class, see `akit.score`

        Raises AkitError if there are no labels, or they do not fit.
        """
        workspace = self.files
        if truth is None:
            warn_of_leaks(workspace)
        return competition.score_predictions(workspace, Path(path), metric, _path(truth))

    def predict(
        self,
        model: str | Path | TrainedRun | FittedBlend,
        clips: Sequence[str | Path] | Mapping[str, Path],
        *,
        window: float | None = None,
        hop: float | None = None,
        id_format: str | None = None,
        table: str | Path | None = None,
        trust: bool = False,
        weights: str | Path | Sequence[str | Path] | None = None,
        workers: int | None = None,
        device: str = "auto",
        precision: str = "auto",
    ) -> pl.DataFrame:
        """Predict new clips with a run or a blend of this workspace, see `akit.predict`.

        >>> ws.predict(blend, ["a.wav", "more_clips/"])
        >>> ws.predict(blend, ["soundscapes/"], window=5, hop=2.5)
        """
        return predict(
            model,
            clips,
            window=window,
            hop=hop,
            id_format=id_format,
            folder=self.root,
            table=table,
            trust=trust,
            weights=weights,
            workers=workers,
            device=device,
            precision=precision,
            progress=self.progress,
        )

    def bundle(
        self,
        model: str | Path | TrainedRun | FittedBlend,
        out: str | Path,
        *,
        kaggle: str | None = None,
        competition: str | None = None,
        wheels: str | Path | None = None,
        trust: bool = False,
        weights: str | Path | Sequence[str | Path] | None = None,
    ) -> Bundle:
        """Write a folder with which a notebook predicts without a network, see `akit.bundle`.

        >>> ws.bundle("first", "first_bundle", kaggle="me/first-bundle")
        """
        return bundle(
            model,
            out,
            kaggle=kaggle,
            competition=competition,
            wheels=wheels,
            folder=self.root,
            trust=trust,
            weights=weights,
            progress=self.progress,
        )

    def report(self, path: str | Path | None = None, names: Sequence[str] = ()) -> Path:
        """Write a self-contained HTML page: scores, curves, confusion matrices, blends, mistakes to listen to.

        Parameters
        ----------
        path : the file; default: `reports/report.html` in the workspace
        names : runs and submissions in detail; default: the newest blend and the best run

        Returns the path. Raises AkitError if there are no runs.

        """
        workspace = self.files_with_runs()
        warn_of_leaks(workspace)
        return write_report(workspace, names, _path(path))


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)
