"""Import of predictions as a run: CSV, parquet, or `.npy` with a file of ids.

A table has an id column and one column per class, named by the class or by the data set's own index, in any order. The
files are untrusted: invalid content leads to a message, never a traceback, and is never executed.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from pathlib import Path
from typing import Literal

import numpy as np

from acoustic_kit import __version__
from acoustic_kit.data.targets import clip_targets
from acoustic_kit.errors import DataError, UsageError
from acoustic_kit.files import file_sha256, read_regular
from acoustic_kit.metrics.scores import all_scores
from acoustic_kit.recipe.predictions import Predictions
from acoustic_kit.runs import remote_runs
from acoustic_kit.runs.run import Run, RunRecord
from acoustic_kit.submission.template import class_positions
from acoustic_kit.tables import listed, quoted, read_parquet, read_table, repeated
from acoustic_kit.task import SUM_TOLERANCE
from acoustic_kit.workspace.workspace import Workspace

RECIPE = "imported"  # the recipe in the record of such a run


def import_run(
    workspace: Workspace,
    file: Path | None,
    oof: Path | None = None,
    *,
    ids: Path | None = None,
    oof_ids: Path | None = None,
    name: str | None = None,
    note: str = "",
) -> Run:
    """Import predictions of the test clips, out-of-fold predictions of the training clips, or both, as one run.

    Parameters
    ----------
    file : predictions of all test clips
    oof : out-of-fold predictions; of all training clips, if blends are to choose the run by its score
    ids, oof_ids : the ids of an `.npy` file's rows: one per line, or the first column of a CSV
    name : the start of the run's name; by default the file's

    The run is named `<name>-<8 hex>`, a hash of the predictions: equal predictions are one run.

    Raises UsageError for options that contradict each other, and AkitError for a file that cannot be read, ids that the
    manifest lacks, and values that are not probabilities.

    """
    if file is None and oof is None:
        raise UsageError("Name a file of test predictions, or out-of-fold ones with --oof.")
    parts = {}
    if file is not None:
        parts["test"] = _checked(workspace, "test", file, read_predictions(file, workspace, ids))
    if oof is not None:
        parts["oof"] = _checked(workspace, "train", oof, read_predictions(oof, workspace, oof_ids))
    first = file or oof
    assert first is not None
    run = Run(*_place(workspace, name or first.stem, parts, {p.name: p for p in (file, oof) if p}, note))
    run.path.mkdir(parents=True, exist_ok=True)
    files = {
        f"{part}.parquet": predictions.write(run.path / f"{part}.parquet", run.record.classes)
        for part, predictions in parts.items()
    }
    metrics = {}
    if found := parts.get("oof"):
        targets = clip_targets(workspace.manifest, found.ids, workspace.task_spec)
        metrics = all_scores(targets, found.probabilities, task_spec=workspace.task_spec)
    run = run.with_record(metrics=metrics, files=files)  # after its files
    if remote := remote_runs.of_workspace(workspace):
        remote.push(run.name)
    return run


def read_predictions(path: Path, workspace: Workspace, ids: Path | None = None) -> Predictions:
    """Read a file's predictions, classes in the workspace's order; see the module for its forms.

    Raises AkitError for a file in another form, a class that is missing or unknown, a repeated id, and a cell that is
    not a number; UsageError if the ids of an `.npy` file are missing, or given for another kind of file.
    """
    if (path.suffix == ".npy") != (ids is not None):
        text = "is required for" if ids is None else "is only for"
        raise UsageError(f"{path}: --ids (or --oof-ids), the ids of the rows, {text} an .npy file.")
    if not path.is_file():
        raise UsageError(f"There is no file {path}.")
    if path.suffix == ".npy":
        assert ids is not None
        found = Predictions(_read_ids(ids), _read_npy(path, len(workspace.config.classes)))
        if len(found.ids) != len(found.probabilities):
            raise DataError(f"{path} has {len(found.probabilities)} rows, {ids} has {len(found.ids)} ids.")
    else:
        columns, clip_ids, cells = _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
        order = np.argsort(class_positions(str(path), columns, workspace.config.classes, underscores=True))
        found = Predictions(clip_ids, cells[:, order])
    if len(set(found.ids)) < len(found.ids):
        raise DataError(f"{path}: an id occurs twice: {listed(repeated(found.ids))}.")
    return found


def _read_csv(path: Path) -> tuple[list[str], tuple[str, ...], np.ndarray]:
    table = read_table(path, ",\t;")
    if not table.rows:
        raise DataError(f"{path} has no rows.")
    try:
        cells = np.array([row[1:] for row in table.rows], dtype=np.float64)
    except ValueError:
        line, cell = next(
            (line, cell)
            for row, line in zip(table.rows, table.lines, strict=True)
            for cell in row[1:]
            if not _is_number(cell)
        )
        raise DataError(f"{path}, line {line}: {quoted(cell)} is not a number.") from None
    return [name.strip() for name in table.header[1:]], tuple(row[0].strip() for row in table.rows), cells


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _read_parquet(path: Path) -> tuple[list[str], tuple[str, ...], np.ndarray]:
    import polars as pl

    try:
        frame = read_parquet(path)
        cells = frame.select(pl.exclude(frame.columns[0]).cast(pl.Float64)).to_numpy()
        return frame.columns[1:], tuple(frame[:, 0].cast(pl.String).fill_null("")), cells
    except (OSError, IndexError, pl.exceptions.PolarsError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"{path} cannot be read as an id column and one column of numbers per class: {reason}."
        ) from error


def _read_npy(path: Path, n_classes: int) -> np.ndarray:
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: a shape larger than the file is an error
    except (OSError, ValueError, EOFError, OverflowError) as error:
        raise DataError(f"{path} cannot be read as an .npy file of numbers: {error}.") from error
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiu" or found.shape[1:] != (n_classes,):
        raise DataError(f"{path} must hold numbers, (clips, {n_classes}), classes in the order of akit.toml.")
    return found.astype(np.float64)


def _read_ids(path: Path) -> tuple[str, ...]:
    """Return the first column of a table with a header, or the lines of a file without header and columns."""
    if path.suffix in {".csv", ".tsv"}:
        return tuple(row[0].strip() for row in read_table(path, ",\t;").rows)
    try:
        return tuple(line.strip() for line in read_regular(path).decode("utf-8-sig").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a list of ids, one per line: {error}.") from error


def _checked(workspace: Workspace, split: Literal["train", "test"], path: Path, found: Predictions) -> Predictions:
    """Return the predictions of the clips of one split, rows divided by their sums.

    Raises DataError for ids of other clips, for test clips without a row, and for values that are not probabilities.
    """
    known = workspace.clip_ids(split)
    clips = "test clips" if split == "test" else "training clips"
    unknown = sorted(set(found.ids) - set(known))
    if unknown:
        hint = "" if split == "train" else " Pass predictions of training clips with --oof."
        raise DataError(f"{path}: {len(unknown)} ids are not {clips} of this workspace: {listed(unknown)}.{hint}")
    missing = sorted(set(known) - set(found.ids))
    if missing and split == "test":
        raise DataError(f"{path} lacks {len(missing)} of the {len(known)} test clips: {listed(missing)}.")
    p = found.probabilities
    bad = ~(np.isfinite(p) & (p >= 0) & (p <= 1 + SUM_TOLERANCE)).all(axis=1)
    if bad.any():
        row = int(bad.argmax())
        percent = (np.isfinite(p) & (p >= 0) & (p <= 100 * (1 + SUM_TOLERANCE))).all() and p.sum(axis=1).min() > 10
        hint = (
            "Divide percent by 100."
            if percent
            else "Apply a softmax (single-label) or a sigmoid (multi-label) to scores first."
        )
        raise DataError(
            f"{path}: {bad.sum()} rows contain values that are not probabilities, the first of clip "
            f"{quoted(found.ids[row])}. {hint}"
        )
    if workspace.config.task == "multi":
        return Predictions(found.ids, np.minimum(p, 1))
    total = p.sum(axis=1, keepdims=True)
    if (abs(total - 1) > SUM_TOLERANCE).any():
        row = int(abs(total - 1).argmax())
        raise DataError(
            f"{path}: each row must sum to 1; that of clip {quoted(found.ids[row])} has {total[row, 0]:.4g}."
        )
    return Predictions(found.ids, p / total)


def _place(
    workspace: Workspace, name: str, parts: dict[str, Predictions], files: dict[str, Path], note: str
) -> tuple[Path, RunRecord]:
    """Return the folder and the record of the run."""
    stem = re.sub(r"[^\w.-]+", "_", name).strip("._-") or RECIPE
    content = hashlib.sha256()
    for part, predictions in sorted(parts.items()):
        order = sorted(range(len(predictions.ids)), key=predictions.ids.__getitem__)
        content.update(json.dumps([part, [predictions.ids[i] for i in order]]).encode())
        content.update(predictions.probabilities[order].tobytes())
    full_name = f"{stem}-{content.hexdigest()[:8]}"
    record = RunRecord(
        name=full_name,
        recipe=RECIPE,
        title="Predictions made elsewhere",
        settings={},
        changed={},
        seed=0,
        fast=False,
        full=False,
        note=note,
        task=workspace.config.task,
        classes=list(workspace.config.classes),
        features={},
        folds=[],
        imported={file: file_sha256(path) for file, path in files.items()},
        versions={},
        akit=__version__,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    return workspace.runs_path / full_name, record
