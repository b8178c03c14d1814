"""Logistic regression and ridge on principal axes, which make a whole path of strengths cheap.

Rows are rotated to the principal axes of the training clips, as many as clips or columns, whichever are fewer. Both
penalties are rotation-invariant, so that the solutions are those of the columns. Ridge then has a closed form for each
strength; for logistic regression the curvature along each axis is known well enough to precondition Newton's method,
which starts from the solution of the strength before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from acoustic_kit.data.clips import ALL_TARGETS, TargetKind
from acoustic_kit.recipe.heads.examples import Examples, LogLoss

RANK = 1e-6  # axes with less than this fraction of the largest variance are noise of float32
QUICK, CONVERGED = 1e-4, 1e-7  # a fit ends where coefficients, in units of their curvature, change less in the mean


@dataclass(frozen=True)
class LinearModel:
    """Logits that are linear in the columns."""

    coefficients: np.ndarray  # float32 (columns, classes)
    intercept: np.ndarray  # float32 (classes,)

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Return the logits of float32 (clips, columns): float32 (clips, classes)."""
        return np.asarray(x @ self.coefficients + self.intercept)


class _Axes:
    """Principal axes of weighted rows.

    - `center`: float32 (columns,), the weighted mean
    - `axes`: float32 (columns, axes), orthonormal
    - `squares`: float64 (axes,), weighted sum of squares along each
    """

    def __init__(self, x: np.ndarray, weights: np.ndarray) -> None:
        self.center = (weights @ x) / weights.sum()
        rows = (x - self.center) * np.sqrt(weights)[:, None]
        wide = x.shape[1] > len(x)
        squares, axes = np.linalg.eigh(rows @ rows.T if wide else rows.T @ rows)
        kept = squares > RANK * squares[-1]
        self.squares = squares[kept].astype(np.float64)
        self.axes = np.ascontiguousarray(axes[:, kept])
        if wide:
            self.axes = (rows.T @ self.axes) / np.sqrt(squares[kept])

    def rotate(self, x: np.ndarray) -> np.ndarray:
        """Return rows along the axes: float32 (clips, axes)."""
        return np.asarray((x - self.center) @ self.axes)


