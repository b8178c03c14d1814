"""Which files of a folder are clips, which of them a table means, and where a clip lies: in a folder, or on S3."""

from __future__ import annotations

import io
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from acoustic_kit.errors import AkitError

if TYPE_CHECKING:
    from acoustic_store.files import Files

# fmt: off
# What libsndfile reads, and soundfile with it.
AUDIO_EXTENSIONS = frozenset((
    ".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64",
    ".rf64", ".voc", ".sph", ".nist",
))
# What is audio by its name, but not for libsndfile: listed as a clip that cannot be read, not passed over.
_OTHER_AUDIO = frozenset((".m4a", ".aac", ".wma", ".mp4", ".amr", ".webm", ".3gp", ".ape", ".wv", ".mka", ".ac3"))
# What is surely no clip, though it lies between clips. Any other file there is listed as one that cannot be read.
_NOT_CLIPS = frozenset((
    ".txt", ".csv", ".tsv", ".json", ".jsonl", ".md", ".rst", ".html", ".xml", ".yaml", ".yml", ".toml", ".ini", ".log",
    ".pdf", ".doc", ".docx", ".xls", ".xlsx", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".zip", ".gz", ".tar", ".7z",
    ".npy", ".npz", ".pkl", ".parquet", ".h5", ".mat", ".py", ".ipynb", ".sh", ".m", ".lab", ".textgrid", ".jams",
    ".mid", ".midi", ".md5", ".sha1", ".sha256",
))
# fmt: on
_SPLIT_WORD = re.compile(r"(?<![a-z])(train|test)")


def audio_files(folder: Path) -> list[str]:
    """The clips below `folder`, at any depth: paths relative to it with /, in order of name.

    Hidden files, files without an extension and files that are surely no clips (text, tables, pictures, …) are passed
    over. A link is followed where it leads (the user's own doing); a circle of links is walked once.
    Raises AkitError for a file name that is no UTF-8.
    """
    return [path for path in _walk(folder, "", frozenset()) if _may_be_clip(path)]


def is_audio(path: str) -> bool:
    """Whether a file is audio by its extension."""
    return PurePosixPath(path).suffix.lower() in AUDIO_EXTENSIONS | _OTHER_AUDIO


def safe_path(text: str, where: str) -> str:
    """The path that a table's cell names, with /, relative to the data set.

    Raises AkitError, which names `where`, for a path that leaves the data set: absolute, with a drive, or with `..`.
    """
    path = text.replace("\\", "/")
    if path.startswith("/") or re.match(r"[A-Za-z]:/", path) or ".." in path.split("/") or "\0" in path:
        raise AkitError(f"{where}: the path {text!r} leaves the data set; only paths inside its folder are read.")
    return PurePosixPath(path).as_posix()


def clip_place(root: Path | str, path: str) -> Path | str:
    """Where a clip of the manifest lies: the file below a folder, or the URL below an `s3://bucket/path`."""
    return root / path if isinstance(root, Path) else f"{root.rstrip('/')}/{path}"


def is_object(place: Path | str) -> bool:
    """Whether it is the URL of an object, and no file."""
    return isinstance(place, str) and place.startswith("s3://")


def is_readable(place: Path | str) -> bool:
    """Whether a clip is there and may be read. Raises acoustic_store.StoreError where the storage does not answer."""
    if not is_object(place):
        return os.access(place, os.R_OK)
    files, name = _object(str(place))
    try:
        return files.size(name) >= 0
    except FileNotFoundError:
        return False


def audio_source(place: Path | str) -> Path | io.BytesIO:
    """What soundfile opens: the path of a file, which need not be there, or the bytes of an object.

    Raises FileNotFoundError for an object that is not there, acoustic_store.StoreError where the storage does not
    answer.
    """
    if not is_object(place):
        return Path(place)
    files, name = _object(str(place))
    return io.BytesIO(files.read(name))


def _object(url: str) -> tuple[Files, str]:
    """The folder and the name of an object."""
    from acoustic_store.files import open_files

    folder, _, name = url.rpartition("/")
    return open_files(folder), name


def require_files(table: Path, there: dict[str, bool], hint: str = "") -> None:
    """Raise AkitError, with the count and the first three, where `there` is not true of all that `table` names."""
    missing = [name for name, is_there in there.items() if not is_there]
    if missing:
        files = "a file that is" if len(missing) == 1 else f"{len(missing)} files that are"
        raise AkitError(f"{table} names {files} missing: {_first_three(missing)}.{hint}")


def left_out_note(table: Path, there: dict[str, bool]) -> str:
    """The note about clips that a table names but that are not on disk, where that is normal."""
    missing = [name for name, is_there in there.items() if not is_there]
    return f"{table.name}: {len(missing)} of {len(there)} clips are not on disk and left out ({_first_three(missing)})"


class AudioIndex:
    """The clips of a folder, to be found by what a table calls them."""

    def __init__(self, root: Path) -> None:
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self.paths = audio_files(root)
        for path in self.paths:
            name = path.rpartition("/")[2]
            for key in {name, PurePosixPath(name).stem}:
                self._by_name[key].append(path)

    def find(self, name: str, split: str) -> list[str]:
        """The clips that `name` may mean: a file name or the end of a path, with or without its extension.

        A clip in a folder named for the other split (`audio_test/` for training clips) is none of them, and one in a
        folder named for this split goes before others.
        """
        paths = [path for path in self._by_name.get(name.rpartition("/")[2], []) if _ends_with(path, name)]
        if len(paths) > 1:
            paths = [path for path in paths if is_audio(path)] or paths
        other = {"train": "test", "test": "train"}[split]
        paths = [path for path in paths if _split_words(path) != {other}]
        return [path for path in paths if split in _split_words(path)] or paths

    def find_all(self, table: Path, names: list[str], split: str, hint: str = "") -> list[str]:
        """The clip of each name, else AkitError that names `table`: a clip that is missing, or a name for two clips."""
        found = {name: self.find(name, split) for name in names}
        require_files(table, {name: bool(paths) for name, paths in found.items()}, hint)
        for name, paths in found.items():
            if len(paths) > 1:
                raise AkitError(f"{table}: {name!r} may be {paths[0]} or {paths[1]}; keep one of them.{hint}")
        return [found[name][0] for name in names]


def _first_three(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _walk(folder: Path, prefix: str, above: frozenset[Path]) -> Iterator[str]:
    """Every file below `folder` that is not hidden, as `prefix` and its path; broken links too."""
    real = folder.resolve()
    if real in above:
        return
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise AkitError(f"{folder} cannot be listed: {error.strerror}.") from error
    for entry in entries:
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            continue
        if not _is_utf8(entry.name):
            raise AkitError(f"{folder} holds a file whose name is no UTF-8: {entry.name!r}. Rename it.")
        path = Path(entry.path)  # not the entry: that raises for a link that leads to itself
        if path.is_dir():
            yield from _walk(path, f"{prefix}{entry.name}/", above | {real})
        elif path.is_file() or not path.exists():
            yield prefix + entry.name


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _may_be_clip(path: str) -> bool:
    suffix = PurePosixPath(path).suffix.lower()
    return suffix != "" and suffix not in _NOT_CLIPS


def _ends_with(path: str, name: str) -> bool:
    stem = path[: -len(PurePosixPath(path).suffix)]
    return any(whole == name or whole.endswith(f"/{name}") for whole in (path, stem))


def _split_words(path: str) -> set[str]:
    return set(_SPLIT_WORD.findall(path.rpartition("/")[0].lower()))
