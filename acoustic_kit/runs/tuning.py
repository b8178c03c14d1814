"""Tuning: nested search of a recipe's own space with Optuna, so that the reported score is not the optimized one.

One fold is held out: no trial trains or validates on it. The best settings are scored on it at the end. All state is in
`tuning/<recipe>-<8 hex>/` of the workspace, from which the same call resumes.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from shutil import rmtree
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from acoustic_kit.data.folds import fold_names
from acoustic_kit.data.schema import is_unlabeled
from acoustic_kit.device import AUTO, Compute
from acoustic_kit.errors import AkitError, RecipeError, UsageError
from acoustic_kit.files import locked, write_atomically
from acoustic_kit.metrics.names import get_metric
from acoustic_kit.metrics.scores import score
from acoustic_kit.recipe.job import (
    Job,
    RunEvents,
    being_trained,
    device_in_words,
    fast_manifest,
    fit_fold,
    fold_seed,
    make_job,
    predict_rows,
    stored_features,
    wanted_folds,
)
from acoustic_kit.recipe.recipe import Recipe
from acoustic_kit.recipe.settings import flat_settings, read_lines
from acoustic_kit.workspace.workspace import Workspace
from acoustic_store import DamagedError

if TYPE_CHECKING:
    import optuna
    import polars as pl

FAILURES_IN_A_ROW = 10  # then the cause is not the settings
KILLS = 2  # of one trial's process, after which it counts as failed: it may need more memory than there is


@dataclass(frozen=True)
class TuneEvents(RunEvents):
    """Callbacks of a tuning in progress; `on_fold` counts the folds of each trial."""

    on_trial: Callable[[int, int, float | None], None] = lambda *_: None  # trials done, trials in all, best score
    on_failure: Callable[[int, str], None] = lambda *_: None  # number of the trial, reason


SILENT = TuneEvents()  # no callbacks


@dataclass(frozen=True)
class TrialRecord:
    """A finished trial."""

    number: int
    state: Literal["done", "pruned", "failed"]
    score: float | None  # mean over the trained folds; None if it failed
    folds: int  # number of folds trained
    settings: Mapping[str, Any]  # those that it tried, in their JSON form
    reason: str  # of a failure, or empty


@dataclass(frozen=True)
class TuneResult:
    """A finished study, with the score of its best settings on a held-out fold."""

    folder: Path
    metric: str
    trials: tuple[TrialRecord, ...]  # best first
    searched: tuple[str, ...]  # the folds whose scores chose the best
    kept_out: str  # the held-out fold
    kept_out_score: float
    bias_warnings: tuple[str, ...]  # reasons why even that score is biased upward

    @property
    def best(self) -> TrialRecord:
        """The best of the trials that trained all folds."""
        return self.trials[0]

    @property
    def settings_path(self) -> Path:
        """The best settings, for `akit recipe run NAME --set @FILE`."""
        return self.folder / "best.txt"


def tune_recipe(
    workspace: Workspace,
    recipe: Recipe,
    settings: Mapping[str, Any] = MappingProxyType({}),
    *,
    n_trials: int = 50,
    folds: Sequence[str] | None = None,
    fast: bool = False,
    seed: int = 0,
    workers: int = 0,
    compute: Compute = AUTO,
    events: TuneEvents = SILENT,
) -> TuneResult:
    """Search the recipe's `search(trial)` until there are `n_trials` trials, then score the best on the held-out fold.

    Trials are sampled by a multivariate TPE. After five trials, one below the median of the others is pruned, from its
    second fold on. A trial is a function of the seed and the trials before it, so that an interrupted study, resumed,
    ends equal to an uninterrupted one.

    Parameters
    ----------
    settings : values of settings that are not searched, by name
    n_trials : total, including those of earlier calls
    folds : the last one is held out, the others score the trials; None for all. Clips of other folds are trained on
    fast : the recipe's small form, with at least three folds

    Raises
    ------
    UsageError : no `search` in the recipe, a setting that is both searched and given, fewer than three folds
    AkitError : ten failures in a row, no completed trial, or another process runs the same study

    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    tuning = _Tuning(workspace, recipe, settings, n_trials, folds, fast, seed, workers, compute, events)
    tuning.check_search()
    make_job(workspace, recipe, recipe.settings(settings, fast=fast), fast=fast, compute=compute)  # checks its needs
    if where := device_in_words(recipe, compute):
        events.on_start(where)
    with locked(tuning.folder, being_trained(tuning.folder.name)):
        try:
            tuning.run_trials()
            return tuning.conclude()
        except (SQLAlchemyError, sqlite3.Error, optuna.exceptions.OptunaError) as error:
            reason = str(error.__cause__ or error).partition("\n")[0]
            raise AkitError(
                f"{tuning.study_path} cannot be used ({reason}). Is the disk full? If it is damaged, delete it, which "
                "restarts the study."
            ) from error


