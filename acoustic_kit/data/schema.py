"""Columns of the manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from acoustic_kit.dsp.sound_file import Span

if TYPE_CHECKING:
    import polars as pl

LATER_COLUMNS = ("start", "end", "weight", "soft")  # that manifests of earlier versions lack


def manifest_schema() -> dict[str, Any]:
    """Return the columns of every manifest with their dtypes, in order; the data set's own columns follow.

    - `id`: as printed in submissions; unique
    - `path`: relative to the data root, with /; absolute for extra clips from another data set
    - `start`, `end`: seconds, the part of the file that is the clip: [start, end); null for the whole file
    - `label`: list of str; one element for single-label tasks, empty for test clips and unlabeled extra clips
    - `weight`: of the clip in losses, above 0; null is 1
    - `soft`: targets that differ from `label`, as pairs of a class and a probability in [0, 1], which is null for
      unknown targets; null if there are none. `label` has the classes with a target of at least 0.5
    - `fold`: null except for training clips
    - `group`: clips of one recording or speaker, or null
    - `split`: "train", "test" or "extra" (trained on if labeled, never validated or scored)
    - `duration` (s), `sample_rate` (Hz), `channels`, `peak` (largest magnitude, 1 is full scale), `rms` (root mean
      square), both after the channels are mixed: null for a clip with a problem
    - `size` (bytes), `mtime_ns`, `content`: of the file; `content` is `file_digest`, empty if it cannot be read
    - `problem`: why the clip cannot be decoded, or null
    """
    return clip_schema() | scan_schema()


def clip_schema() -> dict[str, Any]:
    """Return the columns that `Dataset.clips` has in every layout, with their dtypes."""
    import polars as pl

    return {
        "id": pl.String(),
        "path": pl.String(),
        "start": pl.Float64(),
        "end": pl.Float64(),
        "label": pl.List(pl.String()),
        "weight": pl.Float64(),
        "soft": pl.List(pl.Struct({"label": pl.String(), "target": pl.Float64()})),
        "fold": pl.Int64(),
        "group": pl.String(),
        "split": pl.String(),
    }


def is_unlabeled() -> pl.Expr:
    """Return which rows of a manifest are of clips without targets: test clips, and extra ones without any label."""
    import polars as pl

    split = pl.col("split")
    return (split == "test") | (split == "extra") & (pl.col("label").list.len() == 0) & pl.col("soft").is_null()


def with_later_columns(manifest: pl.DataFrame) -> pl.DataFrame:
    """Return a manifest with the columns that manifests of earlier versions lack, as null.

    In those, columns of such a name are the data set's own; they become `own_<name>`.
    """
    import polars as pl

    if "soft" in manifest.columns or "split" not in manifest.columns:
        return manifest
    own = {name: f"own_{name}" for name in LATER_COLUMNS if name in manifest.columns}
    manifest = manifest.rename(own).with_columns(
        pl.lit(None, dtype=clip_schema()[name]).alias(name) for name in LATER_COLUMNS
    )
    common = [name for name in manifest_schema() if name in manifest.columns]
    return manifest.select(*common, pl.exclude(common))


def as_before_later_columns(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows as earlier versions had them if nothing uses `LATER_COLUMNS`: names of runs are hashes of them."""
    unused = [name for name in LATER_COLUMNS if name in rows.columns and rows[name].null_count() == len(rows)]
    rows = rows.drop(unused)
    own = {f"own_{name}": name for name in LATER_COLUMNS if f"own_{name}" in rows.columns and name not in rows.columns}
    return rows.rename(own)


def clip_spans(rows: pl.DataFrame) -> dict[str, Span]:
    """Return the parts of files that are clips, by id, in order; clips that are whole files are left out."""
    if "start" not in rows.columns:
        return {}
    spans = zip(rows["id"], span_column(rows), strict=True)
    return {id: span for id, span in spans if span is not None}


def span_column(rows: pl.DataFrame) -> list[Span | None]:
    """Return the part of the file that each clip is; None for a clip that is a whole file."""
    return [None if start is None else Span(start, end) for start, end in rows.select("start", "end").iter_rows()]


def scan_schema() -> dict[str, Any]:
    """Return the columns of `scan_audio`, with their dtypes; see `manifest_schema` for units."""
    import polars as pl

    return {
        "duration": pl.Float64(),
        "sample_rate": pl.Int64(),
        "channels": pl.Int64(),
        "peak": pl.Float64(),
        "rms": pl.Float64(),
        "size": pl.Int64(),
        "mtime_ns": pl.Int64(),
        "content": pl.String(),
        "problem": pl.String(),
    }
