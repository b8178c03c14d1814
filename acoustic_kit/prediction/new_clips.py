"""New clips to predict: audio files and folders, matched with the ids of a template."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from acoustic_kit.data.audio_files import audio_files, is_audio
from acoustic_kit.data.audio_index import normalized_name
from acoustic_kit.data.clips import Clips
from acoustic_kit.data.label_tables import read_label_table
from acoustic_kit.data.schema import clip_schema
from acoustic_kit.device import Compute
from acoustic_kit.errors import DataError, UsageError
from acoustic_kit.tables import listed, quoted
from acoustic_kit.task import TaskSpec

if TYPE_CHECKING:
    import polars as pl

    from acoustic_kit.features import Feature
    from acoustic_store import FeatureStore

NO_FILE = Path(os.devnull) / "none"  # placeholder for a clip without a file


class NewClip(NamedTuple):
    """A clip to predict: a file, or the part of a file between `start` and `end`."""

    id: str
    path: Path
    file: str  # id of the file, see `clips_at`
    start: float | None = None  # s
    end: float | None = None


def clips_at(paths: Sequence[Path], *, allow_none: bool = False) -> dict[str, Path]:
    """Return the audio files at these paths, by id, in order; folders are searched at any depth.

    The id is the path below the given folder, or the file's name; if two clips would share one, it is the whole path as
    given. A clip that is given twice counts once.

    Raises UsageError for a missing path, DataError if there are no audio files, unless `allow_none`.
    """
    found: dict[str, tuple[str, Path]] = {}  # absolute path → name, path as given
    for path in paths:
        if path.is_dir():
            here = {path / name: name for name in audio_files(path) if is_audio(name)}
        elif path.exists():
            here = {path: path.name}
        else:
            raise UsageError(f"There is no file or folder {path}.")
        for file, name in here.items():
            found.setdefault(os.path.abspath(file), (name, file))  # noqa: PTH100 (does not follow links)
    if not found and not allow_none:
        raise DataError(f"There are no audio files in {', '.join(map(str, paths))}.")
    names = [name for name, _ in found.values()]
    if len(set(names)) < len(names):
        names = [file.as_posix() for _, file in found.values()]
    return dict(zip(names, map(Path, found), strict=True))


def clips_of_template(ids: Sequence[str], clips: Mapping[str, Path], *, allow_missing: bool = False) -> dict[str, Path]:
    """Return the file of each of a template's ids, see `match_files`; `NO_FILE` for an id without one.

    Raises DataError for an id that matches two clips, and for ids without a file: for any, or, with `allow_missing`,
    only if no id has one.
    """
    chosen = match_files(ids, clips)
    found = {id: NO_FILE if clip is None else clips[clip] for id, clip in chosen.items()}
    missing = [id for id, path in found.items() if path is NO_FILE]
    if len(missing) == len(ids) or (missing and not allow_missing):
        hint = "" if len(missing) == len(ids) else "\n--allow-missing gives such rows the class frequencies."
        raise DataError(
            f"{len(missing)} of the template's {len(ids)} ids have no file among {len(clips)}: {listed(missing)}.{hint}"
        )
    return found


def match_files(ids: Iterable[str], clips: Collection[str]) -> dict[str, str | None]:
    """Return for each of a template's ids the id of its file among `clips`; None if it has none.

    A file matches by its id, its name, or either without extension; else it is the only one whose name differs by case,
    by an audio extension or by the Unicode form, unless it is the file of another id.

    Raises DataError for an id that matches two clips.
    """
    exact: dict[str, list[str]] = {}
    alike: dict[str, list[str]] = {}
    for clip in clips:
        for name in _names(clip):
            exact.setdefault(name, []).append(clip)
        for name in {_normalized(clip), _normalized(PurePosixPath(clip).name)}:
            alike.setdefault(name, []).append(clip)
    known = set(clips)
    chosen = {id: _unique_match(id, [id] if id in known else exact.get(id, [])) for id in ids}
    taken = set(chosen.values())
    for id in (id for id in chosen if chosen[id] is None):
        chosen[id] = _unique_match(id, [clip for clip in alike.get(_normalized(id), []) if clip not in taken])
    claims = Counter(chosen.values())
    unclear = {clip for clip, n in claims.items() if n > 1 and clip not in taken}  # ids that claim one file
    return {id: None if clip in unclear else clip for id, clip in chosen.items()}


def _unique_match(id: str, matches: Sequence[str]) -> str | None:
    if len(matches) > 1:
        raise DataError(f"The template's id {quoted(id)} may be {matches[0]} or {matches[1]}; give one folder only.")
    return matches[0] if matches else None


def _normalized(name: str) -> str:
    """Return a name with folded case, in one Unicode form, without an audio extension."""
    plain = normalized_name(name)
    return PurePosixPath(plain).with_suffix("").as_posix() if is_audio(plain) else plain


def read_columns(path: Path, ids: Sequence[str]) -> pl.DataFrame:
    """Return the columns of a CSV except the first, of ids or file names: one row per clip, in the order of `ids`.

    Raises DataError for a file that cannot be read, a repeated column or id, and missing clips.
    """
    table = read_label_table(path)
    first = table.columns[0]
    row_of = {id: row for row, id in enumerate(table.ids(first))}
    rows = {id: row_of[name] for id in ids for name in reversed((id, *_names(id))) if name in row_of}
    missing = [id for id in ids if id not in rows]
    if missing:
        raise DataError(f"{path} has no row for {len(missing)} of {len(ids)} clips: {listed(missing)}.")
    return table.own(without={first})[[rows[id] for id in ids]]


def stored_clips(
    rows: pl.DataFrame, task_spec: TaskSpec, features: Mapping[str, Feature], store: FeatureStore, compute: Compute
) -> Clips:
    """Return rows of a manifest with the stored features that a model reads.

    - `features`: by the recipe's own name for them
    """
    stored = {name: store[feature.key] for name, feature in features.items()}
    return Clips(rows, task_spec.names, task_spec.task, stored, compute)


def manifest_rows(clips: Sequence[NewClip], columns: pl.DataFrame | None = None) -> pl.DataFrame:
    """Return clips as rows of a manifest, with the columns of a user's table."""
    import polars as pl

    stats = {path: _size_and_time(path) for path in dict.fromkeys(clip.path for clip in clips)}
    found: dict[str, Any] = {
        "id": [clip.id for clip in clips],
        "path": [str(clip.path) for clip in clips],
        "start": [clip.start for clip in clips],
        "end": [clip.end for clip in clips],
        "label": [[]] * len(clips),
        "split": ["test"] * len(clips),
    }
    none = [None] * len(clips)
    rows = pl.DataFrame({name: found.get(name, none) for name in clip_schema()}, schema=clip_schema()).with_columns(
        size=pl.Series([stats[clip.path][0] for clip in clips], dtype=pl.Int64),
        mtime_ns=pl.Series([stats[clip.path][1] for clip in clips], dtype=pl.Int64),
        content=pl.lit("new"),  # no digest: features are deleted after the prediction
    )
    own = [] if columns is None else [column for column in columns if column.name not in rows.columns]
    return rows.with_columns(own)


def _names(clip: str) -> list[str]:
    """Return the names, other than its id, by which a table may refer to a clip, each once."""
    path = PurePosixPath(clip)
    return list(dict.fromkeys((path.with_suffix("").as_posix(), path.name, path.stem)))


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns
