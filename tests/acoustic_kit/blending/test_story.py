"""`auto` on synthetic fold models: its gain over the mean, and the bias of its nested estimate."""

import numpy as np
import pytest

from acoustic_kit.blending import choose, mean, stack
from acoustic_kit.metrics.scores import score
from benchmarks.synthetic_predictions import make_predictions


def halves(recordings, seed):
    """Positions of the clips of one half of the recordings, and of the other."""
    first = np.isin(recordings, np.random.default_rng(seed).permutation(recordings.max() + 1)[::2])
    return np.flatnonzero(first), np.flatnonzero(~first)


def test_the_synthetic_predictions_are_as_described():
    p, targets, recordings = make_predictions(0, families=3, folds=2)
    assert p.shape == (6, 1653, 10)
    assert p.dtype == np.float32
    assert np.allclose(p.sum(axis=2), 1, atol=1e-5)
    sizes = np.bincount(recordings)
    assert len(sizes) == 250
    assert sizes.min() == 1
    assert 30 < sizes.max() < 110
    for recording in range(250):
        assert len(set(targets[recordings == recording])) == 1
    errors = p.argmax(axis=2) != targets
    within = np.corrcoef(errors)
    assert within[0, 1] > within[0, 2:].mean() > 0.2  # a family shares errors, and all share some
    assert np.array_equal(make_predictions(0, families=3, folds=2)[0], p)


def test_a_stack_learns_recordings_of_both_halves():
    p, targets, recordings = make_predictions(1, families=6, folds=4)
    found = {}
    for name, groups in (("recordings", recordings), ("clips", np.arange(len(targets)))):
        a, b = halves(groups, 0)
        weak = stack(p[:, a], targets[a], strength=1e-5)
        found[name] = score("f1", targets[b], weak.predict(p[:, b])) - score("f1", targets[b], mean(p[:, b]))
    assert found["clips"] > 0.03
    assert found["recordings"] < found["clips"] - 0.03


@pytest.mark.slow
def test_auto_on_one_half():
    p, targets, recordings = make_predictions(0, families=6, folds=4)
    a, b = halves(recordings, 0)
    blend = choose(p[:, a], targets[a], recordings[a])
    true = score("f1", targets[b], blend.predict(p[:, b]))
    assert true >= score("f1", targets[b], mean(p[:, b]))
    assert blend.score - true > 0.015  # the naive score is optimistic
    assert blend.gain > 0


@pytest.mark.slow
def test_auto_gains_and_its_nested_estimate_is_unbiased():
    found = []
    for seed in range(4):
        p, targets, recordings = make_predictions(seed, families=6, folds=4)
        one, other = halves(recordings, seed)
        for a, b in ((one, other), (other, one)):
            blend = choose(p[:, a], targets[a], recordings[a])
            of_all = mean(p[:, b])
            found.append([score("f1", targets[b], q) for q in (of_all, blend.predict(p[:, b]))])
            found[-1].append(blend.nested_score)
    mean_of_all, auto, nested = np.transpose(found)
    assert np.mean(auto >= mean_of_all) >= 0.85
    assert (auto - mean_of_all).min() > -0.01
    assert abs(np.mean(nested - auto)) < 0.01
