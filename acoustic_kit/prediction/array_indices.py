"""Checks of indices in scikit-learn's trees: its compiled code has no checks, so a crafted file could crash akit."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np


def check_indices(model: Any) -> None:
    """Raise ValueError if any tree in a loaded model has indices outside of its own nodes, data or columns.

    Decision trees, trees of histogram gradient boosting (without categorical splits) and neighbor trees are checked.
    """
    for part, n_columns in _parts(model):
        check = _CHECKS.get(f"{type(part).__module__}.{type(part).__name__}")
        if check is not None:
            check(part, n_columns)


def _parts(model: Any) -> Iterator[tuple[Any, int]]:
    """Yield all objects of a model, each with the fewest columns that an enclosing or neighboring estimator reads."""
    waiting, seen = [(model, sys.maxsize)], set[tuple[int, int]]()
    while waiting:
        part, n_columns = waiting.pop()
        if (id(part), n_columns) in seen:
            continue
        seen.add((id(part), n_columns))
        yield part, n_columns
        held: Any = ()
        if isinstance(part, dict):
            held = part.values()
        elif isinstance(part, list | tuple | set) or (isinstance(part, np.ndarray) and part.dtype == object):
            held = part.ravel() if isinstance(part, np.ndarray) else part
            n_columns = min([n_columns, *map(_columns_of, held)])  # an ensemble uses the number of its first member
        elif hasattr(part, "__dict__"):
            held = vars(part).values()
            n_columns = min(n_columns, _columns_of(part))
        waiting += [(one, n_columns) for one in held]


def _columns_of(part: Any) -> int:
    """Return how many columns an estimator reads; `sys.maxsize` for other objects."""
    found = vars(part).get("n_features_in_") if hasattr(part, "__dict__") else None
    return int(found) if isinstance(found, int | np.integer) else sys.maxsize


def _check_decision_tree(tree: Any, n_columns: int) -> None:
    if not 0 < tree.node_count <= tree.capacity:
        raise ValueError("a decision tree with an invalid size")
    left, right, column = tree.children_left, tree.children_right, tree.feature
    split = left != -1
    _check_splits(split, left, right, column, n_columns)


def _check_boosted_tree(tree: Any, n_columns: int) -> None:
    nodes = tree.nodes
    split = nodes["is_leaf"] == 0
    _check_splits(split, nodes["left"], nodes["right"], nodes["feature_idx"], n_columns)
    if nodes["is_categorical"].any():
        raise ValueError("a tree with categorical splits")


def _check_splits(split: np.ndarray, left: np.ndarray, right: np.ndarray, column: np.ndarray, n_columns: int) -> None:
    """Raise ValueError unless all children have higher indices than their node, which also excludes cycles."""
    n, number = len(split), np.arange(len(split))
    inside = [(number < child) & (child < n) for child in (left.astype(np.int64), right.astype(np.int64))]
    columns = column.astype(np.int64)
    if n_columns == sys.maxsize or not (inside[0] & inside[1] & (columns >= 0) & (columns < n_columns))[split].all():
        raise ValueError("a tree with indices out of range")


def _check_neighbor_tree(tree: Any, n_columns: int) -> None:
    data, indices, nodes, bounds = tree.get_arrays()
    n_nodes, n = len(nodes), len(data)
    inner = nodes["is_leaf"] == 0
    good = (
        len(indices) == n
        and n_nodes > 0
        and bounds.shape[1] == n_nodes
        and bounds.shape[2] == data.shape[1]
        and ((indices >= 0) & (indices < n)).all()
        and ((nodes["idx_start"] >= 0) & (nodes["idx_start"] <= nodes["idx_end"]) & (nodes["idx_end"] <= n)).all()
        and (2 * np.flatnonzero(inner) + 2 < n_nodes).all()
    )
    if not good:
        raise ValueError("a neighbor tree with indices out of range")


_CHECKS = {
    "sklearn.tree._tree.Tree": _check_decision_tree,
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor": _check_boosted_tree,
    "sklearn.neighbors._kd_tree.KDTree": _check_neighbor_tree,
    "sklearn.neighbors._ball_tree.BallTree": _check_neighbor_tree,
}
