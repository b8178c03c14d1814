"""Covariance of frames, as a vector in which its geometry is that of a plane (log-Euclidean)."""

import numpy as np


def log_covariance(rows: np.ndarray, floor: float) -> np.ndarray:
    """Return the upper triangle of the matrix logarithm of the covariance of rows.

    Covariances are not a vector space; their logarithms are, so that linear models and distances are meaningful
    (Arsigny et al. 2006).

    Parameters
    ----------
    rows : float (rows, frames), at least one frame
    floor : positive, added to each variance, in the square of the rows' unit

    Returns
    -------
    float64 (rows · (rows + 1) / 2,), row by row from the diagonal on

    """
    centered = rows - rows.mean(axis=1, keepdims=True)
    covariance = centered @ centered.T / rows.shape[1] + floor * np.eye(len(rows))
    variances, axes = np.linalg.eigh(covariance)
    logarithm = (axes * np.log(np.maximum(variances, floor))) @ axes.T
    found: np.ndarray = logarithm[np.triu_indices(len(rows))]
    return found
