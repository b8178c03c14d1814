"""Learning curves from complete and damaged logs of folds."""

import json
from pathlib import Path

import numpy as np

from acoustic_kit.report.training_logs import MOST_POINTS, training_curves


def write(run: Path, fold: str, lines: list[object], stage: str = "cnn") -> None:
    (run / "folds" / fold).mkdir(parents=True, exist_ok=True)
    (run / "folds" / fold / f"{stage}.jsonl").write_text("\n".join(json.dumps(line) for line in lines))


def test_folds_are_thin_lines_and_their_mean_is_bold(tmp_path: Path) -> None:
    for fold, loss in (("1", 1.0), ("2", 3.0)):
        write(
            tmp_path, fold, [{"epoch": e, "lr": 1, "train_loss": loss, "valid_loss": 5, "valid_f1": e} for e in (1, 2)]
        )
    (found,) = training_curves(tmp_path)
    assert (found.stage, found.folds) == ("cnn", 2)
    assert [curve.figure for curve in found.curves] == ["loss", "f1"]
    loss_lines = found.curves[0].lines
    assert [(line.name, line.bold) for line in loss_lines] == [
        *[("training", False)] * 2, ("training", True), *[("validation", False)] * 2, ("validation", True),
    ]  # fmt: skip
    assert loss_lines[2].y.tolist() == [2, 2]
    assert found.curves[1].lines[-1].y.tolist() == [1, 2]


def test_stages_are_separate_and_the_mean_ends_with_all_folds(tmp_path: Path) -> None:
    write(tmp_path, "1", [{"epoch": e, "valid_loss": 1} for e in (1, 2, 3)], "first")
    write(tmp_path, "2", [{"epoch": e, "valid_loss": 3} for e in (1, 2)], "first")
    write(tmp_path, "1", [{"epoch": 1, "valid_loss": 1}], "second")
    first, second = training_curves(tmp_path)
    np.testing.assert_array_equal(first.curves[0].lines[-1].y, [2, 2, np.nan])
    assert second.folds == 1
    assert len(second.curves[0].lines) == 1


def test_an_epoch_that_was_done_twice_counts_once(tmp_path: Path) -> None:
    write(tmp_path, "1", [{"epoch": 1, "valid_loss": 9}, {"epoch": 2, "valid_loss": 8}, {"epoch": 1, "valid_loss": 7}])
    (line,) = training_curves(tmp_path)[0].curves[0].lines
    assert line.x.tolist() == [1, 2]
    assert line.y.tolist() == [7, 8]


def test_long_logs_are_thinned_and_keep_their_ends(tmp_path: Path) -> None:
    write(tmp_path, "1", [{"epoch": e, "valid_loss": e} for e in range(1, 5001)])
    (line,) = training_curves(tmp_path)[0].curves[0].lines
    assert len(line.x) == MOST_POINTS
    assert (line.x[0], line.x[-1]) == (1, 5000)


def test_damaged_logs_and_invalid_values_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, "1", [{"epoch": 1, "valid_loss": float("nan"), "valid_f1": 0.5}])
    write(tmp_path, "2", [["no", "record"]])
    write(tmp_path, "3", [{"loss": 1}])
    (tmp_path / "folds" / "3" / "torn.jsonl").write_text('{"epoch": 1, "valid_f1": 0.5}\n{"epo')
    (found,) = training_curves(tmp_path)
    assert found.folds == 1
    assert [curve.figure for curve in found.curves] == ["f1"]
    assert training_curves(tmp_path / "nothing") == []


def test_training_and_validation_of_one_figure_share_a_chart(tmp_path: Path) -> None:
    figures = {"train_loss": 1, "train_accuracy": 0.5, "valid_loss": 2, "valid_f1": 0.1, "valid_accuracy": 0.2}
    write(tmp_path, "1", [{"epoch": 1, "lr": 1, "train_seconds": 3} | figures])
    (found,) = training_curves(tmp_path)
    named = {curve.figure: [line.name for line in curve.lines] for curve in found.curves}
    assert named == {"loss": ["training", "validation"], "accuracy": ["training", "validation"], "f1": ["validation"]}


def test_a_run_on_all_clips_has_curves_of_training(tmp_path: Path) -> None:
    write(tmp_path, "full", [{"epoch": e, "train_loss": 1, "train_accuracy": 0.5} for e in (1, 2)])
    (found,) = training_curves(tmp_path)
    assert [curve.figure for curve in found.curves] == ["loss", "accuracy"]
