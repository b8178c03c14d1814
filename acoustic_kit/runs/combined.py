"""The predictions of a run's folds, combined: out-of-fold ones concatenated, those of the test clips averaged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from acoustic_kit.data.targets import clip_targets
from acoustic_kit.errors import RunError
from acoustic_kit.files import file_sha256
from acoustic_kit.metrics.scores import all_scores
from acoustic_kit.recipe.job import Job
from acoustic_kit.recipe.predictions import Predictions
from acoustic_kit.runs.labels import write_labels
from acoustic_kit.runs.run import FOLD_RECORD_NAME, Run


@dataclass
class CombinedFolds:
    """The combined predictions of a run in training, to which each finished fold is added.

    Folds are added in the order of the manifest, so that sums round as in any other run of these folds. If a fold
    finishes before an earlier one, all are read again.
    """

    job: Job
    _folds: dict[str, str] = field(default_factory=dict)  # combined folds → the SHA-256 of their records
    _oof: list[Predictions] = field(default_factory=list)
    _test_ids: tuple[str, ...] = ()
    _test_sum: np.ndarray | None = None  # float64 (clips, classes), over folds

    def update(self, run: Run) -> Run:
        """Write a run's predictions and metrics, unless those on disk are of the folds that are done."""
        run = Run(run.path, run.record)  # reads the folds' records again
        parts: list[Literal["oof", "test"]] = [] if run.record.full else ["oof"]
        parts += ["test"] if (self.job.manifest["split"] == "test").any() else []
        exist = all((run.path / f"{part}.parquet").exists() for part in parts)
        folds = {fold: file_sha256(run.path / "folds" / fold / FOLD_RECORD_NAME) for fold in run.done}
        if not run.done or (exist and run.record.combined_from == folds):
            return run
        self._add(run, folds, parts)
        run, files, metrics = run.with_record(files={}), {}, run.record.metrics  # no digests while files are replaced
        job = self.job
        if self._test_sum is not None:
            test = Predictions(self._test_ids, self._test_sum / len(folds))
            files["test.parquet"] = test.write(run.path / "test.parquet", run.record.classes)
        if self._oof:
            oof = Predictions(
                tuple(id for part in self._oof for id in part.ids),
                np.concatenate([part.probabilities for part in self._oof]),
            )
            files["oof.parquet"] = oof.write(run.path / "oof.parquet", run.record.classes)
            task_spec = job.workspace.task_spec
            targets = clip_targets(job.manifest, oof.ids, task_spec)
            metrics = all_scores(targets, oof.probabilities, task_spec=task_spec)
            write_labels(run, job.manifest)
        pseudo = run.record.pseudo and run.record.pseudo.model_copy(update={"share": _pseudo_share(run)})
        # The record is written last, after all files that it lists.
        return run.with_record(combined=list(folds), combined_from=folds, files=files, metrics=metrics, pseudo=pseudo)

    def _add(self, run: Run, folds: dict[str, str], parts: list[Literal["oof", "test"]]) -> None:
        """Read the folds that are not combined yet."""
        if list(self._folds.items()) != list(folds.items())[: len(self._folds)]:
            self._folds, self._oof, self._test_sum = {}, [], None
        for fold in list(folds)[len(self._folds) :]:
            if "oof" in parts:
                self._oof.append(_of_fold(run, fold, "oof"))
            if "test" in parts:
                test = _of_fold(run, fold, "test")
                if self._test_sum is None:
                    self._test_ids, self._test_sum = test.ids, test.probabilities
                else:
                    self._test_sum = self._test_sum + test.aligned(self._test_ids)
            self._folds[fold] = folds[fold]


def _pseudo_share(run: Run) -> float:
    """Return the share of pseudo-labeled clips among the training clips of all folds that are done."""
    folds = run.done.values()
    return sum(fold.pseudo_clips for fold in folds) / max(1, sum(fold.trained_on for fold in folds))


def _of_fold(run: Run, fold: str, part: Literal["oof", "test"]) -> Predictions:
    found = run.predictions(part, run.record.classes, fold)
    if found is None:
        raise RunError(f"{run.path / 'folds' / fold} lacks {part}.parquet. Delete the folder and run the recipe again.")
    return found
