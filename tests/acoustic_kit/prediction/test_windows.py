"""Windows of recordings are predicted as files of their own, averaged by overlap, and predicted once after a stop."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile
from typer.testing import CliRunner, Result

from acoustic_kit.api.open_workspace import OpenWorkspace
from acoustic_kit.blending import Blend
from acoustic_kit.blending.recordings import Recordings
from acoustic_kit.cli import app
from acoustic_kit.data.windows import Windows
from acoustic_kit.ensemble.run_blend import blend_runs
from acoustic_kit.prediction import ClipPredictions, open_predictor, predict, predict_clips
from acoustic_kit.prediction.new_clips import NewClip
from acoustic_kit.prediction.predict import _Job
from acoustic_kit.runs.run import Run
from acoustic_kit.workspace.workspace import Workspace

RATE, LENGTH = 8000, 0.5  # of the clips
HALF = Windows(length=LENGTH, hop=LENGTH)
RunOf = Callable[[str], Run]


@pytest.fixture(scope="module")
def folder(new_files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two recordings: the first 7 and the next 5 test clips, one after another."""
    folder, waves = (
        tmp_path_factory.mktemp("recordings"),
        [soundfile.read(p, dtype="int16")[0] for p in new_files.values()],
    )
    for name, chosen in (("dawn", waves[:7]), ("noon", waves[7:])):
        soundfile.write(folder / f"{name}.wav", np.concatenate(chosen), RATE)
    return folder


@pytest.fixture(scope="module")
def linear(trained: Workspace) -> Path:
    """A run on clips of the windows' length."""
    (path,) = trained.runs_path.glob("stats_pca_linear-*")
    return path


