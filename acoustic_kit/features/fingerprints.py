"""Digests of the clips' files, by which changed files are detected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acoustic_kit.data import file_digest
from acoustic_kit.data.folds import FULL, training_rows
from acoustic_kit.features.feature import Feature, Training

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import polars as pl


def fingerprints(manifest: pl.DataFrame, data_root: Path | str) -> dict[str, str]:
    """Return a digest of each clip's file, by id: the manifest's own if size and time stamp are unchanged.

    A missing file keeps the manifest's digest: what was built from it stays valid. So do objects on S3, which are not
    checked.
    """
    if isinstance(data_root, str):
        return dict(manifest.select("id", "content").rows())
    found = {}
    for row in manifest.select("id", "path", "content", "size", "mtime_ns").iter_rows(named=True):
        path = data_root / row["path"]
        try:
            stat = path.stat()
            changed = (stat.st_size, stat.st_mtime_ns) != (row["size"], row["mtime_ns"])
            found[row["id"]] = file_digest(path) if changed else row["content"]
        except OSError:
            found[row["id"]] = row["content"]
    return found


def for_folds(
    features: Sequence[Feature],
    manifest: pl.DataFrame,
    data_root: Path | str,
    folds: Sequence[str],
    digests: Mapping[str, str] | None = None,
) -> dict[str, list[Feature]]:
    """Return the features for the models of each fold: those that learn are fitted on the fold's training clips.

    - `digests`: those of `fingerprints`, if they are known already
    """
    if all(type(f).for_fold is Feature.for_fold for f in features):  # none learns: no digests needed
        return {fold: list(features) for fold in folds}
    digests = fingerprints(manifest, data_root) if digests is None else digests

    def training(fold: str) -> Training:
        ids = training_rows(manifest, fold).train["id"]
        return Training("all" if fold == FULL else fold, tuple((id, digests[id]) for id in ids))

    everything = training(FULL)
    return {fold: [f.for_fold(t, everything) for f in features] for fold in folds for t in [training(fold)]}
