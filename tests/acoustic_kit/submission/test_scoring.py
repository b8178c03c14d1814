"""Scores of a submission against the truth."""

import pytest

from acoustic_kit.errors import AkitError
from acoustic_kit.submission.submission import (
    score_submission,
)
from acoustic_kit.task import TaskSpec

CLASSES = {"dog": 3, "rain": 7, "sea_waves": 1, "siren": 40}


def test_scores_are_joined_by_id_and_other_rows_left_out(tmp_path, write, labels):
    path = write(tmp_path / "s.csv", "id,label\nx,siren\nb,dog rain\na,siren dog rain\n")
    found = score_submission(path, labels({"a": ["rain"], "b": ["dog"]}), TaskSpec(CLASSES, "accuracy"))
    by_label = {"accuracy": 0.5, "balanced_accuracy": 0.5, "f1": 1 / 3, "map3": (1 / 3 + 1) / 2}
    assert found == pytest.approx(by_label)


@pytest.mark.parametrize(
    ("classes", "metric", "listed"),
    [
        (("0", "1", "2", "10"), "accuracy", True),
        (("0.5", "1", "2", "3.5"), "accuracy", True),
        (("dog", "rain", "sea", "siren"), "accuracy", False),
        (("0", "10", "1", "2"), "accuracy", False),  # not in ascending order
        (("dog", "rain", "sea", "siren"), "kappa", True),
    ],
)
def test_kappa_is_listed_for_ordered_classes_or_by_name(tmp_path, write, labels, classes, metric, listed):
    rows = "".join(f"{clip},{label}\n" for clip, label in zip("abcd", classes, strict=True))
    truth = labels({clip: [label] for clip, label in zip("abcd", classes, strict=True)})
    task_spec = TaskSpec({name: index for index, name in enumerate(classes)}, metric)
    found = score_submission(write(tmp_path / "s.csv", "id,label\n" + rows), truth, task_spec)
    assert ("kappa" in found) == listed


@pytest.mark.parametrize(
    ("text", "truth", "message"),
    [
        ("id,label\na,dog\n", {"a": ["dog"], "b": ["dog"]}, "lacks 1 of the 2 clips to score: 'b'"),
        ("id,label\na,dog\n", {}, "lacks 0 of the 0 clips"),
        ("id,label\na,cat\n", {"a": ["dog"]}, r"unknown label: 1 row, the first 'cat' \(line 2\)"),
        ("id,label\na,\n", {"a": ["dog"]}, "no label"),
        ("id,label\na,dog\na,dog\n", {"a": ["dog"]}, r"repeated id.*\(line 3\)"),
        ("id,label\na,dog\n", {"a": ["cat"]}, r"truth of 'a' is \['cat'\]"),
        ("id,label\na,dog\n", {"a": ["dog", "rain"]}, "not single-label"),
        ("id,label\na,dog\n", {"a": []}, "not single-label"),
        (
            "id,dog,rain,siren,sea_waves\na,1,0,0,?\n",
            {"a": ["dog"]},
            r"not a finite number.*'\?' in column.*\(line 2\)",
        ),
        ("id,dog,rain\na,1,0\n", {"a": ["dog"]}, "neither the 4 class names"),
    ],
)
def test_what_cannot_be_scored_says_why(tmp_path, text, truth, message, write, labels):
    with pytest.raises(AkitError, match=message):
        score_submission(write(tmp_path / "s.csv", text), labels(truth), TaskSpec(CLASSES, "accuracy"))


def test_damage_outside_the_scored_rows_does_not_matter(tmp_path, write, labels):
    path = write(tmp_path / "s.csv", "id,label\na,dog\nb,cat\n")
    assert score_submission(path, labels({"a": ["dog"]}), TaskSpec(CLASSES, "accuracy"))["accuracy"] == 1
