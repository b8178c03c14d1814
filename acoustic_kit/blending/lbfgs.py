"""L-BFGS with a limited number of BLAS threads."""

from collections.abc import Callable
from pathlib import Path

import numpy as np


def minimum(
    loss: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: np.ndarray,
    iterations: int,
    *,
    one_thread: bool = False,
) -> np.ndarray:
    """Return the minimum that SciPy's L-BFGS-B finds from ``start``, float64 (n,).

    ``loss`` returns a value and its gradient (n,).

    SciPy's wheels contain their own BLAS, whose vector operations L-BFGS uses. Its threads compete with those of
    NumPy's BLAS, which ``loss`` uses: fits take three times as long. Therefore SciPy's has one thread here, and with
    ``one_thread`` NumPy's too, for matrix products so small that threads wait longer than they compute.
    """
    from scipy.optimize import minimize
    from threadpoolctl import ThreadpoolController

    blas = ThreadpoolController()
    of_scipy = [lib.filepath for lib in blas.lib_controllers if {"scipy", "scipy.libs"} & set(Path(lib.filepath).parts)]
    with (blas.select(user_api="blas") if one_thread else blas.select(filepath=of_scipy)).limit(limits=1):
        found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": iterations, "gtol": 1e-5})
    return np.asarray(found.x)
