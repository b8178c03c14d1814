"""Arrays that features learnt from a fold's training clips, in a file beside that fold's model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from acoustic_kit.errors import AkitError
from acoustic_kit.features.feature import Feature
from acoustic_kit.files import replacing

if TYPE_CHECKING:
    from acoustic_store import FeatureStore, StoredFeature

LEARNT_NAME = "features.safetensors"


def save_learnt(
    folder: Path, features: Mapping[str, Feature], stored: Mapping[str, StoredFeature], store: FeatureStore
) -> None:
    """Write what the features of one fold learnt; no file if that is nothing. Both mappings have the same names.

    Raises AkitError if the file cannot be written.
    """
    found = {name: feature.learnt(store, stored[name].key) for name, feature in features.items()}
    tensors = {f"{name}/{part}": np.array(array) for name, arrays in found.items() for part, array in arrays.items()}
    if tensors:
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        try:
            with replacing(folder / LEARNT_NAME) as temporary:
                save_file(tensors, temporary)
        except SafetensorError as error:
            raise AkitError(f"{folder / LEARNT_NAME} cannot be written: {error}.") from error


def with_learnt(folder: Path, features: Mapping[str, Feature], fold: str) -> dict[str, Feature]:
    """Return the features, able to compute for the models of one fold, whose name is part of their keys.

    Raises AkitError if the file that `save_learnt` wrote is damaged or belongs to other features.
    """
    path, tensors = folder / LEARNT_NAME, {}
    if path.exists():
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise AkitError(f"{path} cannot be read: {error}.") from error
    found = {}
    for name, feature in features.items():
        own = {key.removeprefix(f"{name}/"): array for key, array in tensors.items() if key.startswith(f"{name}/")}
        try:
            found[name] = feature.with_learnt(fold, own)
        except AkitError as error:
            raise AkitError(f"{path} does not fit this run: {error}.") from error
    return found
