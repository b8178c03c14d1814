"""The features of one place."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Self

from .compaction import compact
from .errors import StoreError
from .feature import StoredFeature
from .files import open_files
from .layout import KEY, METADATA, NOT_THERE, group_document
from .local_files import LocalFiles
from .writer import Writer


class FeatureStore:
    """A place (``features.zarr``) that holds features by key; a Zarr v3 group that any reader of Zarr can read.

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
        except NOT_THERE as error:
            raise StoreError(f"{self._files} cannot be read: {error.strerror}.") from error
        else:
            if not is_group:
                raise StoreError(f"{self._files} is no feature store: its {METADATA} is not that of a group.")

    @classmethod
    def open(cls, place: Path | str, create: bool = False) -> Self:
        """Open the store in a local folder, or at ``s3://bucket/path``.

        Object storage needs the extra ``acoustic-kit[s3]``; credentials, region and endpoint are those of the usual
        ``AWS_…`` environment variables. ``create`` makes the store where it is not yet; else StoreError is raised.
        """
        return cls(place, create)

    @property
    def url(self) -> str:
        """What opens this store again, in any process: its path, or ``s3://…``."""
        return str(self._files)

    @property
    def path(self) -> Path:
        """The local folder. Raises StoreError where the store lies in object storage; see ``url``."""
        if not isinstance(self._files, LocalFiles):
            raise StoreError(f"{self.url} is no local folder. Download the store to work on its files.")
        return self._files.path

    def __repr__(self) -> str:
        return f"<FeatureStore {self.url}: {len(self.keys())} features>"

    def keys(self) -> list[str]:
        """The keys of the features that are here, sorted."""
        names = self._files.folders()
        return sorted(
            name for name, is_key in zip(names, self._files.each(self.__contains__, names), strict=True) if is_key
        )

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, str) or not KEY.fullmatch(key):
            return False
        try:
            return (self._files / key).size(METADATA) > 0  # empty: its writer was killed before it began
        except NOT_THERE:
            return False

    def __getitem__(self, key: str) -> StoredFeature:
        if key not in self:
            held = ", ".join(self.keys()) or "none yet"
            raise KeyError(f"no feature {key!r} in {self.url}; there are: {held}. Build it first")
        return StoredFeature(self._files / key)

    def writer(self, key: str, dtype: str, attributes: dict[str, Any]) -> Writer:
        """The writer of one feature, a context manager; the feature is made where it is new.

        Parameters
        ----------
        key
            Letters, digits, dots, dashes and underscores: the name of its folder.
        dtype
            How clips are stored: ``int16`` (with one float32 scale a clip) or ``float32``.
        attributes
            What the feature is (JSON); written once and readable in the folder's zarr.json.

        """
        if not KEY.fullmatch(key):
            raise ValueError(f"the key {key!r} must be of letters, digits, dots, dashes and underscores")
        return Writer(self._files / key, dtype, attributes)

    def delete(self, key: str) -> None:
        """Delete one feature. Raises KeyError where it is not there, LockedError while it is being written."""
        if key not in self:
            raise KeyError(f"no feature {key!r} in {self.url}")
        files = self._files / key
        lock = files.lock()
        try:
            files.remove()
        finally:
            lock.release()

    def compact(self, key: str, keep: Collection[str] | None = None) -> int:
        """Remove superseded clips from the disk, and those that are not wanted any more.

        Blocks that hold such clips are written anew without them, bit by bit, before they are removed: at every instant
        each clip can be read, also by those who opened the feature before, and a run that was stopped can be repeated.
        Clips that were in such blocks come last in ``StoredFeature.ids`` afterwards.

        Parameters
        ----------
        key
            The feature.
        keep
            The ids of the clips (and failures) that are wanted; None keeps all.

        Returns
        -------
        int
            Bytes freed.

        Raises
        ------
        KeyError
            Where the feature is not there.
        LockedError
            While it is being written.
        DamagedError
            For a block that is not what was written; build its clips again first.

        """
        feature = self[key]
        with self.writer(key, feature.dtype, feature.attributes) as writer:
            return compact(self._files / key, keep, writer.token)
