"""Remove clips that are superseded or no longer needed."""

from collections.abc import Collection

from .block import Block, Failure
from .feature import StoredFeature
from .files import Files
from .stored_block import StoredBlock

BLOCK_SIZE = 64  # clips


def compact(files: Files, keep: Collection[str] | None, token: str) -> int:
    """Rewrite the blocks that hold clips which are superseded or not in ``keep``; return the bytes freed.

    ``token`` is that of the feature's lock, which the caller holds.

    New blocks have the highest numbers and are committed before the blocks that they replace are removed. Those are
    removed oldest first; otherwise an older version of a dropped clip could become current.
    """
    feature = StoredFeature(files)
    wanted = None if keep is None else set(keep)
    before, number = feature.n_bytes, 1 + max((block.number for block, _ in feature.blocks()), default=0)
    replaced: list[StoredBlock] = []
    moving: list[tuple[str, str]] = []
    for block, ids in feature.blocks():
        live = [(clip_id, feature.fingerprint(clip_id)) for clip_id in ids if wanted is None or clip_id in wanted]
        if len(live) == len(block.ids()):
            continue
        if moving and len(moving) + len(live) > BLOCK_SIZE:
            _replace(_block(feature, files, number, moving, token), feature, replaced)
            number, moving, replaced = number + 1, [], []
        moving += live
        replaced.append(block)
    _replace(_block(feature, files, number, moving, token), feature, replaced)
    return before - StoredFeature(files).n_bytes


def _block(feature: StoredFeature, files: Files, number: int, clips: list[tuple[str, str]], token: str) -> Block:
    states = tuple((clip_id, state) for clip_id, _ in clips if (state := feature.state(clip_id)))
    return Block(files, number, feature.dtype, tuple(clips), token, states=states)


def _replace(block: Block, feature: StoredFeature, replaced: list[StoredBlock]) -> None:
    """Write one block of clips that are stored in others, then remove the others."""
    if block.clips:
        failures = feature.failures
        with block.open() as writer:
            for clip_id, _ in block.clips:
                failure: Failure | None = failures.get(clip_id)
                writer.add_stored(*((failure, None) if failure else feature.stored(clip_id)))
    for superseded in replaced:
        block.files.remove_block(superseded.number)