@dataclass(frozen=True)
class _Tuning:
    workspace: Workspace
    recipe: Recipe
    settings: Mapping[str, Any]
    n_trials: int
    asked_folds: Sequence[str] | None
    fast: bool
    seed: int
    workers: int
    compute: Compute
    events: TuneEvents

    @cached_property
    def manifest(self) -> pl.DataFrame:
        """The clips that may be trained on or scored."""
        manifest, fast = self.workspace.manifest, self.recipe.fast
        if self.fast:
            manifest = fast_manifest(manifest, replace(fast, folds=fast.folds and max(3, fast.folds)))
        return manifest.filter(~is_unlabeled())

    @cached_property
    def folds(self) -> list[str]:
        """The folds that are scored; the last is held out of the search."""
        folds = wanted_folds(self.asked_folds, fold_names(self.manifest))
        if len(folds) < 3:
            raise UsageError(
                "Tuning needs three folds: two or more to choose the settings, and a held-out one to score them. "
                f"Available: {', '.join(folds)}."
            )
        return folds

    @property
    def kept_out(self) -> str:
        return self.folds[-1]

    @cached_property
    def search_manifest(self) -> pl.DataFrame:
        """The manifest for trials: without the clips of the held-out fold."""
        import polars as pl

        return self.manifest.filter(pl.col("fold").cast(pl.String).ne_missing(pl.lit(self.kept_out)))

    @cached_property
    def folder(self) -> Path:
        """The study's folder, `<recipe>-<8 hex>`: a hash of everything that determines the search."""
        parts = f"{self._job({}, self.manifest).name} {self.folds} {self.workspace.config.metric}"
        return self.workspace.tuning_path / f"{self.recipe.name}-{hashlib.sha256(parts.encode()).hexdigest()[:8]}"

    @property
    def sign(self) -> int:
        """-1 if a lower score is better, else 1."""
        return get_metric(self.workspace.config.metric).sign

    @property
    def study_path(self) -> Path:
        return self.folder / "study.db"

    @cached_property
    def study(self) -> optuna.Study:
        """Optuna's study, in a SQLite file, which survives a kill."""
        import optuna

        # Connect by path: in a URL, some characters of a path have a meaning.
        connect = partial(sqlite3.connect, self.study_path, check_same_thread=False)
        return optuna.create_study(
            storage=optuna.storages.RDBStorage("sqlite:///study.db", {"creator": connect}),
            study_name="tuning",
            direction="maximize" if self.sign > 0 else "minimize",
            load_if_exists=True,
            pruner=optuna.pruners.PercentilePruner(50, n_startup_trials=5, n_warmup_steps=2),
        )

    def check_search(self) -> None:
        """Raise UsageError or RecipeError, before any work, if the search space is invalid."""
        import optuna

        probe = optuna.create_study(sampler=optuna.samplers.RandomSampler(0)).ask()
        searched = self.recipe.search(probe)
        if both := searched.keys() & self.settings.keys():
            raise UsageError(f"--set {sorted(both)[0]}: the search chooses this setting. Omit --set for it.")
        self._job(searched, self.search_manifest)

    def run_trials(self) -> None:
        """Run the missing trials, and repeat those that were interrupted."""
        from optuna.trial import TrialState

        for stopped in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self.study.tell(stopped.number, state=TrialState.FAIL)  # the lock is ours, so its process has ended
        failures = 0
        while (done := len(self._finished())) < self.n_trials:
            self._report_progress(done)
            reason = self._run_trial(done)
            failures = failures + 1 if reason else 0
            if failures == FAILURES_IN_A_ROW:
                raise RecipeError(f"{failures} trials in a row failed, the last one with: {reason}")
        self._report_progress(done)

    def _report_progress(self, done: int) -> None:
        best = self._best()
        self.events.on_trial(done, max(done, self.n_trials), best.score if best else None)

    def _run_trial(self, done: int) -> str:
        """Run one trial; return the reason of its failure, or an empty string."""
        import optuna
        from optuna.trial import TrialState

        killed = self._killed()
        # A seed per trial: a resumed study draws as an uninterrupted one does, and repeats nothing.
        draw = fold_seed(self.seed, f"trial {done}")
        self.study.sampler = optuna.samplers.TPESampler(multivariate=True, seed=draw)
        trial = self.study.ask()
        try:
            searched = self.recipe.search(trial)
            job = self._job(searched, self.search_manifest)
            flat = flat_settings(job.settings)
            trial.set_user_attr("settings", {name: flat[name] for name in searched})
            if killed >= KILLS:
                raise AkitError(f"its process was killed {killed} times, perhaps due to lack of memory")
            self._score_trial(trial, job)
        except KeyboardInterrupt:
            trial.set_user_attr("stopped", True)
            self.study.tell(trial, state=TrialState.FAIL)
            raise
        except (UsageError, OSError, DamagedError):  # not caused by the settings
            raise
        except Exception as error:  # raised by a recipe with untested settings
            reason = str(error) if isinstance(error, AkitError) else f"{type(error).__name__}: {error}"
            trial.set_user_attr("reason", reason)
            self.study.tell(trial, state=TrialState.FAIL)
            self.events.on_failure(trial.number, reason)
        rmtree(self.folder / "checkpoints", ignore_errors=True)
        return str(trial.user_attrs.get("reason", ""))

    def _score_trial(self, trial: optuna.Trial, job: Job) -> None:
        from optuna.trial import TrialState

        folds = self.folds[:-1]
        scores: list[float] = []
        for done, (found, _) in enumerate(self._fold_scores(job, folds), start=1):
            scores.append(found)
            trial.report(float(np.mean(scores)), done)
            if done < len(folds) and trial.should_prune():
                self.study.tell(trial, state=TrialState.PRUNED)
                return
        self.study.tell(trial, float(np.mean(scores)))

    def _fold_scores(self, job: Job, folds: Sequence[str]) -> Iterator[tuple[float, Sequence[str]]]:
        """Train the folds one by one, and yield each one's validation score and the reasons why it is biased upward."""
        stored = stored_features(job, folds, self.workers, self.events, self.compute.device)
        for number, name in enumerate(folds):
            self.events.on_fold(number, len(folds))
            folder = self.folder / "checkpoints" / job.name / name
            fold, result = fit_fold(job, name, stored[name], folder, self.compute, self.events)
            valid = job.rows[name].valid
            predictions, _ = predict_rows(job, fold, result.model, valid, stored[name])
            targets = job.clips(valid, {}).scored
            yield score(self.workspace.config.metric, targets, predictions.probabilities), result.bias_warnings
        self.events.on_fold(len(folds), len(folds))

    def conclude(self) -> TuneResult:
        """Score the best settings on the held-out fold, and write them to a file."""
        best = self._best()
        if best is None:
            raise RecipeError(
                f"None of the {len(self._finished())} trials was completed, so there are no best settings."
            )
        known = self.study.user_attrs.get("kept_out", {})
        if known.get("settings") != _as_lines(best.settings):
            job = self._job(best.settings, self.manifest)
            ((found, optimistic),) = self._fold_scores(job, [self.kept_out])
            known = {"settings": _as_lines(best.settings), "score": found, "optimistic": optimistic}
            self.study.set_user_attr("kept_out", known)
            rmtree(self.folder / "checkpoints", ignore_errors=True)
        ranked = sorted(self._finished(), key=lambda t: (t.state != "done", -self.sign * (t.score or 0), t.number))
        metric, kept_out = self.workspace.config.metric, self.kept_out
        searched, worth = tuple(self.folds[:-1]), known["score"]
        result = TuneResult(self.folder, metric, tuple(ranked), searched, kept_out, worth, tuple(known["optimistic"]))
        lines = [
            f"# {self.recipe.name}, the best of {len(ranked)} trials.",
            f"# {metric}: {best.score:.4f} on folds {', '.join(searched)}, which chose it; "
            f"{worth:.4f} on fold {kept_out}, which no trial saw.",
            *_as_lines({**self.settings, **best.settings}),
        ]
        write_atomically(result.settings_path, "\n".join(lines) + "\n")
        return result

    def _job(self, searched: Mapping[str, Any], manifest: pl.DataFrame) -> Job:
        settings = self.recipe.settings({**self.settings, **searched}, fast=self.fast)
        return Job(self.workspace, self.recipe, settings, manifest, self.seed, self.fast)

    def _best(self) -> TrialRecord | None:
        completed = [trial for trial in self._finished() if trial.state == "done"]
        return max(completed, key=lambda trial: (self.sign * (trial.score or 0), -trial.number), default=None)

    def _killed(self) -> int:
        """Return how often in a row the process has died in a trial until now."""
        killed = 0
        for trial in reversed(self.study.get_trials(deepcopy=False)):
            if "reason" in trial.user_attrs or trial.state.name != "FAIL":
                break
            killed += "stopped" not in trial.user_attrs
        return killed

    def _finished(self) -> list[TrialRecord]:
        """Return the finished trials, without those that were interrupted, which are repeated."""
        states: dict[str, Literal["done", "pruned", "failed"]] = {"COMPLETE": "done", "PRUNED": "pruned"}
        return [
            TrialRecord(
                number=trial.number,
                state=states.get(trial.state.name, "failed"),
                score=trial.value if trial.state.name in states else None,
                folds=len(trial.intermediate_values),
                settings=self._settings_of(trial),
                reason=trial.user_attrs.get("reason", ""),
            )
            for trial in self.study.get_trials(deepcopy=False)
            if trial.state.name in states or "reason" in trial.user_attrs
        ]

    def _settings_of(self, trial: optuna.trial.FrozenTrial) -> Mapping[str, Any]:
        stored = trial.user_attrs.get("settings", {})
        if isinstance(stored, Mapping):
            return stored
        return read_lines(stored, self.recipe.fields)  # of an earlier version


def _as_lines(settings: Mapping[str, Any]) -> list[str]:
    """Return `key=value` lines, which `akit recipe run --set @FILE` reads."""
    return [
        f"{name}={','.join(map(str, value)) if isinstance(value, list | tuple | range) else value}"
        for name, value in settings.items()
    ]
