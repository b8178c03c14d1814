"""Per-channel energy normalization (PCEN) on the CPU: the values and their gradient, one row of frames at a time.

    M[t] = (1 - b) M[t-1] + b E[t]
    out  = (E / ((eps + M)^gain + extra_eps) + bias)^power - bias^power

Logarithms and powers take the time, not the recursion, which alone is a scalar loop. They vectorize with a logarithm
and a power defined here, because numba's are calls of libm.
"""

import math
from typing import Any, NamedTuple

import numba
import numpy as np
from numba.extending import intrinsic
from numpy.polynomial import Chebyshev, Polynomial

# log2(1 + m) / m between √½ - 1 and √2 - 1, and the power series 2ᶠ = Σ (f ln 2)ᵏ / k!
_LOG2 = Chebyshev.interpolate(lambda m: np.log2(1 + m) / m, 9, domain=[math.sqrt(0.5) - 1, math.sqrt(2) - 1])
_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7, _L8, _L9 = _LOG2.convert(kind=Polynomial).coef.astype(np.float32)
_E0, _E1, _E2, _E3, _E4, _E5, _E6 = (np.float32(math.log(2) ** k / math.factorial(k)) for k in range(7))
_ZERO, _HALF, _ONE, _LN2 = np.float32(0), np.float32(0.5), np.float32(1), np.float32(math.log(2))
_INFINITY, _NAN, _LARGEST = np.float32(np.inf), np.float32(np.nan), np.float32(126)
_SQRT_HALF_BITS, _MANTISSA_BITS, _EXPONENT_BIAS = np.int32(0x3F3504F3), np.int32(23), np.int32(127)

BLOCK = 8  # rows at a time, which fit the cache


class Parameters(NamedTuple):
    """Parameters of the formula above, all floats; ``bias`` and ``eps`` positive, ``b`` above 0 and at most 1."""

    b: float
    gain: float
    bias: float
    power: float
    eps: float
    extra_eps: float = 0.0


@intrinsic
def _bits(typing_context: Any, x: Any) -> Any:
    """Return the bits of a float32, as an int32."""
    return numba.int32(numba.float32), _reinterpret


@intrinsic
def _from_bits(typing_context: Any, x: Any) -> Any:
    """Return the float32 with these bits, an int32."""
    return numba.float32(numba.int32), _reinterpret


