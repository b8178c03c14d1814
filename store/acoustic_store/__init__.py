"""The feature store: ragged arrays by clip, in blocks that any Zarr v3 reader can read.

A ``FeatureStore`` is a set of features in a local folder or at ``s3://bucket/path``; a ``StoredFeature`` reads one, a
``Writer`` finds the clips that one lacks, and its ``Block`` objects are written by any processes, each whole or not at
all.

>>> store = FeatureStore.open("features.zarr", create=True)
>>> with store.writer("stats-1a2b3c4d", "float32", {"n_mels": 64}) as writer:
...     for block in writer.plan([("clip-1", "9f3c"), ("clip-2", "77aa")]):
...         block.write(compute(clip_id) for clip_id, _ in block.clips)
>>> feature = store["stats-1a2b3c4d"]
>>> feature.read("clip-1")                  # one clip: float32 of its own shape
>>> feature.stack(["clip-1", "clip-2"])     # a list of one shape: float32 [2, …]
>>> feature.stack()                         # the whole feature, in the order of feature.ids

``layout.py`` describes the files. The package knows nothing of audio; it needs numpy, google-crc32c and, for blocks
that another tool has rewritten, zarr; for object storage obstore, the extra ``acoustic-kit[s3]``.
"""

from .block import Block, Failure
from .errors import DamagedError, LockedError, StoreError
from .feature import StoredFeature
from .store import FeatureStore
from .writer import Writer

__all__ = [
    "Block",
    "DamagedError",
    "Failure",
    "FeatureStore",
    "LockedError",
    "StoreError",
    "StoredFeature",
    "Writer",
]
