"""Predictions as a CSV."""

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from acoustic_kit.errors import AkitError
from acoustic_kit.prediction import ClipPredictions
from acoustic_kit.prediction.output import write_predictions
from acoustic_kit.submission.submission import read_template
from acoustic_kit.task import TaskSpec

CLASSES = {"dog": 3, "sea waves": 1}
PREDICTOR: Any = SimpleNamespace(task_spec=TaskSpec(CLASSES, "f1"))


def predictions(**errors: str) -> ClipPredictions:
    return ClipPredictions(("a,b", "c"), tuple(CLASSES), np.array([[0.25, 0.75], [1 / 3, 2 / 3]]), errors)


def test_a_row_a_clip(tmp_path: Path) -> None:
    write_predictions(tmp_path / "new" / "o.csv", predictions(), PREDICTOR)
    assert (tmp_path / "new" / "o.csv").read_text() == (
        'id,dog,sea waves\n"a,b",0.25,0.75\nc,0.3333333333333333,0.6666666666666666\n'
    )


def test_unreadable_clip_has_reason_and_no_probabilities(tmp_path: Path) -> None:
    write_predictions(tmp_path / "o.csv", predictions(c='it is "bad",\nreally'), PREDICTOR)
    with (tmp_path / "o.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["id", "dog", "sea waves", "error"],
            ["a,b", "0.25", "0.75", ""],
            ["c", "", "", 'it is "bad",\nreally'],
        ]


@pytest.mark.parametrize(
    ("template", "written"),
    [
        ("fname,label\nc,dog\n", "fname,label\nc,sea waves\n"),
        ("fname,label\nc,sea_waves\n", "fname,label\nc,sea_waves\n"),
        ("ID;class\nc;3\n", "ID;class\nc;1\n"),
        ("ID,1,3\nc,0,0\n", "ID,1,3\nc,0.6666666666666666,0.3333333333333333\n"),
    ],
)
def test_a_template_decides_the_form_and_the_ids(tmp_path: Path, template: str, written: str) -> None:
    (tmp_path / "template.csv").write_text(template)
    form = read_template(tmp_path / "template.csv", CLASSES)
    write_predictions(tmp_path / "o.csv", predictions(c="bad"), PREDICTOR, form)
    assert (tmp_path / "o.csv").read_text() == written


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "o.csv").mkdir()
    with pytest.raises(AkitError, match="cannot be written"):
        write_predictions(tmp_path / "o.csv", predictions(), PREDICTOR)
    assert [path.name for path in tmp_path.iterdir()] == ["o.csv"]