def _reinterpret(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    return builder.bitcast(values[0], context.get_value_type(signature.return_type))


# error_model="numpy": a division that may raise an error prevents vectorization of a loop.
@numba.njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def log2(x: np.float32) -> Any:
    """Return the binary logarithm of a normal float32: to 2e-7, and to a relative 3e-7. NaN unless 0 < x < ∞."""
    bits = _bits(x)
    exponent = np.int32(np.int32(bits - _SQRT_HALF_BITS) >> _MANTISSA_BITS)  # of a mantissa in [√½, √2)
    m = _from_bits(np.int32(bits - np.int32(exponent << _MANTISSA_BITS))) - _ONE
    series = ((((_L9 * m + _L8) * m + _L7) * m + _L6) * m + _L5) * m + _L4
    series = (((series * m + _L3) * m + _L2) * m + _L1) * m + _L0
    value = series * m + np.float32(exponent)
    return value if _ZERO < x < _INFINITY else _NAN


@numba.njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def exp2(x: np.float32) -> Any:
    """Return 2ˣ of a float32, to a relative 3e-7; x beyond ±126 is clipped."""
    x = min(max(x, -_LARGEST), _LARGEST)
    whole = np.floor(x + _HALF)
    f = x - whole
    series = (((((_E6 * f + _E5) * f + _E4) * f + _E3) * f + _E2) * f + _E1) * f + _E0
    return series * _from_bits(np.int32(np.int32(np.int32(whole) + _EXPONENT_BIAS) << _MANTISSA_BITS))


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _recursion(x: np.ndarray, weight: np.float32, keep: np.float32, before: np.float32, out: np.ndarray) -> None:
    """Write out[t] = keep out[t-1] + weight x[t], four frames a round, so that only every fourth depends on another."""
    keep2 = keep * keep
    keep3, keep4 = keep2 * keep, keep2 * keep2
    n = len(x)
    for t in range(0, n - 3, 4):
        new0 = weight * x[t]
        new1 = keep * new0 + weight * x[t + 1]
        new2 = keep * new1 + weight * x[t + 2]
        new3 = keep * new2 + weight * x[t + 3]
        out[t], out[t + 1], out[t + 2] = keep * before + new0, keep2 * before + new1, keep3 * before + new2
        before = keep4 * before + new3
        out[t + 3] = before
    for t in range(n - n % 4, n):
        before = keep * before + weight * x[t]
        out[t] = before


@numba.njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def pcen(
    energy: np.ndarray,
    start: np.ndarray,
    parameters: Parameters,
    log_smooth: np.ndarray,
    log_u: np.ndarray,
    out: np.ndarray,
) -> None:
    """Write the PCEN of each row to ``out``.

    Parameters
    ----------
    energy : float32 (rows, frames), at least 0
    start : float32 (rows,): the smoother before the first frame, M[-1]
    parameters : of the formula
    log_smooth, log_u : float32 (rows, frames), or (BLOCK, frames) if they are not needed afterwards: log2(eps + M),
        and log2 of the base of the power, are written here for ``pcen_gradient``
    out : float32 (rows, frames); may be ``energy`` itself

    """
    b, gain, bias = np.float32(parameters.b), np.float32(parameters.gain), np.float32(parameters.bias)
    power, eps, extra_eps = np.float32(parameters.power), np.float32(parameters.eps), np.float32(parameters.extra_eps)
    floor = exp2(power * log2(bias))
    smooth = np.empty((BLOCK, energy.shape[1]), np.float32)
    for first in range(0, len(energy), BLOCK):
        rows = min(BLOCK, len(energy) - first)
        for row in range(rows):
            _recursion(energy[first + row], b, np.float32(1.0 - parameters.b), start[first + row], smooth[row])
        at = first % len(log_smooth)
        e, m, o = _flat(energy, first, rows), _flat(smooth, 0, rows), _flat(out, first, rows)
        log_m, log = _flat(log_smooth, at, rows), _flat(log_u, at, rows)
        for i in range(len(e)):
            log_m[i] = log2(eps + m[i])
        for i in range(len(e)):
            log[i] = log2(e[i] / (exp2(gain * log_m[i]) + extra_eps) + bias)
        for i in range(len(e)):
            o[i] = exp2(power * log[i]) - floor


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def pcen_gradient(
    grad_out: np.ndarray,
    energy: np.ndarray,
    parameters: Parameters,
    log_smooth: np.ndarray,
    log_u: np.ndarray,
    grad_energy: np.ndarray,
) -> np.ndarray:
    """Return the gradient of ``pcen`` whose smoother started at the first frame, M[-1] = E[0].

    It passes through the smoother by the same recursion, backward in time.

    Parameters
    ----------
    grad_out : float32 (rows, frames): the gradient with respect to ``out``
    energy, parameters, log_smooth, log_u : as passed to ``pcen``, and written by it; all rows
    grad_energy : float32 (rows, frames): the gradient with respect to ``energy`` is written here

    Returns
    -------
    float64 (3,): the gradient with respect to gain, bias and power

    """
    b, gain, bias = np.float32(parameters.b), np.float32(parameters.gain), np.float32(parameters.bias)
    power, extra_eps = np.float32(parameters.power), np.float32(parameters.extra_eps)
    log_bias = log2(bias)
    floor, slope = exp2(power * log_bias), exp2((power - _ONE) * log_bias)  # bias^power, bias^(power - 1)
    to_smooth = np.empty((BLOCK, energy.shape[1]), np.float32)
    later = np.empty_like(to_smooth)
    grad_scalars = np.zeros(3)
    for first in range(0, len(energy), BLOCK):
        rows = min(BLOCK, len(energy) - first)
        g, e, ge = _flat(grad_out, first, rows), _flat(energy, first, rows), _flat(grad_energy, first, rows)
        log_m, log = _flat(log_smooth, first, rows), _flat(log_u, first, rows)
        to_m, m_later = _flat(to_smooth, 0, rows), _flat(later, 0, rows)
        to_gain, to_bias, to_power = _ZERO, _ZERO, _ZERO
        for i in range(len(e)):
            factor = _ONE / (exp2(gain * log_m[i]) + extra_eps)
            scaled = factor * e[i]
            u_slope = exp2((power - _ONE) * log[i])
            to_u = g[i] * power * u_slope
            to_bias += g[i] * power * (u_slope - slope)
            to_power += g[i] * (u_slope * (scaled + bias) * log[i] - floor * log_bias)
            to_log = -to_u * scaled * (_ONE - extra_eps * factor)  # with respect to gain · ln(eps + M)
            to_gain += to_log * log_m[i]
            to_m[i] = gain * to_log * exp2(-log_m[i])
            ge[i] = to_u * factor
        for row in range(rows):
            _recursion(to_smooth[row, ::-1], _ONE, np.float32(1.0 - parameters.b), _ZERO, later[row, ::-1])
            grad_energy[first + row, 0] += (np.float32(1.0 - parameters.b)) * later[row, 0]
        for i in range(len(e)):
            ge[i] += b * m_later[i]
        grad_scalars += np.array([_LN2 * to_gain, to_bias, _LN2 * to_power])
    return grad_scalars


@numba.njit(cache=True, nogil=True)
def _flat(array: np.ndarray, first: int, rows: int) -> Any:
    """Return some rows, end to end: in one long loop, fewer frames are left over after the full vectors."""
    return array[first : first + rows].reshape(-1)
