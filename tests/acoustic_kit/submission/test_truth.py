"""Scores by a table of labels, in each of its forms."""

from pathlib import Path

import numpy as np
import pytest

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.metrics import score
from acoustic_kit.submission.truth import read_truth, score_by_table
from acoustic_kit.task import TaskSpec

P = np.array([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.2, 0.5, 0.3], [0.1, 0.2, 0.7]])
SINGLE = "id,dog,rain,big wave\n" + "".join(
    f"{id},{','.join(map(str, row))}\n" for id, row in zip("abcd", P, strict=True)
)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def scored(folder: Path, predictions: str, truth: str, **options: object) -> dict[str, float]:
    return score_by_table(write(folder / "p.csv", predictions), write(folder / "t.csv", truth), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "truth",
    [
        "id,label\nd,big wave\nb,dog\na,dog\nc,rain\n",
        "fname,fold,labels\na,1,dog\nb,1,dog\nc,2,rain\nd,2,big wave\n",
        "id;target\na;dog\nb;dog\nc;rain\nd;big wave\n",
        "id,rain,big wave,dog,fold\na,0,0,1,1\nb,0,0,1,1\nc,1,0,0,2\nd,0.0,1.0,0,2\n",
    ],
)
def test_one_label_per_clip(tmp_path: Path, truth: str) -> None:
    targets = np.array([0, 0, 1, 2])
    found = scored(tmp_path, SINGLE, truth, metric="0.5*f1+0.5*map3")
    assert found["accuracy"] == 0.75
    assert found["0.5*f1+0.5*map3"] == pytest.approx((score("f1", targets, P) + score("map3", targets, P)) / 2)
    assert found["map"] == score("map", targets, P)


@pytest.mark.parametrize(
    "truth",
    [
        'id,label\na,"dog,rain"\nb,\nc,rain\nd,"big wave,dog"\n',
        "id,label\na,dog;rain\nb,\nc,rain\nd,big wave;dog\n",
        "id,dog,rain,big wave\na,1,1,0\nb,0,0,0\nc,0,0.9,0.1\nd,1,0,1\n",
    ],
)
def test_several_labels_per_clip(tmp_path: Path, truth: str) -> None:
    targets = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 0], [1, 0, 1]], dtype=bool)
    found = scored(tmp_path, SINGLE, truth)
    assert found["map"] == score("map", targets, P)
    assert found["f1"] == score("f1", targets, P)
    assert "accuracy" not in found


def test_empty_cells_are_unknown_classes(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "id,dog,rain\na,1,\nb,0,1\n")
    truth = read_truth(path, ["id", "dog", "rain"], {"dog": 0, "rain": 1})
    assert truth["label"].to_list() == [["dog"], ["rain"]]
    assert truth["soft"].to_list() == [[{"label": "rain", "target": None}], None]


def test_labels_are_scored_too(tmp_path: Path) -> None:
    truth = "id,label\na,dog\nb,dog\nc,rain\nd,big wave\n"
    found = scored(tmp_path, "id,label\na,dog\nb,rain\nc,rain\nd,fox\n", truth)  # fox is only predicted
    assert found["accuracy"] == 0.5
    assert found["f1"] == pytest.approx((2 / 3 + 2 / 3 + 0 + 0) / 4)
    found = scored(tmp_path, "id,label\na,rain dog\nb,dog rain\nc,dog rain\nd,dog\n", truth)
    assert found["map3"] == pytest.approx((1 / 2 + 1 + 1 / 2 + 0) / 4)
    found = scored(tmp_path, "id,x\na,dog\nb,dog\nc,rain\nd,dog\n", "id,dog,rain\na,1,0\nb,1,0\nc,0,1\nd,0,1\n")
    assert found["accuracy"] == 0.75


def test_metric_decides_between_tasks(tmp_path: Path) -> None:
    truth = "id,label\na,dog\nb,dog\nc,rain\nd,big wave\n"
    sigmoid = SINGLE.replace("0.7,0.2,0.1", "0.7,0.6,0.1")
    assert "accuracy" not in scored(tmp_path, sigmoid, truth)
    with pytest.raises(UsageError, match="accuracy"):
        scored(tmp_path, sigmoid, truth, metric="accuracy")


def test_classes_of_a_workspace(tmp_path: Path) -> None:
    task_spec = TaskSpec({"dog": 7, "rain": 3, "big wave": 5}, "f1")
    text = SINGLE.replace("dog,rain,big wave", "7,3,5")
    for truth in ("id,label\na,dog\nb,dog\nc,rain\nd,big wave\n", "id,3,5,7\na,0,0,1\nb,0,0,1\nc,1,0,0\nd,0,1,0\n"):
        assert scored(tmp_path, text, truth, task_spec=task_spec)["accuracy"] == 0.75


@pytest.mark.parametrize(
    ("truth", "says"),
    [
        ("id,label\na,dog\nb,dog\nc,rain\nd,dog\ne,dog\nf,dog\n", "lacks 2 of the 6 ids of .*t.csv: 'e', 'f'"),
        ("id,label\na,dog\nb,dog\nc,rain\n", r"t.csv lacks 1 of the 4 ids of .*p.csv: 'd'"),
        ("id,label\na,dog\nb,dog\nc,rain\nd,cat\n", "'d' is .'cat'."),
        ("id,dog,rain\na,1,0\nb,1,0\nc,0,1\nd,0,1\n", "lacks the columns of 1 of 3 classes: 'big wave'"),
        ("id,dog,rain,big wave\na,1,0,0\nb,1,0,0\nc,0,1,x\nd,0,1,0\n", "t.csv, line 4: 'x' in column 'big wave'"),
        ("id,dog,rain,big wave\na,1,0,0\nb,1,0,2\nc,0,1,0\nd,0,1,0\n", "line 3: '2' in column 'big wave'"),
        ("id,label\na,dog\na,dog\nb,dog\nc,dog\nd,dog\n", "line 3: a second row"),
        ("id,one,two\na,dog,x\nb,dog,x\nc,dog,x\nd,dog,x\n", "which column contains the labels"),
    ],
)
def test_tables_that_do_not_fit(tmp_path: Path, truth: str, says: str) -> None:
    with pytest.raises(AkitError, match=says):
        scored(tmp_path, SINGLE, truth)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.csv"):
        score_by_table(tmp_path / "none.csv", tmp_path / "none.csv")
