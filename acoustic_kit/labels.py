"""The labels that a run was trained on, and whether the workspace has others by now."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

    from acoustic_kit.runs import Run


def label_digest(manifest: pl.DataFrame) -> str:
    """Return 16 hex digits of the ids and labels of all labeled clips, whatever their order."""
    rows = manifest.filter(manifest["split"] != "test").select("id", "label").sort("id").rows()
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def trained_on_other_labels(run: Run, digest: str) -> bool:
    """Whether a run was made when the manifest had another `label_digest`; False if its record does not say."""
    return run.record.labels not in ("", digest)
