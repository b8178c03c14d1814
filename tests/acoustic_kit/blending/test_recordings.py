import json

import numpy as np
import pytest

from acoustic_kit.blending import Blend, choose, mean
from acoustic_kit.blending.recordings import Recordings, apply_postprocessing, mix_mean, rescale, smooth
from acoustic_kit.errors import AkitError
from acoustic_kit.metrics.scores import score

RNG = np.random.default_rng(0)


def some_windows() -> tuple[np.ndarray, Recordings]:
    """Three recordings of 1, 2 and 9 windows, and two whole files, in random order."""
    paths = np.repeat(["a", "b", "c", "x", "y"], [1, 2, 9, 1, 1])
    starts = np.concatenate([[0], [0, 5], 2.5 * np.arange(9), [np.nan, np.nan]])
    order = np.random.default_rng(1).permutation(len(paths))
    found = Recordings.of(paths[order].tolist(), [None if np.isnan(s) else s for s in starts[order]])
    assert found is not None
    return RNG.random((len(paths), 4)), found


def test_clips_that_are_whole_files_form_no_recordings() -> None:
    assert Recordings.of(["a", "b"], [None, None]) is None
    p, recordings = some_windows()
    whole = recordings.codes < 0
    assert whole.sum() == 2
    for step in (smooth, rescale, mix_mean):
        assert np.array_equal(step(p, recordings)[whole], p[whole])


def test_smoothing_is_the_weighted_mean_of_existing_neighbours() -> None:
    p, weights = RNG.random((5, 3)), np.array([0.1, 0.2, 0.4, 0.2, 0.1])
    recordings = Recordings.of(["a"] * 5, [0, 5, 10, 15, 20])
    found = smooth(p, recordings, weights.tolist())
    for i in range(5):
        near = [j for j in range(5) if abs(j - i) <= 2]
        w = weights[[j - i + 2 for j in near]]
        assert np.allclose(found[i], w @ p[near] / w.sum())


def test_smoothing_keeps_constants_and_sums_of_rows() -> None:
    p, recordings = some_windows()
    constant = np.tile([0.2, 0.5, 0.0, 1.0], (len(p), 1))
    assert np.allclose(smooth(constant, recordings), constant)
    p /= p.sum(axis=1, keepdims=True)
    assert np.allclose(smooth(p, recordings).sum(axis=1), 1)


@pytest.mark.parametrize("step", [smooth, rescale, mix_mean])
def test_recordings_do_not_influence_each_other(step) -> None:
    p, recordings = some_windows()
    together = step(p, recordings)
    for code in np.unique(recordings.codes):
        own = recordings.codes == code
        assert np.array_equal(together[own], step(p[own], recordings.take(own)))


@pytest.mark.parametrize("step", [smooth, rescale, mix_mean])
def test_steps_do_not_depend_on_the_order_of_clips(step) -> None:
    p, recordings = some_windows()
    order = RNG.permutation(len(p))
    before = p.copy()
    assert np.array_equal(step(p, recordings)[order], step(p[order], recordings.take(order)))
    assert np.array_equal(p, before)  # arguments are not modified


def test_rescaling_keeps_order_and_lowers_uncertain_recordings() -> None:
    p, recordings = some_windows()
    found = rescale(p, recordings)
    for code in range(3):
        own = recordings.codes == code
        assert np.array_equal(np.argsort(found[own], axis=0), np.argsort(p[own], axis=0))
        assert np.allclose(found[own], p[own] * p[own].max(axis=0) ** 0.5)
    assert np.array_equal(rescale(p, recordings, power=0), p)


def test_the_mean_of_the_recording_is_mixed_in() -> None:
    p, recordings = some_windows()
    for share in (0, 0.3, 1):
        found = mix_mean(p, recordings, share)
        for code in range(3):
            own = recordings.codes == code
            np.testing.assert_allclose(found[own], (1 - share) * p[own] + share * p[own].mean(axis=0))
    p /= p.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(mix_mean(p, recordings).sum(axis=1), 1)


