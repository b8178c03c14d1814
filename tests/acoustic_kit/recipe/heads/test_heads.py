"""Heads on embeddings: their solutions against scikit-learn's, and the choice of their strength."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

from acoustic_kit.recipe.heads import Examples, Logistic, Neighbors, Ridge, choice, choose, linear, probabilities
from acoustic_kit.task import Task

N, CLASSES = 150, 4
HEADS = {"logistic": Logistic, "ridge": Ridge, "neighbors": Neighbors}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """More threads wait for each other on busy cores."""
    with threadpool_limits(1):
        yield


def examples(columns: int = 20, task: Task = "single", seed: int = 0, n: int = N) -> Examples:
    """Clips of four classes that overlap, with columns of unequal spread; weights have a mean of 1."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(CLASSES, size=n)
    centers = np.random.default_rng(9).standard_normal((CLASSES, columns))
    x = centers[labels] + 1.5 * rng.standard_normal((n, columns))
    targets = labels[:, None] == np.arange(CLASSES)
    if task == "multi":
        targets |= rng.random(targets.shape) < 0.2
    weights = rng.uniform(0.5, 1.5, n)
    spread = np.geomspace(3, 0.1, columns)
    return Examples(
        (x * spread).astype(np.float32), targets.astype(np.float32), (weights / weights.mean()).astype(np.float32), task
    )


@pytest.mark.parametrize("columns", [20, 300], ids=["more clips", "more columns"])
@pytest.mark.parametrize("strength", [0.01, 1.0, 30.0])
def test_logistic_regression_is_scikit_learns(columns: int, strength: float) -> None:
    """Models are converged: no probability differs by more than 1e-4, even of separable classes and weak penalties."""
    clips, new = examples(columns), examples(columns, seed=1).x
    peer = LogisticRegression(C=strength, tol=1e-10, max_iter=20000, solver="newton-cg")
    peer.fit(clips.x.astype(np.float64), clips.targets.argmax(axis=1), clips.weights)
    found = probabilities(Logistic(clips).model(strength).logits(new), "single")
    np.testing.assert_allclose(found, peer.predict_proba(new), rtol=0, atol=1e-4)


@pytest.mark.parametrize("strength", [0.1, 30.0])
def test_several_labels_are_one_regression_each(strength: float) -> None:
    clips, new = examples(100, task="multi"), examples(100, seed=1).x
    clips = Examples(clips.x, clips.targets, np.ones(N, np.float32), "multi")
    one = LogisticRegression(C=strength, tol=1e-10, max_iter=20000, solver="newton-cg")
    peer = OneVsRestClassifier(one).fit(clips.x.astype(np.float64), clips.targets > 0)
    found = probabilities(Logistic(clips).model(strength).logits(new), "multi")
    np.testing.assert_allclose(found, peer.predict_proba(new), rtol=0, atol=1e-4)


