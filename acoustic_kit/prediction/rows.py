"""Rows of predictions, and the clips that they are averaged from: whole files, or windows of recordings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from acoustic_kit.blending.recordings import Recordings
from acoustic_kit.data.recordings import file_lengths, require_few
from acoustic_kit.data.windows import WindowId, Windows
from acoustic_kit.errors import DataError, UsageError
from acoustic_kit.prediction.new_clips import NO_FILE, NewClip, clips_of_template, match_files
from acoustic_kit.tables import listed

TOLERANCE = 1e-6  # s; a shorter overlap is rounding

OnNote = Callable[[str], None]


class PredictionRow(NamedTuple):
    """A row of predictions: of a file, or of the time from `start` to `end` of a recording."""

    id: str
    file: str  # id of the file
    start: float | None = None  # s
    end: float | None = None


@dataclass(frozen=True)
class RowPlan:
    """Rows, and the clips that are predicted for them."""

    rows: tuple[PredictionRow, ...]
    clips: tuple[NewClip, ...]  # those of one file are adjacent, ordered by start
    overlaps: tuple[dict[int, float], ...]  # of each row: position of a clip → s by which it overlaps the row

    @staticmethod
    def of_files(files: Mapping[str, Path]) -> RowPlan:
        """Return the plan in which each file is a clip and a row."""
        rows = tuple(PredictionRow(id, id) for id in files)
        clips = tuple(NewClip(id, path, id) for id, path in files.items())
        return RowPlan(rows, clips, tuple({i: 1.0} for i in range(len(rows))))

    @staticmethod
    def of_windows(
        files: Mapping[str, Path],
        windows: Windows,
        template: Sequence[str] | None = None,
        *,
        allow_missing: bool = False,
        on_note: OnNote = lambda _: None,
    ) -> RowPlan:
        """Return the plan in which a row is averaged from the windows that overlap it.

        - `template`: ids of rows, see `rows_of_template`; None: consecutive rows, each as long as a window
        - `allow_missing`, `on_note`: see `rows_of_template`

        Raises DataError as `rows_of_template` does, for too many windows, and if two recordings have windows of one id.
        """
        seconds = file_seconds(files)
        if template is None:
            rows = rows_of_recordings(seconds, windows, windows.length)
        else:
            rows = rows_of_template(template, seconds, windows, allow_missing=allow_missing, on_note=on_note)
        require_few(windows, {row.file: seconds.get(row.file, 0.0) for row in rows})
        of_file: dict[str, list[int]] = {}
        for i, row in enumerate(rows):
            of_file.setdefault(row.file, []).append(i)
        clips: list[NewClip] = []
        overlaps = [dict[int, float]()] * len(rows)
        for file, positions in of_file.items():
            path, spans = files.get(file, NO_FILE), windows.spans(seconds[file]) if seconds.get(file) else []
            wanted = {i: _overlaps(rows[i], spans, windows) for i in positions}
            chosen = sorted({span for found in wanted.values() for span in found})
            place = {span: position for position, span in enumerate(chosen, start=len(clips))}
            clips += [NewClip(windows.id_of(file, *span), path, file, *span) for span in chosen]
            for i, found in wanted.items():
                overlaps[i] = {place[span]: overlap for span, overlap in found.items()}
        _require_different_ids(clips)
        return RowPlan(tuple(rows), tuple(clips), tuple(overlaps))

    @property
    def recordings(self) -> Recordings | None:
        """The recording and the start of each row; None if each row is a file."""
        return Recordings.of([row.file for row in self.rows], [row.start for row in self.rows])

    def averaged(self, probabilities: np.ndarray, errors: Mapping[str, str]) -> tuple[np.ndarray, dict[str, str]]:
        """Return the mean over the clips of each row that could be read, weighted by overlap.

        - `probabilities`: float64 (clips, classes)
        - `errors`: id of a clip → why it could not be read

        Returns float64 (rows, classes), and row id → the reason if none of its clips could be read.
        """
        found, failed = np.empty((len(self.rows), probabilities.shape[1])), {}
        for i, (row, overlaps) in enumerate(zip(self.rows, self.overlaps, strict=True)):
            read = {clip: overlap for clip, overlap in overlaps.items() if self.clips[clip].id not in errors}
            if not read:
                failed[row.id] = errors[self.clips[next(iter(overlaps))].id]
            clips, weights = zip(*(read or overlaps).items(), strict=True)
            found[i] = (np.array(weights) / sum(weights)) @ probabilities[list(clips)]
        return found, failed


def _overlaps(
    row: PredictionRow, spans: Sequence[tuple[float, float]], windows: Windows
) -> dict[tuple[float, float], float]:
    """Return the windows that overlap a row, and by how many seconds.

    If there is none, as behind the end of a recording or in one that cannot be read, return the row itself: it is then
    a clip, which fails with the reason.
    """
    assert row.start is not None
    assert row.end is not None
    first = max(0, math.floor((row.start - windows.length) / windows.hop))
    near = spans[first : math.ceil(row.end / windows.hop)]
    found = {span: min(row.end, span[1]) - max(row.start, span[0]) for span in near}
    found = {span: overlap for span, overlap in found.items() if overlap > TOLERANCE}
    return found or {(row.start, row.end): row.end - row.start}


def _require_different_ids(clips: Sequence[NewClip]) -> None:
    file_of: dict[str, str] = {}
    for clip in clips:
        if (other := file_of.setdefault(clip.id, clip.file)) != clip.file:
            raise DataError(
                f"Windows of {other} and {clip.file} have the same id, {clip.id}. Use {{path}} in --id-format, such as "
                "'{path}_{end}', or predict one folder at a time."
            )


def file_seconds(files: Mapping[str, Path]) -> dict[str, float]:
    """Return the length of each file, by id, in seconds; 0 if it cannot be read."""
    lengths = file_lengths(Path("/"), dict.fromkeys(str(path) for path in files.values()), {})
    return {file: lengths.get(str(path), 0.0) for file, path in files.items()}


def rows_of_recordings(seconds: Mapping[str, float], windows: Windows, step: float) -> list[PredictionRow]:
    """Return consecutive rows of `step` seconds for each recording, at least one.

    - `seconds`: file → its length
    """
    steps = Windows(length=step, hop=step, id_format=windows.id_format)
    require_few(steps, seconds)
    return [
        PredictionRow(steps.id_of(file, *span), file, *span)
        for file, length in seconds.items()
        for span in steps.spans(length)
    ]


def rows_of_template(
    ids: Sequence[str],
    seconds: Mapping[str, float],
    windows: Windows,
    *,
    allow_missing: bool = False,
    on_note: OnNote = lambda _: None,
) -> list[PredictionRow]:
    """Return a template's rows of the recordings that are present, in its order.

    Rows of other recordings are left out, or kept with `allow_missing`. If no row is of a present recording, as in the
    hidden rerun of a code competition, return the rows of all files, as long as those of the template. If there are no
    files, as before the rerun, return all rows.

    - `seconds`: file → its length

    Raises DataError for ids that do not have the windows' `id_format`, or may be of two files.
    """
    parsed = {id: windows.parse(id) for id in ids}
    known = {id: parts for id, parts in parsed.items() if parts is not None}
    if unknown := [id for id in ids if id not in known]:
        raise DataError(
            f"{len(unknown)} of the template's {len(ids)} ids do not have the form {windows.id_format}: "
            f"{listed(unknown)}. Pass their form with --id-format."
        )
    step = row_length(list(known.values()), windows.length)
    file_of = match_files(dict.fromkeys(parts.recording for parts in known.values()), seconds)
    found = {id for id, parts in known.items() if file_of[parts.recording] is not None}
    if seconds and not found:
        rows = rows_of_recordings(seconds, windows, step)
        on_note(
            f"None of the template's {len(ids)} rows is of one of the {len(seconds)} recordings: all {len(rows)} rows "
            f"of {step:g} s of these recordings are predicted, in the template's form."
        )
        return rows
    if seconds and len(found) < len(ids):
        fate = "get the class frequencies" if allow_missing else "are left out (--allow-missing keeps them)"
        on_note(f"{len(ids) - len(found)} of the template's {len(ids)} rows have no recording and {fate}.")
    if others := len(set(seconds) - set(file_of.values())):
        on_note(f"{others} of {len(seconds)} recordings have no rows in the template and are left out.")
    kept = [id for id in ids if id in found or allow_missing or not seconds]
    return [
        PredictionRow(id, file_of[known[id].recording] or known[id].recording, *_span(known[id], step)) for id in kept
    ]


def row_length(rows: Sequence[WindowId], window: float) -> float:
    """Return the length of a template's rows in seconds: the step between those of a recording if there is no gap.

    With gaps, the step may be that of chosen windows: then it is at most `window`.
    """
    times: dict[str, list[float]] = {}
    for recording, start, end in rows:
        if start is not None and end is not None:
            return end - start
        times.setdefault(recording, []).append(end if end is not None else start or 0.0)
    before = 0.0 if rows and rows[0].end is not None else -math.inf  # an end is at least one row after the beginning
    steps = [b - a for found in times.values() for a, b in pairwise([before, *sorted(set(found))])]
    shortest = min((step for step in steps if TOLERANCE < step < math.inf), default=window)
    has_gaps = any(step > shortest + TOLERANCE for step in steps if step < math.inf)
    return min(shortest, window) if has_gaps or len(rows) < 2 else shortest


def _span(id: WindowId, length: float) -> tuple[float, float]:
    start = id.start if id.start is not None else max(0.0, (id.end or 0.0) - length)
    end = id.end if id.end is not None else start + length
    if end <= start:
        raise DataError(f"A row of {id.recording} ends at {end:g} s and begins at {start:g} s.")
    return start, end


def plan_rows(
    files: Mapping[str, Path],
    windows: Windows | None,
    template: Sequence[str] | None = None,
    *,
    are_asked: bool = True,
    allow_missing: bool = False,
    on_note: OnNote = lambda _: None,
) -> RowPlan:
    """Return the plan for files, and for the ids of a template if there is one.

    Parameters
    ----------
    windows : None if each file is a clip
    are_asked : whether the user asks for windows; otherwise, they give way to a template whose ids are files
    allow_missing : keep the ids of the template that have no file
    on_note : called with messages for the user

    Raises DataError for ids that do not fit the files or the windows.

    """
    if template is not None and not files:
        on_note(
            f"There are no audio files, as before the hidden rerun of a code competition: the {len(template)} rows of "
            "the template get the class frequencies."
        )
    elif windows is not None and not are_asked and template is not None and any(match_files(template, files).values()):
        on_note("The template's ids are files: each is predicted as a whole. --window divides them.")
        windows = None
    if windows is not None:
        return RowPlan.of_windows(files, windows, template, allow_missing=allow_missing, on_note=on_note)
    if template is None:
        return RowPlan.of_files(files)
    if not files:
        if hint := _window_hint(template, files):
            on_note(hint)
        return RowPlan.of_files(dict.fromkeys(template, NO_FILE))
    try:
        return RowPlan.of_files(clips_of_template(template, files, allow_missing=allow_missing))
    except DataError as error:
        raise DataError(f"{error}\n{_window_hint(template, files)}".rstrip()) from error


def _window_hint(template: Sequence[str], files: Mapping[str, Path]) -> str:
    """Return advice to predict windows if a template's ids look like windows of recordings; else an empty text."""
    ids = [id for id in map(Windows(length=1, hop=1).parse, template) if id is not None]
    if len(ids) < len(template) or any(id.end in (None, 0) for id in ids):
        return ""
    step = row_length(ids, math.inf)
    is_likely = any(match_files({id.recording for id in ids}, files).values()) if files else step > 1
    return f"If the ids are windows of recordings, --window {step:g} predicts them." if is_likely else ""