class _Linear:
    """A linear head that is fitted along a path of strengths."""

    def __init__(self, clips: Examples) -> None:
        self.axes = _Axes(clips.x, clips.weights)

    def _solve(self, strength: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the coefficients of the axes, float64 (axes, classes), and the intercept at their center."""
        raise NotImplementedError

    def _converge(self, strength: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the same as exactly as possible, for a model."""
        return self._solve(strength)

    def scores(self, x: np.ndarray, strengths: Sequence[float]) -> Iterator[np.ndarray]:
        """Yield the scores of float32 (clips, columns) for each strength: float32 (clips, classes)."""
        rotated = self.axes.rotate(x)
        for strength in strengths:
            coefficients, intercept = self._solve(strength)
            yield rotated @ coefficients.astype(np.float32) + intercept.astype(np.float32)

    def model(self, strength: float, slope: float = 1.0, offset: float = 0.0) -> LinearModel:
        """Return the model of one strength, whose logits are `slope` · scores + `offset`."""
        coefficients, intercept = self._converge(strength)
        coefficients = slope * (self.axes.axes @ coefficients)
        intercept = slope * intercept + offset - self.axes.center @ coefficients
        return LinearModel(coefficients.astype(np.float32), intercept.astype(np.float32))


class Ridge(_Linear):
    """Ridge regression of the targets: minimizes Σ w (y - x·W - b)² + α |W|², as scikit-learn's `Ridge`.

    Unknown targets count as the mean of their class.
    """

    STRENGTHS: ClassVar[tuple[float, ...]] = tuple(10.0 ** np.arange(6, -1.5, -0.5))  # α
    NEEDS_CALIBRATION: ClassVar[bool] = True
    USES: ClassVar[frozenset[TargetKind]] = frozenset({"soft", "weights"})

    def __init__(self, clips: Examples) -> None:
        super().__init__(clips)
        targets = np.where(np.isnan(clips.targets), clips.frequencies, clips.targets)
        self.mean = clips.weights @ targets / clips.weights.sum()
        weighted = (targets - self.mean) * clips.weights[:, None]
        self.products = self.axes.rotate(clips.x).T @ weighted  # (axes, classes)

    def _solve(self, strength: float) -> tuple[np.ndarray, np.ndarray]:
        return self.products / (self.axes.squares + strength)[:, None], self.mean


class Logistic(_Linear):
    """Logistic regression: minimizes C Σ w · log loss + |W|² / 2, as scikit-learn's for weights of mean 1.

    In multi-label tasks that is one regression per class, all fitted together. Fits along a path of strengths end
    early and are computed in float32. A model is fitted until no probability would change by 1e-4, in float64.
    """

    STRENGTHS: ClassVar[tuple[float, ...]] = tuple(10.0 ** np.arange(-4, 1.5, 0.5))  # C
    NEEDS_CALIBRATION: ClassVar[bool] = False
    USES: ClassVar[frozenset[TargetKind]] = ALL_TARGETS

    def __init__(self, clips: Examples) -> None:
        super().__init__(clips)
        self.n, self.loss, self.rows = len(clips), LogLoss(clips), self.axes.rotate(clips.x)
        p = clips.frequencies
        self.curvature = float(np.mean(p * (1 - p)))  # of the loss of the starting point, by a logit
        intercept = np.log(p / (1 - p)) if clips.task == "multi" else np.log(p)
        self.solution = np.zeros((self.rows.shape[1], len(p))), intercept

    def _solve(self, strength: float) -> tuple[np.ndarray, np.ndarray]:
        return self._newton(self.rows, strength, QUICK)

    def _converge(self, strength: float) -> tuple[np.ndarray, np.ndarray]:
        self._solve(strength)
        return self._newton(self.rows.astype(np.float64), strength, CONVERGED)

    def _newton(self, rows: np.ndarray, strength: float, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
        """Move the solution to that of a strength: by gradients of the rows' precision, and Hessians of float32."""
        from scipy.sparse.linalg import LinearOperator, cg

        decay, n_classes = 1 / (strength * self.n), len(self.solution[1])
        curvature = self.curvature * np.append(self.axes.squares / self.n + decay / self.curvature, 1)
        unit = 1 / np.sqrt(curvature)[:, None]  # coefficients are varied in units of their curvature

        def logits(flat: np.ndarray, rows: np.ndarray) -> np.ndarray:
            theta = (flat.reshape(-1, n_classes) * unit).astype(rows.dtype)
            return np.asarray(rows @ theta[:-1] + theta[-1])

        def gradient(flat: np.ndarray, residual: np.ndarray, rows: np.ndarray) -> np.ndarray:
            of_loss = np.vstack([rows.T @ residual, residual.sum(axis=0, dtype=np.float64)])
            penalty = np.append(np.full(len(unit) - 1, decay), 0)[:, None] * unit * flat.reshape(-1, n_classes)
            return np.asarray(((of_loss + penalty) * unit).ravel())

        def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
            value, residual = self.loss(logits(flat, rows))
            size = np.square(flat.reshape(-1, n_classes)[:-1] * unit[:-1]).sum()
            return value + decay / 2 * float(size), gradient(flat, residual, rows)

        def hessian(flat: np.ndarray) -> LinearOperator:
            product = self.loss.hessian(logits(flat, self.rows))
            return LinearOperator(
                (len(flat), len(flat)), lambda change: gradient(change, product(logits(change, self.rows)), self.rows)
            )

        flat, moving = (np.vstack(self.solution) / unit).ravel(), True
        value, slope = loss(flat)
        while moving:
            change, _ = cg(hessian(flat), -slope, rtol=0.1, maxiter=500)
            new = loss(flat + change)
            while (moving := bool(np.abs(change).mean() > tolerance)) and not new[0] < value:
                change /= 2
                new = loss(flat + change)
            flat, (value, slope) = flat + change, new
        theta = flat.reshape(-1, n_classes) * unit
        self.solution = theta[:-1], theta[-1]
        return self.solution
