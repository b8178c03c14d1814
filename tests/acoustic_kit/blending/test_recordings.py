import numpy as np
import pytest

from acoustic_kit.blending.recordings import Recordings, apply_postprocessing, rescale, smooth

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
    for step in (smooth, rescale):
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


@pytest.mark.parametrize("step", [smooth, rescale])
def test_recordings_do_not_influence_each_other(step) -> None:
    p, recordings = some_windows()
    together = step(p, recordings)
    for code in np.unique(recordings.codes):
        own = recordings.codes == code
        assert np.array_equal(together[own], step(p[own], recordings.take(own)))


@pytest.mark.parametrize("step", [smooth, rescale])
def test_steps_do_not_depend_on_the_order_of_clips(step) -> None:
    p, recordings = some_windows()
    order = RNG.permutation(len(p))
    before = p.copy()
    assert np.array_equal(step(p, recordings)[order], step(p[order], recordings.take(order)))
    assert np.array_equal(p, before)  # arguments are not modified


def test_rescaling_keeps_the_order_of_a_recording_and_lowers_uncertain_ones() -> None:
    p, recordings = some_windows()
    found = rescale(p, recordings)
    for code in range(3):
        own = recordings.codes == code
        assert np.array_equal(np.argsort(found[own], axis=0), np.argsort(p[own], axis=0))
        assert np.allclose(found[own], p[own] * p[own].max(axis=0) ** 0.5)
    assert np.array_equal(rescale(p, recordings, power=0), p)


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
