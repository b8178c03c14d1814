"""The choice of submissions: its formulas against simple cases, and simulated competitions."""

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.stats import norm, spearmanr

from acoustic_kit.submission.pick import (
    ClipCounts,
    _fisher_interval,
    agreement,
    best_set,
    estimate_private,
)

CLIPS = ClipCounts(validation=400, public=180, private=420)
VARIANCE = 0.015**2


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = Path(__file__).parents[3] / "benchmarks" / "pick.py"
    spec = importlib.util.spec_from_file_location("pick_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def covariance(*correlations: tuple[int, int, float], n: int = 3, of_all: float = 0.5) -> np.ndarray:
    """Equal variances, and equal correlations but for some pairs."""
    found = np.full((n, n), of_all)
    for i, j, value in correlations:
        found[i, j] = found[j, i] = value
    np.fill_diagonal(found, 1)
    return VARIANCE * found


def test_of_two_alike_only_one_is_chosen() -> None:
    nested, alike = np.array([0.93, 0.925, 0.905]), covariance((0, 1, 0.999))
    assert best_set(estimate_private(nested, alike, CLIPS).draws(), 2) == (0, 2)
    assert best_set(estimate_private(nested, covariance(), CLIPS).draws(), 2) == (0, 1)


def test_a_clearly_worse_one_is_not_chosen_for_its_difference() -> None:
    nested, alike = np.array([0.902, 0.901, 0.70]), covariance((0, 1, 0.99), of_all=0)
    assert best_set(estimate_private(nested, alike, CLIPS).draws(), 2) == (0, 1)


def test_the_mean_maximum_is_clarks() -> None:
    """Clark 1961: the mean of the larger of two correlated normal variables."""
    nested = np.array([0.9, 0.89])
    found = estimate_private(nested, covariance(n=2), CLIPS)
    (x, y), (a, b), c = found.mean, np.diag(found.covariance), found.covariance[0, 1]
    deviation = math.sqrt(a + b - 2 * c)
    z = (x - y) / deviation
    expected = x * norm.cdf(z) + y * norm.cdf(-z) + deviation * norm.pdf(z)
    assert found.draws().max(axis=1).mean() == pytest.approx(expected, abs=3e-4)


def test_a_set_of_any_size_is_chosen() -> None:
    nested = np.array([0.90, 0.91, 0.80, 0.905])
    draws = estimate_private(nested, covariance(n=4), CLIPS).draws()
    assert best_set(draws, 1) == (1,)
    assert best_set(draws, 3) == (1, 3, 0)
    assert set(best_set(draws, 4)) == {0, 1, 2, 3}


def test_without_public_scores_only_differences_shrink() -> None:
    nested = np.array([0.92, 0.90, 0.88])
    found = estimate_private(nested, covariance(), CLIPS)
    assert found.mean.mean() == pytest.approx(0.9)
    assert 0 < np.ptp(found.mean) < np.ptp(nested)
    assert found.shift is None
    assert found.shift_interval() is None


def test_a_common_shift_is_found_and_changes_no_choice() -> None:
    nested = np.array([0.92, 0.91, 0.90, 0.89])
    sigma = covariance(n=4)
    found = [estimate_private(nested, sigma, CLIPS, nested - shift) for shift in (0.0, 0.2)]
    assert found[1].shift is not None
    low, high = found[1].shift_interval() or (0, 0)
    assert low < -0.2 < high < 0
    assert found[1].shift[0] == pytest.approx(-0.2, abs=0.01)
    assert np.diff([one.mean for one in found], axis=0) == pytest.approx(-0.2, abs=1e-3)
    assert best_set(found[0].draws(), 2) == best_set(found[1].draws(), 2)


def test_a_larger_public_board_counts_more() -> None:
    nested = np.array([0.94, 0.92, 0.90, 0.88])
    public, sigma = nested[::-1] - 0.1, covariance(n=4)
    small = estimate_private(nested, sigma, ClipCounts(400, 20, 420), public).mean
    large = estimate_private(nested, sigma, ClipCounts(400, 4000, 420), public).mean
    assert small[0] - small[3] > large[0] - large[3]
    assert large[0] < large[3]


def test_one_public_score_moves_the_expected_scores_of_all() -> None:
    nested = np.array([0.92, 0.91, 0.90])
    found = estimate_private(nested, covariance(), CLIPS, np.array([np.nan, 0.80, np.nan]))
    assert found.mean == pytest.approx(nested - 0.11, abs=0.01)
    assert (found.intervals()[:, 1] - found.intervals()[:, 0] > 0.05).all()


def test_equal_submissions_and_a_single_one_have_estimates() -> None:
    found = estimate_private(np.array([0.9, 0.9]), VARIANCE * np.ones((2, 2)), CLIPS, np.array([0.8, 0.8]))
    assert np.isfinite(found.intervals()).all()
    one = estimate_private(np.array([0.9]), np.zeros((1, 1)), CLIPS, np.array([0.8]))
    assert one.mean == pytest.approx([0.8], abs=1e-3)
    assert best_set(one.draws(), 1) == (0,)


def test_agreement_is_spearmans_correlation() -> None:
    rng = np.random.default_rng(0)
    nested, sigma = 0.9 + 0.05 * rng.standard_normal(12), covariance(n=12)
    public = nested - 0.05 + 0.02 * rng.standard_normal(12)
    public[3] = np.nan
    found = agreement(nested, sigma, CLIPS, public)
    assert found is not None
    seen = ~np.isnan(public)
    assert found.correlation == pytest.approx(spearmanr(nested[seen], public[seen]).statistic)
    assert found.interval is not None
    assert found.interval[0] < found.correlation < found.interval[1]
    assert found.verdict == "agree"


@pytest.mark.parametrize(("spread", "verdict"), [(0.1, "disagree"), (0.001, "unclear")])
def test_another_ranking_disagrees_unless_noise_explains_it(spread: float, verdict: str) -> None:
    nested = 0.8 + np.linspace(0, spread, 6)
    found = agreement(nested, covariance(n=6), CLIPS, nested[[5, 0, 4, 2, 1, 3]])
    assert found is not None
    assert found.correlation < 0
    assert found.verdict == verdict


def test_few_public_scores_are_not_compared() -> None:
    nested = np.array([0.9, 0.91, 0.92, 0.93])
    assert agreement(nested, covariance(n=4), CLIPS, np.array([0.8, 0.9, np.nan, np.nan])) is None
    assert agreement(nested, covariance(n=4), CLIPS, np.full(4, 0.8)) is None
    three = agreement(nested, covariance(n=4), CLIPS, np.array([0.8, 0.9, 0.85, np.nan]))
    assert three is not None
    assert three.interval is None
    assert three.verdict == "unclear"


@pytest.mark.parametrize(("correlation", "n"), [(0.0, 8), (0.6, 8), (0.8, 20)])
def test_the_interval_of_the_rank_correlation_covers(correlation: float, n: int) -> None:
    rng = np.random.default_rng(0)
    true = 6 / np.pi * math.asin(correlation / 2)  # Spearman's, of a normal distribution
    covered = 0
    for _ in range(400):
        x = rng.standard_normal(n)
        y = correlation * x + math.sqrt(1 - correlation**2) * rng.standard_normal(n)
        low, high = _fisher_interval(float(spearmanr(x, y).statistic), n) or (0, 0)
        covered += low <= true <= high
    assert 0.90 <= covered / 400 <= 0.99


def test_the_pair_beats_the_two_best_in_simulations(benchmark: ModuleType) -> None:
    setting = benchmark.Setting("", noted=6, shift=2)
    found = [benchmark.simulate(setting, seed) for seed in range(20)]
    gains = np.array([one.gain for one in found])
    assert gains.mean() > 2 * gains.std(ddof=1) / math.sqrt(len(gains))
    assert np.mean([one.covered for one in found]) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("noted", [0, 6, 10])
def test_200_simulated_competitions_with_a_shift(benchmark: ModuleType, noted: int) -> None:
    found = [benchmark.simulate(benchmark.Setting("", noted=noted), seed) for seed in range(200)]
    gains = np.array([one.gain for one in found])
    assert gains.mean() > 2 * gains.std(ddof=1) / math.sqrt(len(gains))
    assert 0.9 < np.mean([one.covered for one in found]) < 0.995
