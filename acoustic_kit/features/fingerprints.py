"""Digests of the clips' files, by which changed files are detected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from acoustic_kit.data import file_digest
from acoustic_kit.data.folds import FULL, training_rows
from acoustic_kit.data.schema import clip_spans
from acoustic_kit.features.feature import Feature, Training

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import polars as pl


def fingerprints(manifest: pl.DataFrame, data_root: Path | str) -> dict[str, str]:
    """Return a digest of each clip's file, by id: the manifest's own if size and time stamp are unchanged.

    The fingerprint of a part of a file is ``<digest>@<start>-<end>``. A missing file keeps the manifest's digest: what
    was built from it stays valid. So do objects on S3, which are not checked.
    """
    spans = clip_spans(manifest)
    of_file: dict[str, str] = {}
    found = {}
    for row in manifest.select("id", "path", "content", "size", "mtime_ns").iter_rows(named=True):
        if (path := row["path"]) not in of_file:
            of_file[path] = row["content"] if isinstance(data_root, str) else _digest(data_root / path, row)
        span = spans.get(row["id"])
        found[row["id"]] = of_file[path] if span is None else f"{of_file[path]}@{span.start}-{span.end}"
    return found


def _digest(path: Path, row: Mapping[str, Any]) -> str:
    """Return the digest of a file, given its row of the manifest."""
    try:
        stat = path.stat()
        is_same = (stat.st_size, stat.st_mtime_ns) == (row["size"], row["mtime_ns"])
        digest: str = row["content"] if is_same else file_digest(path)
    except OSError:
        digest = row["content"]
    return digest


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
