"""Prediction of new clips in slices, so that the use of memory and disk is bounded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from acoustic_kit.data.clips import Clips, slices_by_file
from acoustic_kit.data.windows import Windows
from acoustic_kit.device import AUTO, Compute
from acoustic_kit.dsp.sound_file import NOT_READ
from acoustic_kit.errors import DataError
from acoustic_kit.features import Feature, build_features, with_sources
from acoustic_kit.features.build.worker import Workers
from acoustic_kit.features.build.worker import workers as open_workers
from acoustic_kit.files import temporary_folder
from acoustic_kit.prediction.budget import Costs
from acoustic_kit.prediction.models import MemberModel, Predictor, open_predictor
from acoustic_kit.prediction.new_clips import NO_FILE, NewClip, clips_at, manifest_rows, read_columns, stored_clips
from acoustic_kit.prediction.onnx_graphs import ExportedFile, ExportedNetworks
from acoustic_kit.prediction.rows import RowPlan
from acoustic_kit.prediction.slices import FinishedSlices, SlicePredictions
from acoustic_kit.recipe.inference import in_parts, infer

if TYPE_CHECKING:
    import polars as pl

    from acoustic_kit.prediction.export import NetworkGraph
    from acoustic_store import FeatureStore

SLICE = 1024  # clips whose features are on disk at once: a few GB at most
AT_ONCE = 256  # clips that a recipe gets at once
WHOLE = "all, in seconds"  # the bar of the whole prediction, if there is a forecast
BLOCK = 64  # clips that a worker process computes at once; fewer are faster in this process

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ClipPredictions:
    """Class probabilities of rows, which are clips: `probabilities` is float64 (rows, classes), in order of `ids`."""

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: np.ndarray
    errors: dict[str, str]  # id → why a clip could not be read; its row has the training clips' class frequencies


def predict_clips(
    run: str | Path | Predictor,
    clips: Sequence[str | Path] | Mapping[str, Path],
    *,
    windows: Windows | None = None,
    table: Path | None = None,
    trust: bool = False,
    weights: str | Path | Sequence[str | Path] | None = None,
    workers: int = 0,
    compute: Compute = AUTO,
    on_progress: OnProgress = lambda *_: None,
) -> ClipPredictions:
    """Predict new clips by a trained run or a blend: the mean over fold models, then the blend of runs.

    >>> predict_clips("runs/my_recipe-1a2b3c4d", ["a.wav"]).probabilities  # float64 (1, classes)

    The clips of the run's own manifest, with the same ids in the same order, get the run's own predictions.

    Parameters
    ----------
    run : an argument of `open_predictor`, or its result
    clips : audio files and folders of them, or files by id
    windows : divide the files into windows, which are averaged into consecutive rows; None: a row for each file
    table : a CSV with further inputs of the recipe: ids or file names, then columns such as `salience`
    workers, compute, on_progress : see `predict_rows`
    trust, weights : see `open_predictor`

    Raises UsageError for a missing run or path, AkitError for one that cannot be used, or if no clip can be read.

    """
    predictor = run if isinstance(run, Predictor) else open_predictor(run, trust=trust, weights=weights)
    plan = plan_clips(clips, windows)
    columns = columns_of(table, plan)
    return predict_rows(predictor, plan, columns=columns, workers=workers, compute=compute, on_progress=on_progress)


def plan_clips(clips: Sequence[str | Path] | Mapping[str, Path], windows: Windows | None) -> RowPlan:
    """Return the plan of clips, see `predict_clips`. Raises UsageError for a missing path."""
    files = clips if isinstance(clips, Mapping) else clips_at([Path(path) for path in clips])
    return RowPlan.of_files(files) if windows is None else RowPlan.of_windows(files, windows)


def columns_of(table: Path | None, plan: RowPlan) -> pl.DataFrame | None:
    """Return the columns of a CSV for each clip of a plan; None without one. Raises DataError as `read_columns`."""
    return None if table is None else read_columns(table, [clip.file for clip in plan.clips])


def predict_rows(
    predictor: Predictor,
    plan: RowPlan,
    *,
    columns: pl.DataFrame | None = None,
    workers: int | Workers = 0,
    compute: Compute = AUTO,
    on_progress: OnProgress = lambda *_: None,
    finished: FinishedSlices | None = None,
    graphs: ExportedFile | ExportedNetworks | None = None,
    costs: Costs | None = None,
) -> ClipPredictions:
    """Predict the clips of a plan, and average them into its rows.

    Parameters
    ----------
    columns : further inputs of the recipe, see `columns_of`
    workers : processes that compute features, or their number; 0 is this one
    compute : device and precision, for recipes that train with torch
    on_progress : called with a feature's name and the clips done and in all; then with "predictions" and these numbers,
        each clip counted once per fold model
    finished : where predictions of finished slices are stored; those that exist are not computed again
    graphs : what predicts instead of torch
    costs : the forecast of the seconds that it takes; `on_progress` is then also called with `WHOLE` and the seconds of
        the forecast that are done and in all, from which the time that is left follows

    Raises AkitError if the recipe fails, or if no clip can be read.

    """
    clips, parts = plan.clips, []
    with open_workers(workers) as processes:
        job = _Job(predictor, len(clips), processes, compute, on_progress, graphs, costs)
        for part in slices_by_file([clip.file for clip in clips], SLICE):
            rows = manifest_rows(clips[part], None if columns is None else columns[part])
            found = finished.read(rows) if finished else None
            if found is None:
                found = job.predict(rows, clips[part])
                is_whole = not any(reason.startswith(NOT_READ) for reason in found.errors.values())
                if finished and is_whole and len(rows) < len(clips):
                    finished.write(rows, found)
            job.begin_next(len(rows))
            parts.append(found)
    errors = {id: reason for found in parts for id, reason in found.errors.items()}
    if clips and len(errors) == len(clips) and any(clip.path is not NO_FILE for clip in clips):
        id, reason = next(iter(errors.items()))
        raise DataError(f"None of {len(clips)} clips can be read; {id}: {reason}.")
    stack = np.concatenate([found.probabilities for found in parts], axis=1)
    combined = predictor.combine(stack) if predictor.compares_clips else stack[0]
    averaged, failed = plan.averaged(combined, errors)
    probabilities = predictor.finish(averaged, plan.recordings)
    return ClipPredictions(tuple(row.id for row in plan.rows), predictor.task_spec.names, probabilities, failed)


def predict_fold(member: MemberModel, fold: str, clips: Clips, on_clips: Callable[[int], None]) -> np.ndarray:
    """Return the predictions of a run's model of one fold: float64 (clips, classes).

    - `clips`: with the features of the fold
    - `on_clips`: called with the number of clips after each part
    """
    model, frequencies = member.model(fold, clips.compute), member.frequencies(fold)
    return infer(member.recipe, member.settings, model, clips, frequencies, at_once=AT_ONCE, on_clips=on_clips)[0]


def predict_networks(
    network: NetworkGraph, member: MemberModel, clips: Clips, on_clips: Callable[[int], None]
) -> np.ndarray:
    """Return the predictions of a run's models of all folds: float64 (clips, classes); parameters as `predict_fold`."""
    name, frequencies = member.recipe.name, member.mean_frequencies
    return in_parts(network.predict, name, clips, frequencies, at_once=AT_ONCE, on_clips=on_clips)[0]


