"""Training logs of a run: `folds/<fold>/<stage>.jsonl`, one epoch per line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acoustic_kit.files import read_regular

if TYPE_CHECKING:
    import polars as pl

MAX_BYTES = 20_000_000  # of a log; akit writes none as long


def read_log(path: Path) -> dict[int, dict[str, Any]]:
    """Return the lines of a log by epoch, from 1; of an epoch that was trained twice, the later.

    Empty if the file is damaged or too long.
    """
    epochs: dict[int, dict[str, Any]] = {}
    try:
        if path.stat().st_size > MAX_BYTES:
            return {}
        for line in read_regular(path).decode().splitlines():
            record = json.loads(line)
            epochs[int(record["epoch"])] = dict(record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return {}
    return dict(sorted(epochs.items()))


def log_frame(run: Path) -> pl.DataFrame:
    """Return the logs of a run's folder, one row per fold, stage and epoch.

    The columns are `fold`, `stage`, `epoch` and what training logged, such as `lr`, `train_loss` and `valid_loss`.
    Only training with torch keeps a log.
    """
    import polars as pl

    rows = [
        {"fold": path.parent.name, "stage": path.stem, **entry}
        for path in sorted(run.glob("folds/*/*.jsonl"))
        for entry in read_log(path).values()
    ]
    schema = {"fold": pl.String, "stage": pl.String, "epoch": pl.Int64}
    return (
        pl.DataFrame(rows, infer_schema_length=None, schema_overrides=schema) if rows else pl.DataFrame(schema=schema)
    )
