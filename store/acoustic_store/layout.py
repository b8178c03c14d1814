"""The files of a store: a Zarr v3 group of groups of 1-D arrays.

    features.zarr/
      zarr.json                 group
      stats-1a2b3c4d/           one feature; its zarr.json holds the attributes and the storage dtype
        zarr.json               group, and the file on which a writer holds its lock; never replaced
        000000/                 a block of up to 64 clips, committed by renaming it into place
          zarr.json             array; its attributes are the index of the block
          c.0                   the one chunk: the clips' elements in C order, one clip after another, little-endian
        .partial/               ignored by readers, removed by the next writer
          8c8202af5b0e11d3/     blocks being written by the writer with this token

In object storage the names are the same, but a block is committed by its zarr.json, which is put last; there is no
``.partial``, and an object ``.lock`` keeps two writers apart.

The documents are written by hand, not through zarr: the bytes then depend on nothing but the content (a resumed build
equals an uninterrupted one), and zarr, which takes 0.4 s to import, is only needed to read blocks that another tool has
rewritten.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Any

import google_crc32c

from .errors import DamagedError, StoreError

FORMAT = 1  # raise it when older versions of this package can no longer read what this one writes
METADATA = "zarr.json"
CHUNK = "c.0"
PARTIAL = ".partial"
LEASE = ".lock"
STORAGE = {"int16": "<i2", "float32": "<f4"}
KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
BLOCK = re.compile(r"[0-9]{6,}")
ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)  # damage; other OSErrors are the machine's fault
SUFFIXES = {"+left out": "retry", "+silence": "silence"}  # of fingerprints, in blocks of earlier versions: their states
MAX_SCALE = 1.1e34  # the largest float32 over 32767


@dataclass(frozen=True)
class BlockIndex:
    """The index of one block. Lists have one entry per clip; offsets count elements."""

    rows: dict[str, int]
    versions: dict[str, tuple[str, str]]  # id → fingerprint and state; of clips and failures
    shapes: list[list[int]]
    offsets: list[int]
    checksums: list[int]
    scales: list[float] | None  # int16 only
    failures: dict[str, str]  # id → reason
    length: int
    is_mappable: bool  # one uncompressed chunk, as written here; False if another tool has rewritten it


def checksum(document: Any) -> int:
    """Return the crc32c of a JSON document, whatever its layout in the file."""
    return int(google_crc32c.value(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()))


def group_document(attributes: dict[str, Any]) -> bytes:
    """Return the zarr.json of a group."""
    document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    return json.dumps(document, indent=2).encode() + b"\n"


def key_document(dtype: str, attributes: dict[str, Any]) -> bytes:
    """Return the zarr.json of one feature: its storage dtype, its attributes, and a checksum of both."""
    content = {"acoustic_store": FORMAT, "dtype": dtype, "feature": attributes}
    return group_document({**content, "crc32c": checksum(content)})


def parse_key_document(text: bytes, place: object) -> tuple[str, dict[str, Any]]:
    """Return storage dtype and attributes of a feature from its zarr.json, which is stored at ``place``.

    Raises StoreError if another version wrote it, DamagedError if it has changed since.
    """
    remedy = "Build the feature again with its own parameters, which mends this file, or delete the key."
    try:
        content = dict(json.loads(text)["attributes"])
        claimed = content.pop("crc32c")
        version, dtype, attributes = content["acoustic_store"], content["dtype"], content["feature"]
        is_sound = claimed == checksum(content)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DamagedError(f"{place} cannot be read ({type(error).__name__}: {error}). {remedy}") from error
    if is_sound and version != FORMAT:
        raise StoreError(f"{place} was written by another version of acoustic_store (format {version}, not {FORMAT}).")
    if not is_sound or dtype not in STORAGE or not isinstance(attributes, dict):
        raise DamagedError(f"{place} is not what was written: its checksum is wrong. {remedy}")
    return dtype, attributes


def array_document(length: int, dtype: str, attributes: dict[str, Any]) -> dict[str, Any]:
    """Return the zarr.json of one block: a 1-D array of ``length`` elements in one uncompressed little-endian chunk."""
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [length],
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [max(1, length)]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": 0,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "attributes": attributes,
        "storage_transformers": [],
    }


def block_document(length: int, dtype: str, clips: dict[str, list], failures: dict[str, list]) -> bytes:
    """Return the zarr.json of one block with its index, both tables with a column `state` if a clip of theirs has one.

    Compact: a store of 40,000 clips is opened by reading 600 of them.
    """
    attributes = {"clips": clips, "failures": failures, "crc32c": checksum([clips, failures])}
    return json.dumps(array_document(length, dtype, attributes), separators=(",", ":")).encode() + b"\n"


def parse_block_document(text: bytes, dtype: str) -> BlockIndex:
    """Return the index in a block's zarr.json. Raises ValueError, with the reason, if it was not written here."""
    try:
        document = json.loads(text)
        attributes, (length,) = document["attributes"], document["shape"]
        clips, failures = attributes["clips"], attributes["failures"]
        is_sound = attributes["crc32c"] == checksum([clips, failures])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"its index cannot be read ({type(error).__name__}: {error})") from error
    if not is_sound:
        raise ValueError("the checksum of its index is wrong")
    if type(length) is not int or document.get("data_type") != dtype:
        raise ValueError(f"it is not a list of {dtype}")
    failed = _columns(failures, id=str, fingerprint=str, reason=str)
    table = _columns(clips, id=str, fingerprint=str, shape=list, offset=int, crc32c=int)
    scales: list[float] | None = None
    if dtype == "int16":
        scales = _columns(clips, id=str, scale=float)["scale"]
        if not all(0 < scale < MAX_SCALE for scale in scales):
            raise ValueError("a scale in its index is out of range")
    _check_extents(table["shape"], table["offset"], length)
    return BlockIndex(
        rows={clip_id: row for row, clip_id in enumerate(table["id"])},
        versions=_versions(clips) | _versions(failures),
        shapes=table["shape"],
        offsets=table["offset"],
        checksums=table["crc32c"],
        scales=scales,
        failures=dict(zip(failed["id"], failed["reason"], strict=True)),
        length=length,
        is_mappable=document == array_document(length, dtype, attributes),
    )


