"""Rows of a template that are about parts of recordings."""

from __future__ import annotations

from typing import NamedTuple

from acoustic_kit.data.audio_index import AudioIndex
from acoustic_kit.data.label_tables import LabelTable
from acoustic_kit.data.layouts.csv_columns import MOST_SECONDS
from acoustic_kit.data.windows import Windows


class Window(NamedTuple):
    """A part of a recording that a row of a template is about."""

    name: str  # of the recording
    start: float  # s
    end: float  # s


def windows_of_ids(table: LabelTable, ids: list[str], windows: Windows, files: AudioIndex) -> list[Window] | None:
    """Return the windows that the ids of a template mean; None if the ids name whole files.

    Raises DataError for an id that is neither.
    """
    meant = [_window_of_id(id, windows) for id in ids]
    if None not in meant:
        is_part = any(files.find(window.name, "test") for window in meant if window)
        if is_part or not any(files.find(id, "test") for id in ids):
            return [window for window in meant if window]
    elif not all(files.find(id, "test") for id in ids):
        row = meant.index(None)
        table.fail(
            row,
            f"{ids[row]!r} is no file, and no window of {windows.length:g} s with an id like {windows.id_format!r}. "
            "Use --window and --id-format as the template does.",
        )
    return None


def _window_of_id(id: str, windows: Windows) -> Window | None:
    found = windows.parse(id)
    if found is None:
        return None
    start = (found.end or 0.0) - windows.length if found.start is None else found.start
    end = start + windows.length if found.end is None else found.end
    return Window(found.recording, start, end) if 0 <= start < end <= MOST_SECONDS else None