def choose_windows(
    remembered: Windows | None,
    name: str,
    window: float | None,
    hop: float | None,
    id_format: str | None,
    on_note: OnNote = lambda _: None,
) -> Windows | None:
    """Return the windows to predict; None if each file is a clip.

    Parameters
    ----------
    remembered : the windows that the run was trained on
    name : of the run
    window, hop, id_format : what the user asks for

    Raises UsageError for invalid values, a hop that leaves gaps, and a hop or a form of ids without windows.

    """
    length = window if window is not None else remembered.length if remembered else None
    if length is None:
        if hop is not None or id_format is not None:
            option = "--hop" if hop is not None else "--id-format"
            raise UsageError(f"{option} needs --window: {name} was trained on whole files.")
        return None
    is_same = remembered is not None and length == remembered.length
    if remembered is not None and not is_same:
        on_note(f"{name} was trained on windows of {remembered.length:g} s, and predicts windows of {length:g} s.")
    if hop is None:
        hop = min(remembered.hop, length) if remembered is not None and is_same else length
    chosen = id_format if id_format is not None else remembered.id_format if remembered else None
    windows = Windows.checked(length, hop, chosen) if chosen is not None else Windows.checked(length, hop)
    if windows.hop > windows.length:
        raise UsageError(
            f"--hop {hop:g} is larger than the window, {length:g} s: parts of recordings would be left out."
        )
    return windows
