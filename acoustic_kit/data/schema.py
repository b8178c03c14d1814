"""Columns of the manifest."""

from __future__ import annotations

from typing import Any


def manifest_schema() -> dict[str, Any]:
    """Return the columns of every manifest with their dtypes, in order; the data set's own columns follow.

    - `id`: as printed in submissions; unique
    - `path`: relative to the data root, with /; absolute for extra clips from another data set
    - `label`: list of str; one element for single-label tasks, empty for test clips
    - `fold`: null except for training clips
    - `group`: clips of one recording or speaker, or null
    - `split`: "train", "test" or "extra" (trained on, never validated or scored)
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
        "label": pl.List(pl.String()),
        "fold": pl.Int64(),
        "group": pl.String(),
        "split": pl.String(),
    }


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
