"""Runs and pretrained weights of a bundle: copies of the files that prediction reads."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from acoustic_kit.data.targets import label_digest
from acoustic_kit.errors import AkitError
from acoustic_kit.features.embed.encoder import Asked
from acoustic_kit.features.embed.onnx_model import OnnxEncoder
from acoustic_kit.features.embed.transformers_models import EXTRACTORS
from acoustic_kit.features.learnt import LEARNT_NAME
from acoustic_kit.features.weights import CONFIG
from acoustic_kit.files import open_regular
from acoustic_kit.prediction.models import Predictor
from acoustic_kit.prediction.pretrained import used_models
from acoustic_kit.prediction.saved_models import ESTIMATOR, TENSORS
from acoustic_kit.runs.labels import LABELS_NAME, write_labels
from acoustic_kit.runs.run import FOLD_RECORD_NAME, RECORD_NAME, Run, open_run, trained_on_other_labels
from acoustic_kit.workspace.workspace import Workspace

_OF_RUN = (RECORD_NAME, "recipe.py", "oof.parquet", LABELS_NAME)  # the tables are read by `akit predict --budget`
_OF_FOLD = (FOLD_RECORD_NAME, TENSORS, ESTIMATOR, LEARNT_NAME, "oof.parquet")


def copy_models(predictor: Predictor, target: Path, given: Sequence[str]) -> list[str]:
    """Copy the runs of a predictor into `target/runs`, and the pretrained models of their features into `weights`.

    - `given`: see `--weights` of `akit predict`

    Returns the places of the pretrained models, relative to `target`. Raises AkitError if a file cannot be read.
    """
    folds: dict[Path, set[str]] = {}  # a run's folder → the folds that are needed
    pretrained: set[Path] = set()
    for member in predictor.members:
        folds.setdefault(member.run.path, set()).update(member.folds)
        for place in used_models(member.run, given):
            if (place / RECORD_NAME).is_file():
                folds.setdefault(place, set()).update(open_run(place).done)
            else:
                pretrained.add(place)
    for path, names in folds.items():
        _copy_run(open_run(path), names, target / "runs" / path.name)
    return [_copy_weights(place, target, f"weights/{number}") for number, place in enumerate(sorted(pretrained), 1)]


def reads_estimators(predictor: Predictor) -> bool:
    """Return whether a fold's model is one of scikit-learn."""
    return any((m.run.path / "folds" / fold / ESTIMATOR).is_file() for m in predictor.members for fold in m.folds)


def _copy_run(run: Run, folds: set[str], target: Path) -> None:
    # The names of helpers are valid paths: a run is opened only if they are those of a recipe's file.
    names = [*_OF_RUN, *(run.record.helpers or ()), *(f"folds/{fold}/{name}" for fold in folds for name in _OF_FOLD)]
    for name in names:
        if (run.path / name).exists():
            _copy(run.path / name, target / name)
    workspace = Workspace.around(run.path)
    if workspace is None or (target / LABELS_NAME).exists() or run.path.parent != workspace.runs_path:
        return
    if not trained_on_other_labels(run, label_digest(workspace.manifest)):  # else --budget would use wrong ones
        write_labels(Run(target, run.record), workspace.manifest)


def _copy_weights(place: Path, target: Path, folder: str) -> str:
    """Copy an ONNX file with its tensors, or a folder of weights; return the place relative to `target`."""
    if place.is_file():
        for path in OnnxEncoder.find(str(place), Asked()).files:
            _copy(path, target / folder / path.relative_to(place.parent))
        return f"{folder}/{place.name}"
    for name in (CONFIG, TENSORS, *EXTRACTORS):
        if (place / name).exists():
            _copy(place / name, target / folder / name)
    return folder


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open_regular(source) as file, target.open("wb") as copy:
            shutil.copyfileobj(file, copy)
    except OSError as error:
        raise AkitError(f"{source} cannot be copied to {target}: {error.strerror or error}.") from error
