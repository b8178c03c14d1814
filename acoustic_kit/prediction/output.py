"""Predictions as CSV: one row per clip, or the form of a competition's template."""

from __future__ import annotations

import csv
from pathlib import Path

from acoustic_kit.files import replacing
from acoustic_kit.prediction.models import Predictor
from acoustic_kit.prediction.predict import ClipPredictions
from acoustic_kit.submission.submission import Template, write_submission


def write_predictions(
    path: Path, predictions: ClipPredictions, predictor: Predictor, template: Template | None = None
) -> None:
    """Write predictions atomically: in the template's form, or as `id` and one probability per class.

    Without a template, a clip that could not be read has no probabilities, and the reason in a last column, `error`,
    which exists only if there are such clips.

    Raises AkitError if the file cannot be written, or the template does not fit.
    """
    if template is not None:
        write_submission(
            path,
            template,
            predictions.ids,
            predictions.probabilities,
            predictor.task_spec,
            follow=True,
        )
        return
    with replacing(path, follow=True) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("id", *predictions.classes, *(["error"] if predictions.errors else [])))
        for id, row in zip(predictions.ids, predictions.probabilities.tolist(), strict=True):
            reason = predictions.errors.get(id)
            cells = [repr(p) for p in row] if reason is None else [""] * len(row)
            writer.writerow((id, *cells, *([reason or ""] if predictions.errors else [])))