@pytest.mark.parametrize("task", ["single", "multi"])
def test_a_tighter_tolerance_changes_no_prediction(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    clips, new = examples(300, task), examples(300, task, seed=1).x
    for strength in Logistic.STRENGTHS:
        found = [probabilities(Logistic(clips).model(strength).logits(new), task)]
        with monkeypatch.context() as patch:
            patch.setattr(linear, "CONVERGED", linear.CONVERGED / 100)
            found.append(probabilities(Logistic(clips).model(strength).logits(new), task))
        np.testing.assert_allclose(*found, rtol=0, atol=1e-4)


@pytest.mark.parametrize("columns", [20, 300], ids=["more clips", "more columns"])
def test_ridge_is_scikit_learns(columns: int) -> None:
    clips, new = examples(columns), examples(columns, seed=1).x
    peer = SklearnRidge(alpha=10).fit(clips.x.astype(np.float64), clips.targets, clips.weights)
    np.testing.assert_allclose(Ridge(clips).model(10).logits(new), peer.predict(new), atol=1e-4)


def test_neighbors_vote_as_scikit_learns() -> None:
    clips, new = examples(), examples(seed=1).x
    clips = Examples(clips.x, clips.targets, np.ones(N, np.float32), "single")
    peer = KNeighborsClassifier(5, algorithm="brute").fit(normalize(clips.x), clips.targets.argmax(axis=1))
    votes = (5 * peer.predict_proba(normalize(new)) + clips.frequencies) / 6
    np.testing.assert_allclose(probabilities(Neighbors(clips).model(5).logits(new), "single"), votes, atol=1e-5)


@pytest.mark.parametrize("kind", HEADS.values(), ids=HEADS)
def test_a_path_gives_the_scores_of_each_strength(kind: Any) -> None:
    clips, new = examples(), examples(seed=1).x
    strengths = (1, 5, 12)
    for strength, scores in zip(strengths, kind(clips).scores(new, strengths), strict=True):
        of_one = kind(clips).model(strength).logits(new)
        np.testing.assert_allclose(probabilities(scores, "single"), probabilities(of_one, "single"), atol=1e-2)


@pytest.mark.parametrize("kind", [Logistic, Neighbors])
@pytest.mark.parametrize("task", ["single", "multi"])
def test_soft_targets_are_clips_counted_in_parts(kind: Any, task: Task) -> None:
    """A clip that is 0.3 of one answer and 0.7 of another counts as two clips with these weights."""
    clips, new = examples(task=task), examples(seed=1).x
    other = clips.targets[::-1]
    soft = Examples(clips.x, 0.3 * clips.targets + 0.7 * other, clips.weights, task)
    twice = Examples(
        np.concatenate([clips.x, clips.x]), np.concatenate([clips.targets, other]),
        np.concatenate([0.3 * clips.weights, 0.7 * clips.weights]), task,
    )  # fmt: skip
    if kind is Neighbors:  # both copies are neighbors
        found = [next(Neighbors(soft).scores(new, [4])), next(Neighbors(twice).scores(new, [8]))]
    else:  # C multiplies the mean over the clips by their number
        found = [Logistic(soft).model(0.1).logits(new), Logistic(twice).model(0.05).logits(new)]
    np.testing.assert_allclose(*(probabilities(logits, task) for logits in found), atol=1e-4)


def test_unknown_targets_are_left_out() -> None:
    clips, new = examples(task="multi"), examples(seed=1).x
    targets = clips.targets.copy()
    targets[:60, 2] = np.nan
    some = Examples(clips.x, targets, np.ones(N, np.float32), "multi")
    rest = some.filter(np.arange(N) >= 60)
    found, peer = (Logistic(one).model(0.1).logits(new)[:, 2] for one in (some, rest))
    np.testing.assert_allclose(found, peer, atol=1e-2)
    found, peer = (next(Neighbors(one).scores(new, [len(one)]))[:, 2] for one in (some, rest))  # all clips vote
    np.testing.assert_allclose(found, peer, atol=1e-5)


@pytest.mark.parametrize("kind", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("task", ["single", "multi"])
def test_the_choice_is_calibrated(kind: Any, task: Task) -> None:
    """Its log loss on new clips is near the best that any slope of the best strength reaches."""
    clips, new = examples(task=task, n=300), examples(task=task, seed=1, n=600)
    chosen = choose(kind, clips, kind.STRENGTHS, np.arange(300) % 3)
    model = kind(clips).model(chosen.strength, chosen.slope, chosen.offset)
    log_loss = choice.LogLoss(new)
    best = min(log_loss(model.logits(new.x) * np.float32(factor))[0] for factor in np.linspace(0.2, 3, 29))
    found = log_loss(model.logits(new.x))[0]
    chance = log_loss(np.tile(np.log(clips.frequencies), (600, 1)).astype(np.float32))[0]
    assert found < best + 0.05
    assert found < 0.9 * chance


def test_threads_do_not_change_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    clips, found = examples(40), []
    for n in (1, 2):
        monkeypatch.setattr(choice, "worker_count", lambda _, n=n: n)
        found.append(choose(Logistic, clips, Logistic.STRENGTHS, np.arange(N) % 3))
    assert found[0].strength == found[1].strength
    np.testing.assert_array_equal(found[0].losses, found[1].losses)


@pytest.mark.parametrize("kind", HEADS.values(), ids=HEADS)
def test_empty_classes_and_constant_columns(kind: Any) -> None:
    clips = examples()
    x = np.column_stack([clips.x, np.zeros(N, np.float32)])
    targets = np.column_stack([clips.targets, np.zeros(N, np.float32)])
    logits = kind(Examples(x, targets, clips.weights, "single")).model(5).logits(x)
    found = probabilities(logits, "single")
    assert np.isfinite(logits).all()
    assert found[:, -1].max() < found[:, :-1].mean(axis=0).min()


def test_a_fit_ends_without_a_penalty() -> None:
    clips = examples(300)
    assert np.isfinite(Logistic(clips).model(1e9).logits(clips.x)).all()
