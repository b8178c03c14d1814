"""Open a stored feature by the name that a person writes for it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.features.registry import FEATURES, feature_from_parameters, feature_from_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from acoustic_kit.dsp.sound_file import Mono
    from acoustic_store import FeatureStore, StoredFeature


def open_feature(
    store: FeatureStore, text: str, *, fold: str | None = None, mono: Mono = "mean", folders: Sequence[Path] = ()
) -> StoredFeature:
    """Return the reader of a stored feature.

    >>> mel = open_feature(FeatureStore.open("features.zarr"), "logmel:n_mels=64")
    >>> mel.read("clip-1")                  # float32 (64, frames)
    >>> mel.stack(["clip-1", "clip-2"])     # float32 (2, 64, frames)

    Parameters
    ----------
    store : the store that the feature was built into
    text : the feature as `feature_from_text` reads it, or its key, such as `logmel-1a2b3c4d`
    fold : for a feature that is fitted for each fold (`pca`): the fold whose fit is read; `all` is the fit on the
        training clips of all folds. Optional if the store has only one fit
    mono : the channels that the feature was built from, `mono` in akit.toml
    folders : in which models are looked up that the feature names, `model_folders` of a workspace

    Raises
    ------
    AkitError : the feature is not built; the message has the command that builds it
    UsageError : the name or a parameter is unknown, or several fits are stored and `fold` is not given

    """
    if text in store:
        return store[text]
    feature = feature_from_text(text).with_mono(mono).located(folders)
    if feature.key in store:
        return store[feature.key]
    parameters = feature.parameters()
    fits = {}
    for key in store.keys():  # noqa: SIM118 (a store is no mapping)
        if key.startswith(f"{feature.name}-"):
            attributes = dict(store[key].attributes)
            if (training := attributes.pop("training", None)) and attributes == parameters:
                fits[key] = str(training["fold"])
    found = [key for key, of_fold in fits.items() if fold in {None, of_fold}]
    if not found:
        where = store.url if fold is None else f"{store.url} for fold {fold}"
        raise AkitError(
            f"{text} is not built in {where}. Build it with `akit features build {shlex.quote(text)}`; "
            "`akit features list` shows what is built."
        )
    if len(found) > 1:
        folds = ", ".join(sorted({fits[key] for key in found}))
        raise UsageError(
            f"{text} is stored for several fits (fold {folds}). Pass fold=…, or one of the keys {', '.join(found)}."
        )
    return store[found[0]]


def column_names(stored: StoredFeature) -> list[str]:
    """Return the names of the values of a feature whose clips are one-dimensional and of one length.

    A family that names them has a method `columns()`, as `Stats` does; otherwise they are numbers from 0.
    """
    (length,) = stored.shape(stored.ids[0])
    family = FEATURES.get(str(stored.attributes["name"]))
    if family is not None and hasattr(family, "columns"):
        try:
            names: list[str] = feature_from_parameters(stored.attributes).columns()  # type: ignore[attr-defined]
        except AkitError:  # stored by another version, which may name them otherwise
            names = []
        if len(names) == length:
            return names
    return list(map(str, range(length)))
