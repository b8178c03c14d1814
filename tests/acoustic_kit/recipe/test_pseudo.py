"""Targets that pseudo-labels give to the training clips of a fold."""

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from acoustic_kit.data.folds import training_rows
from acoustic_kit.data.schema import clip_schema
from acoustic_kit.data.targets import clip_weights, encode_labels, loss_targets
from acoustic_kit.recipe.predictions import Predictions
from acoustic_kit.recipe.pseudo import PseudoLabels, pseudo_settings
from acoustic_kit.task import Task

CLASSES = ("a", "b", "c")


def manifest_of(labels: list[list[str]], n_unlabeled: int, soft: dict[int, list] | None = None) -> pl.DataFrame:
    """Labeled clips l0, l1, … in folds 1 and 2 by turns, and test clips u0, u1, …."""
    n = len(labels)
    columns = {
        "id": [f"l{i}" for i in range(n)] + [f"u{i}" for i in range(n_unlabeled)],
        "label": labels + [[]] * n_unlabeled,
        "soft": [(soft or {}).get(i) for i in range(n + n_unlabeled)],
        "fold": [1 + i % 2 for i in range(n)] + [None] * n_unlabeled,
        "split": ["train"] * n + ["test"] * n_unlabeled,
    }
    schema = clip_schema() | {"content": pl.String()}
    return pl.DataFrame({name: columns.get(name) for name in schema}, schema=schema)


def labeled_by(manifest: pl.DataFrame, found: dict[str, list[float]], task: Task, **settings: object) -> pl.DataFrame:
    """The training rows of fold 1 with the predictions of a teacher."""
    pseudo = PseudoLabels(pseudo_settings(settings), "t", ("t",), 1, (), None)
    predictions = Predictions(tuple(found), np.array(list(found.values())))
    rows, ids, _ = pseudo.label(manifest, training_rows(manifest, "1"), predictions, CLASSES, task)
    assert ids == {id for id in rows["id"] if id.startswith("u")}
    return rows


def test_single_label_targets_are_normalized_powers() -> None:
    rows = labeled_by(manifest_of([["a"], ["b"]], 2), {"u0": [0.6, 0.3, 0.1], "u1": [0.2, 0.2, 0.6]}, "single", power=2)
    assert rows["id"].to_list() == ["l1", "u0", "u1"]
    np.testing.assert_allclose(clip_weights(rows), [1, 0.6, 0.6])
    np.testing.assert_allclose(loss_targets(rows, CLASSES, "single")[1], np.array([36, 9, 1]) / 46, rtol=1e-6)


def test_class_that_the_teacher_avoids_is_named() -> None:
    manifest = manifest_of([["a"], ["b"], ["a"], ["c"]], 2)
    found = Predictions(("u0", "u1"), np.array([[0.1, 0.2, 0.7], [0.5, 0.1, 0.4]]))
    pseudo = PseudoLabels(pseudo_settings({"min": 0.6}), "t", ("t",), 1, (), None)
    remarks = pseudo.label(manifest, training_rows(manifest, "1"), found, CLASSES, "single")[2]
    assert any("1 of 2" in remark for remark in remarks)
    assert any("'b'" in remark and "'c'" not in remark for remark in remarks)


def test_multi_label_targets_are_powers() -> None:
    rows = labeled_by(manifest_of([["a"], ["b", "c"]], 1), {"u0": [0.9, 0.5, 0.0]}, "multi", power=2, weight=3)
    np.testing.assert_allclose(loss_targets(rows, CLASSES, "multi")[1], [0.81, 0.25, 0], atol=1e-6)
    assert rows["label"][1].to_list() == ["a"]
    assert clip_weights(rows)[1] == pytest.approx(2.7)


def test_labeled_clips_learn_the_mean_of_label_and_teacher() -> None:
    manifest = manifest_of([["a"], ["b"], ["a"], ["c"]], 0)
    rows = labeled_by(
        manifest, {"l1": [0.5, 0.5, 0], "l3": [0.2, 0.2, 0.6]}, "single", on="labelled", weight=3, min=0.6
    )
    np.testing.assert_allclose(loss_targets(rows, CLASSES, "single"), [[0, 1, 0], [0.15, 0.15, 0.7]], atol=1e-6)
    assert clip_weights(rows).tolist() == [1, 1]


def test_teacher_fills_unknown_targets() -> None:
    unknown = {1: [{"label": "a", "target": None}]}
    rows = labeled_by(manifest_of([["a"], ["b"]], 0, unknown), {"l1": [0.7, 0.8, 0.1]}, "multi", on="labelled")
    np.testing.assert_allclose(loss_targets(rows, CLASSES, "multi"), [[0.7, 0.9, 0.05]], atol=1e-6)


def test_shuffled_labels_of_a_teacher_give_no_gain() -> None:
    random = np.random.default_rng(0)
    centers = 0.5 * random.standard_normal((3, 10))
    truth = {split: random.integers(0, 3, n) for split, n in (("l", 24), ("u", 300), ("new", 3000))}
    x = {split: centers[y] + random.standard_normal((len(y), 10)) for split, y in truth.items()}
    manifest = manifest_of([[CLASSES[y]] for y in truth["l"]], 300)
    rows = training_rows(manifest, "1").train
    place = {f"{split}{i}": x[split][i] for split in ("l", "u") for i in range(len(x[split]))}

    def score(rows: pl.DataFrame) -> float:
        model = LogisticRegression(C=0.3, max_iter=500)
        labels = encode_labels(rows["label"].to_list(), CLASSES, "single")
        model.fit(np.stack([place[id] for id in rows["id"]]), labels, sample_weight=clip_weights(rows))
        return float((model.predict(x["new"]) == truth["new"]).mean())

    right = np.eye(3)[truth["u"]] * 0.6 + 0.4 * random.dirichlet([1, 1, 1], 300)
    shuffled = random.permutation(right)
    alone = score(rows)
    taught, misled = (
        score(labeled_by(manifest, {f"u{i}": p.tolist() for i, p in enumerate(found)}, "single"))
        for found in (right, shuffled)
    )
    assert taught > alone + 0.02
    assert misled < alone
