"""A store in object storage, through obstore (chosen over s3fs, which takes 1.2 to 2.4 times as long).

There are no folders and no renaming, but a PUT is atomic: a block's chunk is put first and its zarr.json last, and
without a zarr.json there is no block. A chunk without one, of a killed build, is overwritten by the next build.

Credentials, region and endpoint are those of the environment (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, …).
"""

import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache, partial
from typing import Any, Self

import numpy as np
import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import S3Store

from .errors import StoreError
from .layout import BLOCK, CHUNK, LEASE, METADATA, block_name
from .lease import Lease, holder

N_REQUESTS = 16  # at a time: S3 answers each after some 20 ms, however small; but each may return a whole block


@lru_cache(maxsize=8)
def client(bucket: str) -> S3Store:
    """Return the connection pool of a bucket, one per process."""
    retry = {"max_retries": 5, "retry_timeout": timedelta(seconds=30)}
    options = {"allow_http": True}  # http:// is used only if the user's endpoint says so
    return S3Store(bucket, client_options=options, retry_config=retry)  # type: ignore[arg-type]


@contextmanager
def request_errors(place: object) -> Iterator[None]:
    """Turn errors of the network and the server into a StoreError.

    A missing object is a FileNotFoundError, and the answers to conditional PUTs are left as they are.
    """
    try:
        yield
    except (AlreadyExistsError, PreconditionError):
        raise
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{place} is missing") from error
    except (BaseError, PermissionError) as error:
        raise StoreError(
            f"{place} is refused by the object storage, or the network: {str(error).partition(chr(10))[0]}. "
            "Check both and the AWS_… variables, then run the same command again; what was stored before is kept."
        ) from error


@contextmanager
def put_errors(place: object) -> Iterator[None]:
    """Like ``request_errors``; only the bucket can be missing."""
    try:
        with request_errors(place):
            yield
    except FileNotFoundError as error:
        raise StoreError(
            f"{place} could not be written: there is no such bucket. Make it, then run it again."
        ) from error


