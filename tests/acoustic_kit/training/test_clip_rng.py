"""Random numbers belong to clips: not to batches, not to the order of calls."""

import numpy as np
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from acoustic_kit.training.clip_rng import ClipRng, digests

CPU = torch.device("cpu")


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(max_size=8), min_size=1, max_size=20, unique=True), st.text(max_size=8), st.integers(1, 5))
def test_a_clips_numbers_do_not_depend_on_its_batch(ids: list[str], key: str, n: int) -> None:
    together = ClipRng(key, digests(ids), CPU).uniform("x", n)
    assert together.shape == (len(ids), n)
    for i, id in enumerate(ids):
        torch.testing.assert_close(ClipRng(key, digests([id]), CPU).uniform("x", n)[0], together[i], rtol=0, atol=0)


def test_other_purposes_epochs_and_clips_have_other_numbers() -> None:
    ids = digests([f"clip {i}" for i in range(1000)])
    columns = [ClipRng(key, ids, CPU).uniform64(what)[:, 0] for key in ("0/1", "0/2") for what in ("shift", "mask")]
    for i, first in enumerate(columns):
        for second in columns[:i]:
            assert abs(np.corrcoef(first, second)[0, 1]) < 0.12


def test_numbers_are_uniform() -> None:
    numbers = ClipRng("key", digests([str(i) for i in range(20_000)]), CPU).uniform64("x", 3)
    assert 0 <= numbers.min() < numbers.max() < 1
    for column in numbers.T:
        assert scipy.stats.kstest(column, "uniform").pvalue > 1e-4
    assert np.abs(np.corrcoef(numbers.T) - np.eye(3)).max() < 0.03


def test_float32_numbers_stay_below_one() -> None:
    class AlmostOne(ClipRng):
        def uniform64(self, purpose: str, n: int = 1) -> np.ndarray:
            return np.full((len(self.clips), n), 1 - 2.0**-53)

    assert AlmostOne("key", digests(["a"]), CPU).uniform("x").max() < 1


def test_the_numbers_are_those_of_every_machine() -> None:
    expected = [0.4463902257, 0.2591460577]  # calculated with Python's integers
    np.testing.assert_allclose(ClipRng("0/1/cnn", digests(["a"]), CPU).uniform64("mask", 2)[0], expected, atol=1e-6)
