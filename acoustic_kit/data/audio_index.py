"""Find the clips that a table names by path, file name or stem, ignoring case, extension and Unicode form."""

from __future__ import annotations

import difflib
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from acoustic_kit.data.audio_files import audio_files, extension, is_audio, split_words
from acoustic_kit.errors import DataError

if TYPE_CHECKING:
    from acoustic_kit.data.label_tables import LabelTable


class AudioIndex:
    """The clips of a folder, indexed by the names that a table may use."""

    def __init__(self, root: Path, paths: Sequence[str] | None = None) -> None:
        self.paths = audio_files(root) if paths is None else list(paths)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for path in self.paths:
            name = path.rpartition("/")[2]
            for key in {name, _stem(name)}:
                self._by_name[key].append(path)

    @cached_property
    def _by_normalized(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for name, paths in self._by_name.items():
            found[normalized_name(name)] += paths
        return {name: list(dict.fromkeys(paths)) for name, paths in found.items()}

    def find(self, name: str, split: str) -> list[str]:
        """Return the clips that `name` may mean: a file name or the end of a path, with or without its extension.

        If no name is equal, names that differ in case and Unicode form are tried, then names with another extension.
        Clips in a folder named after the other split (`audio_test/` for training clips) are excluded, and clips in a
        folder named after this split take precedence.
        """
        other = {"train": "test", "test": "train"}[split]
        for paths in self._candidates(name):
            if name in paths:
                return [name]
            found = [path for path in paths if is_audio(path)] if len(paths) > 1 else paths
            found = [path for path in found or paths if split_words(path) != {other}]
            if found:
                return [path for path in found if split in split_words(path)] or found
        return []

    def _candidates(self, name: str) -> Iterator[list[str]]:
        last, normalized = name.rpartition("/")[2], normalized_name(name)
        yield [path for path in self._by_name.get(last, []) if _ends_with(path, name)]
        alike = self._by_normalized.get(normalized_name(last), [])
        yield [path for path in alike if _ends_with(normalized_name(path), normalized)]
        if is_audio(name):
            stem = _stem(normalized)
            same_stem = self._by_normalized.get(stem.rpartition("/")[2], [])
            yield [path for path in same_stem if is_audio(path) and _ends_with(normalized_name(path), stem)]

    def find_all(
        self, table: Path, names: Sequence[str], split: str, hint: str = "", *, may_lack: bool = False
    ) -> list[str | None]:
        """Return the clip of each name; with `may_lack`, None for a missing clip.

        Raises DataError, which names `table`, for a missing clip and a name that may mean two clips.
        """
        found = {name: self.find(name, split) for name in names}
        for name, paths in found.items():
            if len(paths) > 1:
                raise DataError(f"{table}: {name!r} may be {paths[0]} or {paths[1]}; keep one of them.{hint}")
        missing = [name for name, paths in found.items() if not paths]
        if missing and not may_lack:
            require_files(table, {name: bool(paths) for name, paths in found.items()}, self._near(missing[0]) + hint)
        return [found[name][0] if found[name] else None for name in names]

    def _near(self, name: str) -> str:
        """Return a sentence about the file that a missing name probably means; empty if none is similar."""
        if others := next((paths for paths in self._candidates(name) if paths), None):
            return f" {others[0]} is not used for {name}, as its folder is named after the other split."
        last = name.rpartition("/")[2]
        # Spreadsheets drop leading zeros.
        padded = [known for known in self._by_name if known.lstrip("0") == last.lstrip("0")]
        near = padded or difflib.get_close_matches(last, list(self._by_name), n=1, cutoff=0.8)
        return f" The nearest to {name} is {self._by_name[near[0]][0]}." if near else ""


def locate(
    table: LabelTable,
    names: Sequence[str],
    files: AudioIndex,
    split: str,
    *,
    may_lack: bool,
    kept: bool = False,
    hint: str = "",
) -> tuple[list[str | None], tuple[str, ...]]:
    """Return the clip of each row of a table, with `may_lack` None for a missing clip, and notes about them.

    `kept` only changes the note: missing clips are kept instead of left out.

    Raises DataError for a missing clip; with `may_lack`, if all training clips are missing.
    """
    paths = files.find_all(table.path, names, split, hint, may_lack=may_lack)
    if split == "train" and not any(paths):
        files.find_all(table.path, names, split, hint)
    notes = []
    there = {name: path is not None for name, path in zip(names, paths, strict=True)}
    if not all(there.values()):
        notes.append(left_out_note(table.path, there, kept=kept and any(paths)))
    pairs = zip(names, paths, strict=True)
    respelled = [(name, path) for name, path in pairs if path is not None and not _ends_with(path, name)]
    if respelled:
        name, path = respelled[0]
        notes.append(
            f"{table.path.name}: {len(respelled)} of {len(names)} names differ from their files in case, "
            f"extension or Unicode form ({name} is {path})"
        )
    return paths, tuple(notes)


def require_files(table: Path, there: dict[str, bool], hint: str = "") -> None:
    """Raise DataError, with the count and the first three names, if files that `table` names are missing."""
    missing = [name for name, is_there in there.items() if not is_there]
    if missing:
        files = "a file that is" if len(missing) == 1 else f"{len(missing)} files that are"
        raise DataError(f"{table} names {files} missing: {first_three(missing)}.{hint}")


def left_out_note(table: Path, there: dict[str, bool], *, kept: bool = False) -> str:
    """Return the note about clips that a table names and that are missing on disk."""
    missing = [name for name, is_there in there.items() if not is_there]
    fate = "kept for the submission, as unreadable clips" if kept else "left out"
    return f"{table.name}: {len(missing)} of {len(there)} clips are not on disk and {fate} ({first_three(missing)})"


def first_three(names: Sequence[str]) -> str:
    """Return `a, b, c, …`."""
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def normalized_name(text: str) -> str:
    """Return a name without case, in Unicode's composed form, as case-insensitive file systems compare names."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _ends_with(path: str, name: str) -> bool:
    return any(whole == name or whole.endswith(f"/{name}") for whole in (path, _stem(path)))


def _stem(path: str) -> str:
    """Return a path without the extension of its name."""
    return path.removesuffix(extension(path))
