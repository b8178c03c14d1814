import numpy as np
import pytest

from acoustic_kit.runs.guessing import find_guessing, what_to_try


def predictions(targets: np.ndarray, n_classes: int, strength: float, seed: int = 0) -> np.ndarray:
    z = np.random.default_rng(seed).normal(size=(len(targets), n_classes))
    z[np.arange(len(targets)), targets] += strength
    return np.exp(z) / np.exp(z).sum(1, keepdims=True)


@pytest.mark.parametrize(
    "metric", ["accuracy", "f1", "map3", "map", "0.8*accuracy+0.2*f1", "roc_auc", "cmap5", "log_loss"]
)
@pytest.mark.parametrize(("n", "n_classes"), [(80, 10), (600, 50), (40, 2)])
def test_predictions_at_chance_are_found_and_good_ones_are_not(metric: str, n: int, n_classes: int) -> None:
    targets = np.arange(n) % n_classes
    assert find_guessing(metric, targets, predictions(targets, n_classes, 3.0)) is None
    found = find_guessing(metric, targets, predictions(targets, n_classes, 0.0))
    assert found is not None
    assert found.startswith(metric)


def test_guesses_are_seldom_taken_for_knowledge() -> None:
    targets = np.arange(200) % 5
    missed = [find_guessing("f1", targets, predictions(targets, 5, 0.0, seed)) is None for seed in range(50)]
    assert sum(missed) <= 1


def test_constant_predictions_are_found_without_labels_too() -> None:
    constant = np.tile([0.2, 0.8], (30, 1))
    for targets in (None, np.arange(30) % 2):
        assert "30 clips" in str(find_guessing("f1", targets, constant))
    assert find_guessing("f1", None, predictions(np.arange(30) % 2, 2, 0.0)) is None


def test_several_labels_a_clip() -> None:
    targets = np.random.default_rng(0).random((100, 4)) < 0.4
    good = np.where(targets, 0.8, 0.1) + np.random.default_rng(1).random((100, 4)) * 0.1
    for metric in ("map", "f1", "roc_auc", "lwlrap", "micro_map", "log_loss"):
        assert find_guessing(metric, targets, good) is None
        assert find_guessing(metric, targets, good[::-1]) is not None


def test_too_little_to_tell() -> None:
    assert find_guessing("f1", np.array([0]), np.array([[0.5, 0.5]])) is None
    assert find_guessing("f1", np.zeros(9, dtype=int), np.random.default_rng(0).dirichlet([1, 1], 9)) is None


def test_what_to_try_goes_by_the_settings() -> None:
    assert "--fast" in what_to_try({"epochs": 3}, fast=True)
    tries = what_to_try({"epochs": 12, "lr": 3e-3, "ema": 0.99}, fast=False)
    assert "--set epochs=24" in tries
    assert "--set lr=0.001" in tries
    assert "--set" not in what_to_try({"C": 1.0}, fast=False)
