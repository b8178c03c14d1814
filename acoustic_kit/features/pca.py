"""``pca``: the principal components of a table, learnt from training clips."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.features.feature import Feature, Training
from acoustic_kit.features.stats import Stats

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from acoustic_store import FeatureStore

# Measured on 1,133 columns with two cores: the eigenvectors of a small covariance matrix are found 3 to 7 times as fast
# as a randomized solver finds an approximation, which is faster on tables of many rows and many columns.
MAX_COVARIANCE = 4000  # columns
MIN_RANDOMIZED = 2000  # rows and columns
RANDOMIZED_FRACTION = 0.1  # of the components

FIT_NAME = "pca_fit"  # the name of a fit in the store, like that of a feature

Solver = Literal["full", "covariance_eigh", "randomized"]


@dataclass(frozen=True)
class PcaFit:
    """Scaling and components learnt from the training clips. ``transform`` is ((rows - mean) / scale) @ componentsᵀ."""

    mean: np.ndarray  # float32 (columns,)
    scale: np.ndarray  # float32 (columns,): standard deviations; 1 if a column is constant, or nothing is scaled
    components: np.ndarray  # float32 (components, columns), orthonormal rows
    explained_variance_ratio: np.ndarray  # float32 (components,), descending

    def transform(self, rows: np.ndarray) -> np.ndarray:
        """Return the scores of float32 (clips, columns): float32 (clips, components)."""
        scores: np.ndarray = ((rows - self.mean) / self.scale) @ self.components.T
        return scores


@dataclass(frozen=True)
class Pca(Feature):
    """Principal components of a feature that is one row of numbers a clip, standardized column by column first.

    >>> Pca(Stats(preset="freesound"), n_components=350)

    Scaling and components are learnt from training clips only, so there is one ``pca`` for each fold: ``for_fold``
    returns it, and its key contains the clips it was fitted on.

    Parameters
    ----------
    table : the source: a feature of shape (columns,)
    n_components : number of components, at most that of clips to learn from or of columns; or, below 1, a fraction of
        the variance
    scale : divide each column by its standard deviation
    fit_on : ``fold``: the training clips of a fold; ``all``: those of all folds, which include each fold's validation
        clips (without labels), as in the eighth place of Freesound 2018

    """

    name: ClassVar[str] = "pca"
    version: ClassVar[int] = 1
    no_layer: ClassVar[str] = "it is a projection of statistics, which numba kernels compute"
    batch_size: ClassVar[int] = 64
    uses_all_cores: ClassVar[bool] = True  # one product of matrices a block

    table: Feature = field(default_factory=Stats)
    n_components: int | float = 0.97
    scale: bool = True
    fit_on: Literal["fold", "all"] = "fold"
    training: Training | None = field(default=None, repr=False)
    fit: PcaFit | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (0 < self.n_components < 1 or (self.n_components >= 1 and self.n_components == int(self.n_components))):
            raise UsageError(
                f"n_components is {self.n_components}; it must be a whole number, or a fraction of variance below 1"
            )
        if self.fit_on not in {"fold", "all"}:
            raise UsageError(f"fit_on is {self.fit_on!r}; it must be 'fold' or 'all'")
        if isinstance(self.table, Pca):
            raise UsageError("the table of a pca cannot be a pca")

    @property
    def source(self) -> Feature:
        """The table."""
        return self.table

    @property
    def sees_validation(self) -> bool:
        """Whether it is fitted on the training clips of all folds."""
        return self.fit_on == "all"

    def parameters(self) -> dict[str, Any]:
        """Return the parameters as for every feature; for a fold, also the clips it learns from."""
        return {k: v for k, v in super().parameters().items() if not (k == "training" and v is None)}

    def for_fold(self, training: Training, everything: Training) -> Pca:
        """Return the feature for the models of one fold: fitted on its training clips, or on all, see ``fit_on``."""
        return replace(self, training=training if self.fit_on == "fold" else everything, fit=None)

    def ready(self, store: FeatureStore) -> Pca:
        """Return the feature with its fit, read from the store, or learnt from the table there and stored.

        Raises
        ------
        AkitError
            It is for no fold yet, or fewer than two of its clips have a table of one row each.

        """
        from acoustic_store import DamagedError

        if self.fit is not None:
            return self
        if self.training is None:
            raise AkitError("a pca is fitted on the training clips of a fold: take it from `for_fold`")
        names = [f.name for f in fields(PcaFit)]
        try:
            held = store[self.fit_key]
            return replace(self, fit=PcaFit(*map(held.read, names)))
        except (KeyError, DamagedError):  # missing, or to be fitted again
            fit = self._fit(store)
        with store.writer(self.fit_key, "float32", {"name": FIT_NAME, "pca": self.parameters()}) as writer:
            clips = [(name, self.training.digest) for name in names]
            for block in writer.plan(clips, rebuild=names):
                block.write(getattr(fit, name) for name in names)
        return replace(self, fit=fit)

    def learnt(self, store: FeatureStore, key: str) -> dict[str, np.ndarray]:
        """Return the arrays of the ``PcaFit``."""
        held = store[fit_key(key)]
        return {f.name: held.read(f.name) for f in fields(PcaFit)}

    def with_learnt(self, fold: str, arrays: Mapping[str, np.ndarray]) -> Pca:
        """Return the feature with its fit. Raises AkitError if the arrays are no ``PcaFit``."""
        names = [f.name for f in fields(PcaFit)]
        if sorted(arrays) != sorted(names):
            raise AkitError(f"a fit of pca is {', '.join(names)}; here is {', '.join(sorted(arrays)) or 'nothing'}")
        fit = PcaFit(*(np.asarray(arrays[name], np.float32) for name in names))
        if fit.components.ndim != 2 or not fit.mean.shape == fit.scale.shape == fit.components.shape[1:]:
            raise AkitError("the arrays of this fit of pca do not fit each other")
        return replace(self, training=Training(fold, ()), fit=fit)

    @property
    def fit_key(self) -> str:
        """The key of the fit in the store: one array for each field of ``PcaFit``."""
        return fit_key(self.key)

    def _fit(self, store: FeatureStore) -> PcaFit:
        assert self.training is not None
        stored = store[self.table.key]
        ids = [id for id, _ in self.training.clips if id in stored]
        if len(ids) < 2:
            raise AkitError(f"pca needs two training clips with {self.table.name}; fold {self.training.fold} has fewer")
        if len(stored.shape(ids[0])) != 1:
            raise AkitError(f"pca takes one row of numbers a clip; {self.table.name} has shape {stored.shape(ids[0])}")
        return fit_pca(stored.stack(ids), self.n_components, self.scale)

    def compute(self, source: np.ndarray) -> np.ndarray:
        """Return the scores of one clip's row, float32 (columns,): float32 (components,). See ``compute_batch``."""
        return self.compute_batch([source])[0]

    def compute_batch(self, sources: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the scores of some clips' rows, each float32 (columns,): each float32 (components,).

        Raises AkitError unless the feature is ``ready``.
        """
        if self.fit is None:
            raise AkitError("this pca is not fitted; `ready` fits it")
        return list(self.fit.transform(np.stack(sources)))


def fit_key(key: str) -> str:
    """Return the key of the fit that the pca of this key was computed with."""
    return f"{FIT_NAME}-{key.removeprefix(f'{Pca.name}-')}"


def fit_pca(rows: np.ndarray, n_components: int | float, scale: bool = True) -> PcaFit:
    """Standardize columns and find their principal components, with scikit-learn.

    The solver is the fastest for the shape, see ``solver_for``. Components are found in float64.

    Parameters
    ----------
    rows : float32 (clips, columns), finite
    n_components : number of components, cut to that of clips or columns; or, below 1, a fraction of the variance
    scale : divide each column by its (population) standard deviation

    """
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    scaler = StandardScaler(with_std=scale).fit(rows.astype(np.float64))
    n = n_components if n_components < 1 else min(int(n_components), *rows.shape)
    pca = PCA(n, svd_solver=solver_for(rows.shape, n_components), random_state=0)
    with threadpool_limits(1, "blas"):  # more threads wait for each other on busy cores
        pca.fit(scaler.transform(rows.astype(np.float64)))
    spread = scaler.scale_ if scale else np.ones(rows.shape[1])
    arrays = scaler.mean_, spread, pca.components_, pca.explained_variance_ratio_
    return PcaFit(*(np.asarray(array, np.float32) for array in arrays))


def solver_for(shape: tuple[int, int], n_components: int | float) -> Solver:
    """Return the fastest solver of ``sklearn.decomposition.PCA`` for (clips, columns).

    All are exact, except that of large, wide tables.
    During "full" nothing else runs in the process, and Ctrl-C has no effect: SciPy's SVD holds Python's lock.
    """
    n, columns = shape
    if columns <= min(1.5 * n, MAX_COVARIANCE):
        return "covariance_eigh"
    few = 1 <= n_components < RANDOMIZED_FRACTION * min(shape)
    return "randomized" if few and min(shape) >= MIN_RANDOMIZED else "full"
