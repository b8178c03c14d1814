"""Build, list, verify and prune the features of a workspace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from acoustic_kit.errors import AkitError, DataError, UsageError
from acoustic_kit.features import BuildReport, build_features
from acoustic_kit.features.pca import FIT_NAME
from acoustic_kit.features.store_users import other_users
from acoustic_kit.runs.feature_usage import rebuildable

if TYPE_CHECKING:
    from acoustic_kit.workspace.workspace import Workspace
    from acoustic_store import StoredFeature


def require_no_failures(reports: Sequence[BuildReport]) -> None:
    """Raise DataError if a clip failed, in this build or an earlier one."""
    if any(report.failures for report in reports):
        raise DataError("Some clips failed in an earlier build. Repair or remove their files, or use --on-error skip.")


def find_stored(workspace: Workspace, names: Sequence[str] = ()) -> list[StoredFeature]:
    """Return the built features of these names or keys, by default all. Raises UsageError for one that is not built."""
    store = workspace.built_store()
    built = list(map(store.__getitem__, store.keys())) if store else []
    if not names:
        return built
    unknown = [name for name in names if not any(name in {s.key, s.attributes["name"]} for s in built)]
    if unknown:
        raise UsageError(f"{', '.join(unknown)} is not built. `akit features list` shows the built ones.")
    return [stored for stored in built if stored.key in names or stored.attributes["name"] in names]


def list_stored(workspace: Workspace) -> list[StoredFeature]:
    """Return all built features, without the fitted components of `pca`, which are stored with them."""
    return [stored for stored in find_stored(workspace) if stored.attributes["name"] != FIT_NAME]


def own_parameters(stored: StoredFeature) -> str:
    """Return the parameters of a feature as `key=value, …`, without those of its source."""
    own = {k: v for k, v in stored.attributes.items() if k not in {"name", "version"} and not isinstance(v, dict)}
    if training := stored.attributes.get("training"):
        own["fold"] = training["fold"]
    return ", ".join(f"{key}={value}" for key, value in own.items())


def verify(
    workspace: Workspace, names: Sequence[str] = (), on_progress: Callable[[str, int, int], None] = lambda *_: None
) -> dict[str, list[str]]:
    """Compare every clip of built features with its checksum; return the damaged clips by key.

    - `on_progress`: called with the key, clips done and all clips
    """
    return {s.key: s.verify(partial(on_progress, s.key)) for s in find_stored(workspace, names)}


def rebuild(workspace: Workspace, damaged: Mapping[str, Sequence[str]]) -> None:
    """Build damaged clips again; `damaged` is what `verify` returned."""
    hit = [s for s in find_stored(workspace) if damaged.get(s.key)]
    features = [f for s in hit if s.attributes["name"] != FIT_NAME and (f := rebuildable(workspace, s.attributes))]
    build_features(workspace.manifest, workspace.data_root, workspace.store(), features, rebuild=damaged)


def require_own_store(workspace: Workspace) -> None:
    """Raise AkitError if the store is outside of the workspace: workspaces that are not recorded in it may need it."""
    place = workspace.store_place
    if isinstance(place, Path) and place.is_relative_to(workspace.root):
        return
    known = ", ".join(map(str, other_users(place, workspace.root))) or "none"
    raise AkitError(
        f"The store {place} is outside of this workspace: another workspace may need these features. Those recorded in "
        f"the store ({known}) keep theirs.\nRun `akit features build` in each other one, which records it; then "
        "delete with `akit features prune --outside`."
    )


def prune(workspace: Workspace, keys: Sequence[str]) -> int:
    """Delete these features, and the clips of others that newer ones replaced; return the bytes freed."""
    if (store := workspace.built_store()) is None:
        return 0
    freed = sum(store[key].n_bytes for key in keys)
    for key in keys:
        store.delete(key)
    return freed + sum(store.compact(key) for key in store.keys())  # noqa: SIM118 (a store is not a mapping)
