"""Removing what a feature no longer needs."""

from collections.abc import Collection

from .block import Block, Failure
from .feature import StoredFeature
from .files import Files
from .stored_block import StoredBlock

BLOCK_SIZE = 64  # clips


def compact(files: Files, keep: Collection[str] | None) -> int:
    """Rewrite the blocks of a locked feature that hold clips which are superseded or not in ``keep``; bytes freed.

    New blocks have the highest numbers and are committed before the blocks that they replace are removed. Those are
    removed oldest first: else a clip that was dropped could come back as it was before.
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
            _replace(files, feature, number, moving, replaced)
            number, moving, replaced = number + 1, [], []
        moving += live
        replaced.append(block)
    _replace(files, feature, number, moving, replaced)
    return before - StoredFeature(files).n_bytes


def _replace(
    files: Files, feature: StoredFeature, number: int, clips: list[tuple[str, str]], replaced: list[StoredBlock]
) -> None:
    """Write one block of clips that are held in others, then remove the others."""
    if clips:
        failures = feature.failures
        with Block(files, number, feature.dtype, tuple(clips)).open() as writer:
            for clip_id, _ in clips:
                failure: Failure | None = failures.get(clip_id)
                writer.add_stored(*((failure, None) if failure else feature.stored(clip_id)))
    for block in replaced:
        files.remove_block(block.number)
