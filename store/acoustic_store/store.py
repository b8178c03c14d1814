"""A store: features by key, in a folder or in object storage."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Self

from .compaction import compact
from .errors import StoreError
from .feature import StoredFeature
from .files import open_files
from .layout import ABSENT, KEY, METADATA, group_document
from .local_files import LocalFiles
from .writer import Writer


class FeatureStore:
    """A store (``features.zarr``) of features by key; a Zarr v3 group that any reader of Zarr can read.

    >>> store = FeatureStore.open("features.zarr")  # or "s3://bucket/features.zarr"
    >>> store.keys()
    ['stats-1a2b3c4d']
    >>> store["stats-1a2b3c4d"].read("clip-1").shape
    (175, 7)
    """

    def __init__(self, place: Path | str, create: bool = False) -> None:
        self._files = open_files(place)
        try:
            document = json.loads(self._files.read(METADATA))
            is_group = isinstance(document, dict) and document.get("node_type") == "group"
        except (FileNotFoundError, ValueError, RecursionError) as error:
            if not create:
                problem = "is missing" if isinstance(error, FileNotFoundError) else "is damaged"
                raise StoreError(
                    f"{self._files} is no feature store: its {METADATA} {problem}. Build a feature into it first, "
                    "which writes that file."
                ) from error
            # All writers write the same bytes.
            self._files.write(METADATA, group_document({}))
        except ABSENT as error:
            raise StoreError(f"{self._files} cannot be read: {error.strerror}.") from error
        else:
            if not is_group:
                raise StoreError(f"{self._files} is no feature store: its {METADATA} is not that of a group.")

    @classmethod
    def open(cls, place: Path | str, create: bool = False) -> Self:
        """Open the store in a local folder, or at ``s3://bucket/path``.

        Object storage needs the extra ``acoustic-kit[s3]``; credentials, region and endpoint are those of the usual
        ``AWS_…`` environment variables. ``create`` makes a store that does not exist.

        Raises StoreError if it does not exist and ``create`` is false, or if it cannot be read.
        """
        return cls(place, create)

    @property
    def url(self) -> str:
        """The place to pass to ``open``, in any process: its path, or ``s3://…``."""
        return str(self._files)

    @property
    def path(self) -> Path:
        """The local folder. Raises StoreError if the store is in object storage; see ``url``."""
        if not isinstance(self._files, LocalFiles):
            raise StoreError(f"{self.url} is no local folder. Download the store to work on its files.")
        return self._files.path

    def __repr__(self) -> str:
        return f"<FeatureStore {self.url}: {len(self.keys())} features>"

    def keys(self) -> list[str]:
        """Return the keys of the stored features, sorted."""
        names = self._files.folders()
        return sorted(
            name for name, is_key in zip(names, self._files.each(self.__contains__, names), strict=True) if is_key
        )

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, str) or not KEY.fullmatch(key):
            return False
        try:
            return (self._files / key).size(METADATA) > 0  # empty if its writer was killed before it began
        except ABSENT:
            return False

    def __getitem__(self, key: str) -> StoredFeature:
        if key not in self:
            held = ", ".join(self.keys()) or "none yet"
            raise KeyError(f"no feature {key!r} in {self.url}; there are: {held}. Build it first")
        return StoredFeature(self._files / key)

    def writer(self, key: str, dtype: str, attributes: dict[str, Any]) -> Writer:
        """Return the writer of one feature, a context manager; it creates the feature if it is new.

        Parameters
        ----------
        key
            Letters, digits, dots, dashes and underscores: the name of its folder.
        dtype
            How clips are stored: ``int16`` (with one float32 scale per clip) or ``float32``.
        attributes
            The feature's parameters (JSON); written once and readable in the folder's zarr.json.

        Raises
        ------
        ValueError
            If ``key`` contains other characters, or ``dtype`` is neither of the two.

        """
        if not KEY.fullmatch(key):
            raise ValueError(f"the key {key!r} must be of letters, digits, dots, dashes and underscores")
        return Writer(self._files / key, dtype, attributes)

    def delete(self, key: str) -> None:
        """Delete one feature. Raises KeyError if it is missing, LockedError if it is being written."""
        if key not in self:
            raise KeyError(f"no feature {key!r} in {self.url}")
        files = self._files / key
        lock = files.lock()
        try:
            files.remove()
        finally:
            lock.release()

    def compact(self, key: str, keep: Collection[str] | None = None) -> int:
        """Remove from the disk superseded clips, and those that are not in ``keep``.

        Blocks with such clips are first written again without them, bit by bit, then removed: at every instant each
        clip can be read, also through a feature that was opened before, and a stopped call can be repeated. Clips that
        were in such blocks come last in ``StoredFeature.ids`` afterwards.

        Parameters
        ----------
        key
            The feature.
        keep
            The ids of the clips (and failures) to keep; None keeps all.

        Returns
        -------
        int
            Bytes freed.

        Raises
        ------
        KeyError
            If the feature is missing.
        LockedError
            If it is being written.
        DamagedError
            If a block differs from what was written; build its clips again first.

        """
        feature = self[key]
        with self.writer(key, feature.dtype, feature.attributes) as writer:
            return compact(self._files / key, keep, writer.token)