def akit(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--workers", "0"])


def shifted(folder: Path, target: Path, seconds: float) -> dict[str, Path]:
    """Write the windows of a length that begin at multiples of half of it as files, and return them by name."""
    paths = {}
    for path in sorted(folder.glob("*.wav")):
        wave, _ = soundfile.read(path, dtype="int16")
        for k in range(int(2 * len(wave) / RATE / seconds) - 1):
            start = round(k * seconds / 2 * RATE)
            paths[f"{path.stem}_{k}"] = target / f"{path.stem}_{k}.wav"
            soundfile.write(paths[f"{path.stem}_{k}"], wave[start : start + round(seconds * RATE)], RATE)
    return paths


def test_windows_are_predicted_as_files(linear: Path, folder: Path, new_files: dict[str, Path]) -> None:
    found = predict_clips(linear, [folder], windows=HALF)
    assert found.ids[:2] == ("dawn_0.5", "dawn_1")
    assert found.ids[7:9] == ("noon_0.5", "noon_1")
    assert found.errors == {}
    clips = predict_clips(linear, new_files)
    np.testing.assert_allclose(found.probabilities, clips.probabilities, rtol=0, atol=1e-12)


def test_overlapping_windows_are_averaged_by_hand(
    linear: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = predict_clips(linear, shifted(folder, tmp_path, LENGTH))
    by_id = dict(zip(windows.ids, windows.probabilities, strict=True))
    found = predict_clips(linear, [folder], windows=Windows(length=LENGTH, hop=LENGTH / 2))
    expected = []
    for name, n in (("dawn", 7), ("noon", 5)):
        for k in range(n):
            parts = {2 * k - 1: LENGTH / 2, 2 * k: LENGTH, 2 * k + 1: LENGTH / 2}
            parts = {f"{name}_{i}": weight for i, weight in parts.items() if 0 <= i <= 2 * n - 2}
            expected.append(sum(w * by_id[id] for id, w in parts.items()) / sum(parts.values()))
    np.testing.assert_allclose(found.probabilities, expected, rtol=0, atol=1e-12)
    monkeypatch.setattr(predict, "SLICE", 5)  # a recording is divided
    sliced = predict_clips(linear, [folder], windows=Windows(length=LENGTH, hop=LENGTH / 2))
    np.testing.assert_allclose(sliced.probabilities, expected, rtol=0, atol=1e-12)


def test_template_rows_in_its_order(linear: Path, folder: Path, tmp_path: Path) -> None:
    rows = {id: p for id, *p in predicted(linear, folder, tmp_path / "all.csv").iter_rows()}
    template = tmp_path / "sample_submission.csv"
    ids = ["noon_1", "dawn_3.5", "gone_0.5", "dawn_0.5", "noon_0.5"]
    template.write_text("row_id,sound_01,sound_00,sound_02\n" + "".join(f"{id},0,0,0\n" for id in ids))
    options = ["--window", LENGTH, "--template", template, "--out", tmp_path / "o.csv"]
    done = akit("predict", linear, folder, *options)
    assert done.exit_code == 0, done.output
    found = pl.read_csv(tmp_path / "o.csv")
    assert found.columns == ["row_id", "sound_01", "sound_00", "sound_02"]
    assert found["row_id"].to_list() == [id for id in ids if id != "gone_0.5"]
    for id, one, zero, two in found.iter_rows():
        assert [zero, one, two] == rows[id]
    assert "1 of the template's 5 rows" in done.stderr


def predicted(run: Path, folder: Path, out: Path, *options: object) -> pl.DataFrame:
    done = akit("predict", run, folder, "--window", LENGTH, "--out", out, *options)
    assert done.exit_code == 0, done.output
    return pl.read_csv(out)


def test_hidden_rerun(linear: Path, folder: Path, tmp_path: Path) -> None:
    template, empty, out = tmp_path / "sample_submission.csv", tmp_path / "test_soundscapes", tmp_path / "o.csv"
    template.write_text("row_id,sound_00,sound_01,sound_02\nplace_0.5,0,0,0\nplace_1,0,0,0\n")
    empty.mkdir()
    (empty / "readme.txt").write_text("filled when scored")
    before = predicted(linear, empty, out, "--template", template)
    assert before["row_id"].to_list() == ["place_0.5", "place_1"]
    np.testing.assert_allclose(before.drop("row_id").to_numpy(), 1 / 3, atol=1e-9)
    rerun = predicted(linear, folder, out, "--template", template)
    everything = predicted(linear, folder, tmp_path / "all.csv")
    assert rerun.rename({"row_id": "id"}).equals(everything)


def test_bad_recording_is_a_row(linear: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_text("no sound")
    (tmp_path / "dawn.wav").symlink_to(folder / "dawn.wav")
    found = predict_clips(linear, [tmp_path], windows=HALF)
    assert found.errors == {"bad_0.5": "it cannot be decoded: Format not recognised"}
    template = ["bad_0.5", "dawn_0.5", "bad_2", "dawn_9"]
    (tmp_path / "t.csv").write_text("id,sound_00,sound_01,sound_02\n" + "".join(f"{id},0,0,0\n" for id in template))
    filled = predicted(linear, tmp_path, tmp_path / "o.csv", "--template", tmp_path / "t.csv")
    np.testing.assert_allclose(filled.drop("id").to_numpy()[[0, 2, 3]], 1 / 3, atol=1e-9)


# What training remembers


def test_runs_remember_their_windows(run_of: RunOf, folder: Path, tmp_path: Path) -> None:
    run = run_of("stats_pca_linear").with_record(windows=Windows(length=1, hop=0.5, id_format="{path}-{end}"))
    assert open_predictor(run.path).windows == run.record.windows
    done = akit("predict", run.path, folder, "--out", tmp_path / "o.csv")
    assert done.exit_code == 0, done.output
    assert pl.read_csv(tmp_path / "o.csv")["id"].to_list()[:5] == ["dawn-1", "dawn-2", "dawn-3", "dawn-4", "noon-1"]
    done = akit(
        "predict", run.path, folder, "--window", 0.5, "--id-format", "{stem}_{end}", "--out", tmp_path / "o.csv"
    )
    assert "windows of 1 s" in done.stderr
    assert len(pl.read_csv(tmp_path / "o.csv")) == 12


@pytest.mark.parametrize(
    "options", [["--hop", 1], ["--id-format", "{stem}_{end}"], ["--hop", 2, "--window", 1], ["--window", 0]]
)
def test_options_that_do_not_fit(linear: Path, folder: Path, options: list) -> None:
    done = akit("predict", linear, folder, *options)
    assert done.exit_code == 2
    assert options[0] in done.stderr


def test_library_predicts_windows(trained: Workspace, linear: Path, folder: Path) -> None:
    found = OpenWorkspace(trained.root, progress=False).predict(linear.name, [folder], window=1, hop=0.5, workers=0)
    assert found["id"].to_list()[:2] == ["dawn_1", "dawn_2"]
    assert found.columns == ["id", "sound_00", "sound_01", "sound_02", "error"]


@pytest.mark.parametrize("method", ["mean", "rank"])
def test_blend_is_post_processed(trained: Workspace, folder: Path, tmp_path: Path, method: str) -> None:
    work = Workspace.find(shutil.copytree(trained.root, tmp_path / "work"))
    result = blend_runs(work, method=method, name="first")
    assert result.submission is not None
    record = result.submission.with_suffix(".json")
    plain = predict_clips(open_predictor(record, work.root), [folder], windows=HALF)
    text = record.read_text()
    record.write_text(text.replace('"postprocessing": []', '"postprocessing": ["smooth"]'))
    assert record.read_text() != text
    found = predict_clips(open_predictor(record, work.root), [folder], windows=HALF)
    recordings = Recordings.of(["dawn"] * 7 + ["noon"] * 5, list(range(12)))
    blend = Blend.from_dict({**result.blend.to_dict(), "postprocessing": ["smooth"]})
    np.testing.assert_allclose(found.probabilities, blend.finish(plain.probabilities, recordings), rtol=0, atol=1e-12)
    assert abs(found.probabilities - plain.probabilities).max() > 1e-3


# Stopped and resumed


def test_finished_slices_are_not_predicted_again(
    linear: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "SLICE", 5)
    out, n_predicted, predict_slice = tmp_path / "o.csv", [], _Job.predict
    options = ["--window", LENGTH, "--hop", LENGTH / 2]

    def stop_at(limit: int) -> None:
        def counted(job: _Job, rows: pl.DataFrame, clips: Sequence[NewClip]) -> object:
            if len(n_predicted) == limit:
                raise KeyboardInterrupt
            n_predicted.append(len(rows))
            return predict_slice(job, rows, clips)

        monkeypatch.setattr(_Job, "predict", counted)

    stop_at(99)
    predicted(linear, folder, tmp_path / "whole.csv", *options[2:])
    assert n_predicted == [5, 5, 3, 5, 4]  # 13 and 9 windows
    n_predicted.clear()
    stop_at(2)
    stopped = akit("predict", linear, folder, *options, "--out", out)
    assert stopped.exit_code == 130
    assert "resumes" in stopped.stderr
    assert not out.exists()
    parts = sorted((tmp_path / "o.csv.parts").iterdir())
    assert len(parts) == 2
    parts[0].write_bytes(parts[0].read_bytes()[:-10])  # damaged
    n_predicted.clear()
    stop_at(99)
    predicted(linear, folder, out, *options[2:])
    assert len(n_predicted) == 4
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert [path.name for path in tmp_path.iterdir() if "parts" in path.name] == []


def test_other_inputs_and_models_predict_again(
    run_of: RunOf, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "SLICE", 5)
    run, out, clips = run_of("stats_pca_linear"), tmp_path / "o.csv", shutil.copytree(folder, tmp_path / "clips")
    kept = tmp_path / "o.csv.parts"

    def slices_after(*options: object) -> int:
        """Number of slices in files after a stop at the end."""
        with monkeypatch.context() as patch:
            patch.setattr("acoustic_kit.cli.predict._write", stop)
            assert akit("predict", run.path, clips, *options, "--out", out).exit_code == 130
        return len(list(kept.iterdir()))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    assert slices_after("--window", LENGTH) == 3
    assert slices_after("--window", LENGTH) == 3
    assert slices_after("--window", LENGTH, "--precision", "32") == 6
    os.utime(clips / "noon.wav", (0, 0))
    assert slices_after("--window", LENGTH) == 7
    (run.path / "folds" / "1" / "fold.json").write_text((run.path / "folds" / "1" / "fold.json").read_text() + "\n")
    assert slices_after("--window", LENGTH) == 10
    (kept / "mine.txt").write_text("a file of the user's")
    predicted(run.path, clips, out)
    assert [path.name for path in kept.iterdir()] == ["mine.txt"]


KILLED = """
import sys
from acoustic_kit.prediction import predict
predict.SLICE = 5
write = predict.FinishedSlices.write
def write_and_wait(self, rows, found):
    write(self, rows, found)
    print("written", flush=True)
    sys.stdin.readline()
predict.FinishedSlices.write = write_and_wait
from acoustic_kit.cli import main
main()
"""


@pytest.mark.slow
def test_bytes_are_equal_after_kill_9(
    linear: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "SLICE", 5)
    whole, out = tmp_path / "whole.csv", tmp_path / "o.csv"
    predicted(linear, folder, whole)
    options = ["predict", linear, folder, "--window", LENGTH, "--out", out, "--workers", "0"]
    command = [sys.executable, "-c", KILLED, *map(str, options)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "written\n"
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    assert len(list((tmp_path / "o.csv.parts").iterdir())) == 2
    predicted(linear, folder, out)
    assert out.read_bytes() == whole.read_bytes()


def test_one_slice_and_special_files_leave_nothing(linear: Path, folder: Path, tmp_path: Path) -> None:
    predicted(linear, folder, tmp_path / "o.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["o.csv"]
    done = akit("predict", linear, folder, "--window", LENGTH, "--out", "/dev/null")
    assert done.exit_code == 0
    assert not Path("/dev/null.parts").exists()


def test_found_predictions_are_rows(linear: Path, folder: Path) -> None:
    found = predict_clips(linear, [folder / "noon.wav"], windows=Windows(length=2, hop=2))
    assert isinstance(found, ClipPredictions)
    assert found.ids == ("noon_2", "noon_4")