def _versions(table: dict[str, list]) -> dict[str, tuple[str, str]]:
    """Return the fingerprint and the state of each clip of a table."""
    columns = _columns(table, id=str, fingerprint=str, **{"state": str} if "state" in table else {})
    states = columns.get("state")
    versions = (
        map(_version, columns["fingerprint"]) if states is None else zip(columns["fingerprint"], states, strict=True)
    )
    return dict(zip(columns["id"], versions, strict=True))


def _version(fingerprint: str) -> tuple[str, str]:
    """Split a fingerprint of a block without states: earlier versions of akit appended the state."""
    state = ""
    for suffix, meaning in SUFFIXES.items():
        if fingerprint.endswith(suffix):
            fingerprint, state = fingerprint.removesuffix(suffix), state or meaning
    return fingerprint, state


def _columns(table: Any, **kinds: type) -> dict[str, list]:
    """Return the named columns of an index. Raises ValueError unless each is a list of one type, all of one length."""
    if not isinstance(table, dict):
        raise ValueError("its index is no table")
    columns = {name: table.get(name) for name in kinds}
    for name, values in columns.items():
        if type(values) is not list or not set(map(type, values)) <= {kinds[name]}:
            raise ValueError(f"the column {name!r} of its index is not a list of {kinds[name].__name__}")
    if len({len(values) for values in columns.values() if values is not None}) > 1:
        raise ValueError("the columns of its index differ in length")
    return {name: values for name, values in columns.items() if values is not None}


def _check_extents(shapes: list[list], offsets: list[int], length: int) -> None:
    """Raise ValueError unless every clip is inside the array: an index may be damaged like any other data."""
    for shape, offset in zip(shapes, offsets, strict=True):
        is_shape = all(type(size) is int and size >= 0 for size in shape)
        if not is_shape or offset < 0 or offset + math.prod(shape) > length:
            raise ValueError("a clip in its index is outside the array")


def ids_mentioned(text: bytes) -> list[str]:
    """Return the clip ids that a damaged zarr.json still shows; best effort, for reports and for superseded clips."""
    ids = []
    for listed in re.findall(rb'"id": ?\["(.*?)\]', text, re.DOTALL):
        for token in re.split(rb'"\s*,\s*"', listed.strip(b'" \n')):
            try:
                ids.append(str(json.loads(b'"' + token + b'"')))
            except ValueError:
                continue
    return ids


def block_name(number: int) -> str:
    """Return the name of a block's folder."""
    return f"{number:06d}"
