"""Weights of clips from a column of the data set, and soft targets from a table joined by id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from acoustic_kit.data.dataset import CsvOptions, Dataset
from acoustic_kit.data.label_tables import UNKNOWN, LabelTable, read_label_table
from acoustic_kit.data.targets import loss_targets
from acoustic_kit.errors import DataError, UsageError
from acoustic_kit.tables import listed, quoted
from acoustic_kit.task import SUM_TOLERANCE, Task

if TYPE_CHECKING:
    import polars as pl

_OWN_WEIGHT = "own_weight"  # the name of a table's column `weight` among the data set's own columns


def with_weights(dataset: Dataset, options: CsvOptions) -> Dataset:
    """Return the data set with the weights of its clips from `options.weight_column`, or from a column `weight`.

    Raises DataError if the column is missing or contains anything but numbers above 0; a column `weight` that is not
    named by the option is then left as one of the data set's own.
    """
    import polars as pl

    clips, given = dataset.clips, options.weight_column
    name = _OWN_WEIGHT if given in (None, "weight") else given
    if name not in clips.columns or given == "":
        if given:
            raise DataError(f"{dataset.root} has no column {quoted(given)} of weights.")
        return dataset
    weights = clips[name].cast(pl.Float64, strict=False)
    invalid = clips[name].is_not_null() & ~((weights > 0) & weights.is_finite()).fill_null(False)
    if invalid.any():
        path, cell = clips.filter(invalid).select("path", name).row(0)
        if given:
            hint = f" To leave out clips of weight 0, use --where {given}=…" if str(cell) in ("0", "0.0") else ""
            raise DataError(f"{path}: the weight {quoted(str(cell))} is not a number above 0.{hint}")
        return dataset
    clips = clips.with_columns(weight=weights).drop(name if name == _OWN_WEIGHT else [])
    found: list[float] = weights.drop_nulls().to_list()
    spread = f"{min(found):g} – {max(found):g}" if found else "none"
    note = f"weights of clips from {quoted(given or 'weight')}: {spread}"
    return replace(dataset, clips=clips, notes=(*dataset.notes, note))


def with_soft_targets(dataset: Dataset, extra: Dataset | None, options: CsvOptions) -> tuple[Dataset, Dataset | None]:
    """Return a data set and its extra clips with the probabilities of `options.soft_targets` as targets.

    The table has a column of ids and one column per class, of probabilities; an empty cell is an unknown target. Labels
    are the classes of at least 0.5, or, if clips have one label, the most probable class. Classes without a column, and
    clips without a row, keep their labels. Extra clips, labeled or not, have the ids `extra/…`, as in the manifest; the
    `extra/` may be left out if no other clip has the id.

    Raises
    ------
    UsageError : if the file does not exist
    DataError : if no id is that of a clip, a column is not a class, a cell is not a probability, or the probabilities
        of a clip of one label do not sum to one

    """
    if options.soft_targets is None:
        return dataset, extra
    table = read_label_table(_table_path(dataset.root, options.soft_targets))
    ids, names = table.ids(table.columns[0]), table.columns[1:]
    if unknown := [name for name in names if name not in dataset.classes]:
        raise DataError(f"{table.path}: the columns {listed(unknown)} are not classes of {dataset.root}.")
    row_of = {id: row for row, id in enumerate(ids)}
    found = [
        row_of.get(id, row_of.get(id.removeprefix("train/"))) if labels or split != "test" else None
        for id, labels, split in dataset.clips.select("id", "label", "split").iter_rows()
    ]
    of_extra = list[int | None]()
    if extra is not None:
        taken = set(found)
        free = {id: row for id, row in row_of.items() if row not in taken}
        of_extra = [free.get(f"extra/{id}", free.get(id)) for id in extra.clips["id"]]
    used = {row for row in (*found, *of_extra) if row is not None}
    if not used:
        raise DataError(f"{table.path}: no id, such as {quoted(ids[0])}, is that of a labeled clip of {dataset.root}.")
    n_extra = len(of_extra) - of_extra.count(None)
    n = len(found) - found.count(None) + n_extra
    more = f", of which {n_extra} are extra" if n_extra else ""
    rest = f"; {len(ids) - len(used)} of its rows are of no labeled clip" if len(used) < len(ids) else ""
    classes = list(dataset.classes)
    dataset = replace(
        dataset,
        clips=_joined(dataset.clips, table, found, classes, dataset.task),
        notes=(*dataset.notes, f"{table.path.name}: targets of {n} clips{more}{rest}"),
    )
    if extra is not None:
        extra = replace(extra, clips=_joined(extra.clips, table, of_extra, classes, dataset.task))
    return dataset, extra


def _joined(
    clips: pl.DataFrame, table: LabelTable, row_of_clip: Sequence[int | None], classes: list[str], task: Task
) -> pl.DataFrame:
    """Return the clips with the targets of their rows of the table; None is a clip without one."""
    chosen = [clip for clip, row in enumerate(row_of_clip) if row is not None]
    rows = np.array([row for row in row_of_clip if row is not None], dtype=np.int64)
    names = table.columns[1:]
    targets = loss_targets(clips[chosen], classes, "multi").astype(np.float64)
    targets[:, [classes.index(name) for name in names]] = table.probabilities(names, unknown=UNKNOWN)[rows]
    if task == "single":
        _require_sums(table, targets, rows)
    return _with_targets(clips, chosen, *target_columns(targets, classes, task))


def target_columns(targets: np.ndarray, classes: Sequence[str], task: Task) -> tuple[pl.Series, pl.Series]:
    """Return the columns `label` and `soft` of the manifest for targets.

    - `targets`: float (clips, classes) in [0, 1], NaN if unknown
    """
    import polars as pl

    known = np.nan_to_num(targets, nan=-1.0)
    hard = known >= 0.5 if task == "multi" else known.argmax(axis=1)[:, None] == np.arange(len(classes))
    label = _by_clip(hard, classes, pl.col("label")).fill_null([])
    value = pl.Series("target", targets[targets != hard]).fill_nan(None)
    return label, _by_clip(targets != hard, classes, pl.struct("label", value))


def _by_clip(chosen: np.ndarray, classes: Sequence[str], value: pl.Expr) -> pl.Series:
    """Return a list for each clip, null if it is empty, of a value of each chosen class, bool (clips, classes)."""
    import polars as pl

    rows, columns = np.nonzero(chosen)
    cells = pl.DataFrame({"row": rows, "label": pl.Series(classes, dtype=pl.String).gather(columns)})
    lists = cells.select("row", value.alias("value")).group_by("row").agg("value")
    every = pl.DataFrame({"row": np.arange(len(chosen))})
    return every.join(lists, on="row", how="left", maintain_order="left")["value"]


def _with_targets(clips: pl.DataFrame, chosen: Sequence[int], label: pl.Series, soft: pl.Series) -> pl.DataFrame:
    """Return the clips with other labels and soft targets of the rows `chosen`."""
    import polars as pl

    new = pl.DataFrame({"row": chosen, "new_label": label, "new_soft": soft}, schema_overrides={"row": pl.UInt32})
    is_new = pl.col("new_label").is_not_null()
    return (
        clips.with_row_index("row")
        .join(new, on="row", how="left", maintain_order="left")
        .with_columns(
            label=pl.when(is_new).then("new_label").otherwise("label"),
            soft=pl.when(is_new).then("new_soft").otherwise("soft"),
        )
        .drop("row", "new_label", "new_soft")
    )


def _table_path(root: Path, name: str) -> Path:
    path = next((path for path in (root / name, Path(name)) if path.is_file()), None)
    if path is None:
        raise UsageError(f"--soft-targets {name}: no such file in {root} or in the current folder.")
    return path


def _require_sums(table: LabelTable, targets: np.ndarray, rows: np.ndarray) -> None:
    sums = targets.sum(axis=1)  # NaN with an unknown target
    wrong = np.flatnonzero(np.abs(sums - 1) > SUM_TOLERANCE)
    if len(wrong):
        table.fail(
            int(rows[wrong[0]]), f"the probabilities sum to {sums[wrong[0]]:.3g}; clips have one label, so to 1."
        )
