"""Training logs of a run: `folds/<fold>/<stage>.jsonl`, one epoch per line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from acoustic_kit.files import read_regular

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
