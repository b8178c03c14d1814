"""Changes of a data set since its manifest was made, and the updated clips."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from acoustic_kit.data.dataset import Dataset
from acoustic_kit.data.scan import scan_audio
from acoustic_kit.data.schema import scan_schema, span_column
from acoustic_kit.dsp.sound_file import Mono
from acoustic_kit.tables import listed

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl


@dataclass(frozen=True)
class Changes:
    """Ids of the clips that differ between a data set as it is on disk and a manifest."""

    relabeled: tuple[str, ...] = ()  # other labels; held-out test clips are not compared
    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    other: tuple[str, ...] = ()  # another group, path or split, or another value in the data set's own columns

    def __bool__(self) -> bool:
        return bool(self.relabeled or self.new or self.gone or self.other)

    def __str__(self) -> str:
        kinds = {
            "with other labels": self.relabeled,
            "new": self.new,
            "gone": self.gone,
            "with other groups, paths or columns": self.other,
        }
        return "; ".join(f"{len(ids)} {what} ({listed(ids)})" for what, ids in kinds.items() if ids)


def find_changes(manifest: pl.DataFrame, updated: pl.DataFrame) -> Changes:
    """Compare a manifest with the clips that `update_clips` returns."""
    import polars as pl

    old, new = manifest["id"].to_list(), updated["id"].to_list()
    known = set(old) & set(new)
    both = manifest.filter(pl.col("id").is_in(known)).sort("id"), updated.filter(pl.col("id").is_in(known)).sort("id")
    targets = ["label", "soft", "weight"]
    relabeled = _differ(*both, targets)
    own = {*updated.columns, *manifest.columns} - {"id", *targets, *scan_schema()}
    others = _differ(*both, own) - relabeled
    return Changes(
        tuple(id for id in old if id in relabeled),
        tuple(id for id in new if id not in known),
        tuple(id for id in old if id not in known),
        tuple(id for id in old if id in others),
    )


def _differ(before: pl.DataFrame, after: pl.DataFrame, columns: Collection[str]) -> set[str]:
    """Return the ids of the rows that differ in any of these columns; both tables have the same ids."""
    import polars as pl

    differs = pl.Series([False] * len(before), dtype=pl.Boolean)
    for name in columns:
        if name not in before.columns or name not in after.columns:
            column = (before if name in before.columns else after)[name]
            differs |= column.is_not_null()
        else:
            differs |= _text(before[name]).ne_missing(_text(after[name]))
    return set(before["id"].filter(differs))


def _text(column: pl.Series) -> pl.Series:
    """Return a column as text, as a new row may turn a column of numbers into text."""
    import polars as pl

    if not isinstance(column.dtype, pl.List):
        return column.cast(pl.String)
    if isinstance(column.dtype.inner, pl.Struct):
        column = column.list.eval(pl.element().struct.json_encode())
    return column.list.join("\0")


def update_clips(manifest: pl.DataFrame, dataset: Dataset, test_folds: Collection[int]) -> pl.DataFrame:
    """Return the current clips of a data set; clips that the manifest contains keep their fold and split.

    A new clip gets the data set's own fold, else that of its group, else the fold with the fewest clips of its label.
    In `test_folds` it is a test clip. A clip that the data set itself moved into or out of its test clips moves too.

    Returns
    -------
    DataFrame : the columns of `Dataset.clips`; test clips have their labels if these are known

    """
    import polars as pl

    before = {row["id"]: row for row in manifest.select("id", "fold", "group", "split").iter_rows(named=True)}
    chooser = _FoldChooser(manifest)
    folds, splits = list[int | None](), list[str]()
    clips = dataset.clips
    if test_folds and dataset.official_folds:  # workspaces of older versions do not record them
        held = [id for id, row in before.items() if row["split"] == "test"]
        test_folds = {*test_folds, *clips.filter(pl.col("id").is_in(held))["fold"].drop_nulls()}
    for row in clips.select("id", "label", "fold", "group", "split").iter_rows(named=True):
        known = before.get(row["id"])
        held_out = known is not None and known["split"] == "test" and bool(test_folds)
        if row["split"] != "train" or held_out:
            splits.append("extra" if row["split"] == "extra" else "test")
            folds.append(None)
        elif known is not None and known["split"] == "train":
            splits.append("train")
            folds.append(known["fold"])
        else:
            fold = row["fold"] if dataset.official_folds else chooser.choose(row["label"], row["group"])
            is_test = fold in test_folds or fold is None
            splits.append("test" if is_test else "train")
            folds.append(None if is_test else fold)
    return clips.with_columns(fold=pl.Series(folds, dtype=pl.Int64), split=pl.Series(splits, dtype=pl.String))


def with_equal_files_together(clips: pl.DataFrame, content: pl.Series, known: Collection[str]) -> pl.DataFrame:
    """Return the clips with each new training clip in the fold of a known one with equal `content`, if any."""
    import polars as pl

    is_known = pl.col("id").is_in(list(known))
    is_new = (pl.col("split") == "train") & ~is_known
    fold_of = (
        clips.with_columns(content=content)
        .filter(is_known & (pl.col("split") == "train") & (pl.col("content") != ""))
        .group_by("content")
        .agg(equal=pl.col("fold").first())
    )
    found = clips.with_columns(content=content).join(fold_of, "content", how="left", maintain_order="left")
    folds = found.with_columns(fold=pl.when(is_new).then(pl.coalesce("equal", "fold")).otherwise("fold"))["fold"]
    return clips.with_columns(folds)


class _FoldChooser:
    """Folds for new clips of a data set without folds of its own."""

    def __init__(self, manifest: pl.DataFrame) -> None:
        train = manifest.filter(manifest["split"] == "train")
        self._all = Counter(train["fold"])
        self._of_label = Counter(zip(train["label"].list.first().fill_null(""), train["fold"], strict=True))
        grouped = manifest.filter(manifest["group"].is_not_null() & (manifest["split"] != "extra"))
        self._of_group: dict[str, int | None] = dict(grouped.select("group", "fold").iter_rows())

    def choose(self, label: list[str], group: str | None) -> int | None:
        """Return the fold of a new clip; None if its group is held out for testing."""
        first = label[0] if label else ""
        if group is not None and group in self._of_group:
            fold = self._of_group[group]
        else:
            fold = min(self._all, key=lambda fold: (self._of_label[first, fold], self._all[fold], fold))
        if fold is not None:
            self._all[fold] += 1
            self._of_label[first, fold] += 1
        if group is not None:
            self._of_group[group] = fold
        return fold


def known_lengths(manifest: pl.DataFrame, root: Path) -> dict[str, float]:
    """Return path → the length in seconds of each file with windows that did not change since it was scanned."""
    import polars as pl

    windows = manifest.filter(pl.col("start").is_not_null() & pl.col("duration").is_not_null())
    files = windows.group_by("path").agg(
        pl.col("size", "mtime_ns").first(), (pl.col("start") + pl.col("duration")).max()
    )
    return {
        path: seconds for path, size, mtime_ns, seconds in files.iter_rows() if _state(root / path) == (size, mtime_ns)
    }


def _state(file: Path) -> tuple[int, int] | None:
    """Return the size and the time stamp of a file; None if it is missing."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def scan_changed(
    clips: pl.DataFrame,
    manifest: pl.DataFrame,
    root: Path,
    mono: Mono,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[pl.DataFrame, int]:
    """Return the columns of `scan_audio` for each clip, and the number of known clips whose files had changed.

    A file is scanned again if it is new, or if its size or time stamp differs.
    """
    import polars as pl

    columns = list(scan_schema())
    part = ["path", "start", "end"]
    known = dict(zip(manifest.select(part).iter_rows(), manifest.select(columns).iter_rows(named=True), strict=True))
    rows = []
    for path, start, end in clips.select(part).iter_rows():
        row, state = known.get((path, start, end)), _state(root / path)
        # Features of a missing file remain valid.
        is_same = row is not None and state in (None, (row["size"], row["mtime_ns"]))
        rows.append({name: row[name] for name in columns} if row is not None and is_same else None)
    again = clips.filter([row is None for row in rows])
    files = [root / path for path in again["path"]]
    scanned = iter(scan_audio(files, on_progress, mono, span_column(again)).iter_rows(named=True))
    table = pl.DataFrame([row or next(scanned) for row in rows], schema=scan_schema(), orient="row")
    return table, sum(row in known for row in again.select(part).iter_rows())
