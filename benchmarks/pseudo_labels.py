"""What pseudo-labels gain on ESC-10 with 80 % of the labels hidden, on folds that no model has seen.

Usage: python benchmarks/pseudo_labels.py ESC10_FOLDER [linear, or cnn; linear by default] [seeds, 3 by default]
       [held-out folds per seed, 5 by default] [epochs of cnn, 40 by default]

One official fold is held out for scoring: no model is trained on it, with or without labels. Of the other four, 16
clips per fold keep their labels, at least one of each class; all others are unlabeled extra clips. The teacher is
`stats_pca_linear`. The student is that, or a small `logmel_cnn`: alone (the network for four times the epochs, so that
it takes about as many steps), taught, taught in a second round, and taught by the teacher's predictions in a random
order. Each is the mean of its four fold models. Printed are accuracies, and the gain over the student alone with a 95 %
interval of a paired bootstrap over recordings; then the processor time of everything.
"""
# ruff: noqa: E402 (the number of threads is set before numpy is imported)

import os

for library in ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB_MAXIMUM"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

import resource
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import acoustic_kit as akit
from acoustic_kit.metrics.bootstrap import score_and_gain_intervals
from acoustic_kit.prediction.teacher import open_pseudo_labels
from acoustic_kit.recipe.job import make_job
from acoustic_kit.recipe.predictions import Predictions
from acoustic_kit.recipe.pseudo import Teacher
from acoustic_kit.runs.runner import run_job

PER_FOLD = 16  # labeled clips
CNN = {"sample_rate": 11025, "n_mels": 40, "frames": 54, "width": 12, "batch_size": 16}


@dataclass
class ShuffledTeacher:
    """A teacher whose predictions are those of other clips."""

    teacher: Teacher

    def check(self, *arguments: Any) -> None:
        """Accept everything, as the predictions are of no clip."""

    def predict(self, *arguments: Any) -> Predictions:
        """Return the predictions in a random order."""
        found = self.teacher.predict(*arguments)
        order = np.random.default_rng(0).permutation(len(found.ids))
        return Predictions(found.ids, found.probabilities[order])


def split(esc10: Path, work: Path, seed: int, fold: int) -> tuple[akit.OpenWorkspace, pl.DataFrame]:
    """Make the workspace of a seed and a held-out fold. Return it and the rows of the fold."""
    rng = np.random.default_rng([seed, fold])
    table = pl.read_csv(esc10 / "meta" / "esc50.csv")
    held_out, others = table.filter(pl.col("fold") == fold), table.filter(pl.col("fold") != fold)
    chosen = list[str]()
    for _, part in others.group_by("fold", maintain_order=True):
        names = part["filename"].to_numpy()[rng.permutation(len(part))]
        labels = dict(part.select("filename", "category").iter_rows())
        first = list({labels[name]: name for name in names}.values())
        chosen += first + [name for name in names if name not in first][: PER_FOLD - len(first)]
    labeled, rest = (others.filter(pl.col("filename").is_in(chosen) == kept) for kept in (True, False))
    (work / "data" / "meta").mkdir(parents=True)
    labeled.write_csv(work / "data" / "meta" / "esc50.csv")
    for folder, rows in (("data/audio", labeled), ("unlabeled", rest)):
        (work / folder).mkdir()
        for number, name in enumerate(rows["filename"]):
            target = name if folder == "data/audio" else f"{number}{Path(name).suffix}"  # names contain the class
            shutil.copyfile(esc10 / "audio" / name, work / folder / target)
    ws = akit.init(work / "work", data=work / "data", extra=work / "unlabeled", metric="accuracy", progress=False)
    return ws, held_out


def shuffled(ws: akit.OpenWorkspace, name: str, settings: dict[str, Any], seed: int, teacher: str) -> akit.TrainedRun:
    """Train the student on the teacher's predictions in a random order."""
    recipe, workspace = akit.load_recipe(name), ws.files
    pseudo = open_pseudo_labels(workspace, teacher, {})
    assert pseudo is not None
    assert pseudo.teacher is not None
    pseudo = replace(pseudo, runs=("shuffled",), teacher=ShuffledTeacher(pseudo.teacher))
    run, _ = run_job(make_job(workspace, recipe, recipe.settings(settings), seed, pseudo=pseudo))
    return akit.TrainedRun(run, workspace)


def runs_of(ws: akit.OpenWorkspace, student: str, seed: int, epochs: int) -> dict[str, akit.TrainedRun]:
    """Train everything that is compared."""
    teacher = ws.run("stats_pca_linear")
    is_cnn = student == "cnn"
    name, settings = ("logmel_cnn", {**CNN, "epochs": epochs}) if is_cnn else ("stats_pca_linear", {})
    taught = ws.run(name, settings=settings, seed=seed, pseudo=teacher)
    return {
        **({"teacher": teacher} if is_cnn else {}),
        "alone": ws.run(name, settings={**settings, "epochs": 4 * epochs}, seed=seed) if is_cnn else teacher,
        "round 1": taught,
        "round 2": ws.run(name, settings=settings, seed=seed, pseudo=taught),
        "shuffled labels": shuffled(ws, name, settings, seed, teacher.name),
    }


def report(found: dict[str, list[np.ndarray]], own: dict[str, list[float]], held_out: Sequence[pl.DataFrame]) -> None:
    """Print the accuracies on the held-out folds and the gains over the student alone."""
    rows = pl.concat(held_out)
    names = sorted(set(rows["category"]))
    targets = np.array([names.index(name) for name in rows["category"]])
    groups = rows["src_file"].rank("dense").to_numpy().astype(np.int64)
    alone = np.concatenate(found["alone"])
    print(f"{len(targets)} predictions of clips of {len(held_out)} unseen folds")
    for what, parts in found.items():
        p = np.concatenate(parts)
        right = p.argmax(axis=1) == targets
        gain = right.mean() - (alone.argmax(axis=1) == targets).mean()
        interval = score_and_gain_intervals("accuracy", targets, p, alone, groups)[1]
        assert interval is not None
        print(
            f"{what:16} {right.mean():.3f}  gain {gain:+.3f} ({interval[0]:+.3f} to {interval[1]:+.3f})  "
            f"out-of-fold {np.mean(own[what]):.3f}",
            flush=True,
        )


def main(esc10: Path, student: str = "linear", seeds: int = 3, folds: int = 5, epochs: int = 40) -> None:
    """Run the comparison, seed by seed."""
    found: dict[str, list[np.ndarray]] = {}
    own: dict[str, list[float]] = {}
    held_out: list[pl.DataFrame] = []
    for seed in range(seeds):
        for fold in ((seed + k) % 5 + 1 for k in range(folds)):
            with tempfile.TemporaryDirectory(prefix="akit-pseudo-") as folder:
                ws, rows = split(esc10, Path(folder), seed, fold)
                held_out.append(rows)
                files = {name: esc10 / "audio" / name for name in rows["filename"]}
                for what, run in runs_of(ws, student, seed, epochs).items():
                    predicted = ws.predict(run, files, workers=1).select(sorted(set(rows["category"]))).to_numpy()
                    found.setdefault(what, []).append(predicted)
                    own.setdefault(what, []).append(run.score or np.nan)
        report(found, own, held_out)
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        print(f"processor time: {sum(one.ru_utime + one.ru_stime for one in used) / 60:.1f} min", flush=True)


if __name__ == "__main__":
    esc10, *options = sys.argv[1:]
    main(Path(esc10), *options[:1], *map(int, options[1:]))
