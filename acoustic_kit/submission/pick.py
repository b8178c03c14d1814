"""Statistics of which submissions to choose for the private board: pure functions on arrays.

**Model.** Let v be the nested estimates of K submissions on n training clips, and Σ the covariance of their errors, by
a paired bootstrap over groups. Submissions that predict alike have similar errors, similar true scores, and react alike
to clips of another kind; all covariances are therefore multiples of Σ:

    v       = θ + N(0, Σ)               θ: scores on all clips like the training clips
    θ       = m + N(0, g Σ)             m: their level, unknown
    public  = θ + s + δ + N(0, a Σ)     s: a shift common to all, unknown; a = n / number of public clips
    private = θ + s + δ + N(0, b Σ)     δ = N(0, h Σ): the shift of each, equal on both boards; b = n / private clips

Both boards are noisy samples of the same clips, and Σ of n clips is n / k times smaller than that of k. Given g and h,
everything is normal: the private scores given v and the public scores that are known follow by conditioning. A large g
believes the differences of v, g = 0 takes them for noise; a large h believes the public board, h = 0 pools it with
validation by the number of clips.

**g and h** are moments. With the centering matrix C, the sum of squares of v around its mean has the expectation
(1 + g) tr(CΣC), and that of public - v, over the submissions with a public score, (1 + a + h) tr(CΣC). Both are pooled
with `PRIOR` degrees of freedom of a prior value: g = 1, and h as if each submission shifted by the noise of
`SHIFT_CLIPS` clips. Intervals are those of a t distribution, as h is estimated. Without public scores s is unknowable:
estimates are then on the scale of validation, and the choice is the same for any s.

**Choice.** The set whose mean maximum over draws of the private scores is largest: all pairs are compared, and further
submissions added one by one (the maximum is submodular, so that this loses little).

Sources: Efron and Morris 1973, "Stein's estimation rule and its competitors" (g); Zellner 1986, "On assessing prior
distributions … with g-prior distributions" (one covariance for all); Nemhauser et al. 1978 (the choice one by one);
Bonett and Wright 2000, "Sample size requirements for estimating Pearson, Kendall and Spearman correlations".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

PRIOR = 2.0  # degrees of freedom of the prior values of g and h
SHIFT_CLIPS = 400  # clips whose noise is as large as the shift of one submission, before the board says more
NESTED_NOISE = 0.01  # of the mean variance: what the folds that fit a blend add to its nested estimate
FLAT = 1e4  # variance of the unknown m and s, in terms of the spread of the scores
DRAWS = 20_000
MIN_RANKED = 4  # public scores, from which a rank correlation has an interval


@dataclass(frozen=True)
class ClipCounts:
    """Numbers of clips, of which scores are means."""

    validation: int
    public: int
    private: int


@dataclass(frozen=True, eq=False)
class Estimate:
    """Distribution of the private scores, of which higher ones are better: multivariate t."""

    mean: np.ndarray  # float64 (submissions,)
    covariance: np.ndarray  # float64 (submissions, submissions)
    shift: tuple[float, float] | None  # common to all: mean and standard deviation; None without public scores
    freedom: float  # degrees of freedom; inf is the normal distribution

    def intervals(self) -> np.ndarray:
        """Return the 95 % interval of each private score: float64 (submissions, 2)."""
        half = self._quantile * np.sqrt(np.diag(self.covariance))
        return np.stack([self.mean - half, self.mean + half], axis=1)

    def shift_interval(self) -> tuple[float, float] | None:
        """Return the 95 % interval of the shift common to all submissions; None without public scores."""
        if self.shift is None:
            return None
        mean, deviation = self.shift
        return mean - self._quantile * deviation, mean + self._quantile * deviation

    def draws(self, seed: int = 0, n: int = DRAWS) -> np.ndarray:
        """Return draws of the private scores: float64 (n, submissions)."""
        rng = np.random.default_rng(seed)
        found = _normal(rng, self.covariance, n)
        if math.isfinite(self.freedom):
            found /= np.sqrt(rng.chisquare(self.freedom, (n, 1)) / self.freedom)
        return np.asarray(self.mean + found)

    @property
    def _quantile(self) -> float:
        from scipy.stats import t

        return float(t.ppf(0.975, self.freedom))


def estimate_private(
    nested: np.ndarray, covariance: np.ndarray, clips: ClipCounts, public: np.ndarray | None = None
) -> Estimate:
    """Estimate the scores of submissions on the private board.

    Parameters
    ----------
    nested : float (submissions,), higher is better
    covariance : of the errors of `nested`, float (submissions, submissions)
    clips : numbers of clips of validation, public and private board
    public : float (submissions,), NaN where the public score is unknown; None if all are

    """
    n = len(nested)
    public = np.full(n, np.nan) if public is None else public
    seen = np.flatnonzero(np.isfinite(public))
    sigma = _with_nested_noise(covariance)
    a, b = clips.validation / clips.public, clips.validation / clips.private
    g = max(0.0, _ratio(nested, sigma, prior=2) - 1)
    h = clips.validation / SHIFT_CLIPS
    if len(seen):
        gaps = (public - nested)[seen]
        h = max(0.0, _ratio(gaps, sigma[np.ix_(seen, seen)], prior=1 + a + h) - 1 - a)
    flat = FLAT * (np.diag(sigma).mean() + np.var(nested) + (np.mean((public - nested)[seen]) ** 2 if len(seen) else 0))
    level = np.full((n, n), flat)  # of m; that of s has the same variance
    moved = g * sigma + h * sigma + level + (level if len(seen) else 0)  # θ + s + δ
    of_public = moved + a * sigma
    observed = np.concatenate([nested, public[seen]]) - nested.mean()
    of_observed = np.block(
        [
            [(1 + g) * sigma + level, (g * sigma + level)[:, seen]],
            [(g * sigma + level)[seen], of_public[np.ix_(seen, seen)]],
        ]
    )
    of_s = np.concatenate([np.zeros(n), np.full(len(seen), flat)])
    with_observed = np.vstack([np.hstack([g * sigma + level, moved[:, seen]]), of_s])  # of private scores and s
    gain = np.linalg.solve(of_observed, with_observed.T).T
    mean = gain @ observed
    left = moved + b * sigma - gain[:n] @ with_observed[:n].T
    shift = (float(mean[n]), math.sqrt(max(0.0, flat - gain[n] @ of_s))) if len(seen) else None
    freedom = len(seen) - 1 + PRIOR if len(seen) else math.inf
    return Estimate(nested.mean() + mean[:n], (left + left.T) / 2, shift, freedom)


def best_set(draws: np.ndarray, n: int) -> tuple[int, ...]:
    """Return the positions of the `n` submissions with the largest mean maximum, best first.

    - `draws`: of private scores, (draws, submissions), higher is better
    """
    single = draws.mean(axis=0)
    sets = combinations(range(draws.shape[1]), min(n, 2))
    chosen = list(max(sets, key=lambda one: draws[:, list(one)].max(axis=1).mean()))
    while len(chosen) < n:
        best = draws[:, chosen].max(axis=1)
        others = [i for i in range(draws.shape[1]) if i not in chosen]
        chosen.append(max(others, key=lambda i: np.maximum(best, draws[:, i]).mean()))
    return tuple(sorted(chosen, key=lambda i: -single[i]))


@dataclass(frozen=True)
class Agreement:
    """Whether validation and public board rank submissions alike."""

    correlation: float  # Spearman's, of the nested estimates and the public scores
    interval: tuple[float, float] | None  # 95 %; None for fewer than `MIN_RANKED` submissions
    expected: tuple[float, float]  # 95 % of the correlations that noise alone leaves if both measure the same
    verdict: Literal["agree", "disagree", "unclear"]


def agreement(
    nested: np.ndarray, covariance: np.ndarray, clips: ClipCounts, public: np.ndarray, seed: int = 0
) -> Agreement | None:
    """Compare the ranking of submissions by validation with that by the public board.

    They disagree if the correlation is lower than 97.5 % of those that would be found if both measured the same, with
    the noise of their clips; they agree if they do not disagree, and the correlation's interval is above 0.

    Parameters as for `estimate_private`. Returns None for fewer than three public scores, or if all are equal.
    """
    seen = np.flatnonzero(np.isfinite(public))
    if len(seen) < 3 or np.ptp(public[seen]) == 0 or np.ptp(nested[seen]) == 0:
        return None
    from scipy.stats import rankdata

    sigma = _with_nested_noise(covariance)
    g = max(0.0, _ratio(nested, sigma, prior=2) - 1)
    # θ given v is m + g / (1 + g) (v - m), with the variance g / (1 + g) Σ, and the board adds a Σ
    centers = nested.mean() + g / (1 + g) * (nested - nested.mean())
    spread = (g / (1 + g) + clips.validation / clips.public) * sigma
    same = centers[seen] + _normal(np.random.default_rng(seed), spread[np.ix_(seen, seen)], DRAWS)
    ranks = rankdata(nested[seen])
    alike = _correlations(rankdata(same, axis=1), ranks)
    found = float(_correlations(rankdata(public[seen])[None], ranks)[0])
    low, high = np.quantile(alike, [0.025, 0.975])
    interval = _fisher_interval(found, len(seen))
    above = interval is not None and interval[0] > 0
    verdict: Literal["agree", "disagree", "unclear"] = "disagree" if found < low else "agree" if above else "unclear"
    return Agreement(found, interval, (float(low), float(high)), verdict)


def _fisher_interval(correlation: float, n: int) -> tuple[float, float] | None:
    """Return the 95 % interval of a rank correlation of n pairs, by Bonett and Wright's standard error."""
    if n < MIN_RANKED:
        return None
    center = math.atanh(min(max(correlation, -1 + 1e-9), 1 - 1e-9))
    half = 1.96 * math.sqrt((1 + correlation**2 / 2) / (n - 3))
    return math.tanh(center - half), math.tanh(center + half)


