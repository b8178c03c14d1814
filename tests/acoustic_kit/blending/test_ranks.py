"""Ranks and powers with weights, and the blend by them of metrics that compare clips within a class."""

import json

import numpy as np
import pytest

from acoustic_kit.blending import Blend, choose, mean, plain_blend, power
from acoustic_kit.blending.combine import AVERAGED, RANKING
from acoustic_kit.blending.fitting import compares_clips_only
from acoustic_kit.blending.ranks import as_probabilities, mean_rank, quantiles_of, ranks_of
from acoustic_kit.metrics.scores import score


def runs_of_skill(seed: int, skills: list[float], clips: int = 300, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (runs, clips, classes) of several labels, and targets."""
    rng = np.random.default_rng(seed)
    targets = rng.random((clips, classes)) < 0.25
    logits = np.array(skills)[:, None, None] * targets - 2 + rng.standard_normal((len(skills), clips, classes))
    return 1 / (1 + np.exp(-logits)), targets


def test_ranks_are_fractions_of_fitted_clips_in_order() -> None:
    p = np.random.default_rng(0).beta(0.3, 2, (2000, 4))
    ranks = ranks_of(p, quantiles_of(p))
    exact = (p[:, None, :3] < p[None, :, :3]).mean(axis=0)  # fraction of clips below
    assert abs(ranks[:, :3] - exact).max() < 0.02
    new = np.random.default_rng(1).random((500, 4))
    assert np.array_equal(np.argsort(ranks_of(new, quantiles_of(p)), axis=0), np.argsort(new, axis=0))
    ends = np.vstack([np.zeros(4), np.ones(4)])
    assert np.array_equal(ranks_of(ends, quantiles_of(p)), ends)


def test_mean_ranks_as_probabilities_have_their_quantiles() -> None:
    p, _ = runs_of_skill(0, [1.0, 2.0])
    quantiles, equal = np.stack([quantiles_of(run) for run in p]), np.full(2, 0.5)
    ranks = mean_rank(p, equal, quantiles)
    found = as_probabilities(ranks, np.stack([quantiles_of(ranks), quantiles_of(mean(p))]))
    for level in (0.1, 0.5, 0.9):
        assert np.allclose(np.quantile(found, level, axis=0), np.quantile(mean(p), level, axis=0), atol=0.02)
    assert np.array_equal(np.argsort(found, axis=0), np.argsort(ranks, axis=0))


def test_which_metrics_compare_clips_only() -> None:
    assert all(compares_clips_only(name) for name in ("map", "roc_auc", "cmap5", "micro_map", "0.5*map+0.5*roc_auc"))
    assert not any(compares_clips_only(name) for name in ("f1", "micro_f1", "lwlrap", "log_loss", "0.5*map+0.5*f1"))


@pytest.mark.parametrize("method", ["rank", "power"])
def test_weights_of_ranks_and_powers_are_fitted(method: str) -> None:
    p, targets = runs_of_skill(1, [0.0, 2.0, 2.0])
    blend = choose(p, targets, metric="roc_auc", method=method)
    assert blend.weights[0] < 0.1
    assert min(blend.weights[1:]) > 0.3
    assert blend.nested_score > choose(p, targets, metric="roc_auc", method="mean").nested_score
    if method == "power":
        assert np.allclose(blend.predict(p), power(p, "multi", blend.weights))


def test_ranks_do_not_depend_on_the_confidence_of_runs() -> None:
    p, targets = runs_of_skill(2, [1.5, 1.5, 1.5])
    distorted = np.stack([p[0] ** 8, p[1], 1 - (1 - p[2]) ** 5])
    plain, other = (choose(runs, targets, metric="map", method="rank") for runs in (p, distorted))
    assert other.score == pytest.approx(plain.score, abs=0.01)
    assert score("map", targets, mean(distorted)) < plain.score - 0.02


@pytest.mark.parametrize("method", ["auto", "rank", "power"])
def test_a_clip_is_predicted_without_the_others(method: str) -> None:
    p, targets = runs_of_skill(3, [1.0, 2.0, 1.5])
    blend = choose(p, targets, metric="map", method=method)
    assert not blend.compares_clips
    found = blend.predict(p)
    assert ((found >= 0) & (found <= 1)).all()
    assert np.array_equal(blend.predict(p[:, 7:8]), found[7:8])
    assert plain_blend(3, "rank", "multi").compares_clips  # not fitted: ranks among the given clips


def test_auto_joins_means_ranks_and_powers_for_ranking_metrics() -> None:
    p, targets = runs_of_skill(4, [1.0, 2.0, 1.5], clips=120)
    blend = choose(p, targets, metric="roc_auc")
    assert tuple(blend.considered) == RANKING
    parts = [mean(p), *(choose(p, targets, metric="roc_auc", method=name).predict(p) for name in RANKING[1:])]
    assert np.allclose(blend.predict(p), power(parts, "multi"))
    assert tuple(choose(p, targets, metric="f1").considered) == AVERAGED
    labels = targets.argmax(axis=1)
    assert tuple(choose(p / p.sum(axis=2, keepdims=True), labels, metric="map").considered) == AVERAGED


@pytest.mark.parametrize("method", ["auto", "rank", "power"])
def test_fitted_ranks_are_stored(method: str) -> None:
    p, targets = runs_of_skill(5, [0.0, 2.0, 1.5], clips=120)
    blend = choose(p, targets, metric="map", method=method)
    document = json.loads(json.dumps(blend.of_members().to_dict()))
    members = Blend.from_dict(document)
    assert np.array_equal(members.predict(p[list(blend.members)]), blend.predict(p))
    assert members.to_dict() == document