@dataclass
class _Job:
    predictor: Predictor
    n_clips: int
    workers: Workers
    compute: Compute
    on_progress: OnProgress
    graphs: ExportedFile | ExportedNetworks | None
    costs: Costs | None
    begun: int = 0  # number of clips of earlier slices
    predicted: int = 0  # clips times models
    seconds: float = 0.0  # of the forecast

    def predict(self, rows: pl.DataFrame, clips: Sequence[NewClip]) -> SlicePredictions:
        """Predict a slice of clips: the blend, or all members if the blend compares clips of different slices."""
        if isinstance(self.graphs, ExportedFile):
            found = self.graphs.predict(clips, partial(self._on_clips, 0))
        else:
            found = self._by_members(rows)
        if self.predictor.compares_clips:
            return found
        return replace(found, probabilities=self.predictor.combine(found.probabilities)[None])

    def _by_members(self, rows: pl.DataFrame) -> SlicePredictions:
        from acoustic_store import FeatureStore

        with temporary_folder("akit-predict-") as folder:
            store = FeatureStore.open(folder, create=True)
            of_fold = [{fold: m.features_of(fold) for fold in m.folds} for m in self.predictor.members]
            errors = self._build(rows, store, [f for of in of_fold for found in of.values() for f in found.values()])
            pairs = zip(self.predictor.members, of_fold, strict=True)
            stack = np.stack([self._mean(i, *pair, rows, store) for i, pair in enumerate(pairs)])
        return SlicePredictions(stack, errors)

    def begin_next(self, n_clips: int) -> None:
        """Count a slice as predicted, also one that was predicted before."""
        self.begun += n_clips
        self.predicted = self.begun * self.predictor.n_models
        self.on_progress("predictions", self.predicted, self.n_clips * self.predictor.n_models)
        if self.costs is not None:
            self._spend(self.costs.whole * self.begun / self.n_clips - self.seconds)

    def _spend(self, seconds: float) -> None:
        """Count seconds of the forecast as done."""
        if self.costs is not None:
            self.seconds += seconds
            self.on_progress(WHOLE, round(self.seconds), max(1, round(self.costs.whole)))

    def _build(self, rows: pl.DataFrame, store: FeatureStore, features: Sequence[Feature]) -> dict[str, str]:
        """Compute the features, and return why clips cannot be read, by id."""
        first, done = with_sources(features)[0], {feature.key: 0 for feature in with_sources(features)}

        def on_build(feature: Feature, n: int, _: int) -> None:
            if self.costs is not None:
                of_all = self.costs.features[feature.key] + (self.costs.decoding if feature == first else 0.0)
                self._spend(of_all * (n - done[feature.key]) / self.n_clips)
            done[feature.key] = n
            alike = [count for key, count in done.items() if key.startswith(f"{feature.name}-")]  # one per fold
            self.on_progress(feature.name, self.begun + sum(alike) // len(alike), self.n_clips)

        workers = self.workers if len(rows) > BLOCK else 0
        errors: dict[str, str] = {}
        for report in build_features(
            rows, Path("/"), store, features, workers=workers, on_progress=on_build, device=self.compute.device
        ):
            errors.update({id: reason for id, reason in report.failures.items() if id not in errors})
        return errors

    def _mean(
        self,
        position: int,
        member: MemberModel,
        features: Mapping[str, Mapping[str, Feature]],
        rows: pl.DataFrame,
        store: FeatureStore,
    ) -> np.ndarray:
        """Return the mean over a run's fold models, loaded one at a time: float64 (clips, classes)."""
        spec, compute = self.predictor.task_spec, self.compute
        graph = self.graphs.graphs[position] if isinstance(self.graphs, ExportedNetworks) else None
        if graph is not None:
            clips = stored_clips(rows, spec, features[member.folds[0]], store, compute)
            n_models = len(member.folds)
            return predict_networks(graph, member, clips, lambda n: self._on_clips(position, n * n_models))
        total = np.zeros((len(rows), len(spec.names)))
        for fold in member.folds:
            clips = stored_clips(rows, spec, features[fold], store, compute)
            total += predict_fold(member, fold, clips, partial(self._on_clips, position))
        mean: np.ndarray = total / len(member.folds)
        return mean

    def _on_clips(self, member: int, n: int) -> None:
        """Count clips times models of a member, by position."""
        self.predicted += n
        self.on_progress("predictions", self.predicted, self.n_clips * self.predictor.n_models)
        if self.costs is not None:
            models = [len(one.folds) for one in self.predictor.members] or [1]
            decoding = self.costs.decoding if isinstance(self.graphs, ExportedFile) else 0.0
            self._spend((self.costs.models[member] + decoding) * n / (self.n_clips * models[member]))