def test_steps_are_applied_in_the_given_order() -> None:
    p, recordings = some_windows()
    assert np.array_equal(
        apply_postprocessing(["smooth", "rescale"], p, recordings), rescale(smooth(p, recordings), recordings)
    )
    assert apply_postprocessing([], p, recordings) is p
    assert apply_postprocessing(["smooth"], p, None) is p


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.5, -0.1, 0.5), (0.5, 0, 0.5), ()])
def test_weights_must_be_symmetric_about_the_window(weights: tuple[float, ...]) -> None:
    p, recordings = some_windows()
    with pytest.raises(ValueError, match="weights"):
        smooth(p, recordings, weights)


def soundscapes(seed: int, *, persistent: bool) -> tuple[np.ndarray, np.ndarray, Recordings]:
    """Noisy runs (3, windows, 4) for 40 recordings of 12 windows, whose events last 4 windows or 1; targets."""
    rng = np.random.default_rng(seed)
    present = rng.random((40, 12 // (4 if persistent else 1), 4)) < 0.2
    targets = np.repeat(present, 4 if persistent else 1, axis=1).reshape(480, 4)
    logits = 2.5 * targets - 2 + rng.standard_normal((3, 480, 4)) + 1.5 * rng.standard_normal((480, 4))
    recordings = Recordings.of(np.repeat([f"r{i}" for i in range(40)], 12).tolist(), np.tile(5.0 * np.arange(12), 40))
    assert recordings is not None
    return 1 / (1 + np.exp(-logits)), targets, recordings


def test_a_blend_smooths_if_events_last_over_windows() -> None:
    p, targets, recordings = soundscapes(0, persistent=True)
    blend = choose(p, targets, metric="map", method="mean", recordings=recordings)
    plain = choose(p, targets, recordings.codes, metric="map", method="mean")
    assert "smooth" in blend.postprocessing
    assert blend.nested_score > plain.nested_score + 0.05
    gains = blend.postprocessing_gains
    assert list(gains) == ["smooth", "rescale", "mean"]
    assert blend.nested_score == pytest.approx(plain.nested_score + sum(gain for gain in gains.values() if gain > 0))
    new, _, of_new = soundscapes(1, persistent=True)
    assert np.array_equal(blend.predict(new, of_new), apply_postprocessing(blend.postprocessing, mean(new), of_new))
    assert np.array_equal(blend.predict(new), mean(new))  # clips that are whole files
    assert abs(blend.gain - plain.gain) < 0.05  # the best run is smoothed too


def test_a_blend_does_not_smooth_independent_windows() -> None:
    p, targets, recordings = soundscapes(0, persistent=False)
    blend = choose(p, targets, metric="map", method="mean", recordings=recordings)
    plain = choose(p, targets, recordings.codes, metric="map", method="mean")
    assert "smooth" not in blend.postprocessing
    assert blend.postprocessing_gains["smooth"] < 0
    assert blend.nested_score > plain.nested_score - 0.005


def test_a_single_label_is_smoothed_but_not_rescaled() -> None:
    rng = np.random.default_rng(0)
    targets = np.repeat(rng.integers(0, 4, 80), 6)
    logits = 1.5 * np.eye(4)[targets] + rng.standard_normal((2, 480, 4))
    p = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    recordings = Recordings.of(np.repeat([f"r{i}" for i in range(40)], 12).tolist(), np.tile(5.0 * np.arange(12), 40))
    blend = choose(p, targets, metric="accuracy", method="auto", recordings=recordings)
    assert blend.postprocessing == ("smooth",)
    assert list(blend.postprocessing_gains) == ["smooth", "mean"]
    found = blend.predict(p, recordings)
    assert np.allclose(found.sum(axis=1), 1)
    assert blend.score == score("accuracy", targets, found)


def test_post_processing_is_stored_and_read() -> None:
    p, targets, recordings = soundscapes(0, persistent=True)
    blend = choose(p, targets, metric="map", method="mean", recordings=recordings)
    document = json.loads(json.dumps(blend.of_members().to_dict()))
    again = Blend.from_dict(document)
    assert (again.postprocessing, again.postprocessing_gains) == (blend.postprocessing, blend.postprocessing_gains)
    ordered = p[list(blend.members)]
    assert np.array_equal(again.predict(ordered, recordings), blend.predict(p, recordings))
    with pytest.raises(AkitError, match="sharpen"):
        Blend.from_dict({**document, "postprocessing": ["sharpen"]})
    del document["postprocessing"], document["postprocessing_gains"]
    assert Blend.from_dict(document).postprocessing == ()  # of an earlier version