def _correlations(rows: np.ndarray, one: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation of each row with one more, 0 for a row of equal values: float64 (rows,)."""
    rows, one = rows - rows.mean(axis=1, keepdims=True), one - one.mean()
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(one)
    return np.asarray(np.divide(rows @ one, lengths, out=np.zeros(len(rows)), where=lengths > 0))


def _with_nested_noise(covariance: np.ndarray) -> np.ndarray:
    """Return the covariance with noise of each submission's own, which also makes it regular."""
    own = max(NESTED_NOISE * float(np.diag(covariance).mean()), 1e-12)
    return np.asarray(covariance + own * np.eye(len(covariance)))


def _ratio(values: np.ndarray, sigma: np.ndarray, prior: float) -> float:
    """Return the factor by which values differ more than by the covariance, pooled with a prior factor."""
    freedom = len(values) - 1
    expected = np.trace(sigma) - sigma.mean() * len(values)  # tr(CΣC)
    excess = ((values - values.mean()) ** 2).sum() / expected if freedom else 0.0
    return float((freedom * excess + PRIOR * prior) / (freedom + PRIOR))


def _normal(rng: np.random.Generator, covariance: np.ndarray, n: int) -> np.ndarray:
    """Return draws of a normal distribution around 0: float64 (n, values)."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(rng.standard_normal((n, len(values))) @ (vectors * np.sqrt(np.maximum(values, 0))).T)
