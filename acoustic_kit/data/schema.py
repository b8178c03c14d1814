"""Columns of the manifest."""

from __future__ import annotations

from typing import Any


def manifest_schema() -> dict[str, Any]:
    """The columns of every manifest with their dtypes, in order; the data set's own columns follow them.

    - `id`: what the submission prints; unique
    - `path`: relative to the data root, with /; absolute for extra clips that come from another data set
    - `label`: list of str; one for single-label tasks, none for test clips
    - `fold`: given exactly for training clips
    - `group`: clips of one recording or speaker, or null
    - `split`: "train", "test" or "extra" (trained on, never validated or scored)
    - `duration` (s), `sample_rate` (Hz), `channels`, `peak` (largest magnitude, 1 is full scale), `rms` (root mean
      square), both of what several channels become as `mono`: null for a clip with a problem
    - `size` (bytes), `mtime_ns`, `content`: of the file; `content` is `file_digest`, empty where it cannot be read
    - `problem`: why the clip cannot be decoded, or null
    """
    return clip_schema() | scan_schema()


def clip_schema() -> dict[str, Any]:
    """The columns of `Dataset.clips` that every layout has, with their dtypes."""
    import polars as pl

    return {
        "id": pl.String(),
        "path": pl.String(),
        "label": pl.List(pl.String()),
        "fold": pl.Int64(),
        "group": pl.String(),
        "split": pl.String(),
    }


def scan_schema() -> dict[str, Any]:
    """The columns that `scan_audio` finds, with their dtypes; see `manifest_schema` for units."""
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
