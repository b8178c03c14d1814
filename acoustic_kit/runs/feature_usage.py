"""Features that a workspace references: by name, by recipe, and by the runs that read them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acoustic_kit.data.folds import FULL, fold_names
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.features import FEATURES, Feature, feature_from_parameters, feature_from_text, for_folds
from acoustic_kit.features.feature import key_of
from acoustic_kit.features.pca import FIT_NAME
from acoustic_kit.features.store_users import other_users
from acoustic_kit.recipe.catalog import find_recipes, recipe_folders
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.run import list_runs

if TYPE_CHECKING:
    from acoustic_kit.workspace.workspace import Workspace


def named_features(workspace: Workspace, names: Sequence[str]) -> list[Feature]:
    """Return the features of these names; a recipe's name means those that it reads with its default settings.

    A feature may be named with parameters, see `feature_from_text`. Raises UsageError for a name that is neither.
    """
    wanted: list[Feature] = []
    for name in names:
        if name.partition(":")[0] in FEATURES:
            wanted.append(feature_from_text(name))
            continue
        try:
            recipe = load_recipe(name, workspace.recipes_path)
        except UsageError as error:
            where = " It is listed in `features` of akit.toml." if name in workspace.config.features else ""
            raise UsageError(f"{error}{where}") from error
        wanted += recipe.features(recipe.settings()).values()
    return [feature.with_mono(workspace.config.mono).located(workspace.model_folders) for feature in wanted]


def listed_features(workspace: Workspace, on_missing: Callable[[str], None] = lambda _: None) -> list[Feature]:
    """Return the features that `akit.toml` lists, by name or by recipe.

    A recipe that no longer exists needs none; `on_missing` is called with its name. Raises UsageError for parameters
    that a feature does not have, and for a name that is nearly that of a feature.
    """
    known = find_recipes(recipe_folders(workspace.recipes_path))
    names = []
    for name in workspace.config.features:
        near = difflib.get_close_matches(name, FEATURES, n=1, cutoff=0.8)
        if near or name.partition(":")[0] in FEATURES or name in known or Path(name).is_file():
            names.append(name)
        else:
            on_missing(name)
    return named_features(workspace, names)


def of_all_folds(workspace: Workspace, features: Sequence[Feature]) -> list[Feature]:
    """Return the features as the models of all folds read them, each once."""
    found = for_folds(features, workspace.manifest, workspace.data_root, fold_names(workspace.manifest))
    return list(dict.fromkeys(feature for fold in found.values() for feature in fold))


def rebuildable(workspace: Workspace, parameters: Mapping[str, Any]) -> Feature | None:
    """Return the feature that was stored with these parameters, ready to be built again.

    None if it was fitted on clips that have changed or are no longer in the manifest.
    Raises AkitError if this version of akit would compute other values, or if model weights are from a folder that
    `akit.toml` does not name.
    """
    key = key_of(parameters)
    listed = of_all_folds(workspace, listed_features(workspace))
    if found := next((f for f in listed if f.name == parameters["name"] and f.key == key), None):
        return found
    folds = [*fold_names(workspace.manifest), FULL]
    if "training" in parameters:
        folds = [name for name in folds if (parameters["training"]["fold"] == ("all" if name == FULL else name))]
    run = workspace.runs_path / str(parameters.get("model"))
    models = {str(parameters["weights_sha256"]): str(run)} if "weights_sha256" in parameters and run.is_dir() else {}
    feature = feature_from_parameters(parameters, models, {f.name: type(f) for f in listed if f.defined_in})
    fitted = for_folds([feature], workspace.manifest, workspace.data_root, folds)
    return next((f for (f,) in fitted.values() if f.key == key), None)


def unused_keys(workspace: Workspace, on_missing: Callable[[str], None] = lambda _: None) -> list[str]:
    """Return the keys in the store that no workspace references in its `akit.toml` or a run, directly or as a source.

    Features fitted on clips that have changed, or are no longer in the manifest, count as unused. The other
    workspaces are those that are noted in the store, see `store_users`. `on_missing` is called with each recipe that
    `akit.toml` lists and that no longer exists.

    Raises AkitError if another workspace cannot be read.
    """
    unused = _unused_by(workspace, on_missing)
    for root, note in other_users(workspace.store_place, workspace.root).items():
        try:
            other = type(workspace).at(root)
            if other.store_place == workspace.store_place:
                needless = set(_unused_by(other))
                unused = [key for key in unused if key in needless]
        except AkitError as error:
            raise AkitError(
                f"The store is used by the workspace {root}, which cannot be read: {error}\n"
                f"If that workspace does not exist any more, delete {note}."
            ) from error
    return unused


def _unused_by(workspace: Workspace, on_missing: Callable[[str], None] = lambda _: None) -> list[str]:
    if (store := workspace.built_store()) is None:
        return []
    wanted, unknown = set(), set()
    for feature in listed_features(workspace, on_missing):
        try:
            wanted.add(feature.key)
        except AkitError:  # weights are missing, so that its key is unknown: keep all features of this name
            unknown.add(feature.name)
    wanted |= {key for run in list_runs(workspace.runs_path) for key in run.record.features.values()}
    attributes = {key: store[key].attributes for key in store.keys()}  # noqa: SIM118 (a store is not a mapping)
    used: set[str] = set()
    for parameters in attributes.values():
        unfitted = key_of({name: value for name, value in parameters.items() if name != "training"})
        is_wanted = parameters["name"] in unknown or unfitted in wanted
        if is_wanted and _is_current(workspace, parameters):
            used |= {key_of(link) for link in _chain(parameters)}
    fits = {key for key, found in attributes.items() if found["name"] == FIT_NAME and key_of(found["pca"]) in used}
    return [key for key in attributes if key not in used | fits]


def _is_current(workspace: Workspace, parameters: Mapping[str, Any]) -> bool:
    """Return whether a feature is not fitted, or fitted on clips that are unchanged in the manifest."""
    try:
        return "training" not in parameters or rebuildable(workspace, parameters) is not None
    except AkitError:  # another version's
        return False


def _chain(parameters: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the parameters of a feature and of all its sources."""
    yield parameters
    for value in parameters.values():
        if isinstance(value, Mapping) and "name" in value:
            yield from _chain(value)
