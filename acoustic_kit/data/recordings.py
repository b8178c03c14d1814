"""Cut recordings into clips: windows of a length, labeled by the events that overlap them, or the events themselves."""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from acoustic_kit.data.dataset import CsvOptions, Dataset
from acoustic_kit.data.schema import clip_schema
from acoustic_kit.data.windows import ID_FORMAT, Windows
from acoustic_kit.errors import DataError
from acoustic_kit.tables import quoted

if TYPE_CHECKING:
    import polars as pl

MOST_CLIPS = 1_000_000  # of a data set; a manifest of more would fill memory
_ID_HINT = "Use --id-format with other fields, such as '{path}_{start}_{end}'."


class Event(NamedTuple):
    """A labeled part of a recording."""

    start: float  # s
    end: float  # s
    labels: list[str]


@dataclass
class _Recording:
    """The rows of one file."""

    row: int  # the first
    is_test: bool
    labels: list[str] = field(default_factory=list)  # of the whole file
    events: list[Event] = field(default_factory=list)


def cut_recordings(dataset: Dataset, options: CsvOptions, lengths: Mapping[str, float]) -> Dataset:
    """Return the data set with a row for each clip that is a part of a file, as `options` say.

    - With `windows`, each file is cut. A window has the labels of its whole file, and those of the events (rows with
      `start` and `end`) that overlap it by `min_overlap` of the shorter of both. Rows of a template, and test rows with
      `start`, remain as they are.
    - Otherwise, rows with `start` and `end` are clips; rows of the same part are one clip.

    Parts of one file are in one group: that of the data set, else the file.

    - `lengths`: in seconds, of files that are not opened because their length is known

    Raises DataError for too many windows, an event that begins after its file ends, and two clips of one id.
    """
    import polars as pl

    clips = dataset.clips
    if options.windows is None:
        if clips["start"].null_count() == len(clips):
            return dataset
        id_format = options.id_format or ID_FORMAT
        found, notes = _events_as_clips(clips, Windows.checked(1, id_format=id_format)), list[str]()
    else:
        is_test = pl.col("split") == "test"
        is_fixed = is_test & (pl.col("start").is_not_null() & (pl.col("label").list.len() == 0))
        is_fixed = is_fixed | (is_test if dataset.template is not None else pl.lit(False))
        found, notes = _cut(dataset, clips.filter(~is_fixed), options.windows, options.min_overlap, lengths)
        found = pl.concat([found, clips.filter(is_fixed)], how="diagonal")
    if dataset.task == "single":
        found, n_without = _one_label(found)
        notes += [f"{n_without} clips without an event are left out"] * bool(n_without)
    is_part = pl.col("start").is_not_null()
    found = found.with_columns(group=pl.when(is_part).then(pl.coalesce("group", "path")).otherwise("group"))
    return replace(dataset, clips=_with_unique_ids(found), notes=(*dataset.notes, *notes))


def file_lengths(root: Path, paths: Iterable[str], known: Mapping[str, float]) -> dict[str, float]:
    """Return the length of each file in seconds, from its header if it is reliable; none for an unreadable file."""
    unknown = [path for path in paths if path not in known]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        found = dict(zip(unknown, pool.map(_length, [root / path for path in unknown]), strict=True))
    return {**known, **{path: seconds for path, seconds in found.items() if seconds is not None}}


def _length(path: Path) -> float | None:
    from acoustic_kit.dsp.sound_file import SoundError, open_sound

    try:
        with open_sound(path) as file:
            return file.seconds()
    except SoundError:
        return None  # the scan reports it


def _events_as_clips(clips: pl.DataFrame, naming: Windows) -> pl.DataFrame:
    """Return the clips, with ids where these are null; rows of one part of a file without ids become one clip.

    The id of a whole file is its stem.
    """
    import polars as pl

    kept, ids, labels = list[int](), list[str](), list[list[str]]()
    first: dict[tuple[str, str, float | None, float | None], int] = {}  # position in `kept`
    columns = clips.select("id", "split", "path", "start", "end", "label")
    for row, (id, split, path, start, end, of_row) in enumerate(columns.iter_rows()):
        at = len(kept) if id is not None else first.setdefault((split, path, start, end), len(kept))
        if at < len(kept):
            labels[at] = list(dict.fromkeys([*labels[at], *of_row]))
            continue
        kept.append(row)
        labels.append(of_row)
        if id is None:
            id = PurePosixPath(path).stem if start is None else naming.id_of(path, start, end)  # noqa: PLW2901
        ids.append(id)
    return clips[kept].with_columns(
        id=pl.Series(ids, dtype=pl.String), label=pl.Series(labels, dtype=pl.List(pl.String))
    )


def _cut(
    dataset: Dataset, rows: pl.DataFrame, windows: Windows, min_overlap: float, lengths: Mapping[str, float]
) -> tuple[pl.DataFrame, list[str]]:
    """Return the windows of the recordings in `rows`, and notes."""
    import polars as pl

    recordings = _recordings(rows)
    seconds = file_lengths(dataset.root, recordings, lengths)
    require_few(windows, {path: seconds.get(path, 0.0) for path in recordings})
    taken, ids, starts, labels = list[int](), list[str](), list[float](), list[int]()
    distinct: dict[tuple[str, ...], int] = {}  # labels → number
    for path, recording in recordings.items():
        length = seconds.get(path, windows.length)
        _require_inside(path, recording.events, length)
        spans = _spans(windows, length, is_test=recording.is_test)
        for (start, end), names in zip(
            spans, labels_of_windows(recording.events, spans, length, min_overlap), strict=True
        ):
            taken.append(recording.row)
            ids.append(windows.id_of(path, start, end))
            starts.append(start)
            labels.append(distinct.setdefault(tuple(dict.fromkeys([*recording.labels, *names])), len(distinct)))
    cut = _common_columns(rows)[taken].with_columns(
        id=pl.Series(ids, dtype=pl.String),
        start=pl.Series(starts, dtype=pl.Float64),
        end=pl.Series([start + windows.length for start in starts], dtype=pl.Float64).round(9),
        label=pl.Series(list(map(list, distinct)), dtype=pl.List(pl.String)).gather(labels),
    )
    every = f" every {windows.hop:g} s" if windows.hop != windows.length else ""
    n_empty = labels.count(distinct.get((), -1)) if any(recording.events for recording in recordings.values()) else 0
    note = f"{len(recordings)} recordings are cut into {len(cut)} windows of {windows.length:g} s{every}"
    return cut, [note + (f"; {n_empty} of them have no label" if n_empty and dataset.task == "multi" else "")]


