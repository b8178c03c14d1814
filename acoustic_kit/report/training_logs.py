"""Learning curves from the logs of folds: `runs/<name>/folds/<fold>/<stage>.jsonl`, one epoch per line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from acoustic_kit.report.content import Curve, Line, TrainingCurves
from acoustic_kit.runs.training_log import read_log

MOST_POINTS = 200  # per line
OTHER_FIGURES = {"epoch", "phase", "lr", "seconds", "train_seconds"}

Log = Mapping[int, Mapping[str, float]]  # epoch → figures


def training_curves(run: Path) -> list[TrainingCurves]:
    """Return the curves of each stage of a run; folds are thin lines, their mean is bold. Damaged logs are left out.

    Metrics of one name share a chart, such as `train_loss` and `valid_loss`.
    """
    stages: dict[str, list[Log]] = {}
    for path in sorted(run.glob("folds/*/*.jsonl")):
        if log := _read(path):
            stages.setdefault(path.stem, []).append(log)
    return [TrainingCurves(run.name, stage, len(logs), tuple(_curves(logs))) for stage, logs in stages.items()]


def _read(path: Path) -> Log:
    """Return a log's values by epoch."""
    return {
        epoch: {k: float(v) for k, v in entry.items() if isinstance(v, int | float) and k not in OTHER_FIGURES}
        for epoch, entry in read_log(path).items()
    }


def _curves(logs: Sequence[Log]) -> list[Curve]:
    figures = list(dict.fromkeys(key for log in logs for figures in log.values() for key in figures))
    charts: dict[str, list[str]] = {"loss": []}
    for key in sorted(figures):  # training first
        side, _, name = key.partition("_")
        if side in {"train", "valid"}:
            charts.setdefault(name, []).append(key)
    curves = [
        Curve(name, tuple(line for key in keys for line in _lines(key, logs))) for name, keys in charts.items() if keys
    ]
    return [curve for curve in curves if curve.lines]


def _lines(figure: str, logs: Sequence[Log]) -> list[Line]:
    """Return one line per fold, then their mean over the epochs that all folds have."""
    name = "training" if figure.startswith("train_") else "validation"
    epochs = sorted({epoch for log in logs for epoch in log})
    values = np.array([[log.get(epoch, {}).get(figure, math.nan) for epoch in epochs] for log in logs])
    values[~np.isfinite(values)] = math.nan
    if np.isnan(values).all():
        return []
    keep = np.unique(np.linspace(0, len(epochs) - 1, min(len(epochs), MOST_POINTS)).round().astype(int))
    x, values = np.array(epochs, dtype=float)[keep], values[:, keep]
    folds = [Line(name, x, row) for row in values] if len(values) > 1 else []
    return [*folds, Line(name, x, values.mean(axis=0), bold=True)]
