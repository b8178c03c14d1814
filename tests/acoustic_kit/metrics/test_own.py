"""Metrics of a workspace's own: found by name, kept apart between workspaces, and errors that name file and line."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from acoustic_kit.blending import choose
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.metrics import MetricName, get_metric, score
from acoustic_kit.metrics.bootstrap import draw_weights, drawn_scores
from acoustic_kit.metrics.names import validate_name
from acoustic_kit.metrics.own import MAX_DRAWS

HITS = "def score(targets, probabilities):\n    return (probabilities.argmax(axis=1) == targets).mean()\n"
MISSES = HITS.replace("==", "!=") + "greater_is_better = False\n"


def written(folder: Path, text: str, metric: str = "mine") -> MetricName:
    folder.mkdir(exist_ok=True)
    (folder / "mine.py").write_text(text)
    return MetricName(metric, folder)


def case(clips: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, clips)
    return targets, rng.dirichlet(np.ones(3), clips) * 0.5 + 0.5 * np.eye(3)[targets] * rng.random((clips, 1))


def test_it_scores_like_a_metric_of_akit_alone_and_in_a_sum(tmp_path: Path) -> None:
    targets, p = case()
    mine = written(tmp_path, HITS)
    assert score(mine, targets, p) == score("accuracy", targets, p)
    total = MetricName("0.5*mine+2*f1", tmp_path)
    assert score(total, targets, p) == pytest.approx(0.5 * score("accuracy", targets, p) + 2 * score("f1", targets, p))
    assert get_metric(total).max_draws == MAX_DRAWS
    weights = draw_weights(np.arange(60), mine, 3)
    assert weights.shape == (60, MAX_DRAWS)
    assert np.allclose(drawn_scores(mine, targets, p, weights), drawn_scores("accuracy", targets, p, weights))


@pytest.mark.parametrize("method", ["greedy", "weights", "auto"])
def test_blends_are_chosen_by_it(tmp_path: Path, method: str) -> None:
    targets, p = case(120)
    runs = np.stack([p, np.roll(p, 1, axis=1), np.flip(p, axis=0)])
    mine = choose(runs, targets, metric=written(tmp_path, MISSES), method=method)
    hits = choose(runs, targets, metric="accuracy", method=method)
    assert mine.single_best == (hits.single_best[0], pytest.approx(1 - hits.single_best[1]))
    assert mine.nested_score == pytest.approx(1 - hits.nested_score)
    assert np.allclose(mine.weights, hits.weights)
    assert mine.gain == pytest.approx(hits.gain)


def test_two_folders_are_kept_apart_also_in_other_processes(tmp_path: Path) -> None:
    targets, p = case()
    hits, misses = written(tmp_path / "a", HITS), written(tmp_path / "b", MISSES)
    assert hits == misses
    for name in (misses, pickle.loads(pickle.dumps(misses))):
        assert get_metric(name).sign == -1
        assert score(name, targets, p) == pytest.approx(1 - score(hits, targets, p))


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    targets, p = case()
    before = score(written(tmp_path, HITS), targets, p)
    mine = written(tmp_path, MISSES)
    os.utime(tmp_path / "mine.py", ns=(1, 1))
    assert score(mine, targets, p) == pytest.approx(1 - before)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def score(:\n", r"mine.py, line 1: SyntaxError"),
        ("x = 1\nimport missing_module\n", r"mine.py, line 2: ModuleNotFoundError: .*missing_module"),
        ("def skore(t, p): return 1\n", r"mine.py has no function score"),
        (HITS + "greater_is_better = 'yes'\n", r"mine.py: greater_is_better is 'yes'"),
        ("def score(t, p):\n    return 'high'\n", r"mine.py: score returned 'high'"),
        ("def score(t, p):\n    return helper(p)\ndef helper(p):\n    return p[99999]\n", r"line 4: IndexError"),
        ("def score(t, p):\n    p[0] = 1\n", r"line 2: ValueError: .*read-only"),
    ],
)
def test_errors_name_the_file_and_the_line(tmp_path: Path, text: str, says: str) -> None:
    targets, p = case()
    mine = written(tmp_path, text)
    validate_name(mine, "single")  # executes nothing
    with pytest.raises(AkitError, match=says):
        score(mine, targets, p)


def test_a_score_that_is_undefined_is_said_and_left_out_of_draws(tmp_path: Path) -> None:
    targets, p = case()
    with pytest.raises(ValueError, match="'mine' is undefined"):
        score(written(tmp_path, "def score(t, p): return float('nan')\n"), targets, p)
    fails = "def score(t, p):\n    if len(set(t)) < 3: raise ValueError\n    return 0.5\n"
    weights = np.zeros((60, 2))
    weights[:, 0], weights[0, 1] = 1, 60
    found = drawn_scores(written(tmp_path, fails), targets, p, weights)
    assert found[0] == 0.5
    assert np.isnan(found[1])


def test_names_are_checked(tmp_path: Path) -> None:
    written(tmp_path, HITS)
    with pytest.raises(UsageError, match=r"'min'; did you mean 'mine'.*in .* mine"):
        get_metric(MetricName("min", tmp_path))
    with pytest.raises(UsageError, match="unknown metric 'mine'"):
        get_metric("mine")
    (tmp_path / "f1.py").write_text(HITS)
    with pytest.raises(UsageError, match=r"f1\.py has the name of a metric of akit"):
        get_metric(MetricName("f1", tmp_path))
    written(tmp_path, MISSES)
    with pytest.raises(UsageError, match="cannot add accuracy and mine"):
        get_metric(MetricName("accuracy+mine", tmp_path))