def _spans(windows: Windows, seconds: float, *, is_test: bool) -> list[tuple[float, float]]:
    """Return the windows of a recording: for testing as in `akit predict`, else those with at least half in it.

    A training recording that is shorter than half of a window is one clip.
    """
    spans = windows.spans(seconds)
    whole = [span for span in spans if seconds - span[0] >= windows.length / 2 - 1e-6]
    return spans if is_test else whole or spans[:1]


def require_few(windows: Windows, seconds: Mapping[str, float]) -> None:
    """Raise DataError if recordings of these lengths have too many windows, before they are made."""
    total = sum(length / windows.hop for length in seconds.values())
    if total > MOST_CLIPS:
        path = max(seconds, key=lambda path: seconds[path])
        raise DataError(
            f"windows every {windows.hop:g} s would make about {total:,.0f} clips of {len(seconds)} recordings (the "
            f"longest is {path}, of {seconds[path]:g} s); at most {MOST_CLIPS:,} can be made. Use a larger --hop."
        )


def _one_label(clips: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Return the clips with their first label only, without unlabeled training clips, and the number of these."""
    import polars as pl

    kept = clips.filter((pl.col("split") == "test") | (pl.col("label").list.len() > 0))
    return kept.with_columns(pl.col("label").list.head(1)), len(clips) - len(kept)


def _recordings(rows: pl.DataFrame) -> dict[str, _Recording]:
    """Return path → the rows of the file."""
    found: dict[str, _Recording] = {}
    columns = rows.select("path", "start", "end", "label", "split")
    for row, (path, start, end, labels, split) in enumerate(columns.iter_rows()):
        recording = found.setdefault(path, _Recording(row, split == "test"))
        if start is None:
            recording.labels += labels
        else:
            recording.events.append(Event(start, end, labels))
    return found


def labels_of_windows(
    events: Sequence[Event], spans: Sequence[tuple[float, float]], seconds: float, min_overlap: float
) -> list[list[str]]:
    """Return the labels of each window, that of the longest overlap first.

    Parameters
    ----------
    events : of one recording
    spans : starts and ends of its windows, in seconds, ascending
    seconds : the length of the recording; what is beyond it is not counted
    min_overlap : least overlap, as a share of the shorter of event and window, in (0, 1]

    """
    overlaps: list[dict[str, float]] = [{} for _ in spans]
    starts, ends = [start for start, _ in spans], [end for _, end in spans]
    for event in events:
        stop = min(event.end, seconds)
        for window in range(bisect_right(ends, event.start), bisect_left(starts, stop)):
            end = min(ends[window], seconds)
            overlap = min(stop, end) - max(event.start, starts[window])
            if overlap >= min_overlap * min(stop - event.start, end - starts[window]) - 1e-9:
                for label in event.labels:
                    overlaps[window][label] = max(overlap, overlaps[window].get(label, 0.0))
    return [sorted(found, key=lambda label: -found[label]) for found in overlaps]


def _require_inside(path: str, events: Sequence[Event], seconds: float) -> None:
    late = [event for event in events if event.start >= seconds]
    if late:
        raise DataError(
            f"{path} lasts {seconds:g} s, but an event begins at {late[0].start:g} s ({len(late)} in all). If the "
            "table's columns of times do not say where in the file an event is, use --start-column ''."
        )


def _common_columns(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows without own columns whose values differ within a recording, as those of events do.

    Raises DataError for a recording whose rows are in several folds, splits or groups.
    """
    import polars as pl

    if rows["path"].is_unique().all():
        return rows
    names = [name for name in rows.columns if name not in {"id", "path", "start", "end", "label", "weight", "soft"}]
    values = rows.group_by("path", maintain_order=True).agg(pl.col(names).n_unique())
    differing = [name for name in names if (values[name] > 1).any()]
    for name in differing:
        if name in clip_schema():
            path = values.filter(pl.col(name) > 1)["path"][0]
            raise DataError(f"the rows of {path} have different values of {name}; a recording is never divided.")
    return rows.drop(differing)


def _with_unique_ids(clips: pl.DataFrame) -> pl.DataFrame:
    """Return the clips; training ids that test clips have become `train/<id>`. Raises DataError for other repeats."""
    import polars as pl

    is_test = pl.col("split") == "test"
    test = clips.filter(is_test)["id"]
    if clips.filter(~is_test)["id"].is_in(test.implode()).any():
        clips = clips.with_columns(id=pl.when(is_test).then("id").otherwise("train/" + pl.col("id")))
    twice = clips.filter(pl.col("id").is_duplicated())
    if len(twice):
        id = twice["id"][0]
        paths = list(dict.fromkeys(twice.filter(pl.col("id") == id)["path"]))
        raise DataError(f"two clips have the id {quoted(id)}: parts of {' and '.join(paths[:2])}. {_ID_HINT}")
    return clips
