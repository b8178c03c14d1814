"""Features of an open workspace: build, read, verify and prune."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from acoustic_kit.api.progress import is_switched_on, progress
from acoustic_kit.api.session import Session, cluster_at, warn_of_missing_recipe
from acoustic_kit.cluster import ClusterExecutor
from acoustic_kit.errors import UsageError
from acoustic_kit.features import Wave, build_features, feature_from_text, open_feature
from acoustic_kit.features.build.worker import worker_count
from acoustic_kit.features.store_users import note_user
from acoustic_kit.features.stored import column_names
from acoustic_kit.runs import feature_maintenance
from acoustic_kit.runs.feature_usage import listed_features, named_features, of_all_folds, unused_keys

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from acoustic_kit.features import BuildReport
    from acoustic_kit.features.build.build import OnError
    from acoustic_store import StoredFeature


Ids = list[str]  # in a class with a method `list`


class BuiltFeature:
    """A feature in the store of a workspace, for all clips that could be computed.

    >>> stats = ws.features["stats"]
    >>> x = stats.stack(["clip-1", "clip-2"])  # float32 (2, 1351)
    """

    def __init__(self, stored: StoredFeature) -> None:
        self.stored = stored

    def __repr__(self) -> str:
        return f"<BuiltFeature {self.key}: {len(self.ids)} clips, {len(self.failures)} failed>"

    @property
    def key(self) -> str:
        """The name in the store, `<name>-<8 hex>`."""
        return self.stored.key

    @property
    def parameters(self) -> dict[str, object]:
        """All that determines the values: the parameters, those of the source, versions."""
        return self.stored.attributes

    @property
    def ids(self) -> list[str]:
        """The clips that can be read."""
        return self.stored.ids

    @property
    def failures(self) -> dict[str, str]:
        """The clips that could not be computed, with the reason."""
        return {id: failure.reason for id, failure in self.stored.failures.items()}

    def read(self, id: str) -> np.ndarray:
        """Return the array of one clip, float32; its shape depends on the feature. Raises KeyError."""
        return self.stored.read(id)

    def stack(self, ids: Iterable[str] | None = None) -> np.ndarray:
        """Return the arrays of clips as one: float32 (clips, …), in the order of `ids`, by default of `self.ids`.

        Raises KeyError for a clip that is not built, ValueError if shapes differ: use `read` then.
        """
        return self.stored.stack(ids)

    def frame(self, ids: Iterable[str] | None = None) -> pl.DataFrame:
        """Return the arrays of clips as a frame, one row per clip.

        The columns are `id` and, if all arrays are one-dimensional and of one length, one column per value, named as
        the feature names it, else by number. Otherwise, and for `wave`, `shape` (list of int) and `values` (list of
        float32, row-major).
        """
        import polars as pl

        chosen = self.ids if ids is None else list(ids)
        shapes = [self.stored.shape(id) for id in chosen]
        if len(set(shapes)) == 1 and len(shapes[0]) == 1 and self.parameters["name"] != Wave.name:
            values = self.stack(chosen)
            return pl.DataFrame({"id": chosen}).hstack(pl.DataFrame(values, schema=column_names(self.stored)))
        arrays = [pl.Series(self.read(id).ravel()) for id in chosen]
        return pl.DataFrame(
            {"id": chosen, "shape": list(map(list, shapes)), "values": arrays},
            schema={"id": pl.String, "shape": pl.List(pl.Int64), "values": pl.List(pl.Float32)},
        )


class WorkspaceFeatures:
    """The features of a workspace.

    >>> ws.features.build("logmel:n_mels=64").read("clip-1")  # float32 (64, frames)
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def __getitem__(self, name: str) -> BuiltFeature:
        return self.open(name)

    def open(self, name: str, *, fold: int | str | None = None) -> BuiltFeature:
        """Return a built feature.

        Parameters
        ----------
        name : as for `build`, or its key in the store
        fold : see `build`

        Raises
        ------
        AkitError : the feature is not built
        UsageError : the name is unknown, or `fold` is needed

        """
        workspace = self._session.files
        stored = open_feature(
            workspace.store(), name, fold=_text(fold), mono=workspace.config.mono, folders=workspace.model_folders
        )
        return BuiltFeature(stored)

    def build(
        self,
        name: str,
        *,
        fold: int | str | None = None,
        workers: int | None = None,
        on_error: OnError = "skip",
        device: str = "auto",
        cluster: str | None = None,
    ) -> BuiltFeature:
        """Build a feature for all clips that the store lacks, and return it.

        >>> x = ws.features.build("stats").stack(ids)  # float32 (clips, 1351)

        Parameters
        ----------
        name : `stats`, or with parameters `logmel:n_mels=64,wave.sample_rate=32000`
        fold : for a feature that is fitted for each fold (`pca`): the fold whose fit is returned
        workers : worker processes; 0 computes in this process; default: one per core
        on_error : what to do with a clip that cannot be decoded: `skip` records it, `fail` raises, `silence` computes
            the feature of one second of silence
        device : `auto`, `cpu`, `cuda` or `cuda:1`, for features that can be computed on a GPU
        cluster : the address of a Dask scheduler that computes instead of worker processes, `tcp://host:8786`

        Raises
        ------
        UsageError : the name or a parameter is unknown, or `fold` is missing
        AkitError : a clip failed and `on_error` is `fail`
        acoustic_store.StoreError : another process builds the feature

        """
        workspace = self._session.files
        feature = feature_from_text(name)
        fits = of_all_folds(workspace, [feature.with_mono(workspace.config.mono).located(workspace.model_folders)])
        if fold is None and len(fits) > 1:
            raise UsageError(
                f"{name} is fitted for each of {len(fits)} folds. Pass fold=… to choose the one to return."
            )
        self.build_all([name], workers=workers, on_error=on_error, device=device, cluster=cluster)
        return self.open(name, fold=fold)

    def build_all(
        self,
        names: Sequence[str] = (),
        *,
        workers: int | None = None,
        on_error: OnError = "skip",
        device: str = "auto",
        cluster: str | None = None,
    ) -> pl.DataFrame:
        """Build several features at once, which decodes each file once.

        Parameters
        ----------
        names : features, or recipes for what they need; default: the features that `akit.toml` lists
        workers, on_error, device, cluster : see `build`

        Returns a frame with one row per feature: `feature` (key), `built`, `held` and `failed` (clips), `seconds`.
        Raises as `build` does.

        """
        import polars as pl

        reports = self.build_reports(names, workers=workers, on_error=on_error, device=device, cluster=cluster)
        if on_error == "fail":
            feature_maintenance.require_no_failures(reports)
        schema = {"feature": str, "built": int, "held": int, "failed": int, "seconds": float}
        rows = [(r.feature.key, r.built, r.held, len(r.failures), r.seconds) for r in reports]
        return pl.DataFrame(rows, schema, orient="row")

    def build_reports(
        self, names: Sequence[str], *, workers: int | None, on_error: OnError, device: str, cluster: str | None
    ) -> Sequence[BuildReport]:
        """Build features as `build_all` does, and return what was done, failures included."""
        workspace, wanted = self._session.files, self._session.progress
        features = named_features(workspace, names) if names else listed_features(workspace, warn_of_missing_recipe)
        note_user(workspace.store_place, workspace.root)
        with cluster_at(cluster, workers, messages=is_switched_on(wanted)) as machines, progress(wanted) as bar:
            reports = build_features(
                workspace.manifest,
                workspace.data_root,
                workspace.store(),
                of_all_folds(workspace, features),
                workers=worker_count(workers),
                on_error=on_error,
                on_progress=lambda feature, done, total: bar(feature.key, done, total),
                device=device,
                executor=None if machines is None else ClusterExecutor(machines),
            )
        workspace.remember_features(names)
        return reports

    def list(self) -> pl.DataFrame:
        """Return what is built: `feature` (key), `name`, `clips`, `failed`, `bytes`, `parameters`."""
        import polars as pl

        stored = feature_maintenance.list_stored(self._session.files)
        schema = {"feature": str, "name": str, "clips": int, "failed": int, "bytes": int, "parameters": str}
        own = feature_maintenance.own_parameters
        rows = [(s.key, s.attributes["name"], len(s), len(s.failures), s.n_bytes, own(s)) for s in stored]
        return pl.DataFrame(rows, schema, orient="row")

    def verify(self, *names: str, rebuild: bool = False) -> dict[str, Ids]:
        """Compare every clip with its checksum.

        Parameters
        ----------
        names : names or keys of built features; default: all
        rebuild : build the damaged clips again

        Returns the ids of the damaged clips by key, of each feature that has any.

        """
        workspace = self._session.files
        with progress(self._session.progress) as bar:
            damaged = feature_maintenance.verify(workspace, names, bar)
        if rebuild:
            feature_maintenance.rebuild(workspace, damaged)
        return {key: ids for key, ids in damaged.items() if ids}

    def prune(self, *, outside: bool = False) -> Ids:
        """Delete features that neither `akit.toml` nor a run refers to, and clips that newer ones replaced.

        - `outside`: also if the store is outside of the workspace folder, where other workspaces may need it

        Returns the keys of the deleted features. Raises AkitError if a store outside has some and `outside`
        is False.
        """
        workspace = self._session.files_with_runs()
        unused = unused_keys(workspace, warn_of_missing_recipe)
        if unused and not outside:
            feature_maintenance.require_own_store(workspace)
        feature_maintenance.prune(workspace, unused)
        return unused


def _text(fold: int | str | None) -> str | None:
    return None if fold is None else str(fold)
