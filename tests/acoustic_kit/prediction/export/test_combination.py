"""Blends in torch predict what `Blend` predicts."""

import numpy as np
import pytest
import torch

from acoustic_kit.blending import Blend, choose
from acoustic_kit.blending.blend import plain_blend
from acoustic_kit.errors import UsageError
from acoustic_kit.prediction.export.combination import Combination

N_RUNS, N_CLIPS, N_CLASSES = 4, 60, 3


def probabilities(task: str, seed: int) -> np.ndarray:
    """Random predictions of some runs that know the targets somewhat."""
    rng = np.random.default_rng(seed)
    odds = 2 * np.eye(N_CLASSES)[np.arange(N_CLIPS) % N_CLASSES] + rng.normal(size=(N_RUNS, N_CLIPS, N_CLASSES))
    p = 1 / (1 + np.exp(-odds))
    return p if task == "multi" else p / p.sum(axis=2, keepdims=True)


def fitted(task: str, method: str, metric: str, decision: str = "argmax") -> Blend:
    targets = np.arange(N_CLIPS) % N_CLASSES
    labels = targets if task == "single" else np.eye(N_CLASSES, dtype=bool)[targets]
    blend = choose(probabilities(task, 1), labels, metric=metric, method=method, decision=decision)
    assert isinstance(blend, Blend)
    return blend


@pytest.mark.parametrize(
    ("task", "method", "metric"),
    [
        *(("single", method, "accuracy") for method in ("mean", "geometric", "power", "weights", "greedy", "stack")),
        ("single", "auto", "log_loss"),
        ("multi", "auto", "map"),
        ("multi", "rank", "map"),
        ("multi", "stack", "f1"),
        ("multi", "geometric", "f1"),
    ],
)
def test_a_combination_is_that_of_the_blend(task: str, method: str, metric: str) -> None:
    blend = fitted(task, method, metric)
    new = probabilities(task, 2)
    new[:, 0, :] = [0, 0, 1]
    found = Combination(blend)([torch.tensor(run, dtype=torch.float32) for run in new])
    np.testing.assert_allclose(found.numpy(), blend.predict(new.astype(np.float32)), atol=1e-6)


def test_a_tuned_decision_is_applied() -> None:
    blend = fitted("multi", "mean", "f1", decision="tuned")
    assert blend.decision is not None
    new = probabilities("multi", 2)
    found = Combination(blend)([torch.tensor(run, dtype=torch.float32) for run in new])
    np.testing.assert_allclose(found.numpy(), blend.predict(new), atol=1e-6)


def test_ranks_of_the_given_clips_have_no_graph() -> None:
    with pytest.raises(UsageError, match="compares clips"):
        Combination(plain_blend(2, "rank", "single"))