@dataclass(frozen=True)
class ObjectFiles:
    """A prefix in a bucket; the methods are those of ``Files``."""

    bucket: str
    path: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.path}"

    @property
    def name(self) -> str:
        """The last part of the prefix."""
        return self.path.rpartition("/")[2]

    def __truediv__(self, name: str) -> Self:
        return type(self)(self.bucket, self.key(name))

    def key(self, name: str) -> str:
        """Return the key of an object below the prefix."""
        return f"{self.path}/{name}" if self.path else name

    def folders(self) -> list[str]:
        """Return the names between this prefix and the next slash."""
        with request_errors(self):
            listed = obstore.list_with_delimiter(client(self.bucket), self.path or None)
        return [prefix.rstrip("/").rpartition("/")[2] for prefix in listed["common_prefixes"]]

    def sizes(self) -> dict[str, int]:
        """Return the bytes of every object below the prefix, by the rest of its key."""
        with request_errors(self):
            pages = list(obstore.list(client(self.bucket), f"{self.path}/" if self.path else None, chunk_size=1000))
        return {meta["path"].removeprefix(self.key("")): meta["size"] for page in pages for meta in page}

    def size(self, name: str) -> int:
        """Return the bytes of an object."""
        with request_errors(self / name):
            return int(obstore.head(client(self.bucket), self.key(name))["size"])

    def read(self, name: str) -> bytes:
        """Return the content of an object."""
        with request_errors(self / name):
            return bytes(obstore.get(client(self.bucket), self.key(name)).bytes())

    def write(self, name: str, content: bytes) -> None:
        """Put an object."""
        with put_errors(self / name):
            obstore.put(client(self.bucket), self.key(name), content)

    def read_with_etag(self, name: str) -> tuple[bytes, str]:
        """Return an object and the tag of its content, for ``put_if``."""
        with request_errors(self / name):
            result = obstore.get(client(self.bucket), self.key(name))
            return bytes(result.bytes()), str(result.meta["e_tag"])

    def put_if(self, name: str, content: bytes, etag: str | None) -> str:
        """Put an object if it still has ``etag``, or if there is none (None); return its new tag.

        Raises obstore's PreconditionError or AlreadyExistsError otherwise.
        """
        with request_errors(self / name):
            mode: Any = "create" if etag is None else {"e_tag": etag}
            return str(obstore.put(client(self.bucket), self.key(name), content, mode=mode)["e_tag"])

    def indexes(self) -> dict[int, bytes]:
        """Return the zarr.json of every block: one listing, then all at once."""
        while True:
            parts = (name.split("/") for name in self.sizes())
            numbers = sorted(int(p[0]) for p in parts if len(p) == 2 and p[1] == METADATA and BLOCK.fullmatch(p[0]))
            found = dict(zip(numbers, self.each(self._index_or_none, numbers), strict=True))
            if all(text is not None for text in found.values()):
                return found

    def _index_or_none(self, number: int) -> bytes | None:
        with suppress(FileNotFoundError):
            return self.read(f"{block_name(number)}/{METADATA}")
        return None

    def index(self, number: int) -> bytes:
        """Return the zarr.json of one block."""
        return self._index_or_none(number) or b""

    def samples(self, number: int, length: int, dtype: np.dtype) -> "_RangedReads":
        """Return the chunk of a block; each slice of it is one ranged GET."""
        return _RangedReads(self, f"{block_name(number)}/{CHUNK}", length, dtype)

    def zarr_array(self, number: int) -> Any:
        """Return the block as zarr reads it."""
        import zarr
        from zarr.storage import ObjectStore

        return zarr.open_array(ObjectStore(client(self.bucket), read_only=True), path=self.key(block_name(number)))

    def n_bytes(self, numbers: Iterable[int]) -> int:
        """Return the size of all objects of these blocks."""
        names = {block_name(number) for number in numbers}
        return sum(size for name, size in self.sizes().items() if name.partition("/")[0] in names)

    def draft(self, number: int, token: str) -> "_ObjectDraft":
        """Begin a block, in memory."""
        return _ObjectDraft(self, number, token)

    def remove_block(self, number: int) -> None:
        """Remove the zarr.json of one block, which ends it, then the rest."""
        self.delete(f"{block_name(number)}/{METADATA}")
        for name in (self / block_name(number)).sizes():
            self.delete(f"{block_name(number)}/{name}")

    def remove(self) -> None:
        """Remove all objects below the prefix: the zarr.json of the blocks, the other objects, its own zarr.json."""
        names = [name for name in self.sizes() if name not in {METADATA, LEASE}]
        indexes = {name for name in names if name.endswith(f"/{METADATA}")}
        self.each(self.delete, indexes)
        self.each(self.delete, set(names) - indexes)
        self.delete(METADATA)

    def delete(self, name: str) -> None:
        """Delete an object, if it exists."""
        with suppress(FileNotFoundError), request_errors(self / name):
            obstore.delete(client(self.bucket), self.key(name))

    def lock(self) -> Lease:
        """Take the lease of the feature."""
        return Lease(self)

    def each(self, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """Return ``function`` of every item, many at a time."""
        with ThreadPoolExecutor(N_REQUESTS) as pool:
            return list(pool.map(function, items))


@dataclass(frozen=True)
class _RangedReads:
    """The chunk of a block, ``[length]``, which is fetched slice by slice."""

    files: ObjectFiles
    name: str
    length: int
    dtype: np.dtype

    def __getitem__(self, extent: slice) -> np.ndarray:
        start, stop, _ = extent.indices(self.length)
        if start >= stop:
            return np.empty(0, self.dtype)
        size = self.dtype.itemsize
        key, first, n_bytes = self.files.key(self.name), start * size, (stop - start) * size
        try:
            with request_errors(self.files / self.name):
                content = obstore.get_range(client(self.files.bucket), key, start=first, length=n_bytes)
        except StoreError:
            if self.files.size(self.name) < first + n_bytes:
                raise ValueError("it is too short") from None
            raise
        values: np.ndarray = np.frombuffer(memoryview(content), self.dtype)
        return values


@dataclass
class _ObjectDraft:
    """A block in memory, which two PUTs commit to the bucket."""

    files: ObjectFiles
    number: int
    token: str
    chunk: io.BytesIO = field(default_factory=io.BytesIO)

    def __post_init__(self) -> None:
        self._check_lease()

    def write(self, values: np.ndarray) -> None:
        """Append the bytes of a contiguous array to the chunk."""
        self.chunk.write(values.reshape(-1).view(np.uint8).data)

    def commit(self, document: bytes, replaces: bool) -> None:
        """Put the chunk, then the zarr.json."""
        files, name = self.files, f"{block_name(self.number)}/{METADATA}"
        put = partial(obstore.put, client(files.bucket))
        self._check_lease()
        if replaces:
            files.delete(name)
        elif self._is_committed(document):
            return
        with put_errors(files / block_name(self.number)):
            # One PUT: a killed multipart upload leaves hidden parts that are charged for.
            put(files.key(f"{block_name(self.number)}/{CHUNK}"), self.chunk.getbuffer(), use_multipart=False)
            try:
                put(files.key(name), document, mode="create")
            except AlreadyExistsError:
                if not self._is_committed(document):
                    raise self._conflict() from None

    def discard(self) -> None:
        """Free the memory."""
        self.chunk = io.BytesIO()

    def _check_lease(self) -> None:
        """Raise StoreError if the writer's lock is gone, as in a worker that outlived its writer."""
        if holder(self.files) != self.token:
            raise StoreError(
                f"{self.files / block_name(self.number)} could not be written: no writer holds the lock of "
                f"{self.files.name} under which it was planned. Plan and write blocks inside its `with` statement."
            )

    def _is_committed(self, document: bytes) -> bool:
        # A retried task, or a worker of a killed build, has committed it. An equal index has equal checksums.
        text = self.files.index(self.number)
        if text and text != document:
            raise self._conflict()
        return bool(text)

    def _conflict(self) -> StoreError:
        place = self.files / block_name(self.number)
        return StoreError(f"{place} was written by another process in the meantime; run the same build again.")
