"""Types and functions that an untrusted scikit-learn model may contain without `--trust`."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

# Contents of fitted estimators of scikit-learn, and heads of akit, besides the types that skops trusts. None executes
# content of a file: functions compute on arrays, and classes contain numbers. `array_indices` checks trees.
HARMLESS = frozenset(
    {
        "acoustic_kit.recipe.heads.linear.LinearModel",
        "acoustic_kit.recipe.heads.neighbors.NeighborModel",
        "numpy.clip",
        "numpy.dtype",
        "numpy.mean",
        "numpy.median",
        "numpy.nan_to_num",
        "scipy.sparse._csc.csc_array",
        "scipy.sparse._csc.csc_matrix",
        "scipy.sparse._csr.csr_array",
        "scipy.sparse._csr.csr_matrix",
        "sklearn._loss.loss.HalfTweedieLossIdentity",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.calibration._TemperatureScaling",
        "sklearn.cluster._bisect_k_means._BisectingTree",
        "sklearn.cluster._kmeans._kmeans_single_elkan",
        "sklearn.cluster._kmeans._kmeans_single_lloyd",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.feature_selection._mutual_info.mutual_info_classif",
        "sklearn.feature_selection._univariate_selection.chi2",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "sklearn.gaussian_process.kernels.CompoundKernel",
        "sklearn.gaussian_process.kernels.ConstantKernel",
        "sklearn.gaussian_process.kernels.DotProduct",
        "sklearn.gaussian_process.kernels.Exponentiation",
        "sklearn.gaussian_process.kernels.ExpSineSquared",
        "sklearn.gaussian_process.kernels.Matern",
        "sklearn.gaussian_process.kernels.Product",
        "sklearn.gaussian_process.kernels.RationalQuadratic",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.gaussian_process.kernels.Sum",
        "sklearn.gaussian_process.kernels.WhiteKernel",
        "sklearn.metrics._dist_metrics.ChebyshevDistance64",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.metrics._dist_metrics.ManhattanDistance64",
        "sklearn.metrics._scorer._PassthroughScorer",
        "sklearn.model_selection._split.GroupKFold",
        "sklearn.model_selection._split.KFold",
        "sklearn.model_selection._split.StratifiedGroupKFold",
        "sklearn.model_selection._split.StratifiedKFold",
        "sklearn.multiclass._ConstantPredictor",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
    }
)


def unknown_types(path: Path, recipe: ModuleType) -> tuple[list[str], list[str]]:
    """Return the types and functions of a skops file that skops does not trust: harmless ones, and all others.

    Definitions of the recipe itself are harmless too, as the recipe is executed anyway: its functions, by reference,
    and instances of its classes. All other names in the recipe's module (imports of the recipe, their attributes, bound
    methods, calls of the recipe's functions) are not. Nothing of the file is constructed.

    Raises ValueError for a file whose parts contradict each other.
    """
    import skops.io

    unknown = set(skops.io.get_untrusted_types(file=path))
    own = {name for name in unknown if _is_defined_in(recipe, name)}
    others = unknown - HARMLESS - own | _misused(path, own)
    return sorted(unknown - others), sorted(others)


def _is_defined_in(recipe: ModuleType, name: str) -> bool:
    """Return whether `name` is a function or class that the recipe's own source defines at its top level."""
    module, _, attribute = name.rpartition(".")
    found = vars(recipe).get(attribute) if module == recipe.__name__ else None
    return isinstance(found, FunctionType | type) and (found.__module__, found.__qualname__) == (module, attribute)


def _misused(path: Path, own: set[str]) -> set[str]:
    """Return those of the recipe's names that are neither a function by reference nor the class of an instance.

    skops constructs one object for all nodes of an id. So nodes of one id must be of one kind, or a node checked
    here as one kind would be constructed as another.
    """
    with zipfile.ZipFile(path) as file:
        schema = json.loads(file.read("schema.json"))
    misused: set[str] = set()
    kinds: dict[Any, tuple[str, str, str]] = {}
    for node in _nodes(schema):
        module, name, loader = (str(node.get(key)) for key in ("__module__", "__class__", "__loader__"))
        kind, number = (loader, module, name), node.get("__id__")
        if loader == "CachedNode" or (number and kinds.setdefault(number, kind) != kind):
            raise ValueError(f"two of its parts have the number {number}")
        if f"{module}.{name}" in own and loader not in {"FunctionNode", "ObjectNode"}:
            misused.add(f"{module}.{name}")
        if loader == "DictNode":  # skops calls the types of its keys
            types = node["key_types"]["content"]
            misused |= {f"{t['__module__']}.{t['__class__']}" for t in types if t["__loader__"] != "TypeNode"}
    return misused


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield all nodes of a skops file's schema, at any depth."""
    waiting = [schema]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if "__loader__" in item:
                yield item
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
