"""The summary table of Freesound 2018's eighth place: `freesound_table`, with `COLUMNS` as its names."""

from acoustic_kit.features.freesound2018.table import COLUMNS, freesound_table

__all__ = ["COLUMNS", "freesound_table"]
