"""Folds: drawn for data sets without official ones, and the rows that each trains and is validated on."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple

from acoustic_kit.data.leaks import is_equal, shares_group
from acoustic_kit.data.schema import is_unlabeled
from acoustic_kit.errors import DataError, UsageError
from acoustic_kit.task import Task

if TYPE_CHECKING:
    import polars as pl


def make_folds(clips: pl.DataFrame, n_folds: int, seed: int, task: Task = "single") -> dict[str, int]:
    """Draw folds 1 to `n_folds`: id → fold.

    Folds are stratified by label (the first of several; clips without a label are one stratum). Clips of one group are
    in one fold, and so are clips of equal content if the class has enough distinct files. In a multi-label task, a
    class may be missing in some folds.
    The result depends on the clips and the seed, not on the order of rows.

    Parameters
    ----------
    clips : `id`, `label` (list of str), `group` (str or null), optionally `content` (str, empty if unknown)

    Raises
    ------
    UsageError : for fewer than two folds
    DataError : for a class with fewer clips or groups than folds; in a multi-label task, for fewer groups in all

    """
    import numpy as np
    import polars as pl
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    clips = _with_units(clips, n_folds, task)
    first = clips["label"].list.first().fill_null("")
    # In a multi-label task, classes that are rarely the first label share one stratum.
    common = first.value_counts().filter(pl.col("count") >= n_folds).to_series(0)
    strata = first.to_frame("label").select(pl.when(pl.col("label").is_in(common.implode())).then("label")).to_series()
    codes, units = (series.rank("dense").fill_null(0).to_numpy() for series in (strata, clips["unit"]))
    splitter = StratifiedKFold if clips["unit"].is_unique().all() else StratifiedGroupKFold
    fold = np.zeros(len(clips), dtype=np.int64)
    with warnings.catch_warnings():
        # "groups are ignored" if each clip is its own group; "least populated class" for the stratum of rare labels.
        warnings.simplefilter("ignore", UserWarning)
        splits = splitter(n_folds, shuffle=True, random_state=seed).split(codes, codes, units)
        for number, (_, valid) in enumerate(splits, start=1):
            fold[valid] = number
    return dict(zip(clips["id"], fold.tolist(), strict=True))


def _with_units(clips: pl.DataFrame, n_folds: int, task: Task) -> pl.DataFrame:
    """Return the clips in order of id with `unit`, the number of the group or file that is not divided between folds.

    Equal files of a class with enough clips but too few distinct files are divided.
    """
    import polars as pl

    if n_folds < 2:
        raise UsageError(f"{n_folds} folds are too few; at least two are needed.")
    clips = clips.sort("id")
    by_group = _number_units(clips.with_columns(content=pl.lit("")))
    _require_enough(by_group, n_folds, task)
    if "content" not in clips.columns:
        return by_group
    copied = _units_of_classes(_number_units(clips)).filter(pl.col("units") < n_folds)["label"]
    rare = _units_of_classes(by_group).filter(pl.col("units") < n_folds)["label"]
    divided = pl.col("label").list.eval(pl.element().is_in(copied.filter(~copied.is_in(rare.implode())).implode()))
    return _number_units(clips.with_columns(content=pl.when(divided.list.any()).then(pl.lit("")).otherwise("content")))


def _number_units(clips: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    from acoustic_kit.data.targets import clip_groups

    return clips.with_columns(unit=pl.Series(clip_groups(clips)[0]))


def _units_of_classes(clips: pl.DataFrame) -> pl.DataFrame:
    """Return `label`, `clips` and `units` of each class, the rarest first."""
    import polars as pl

    counts = (
        clips.explode("label")
        .drop_nulls("label")
        .group_by("label")
        .agg(clips=pl.len(), units=pl.col("unit").n_unique())
    )
    return counts.sort("units", "label")


def _require_enough(clips: pl.DataFrame, n_folds: int, task: Task) -> None:
    import polars as pl

    counts = _units_of_classes(clips).filter(pl.col("units") < n_folds)
    if counts.is_empty():
        return
    if task == "multi" and clips["unit"].n_unique() >= n_folds:
        return  # some of hundreds of classes are rare, as in AudioSet; the summary names them
    label, n_clips, n_units = counts.row(0)
    few = f"groups ({n_units}, of {n_clips} clips)" if n_units < n_clips else f"clips ({n_clips})"
    remedy = f"use --n-folds {n_units}" if n_units >= 2 else "add clips of it"
    raise DataError(f"the class {label!r} has too few {few} for {n_folds} folds; {remedy}, or leave the class out.")


FULL = "full"  # the fold name of a model that is fitted on all training clips


class FoldRows(NamedTuple):
    """The rows of a manifest that one fold uses."""

    train: pl.DataFrame
    valid: pl.DataFrame  # none in the fold named `FULL`
    left_out: pl.DataFrame  # extra clips that are equal to a held-out or test clip, or of its group


def training_rows(manifest: pl.DataFrame, fold: str) -> FoldRows:
    """Return the training rows of a fold, its validation rows, and the extra clips that it leaves out.

    Other labeled clips of the split `extra` are training rows of every fold; unlabeled clips are rows of none.
    """
    import polars as pl

    trainable = manifest.filter(~is_unlabeled())
    held_out = pl.lit(False) if fold == FULL else pl.col("fold").cast(pl.String).eq_missing(pl.lit(fold))
    train, valid = trainable.filter(~held_out), trainable.filter(held_out)
    extra = train.filter(pl.col("split") == "extra")
    if not len(extra):
        return FoldRows(train, valid, extra)
    scored = pl.concat([valid, manifest.filter(pl.col("split") == "test")])
    left_out = extra.filter(is_equal(extra, scored) | shares_group(extra, scored))
    return FoldRows(train.join(left_out, on="id", how="anti", maintain_order="left"), valid, left_out)


def fold_names(manifest: pl.DataFrame) -> list[str]:
    """Return the names of a manifest's folds, as the command line uses them."""
    return [str(fold) for fold in manifest["fold"].drop_nulls().unique().sort()]
