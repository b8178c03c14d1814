"""Operations that befall some clips: how often, in what order, and only those."""

import math

import numpy as np
import torch

from acoustic_kit.recipe.end_to_end_audio.random_apply import Op, in_random_order, one_of
from acoustic_kit.training import ClipRng
from acoustic_kit.training.clip_rng import digests

CLIPS = 4000
DRAWS = ClipRng("seed", digests([str(i) for i in range(CLIPS)]), torch.device("cpu"))
ZEROS = torch.zeros(CLIPS, 1, 2)


def append(digit: int) -> Op:
    """Write a digit behind those that are there."""
    return lambda x, _: 10 * x + digit


def near(count: int, p: float, n: int = CLIPS) -> bool:
    return abs(count - n * p) < 5 * math.sqrt(n * p * (1 - p)) + 1e-9


def test_every_order_is_as_likely_as_the_others() -> None:
    ops = {str(d): append(d) for d in (1, 2, 3)}
    found = in_random_order("x", ops, dict.fromkeys(ops, 1.0))(ZEROS, DRAWS)
    assert found.shape == ZEROS.shape
    orders, counts = np.unique(found[:, 0, 0].numpy(), return_counts=True)
    assert orders.tolist() == [123, 132, 213, 231, 312, 321]
    assert all(near(count, 1 / 6) for count in counts)


def test_each_operation_fires_with_its_own_probability() -> None:
    ops = {str(d): append(d) for d in (1, 2, 3)}
    found = in_random_order("x", ops, {"1": 0.5, "2": 0.2, "3": 0.0})(ZEROS, DRAWS)[:, 0, 0]
    texts = [str(int(value)) for value in found]
    first, second = (np.array([d in text for text in texts]) for d in "12")
    assert near(first.sum(), 0.5)
    assert near(second.sum(), 0.2)
    assert near((first & second).sum(), 0.1)
    assert not any("3" in text for text in texts)


def test_one_of_several_is_drawn_evenly() -> None:
    found = one_of("x", {str(d): append(d) for d in (1, 2, 3, 4)}, 0.6)(ZEROS, DRAWS)[:, 0, 0]
    counts = np.bincount(found.long())
    assert near(counts[0], 0.4)
    assert all(near(count, 0.15) for count in counts[1:])
    assert torch.equal(one_of("x", {}, 1.0)(ZEROS, DRAWS), ZEROS)


def test_operation_gets_only_its_clips_and_their_numbers() -> None:
    seen = []

    def op(x: torch.Tensor, rng: ClipRng) -> torch.Tensor:
        seen.extend(rng.clips.tolist())
        return x + rng.uniform("value")

    found = one_of("x", {"op": op}, 0.5)(ZEROS, DRAWS)[:, 0, 0]
    expected = DRAWS.uniform("value")[:, 0]
    changed = torch.from_numpy(np.isin(DRAWS.clips, np.array(seen, dtype=np.uint64)))
    assert near(int(changed.sum()), 0.5)
    assert torch.equal(found, torch.where(changed, expected, 0.0))
    assert not ZEROS.any()  # what is given is left as it was


def test_a_clips_fate_does_not_depend_on_the_batch() -> None:
    ops = {str(d): append(d) for d in (1, 2, 3)}
    for augment in (in_random_order("x", ops, dict.fromkeys(ops, 0.5)), one_of("x", ops, 0.5)):
        together = augment(ZEROS, DRAWS)
        part = ClipRng(DRAWS.key, DRAWS.clips[7:19], DRAWS.device)
        assert torch.equal(augment(ZEROS[7:19], part), together[7:19])
