"""Soundscapes from the clips of a small data set."""

import csv
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from acoustic_kit.data import read_dataset
from acoustic_kit.data.soundscapes import Soundscapes, make_soundscapes
from acoustic_kit.errors import DataError, UsageError

SHORT = Soundscapes(background=("sound_00",), sources=(1, 3), seconds=2, sample_rate=8000)


def events_of(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_recordings_and_their_truth(synthetic: Path, tmp_path: Path) -> None:
    dataset = read_dataset(synthetic)
    make_soundscapes(dataset, tmp_path / "a", n=10, test_fold=5, contents=SHORT)
    assert len(list((tmp_path / "a" / "data" / "train").iterdir())) == 8
    assert len(list((tmp_path / "a" / "data" / "test").iterdir())) == 2
    rows = events_of(tmp_path / "a" / "data" / "train_events.csv")
    assert {row["label"] for row in rows} <= {"sound_01", "sound_02"}
    assert {row["pool"] for row in rows} == {"1", "2", "3", "4"}
    pools = {row["filename"]: row["pool"] for row in rows}
    assert all(pools[row["filename"]] == row["pool"] for row in rows)
    for row in rows:
        wave, rate = soundfile.read(tmp_path / "a" / "data" / "train" / row["filename"])
        assert (len(wave), rate) == (16000, 8000)
        assert 0 <= float(row["start"]) < float(row["end"]) <= 2


def test_an_event_is_where_the_table_says(synthetic: Path, tmp_path: Path) -> None:
    loud = Soundscapes(background=("sound_00",), sources=(1, 1), snr=(25, 25), seconds=4, sample_rate=8000)
    make_soundscapes(read_dataset(synthetic), tmp_path / "a", n=5, test_fold=5, contents=loud)
    rows = events_of(tmp_path / "a" / "data" / "train_events.csv")
    assert any(a["filename"] == b["filename"] for a, b in pairwise(rows))  # repeated calls
    for name in {row["filename"] for row in rows}:
        wave, rate = soundfile.read(tmp_path / "a" / "data" / "train" / name)
        inside = np.zeros(len(wave), bool)
        for row in (row for row in rows if row["filename"] == name):
            inside[round(float(row["start"]) * rate) : round(float(row["end"]) * rate)] = True
        assert np.mean(wave[inside] ** 2) > 50 * np.mean(wave[~inside] ** 2)


def test_a_source_stays_and_changes_its_level(synthetic: Path, tmp_path: Path) -> None:
    staying = Soundscapes(
        ("sound_00",), sources=(1, 1), calls=None, pause=(0.5, 1), snr=(25, 25), snr_spread=3, seconds=8,
        sample_rate=8000,
    )  # fmt: skip
    make_soundscapes(read_dataset(synthetic), tmp_path / "a", n=5, test_fold=5, contents=staying)
    rows = events_of(tmp_path / "a" / "data" / "train_events.csv")
    for name in {row["filename"] for row in rows}:
        calls = [(float(row["start"]), float(row["end"])) for row in rows if row["filename"] == name]
        assert calls[0][0] <= 1
        assert all(0.5 <= after[0] - before[1] <= 1 + 1e-3 for before, after in pairwise(calls))
        length = calls[0][1] - calls[0][0]
        assert 8 - calls[-1][1] <= length + 1
        wave, rate = soundfile.read(tmp_path / "a" / "data" / "train" / name)
        levels = [10 * np.log10(np.mean(wave[round(start * rate) : round(end * rate)] ** 2)) for start, end in calls]
        assert np.std(levels) > 0.5


def test_the_solution_has_the_rows_of_the_template(synthetic: Path, tmp_path: Path) -> None:
    contents = Soundscapes(background=("sound_00",), sources=(2, 3), seconds=2, window=0.5, sample_rate=8000)
    make_soundscapes(read_dataset(synthetic), tmp_path / "a", n=10, test_fold=5, contents=contents)
    rows, template = (events_of(tmp_path / "a" / n) for n in ("solution.csv", "data/sample_submission.csv"))
    assert [row["row_id"] for row in rows] == [row["row_id"] for row in template]
    assert len(rows) == 2 * 4
    for row in rows:
        stem, _, end = row["row_id"].rpartition("_")
        present = {
            event["label"]
            for event in events_of(tmp_path / "a" / "test_events.csv")
            if event["filename"].startswith(stem)
            and min(float(event["end"]), float(end)) - max(float(event["start"]), float(end) - 0.5)
            >= 0.5 * min(float(event["end"]) - float(event["start"]), 0.5) - 1e-9
        }
        assert {label for label in row if label != "row_id" and row[label] == "1"} == present


def test_the_same_arguments_give_the_same_recordings(synthetic: Path, tmp_path: Path) -> None:
    dataset = read_dataset(synthetic)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_soundscapes(dataset, tmp_path / name, n=5, test_fold=1, contents=SHORT, seed=seed)
    a, b, c = ([p.read_bytes() for p in sorted((tmp_path / name).rglob("*.*"))] for name in "abc")
    assert a == b
    assert a != c


def test_it_refuses_what_it_cannot_make(synthetic: Path, tmp_path: Path) -> None:
    dataset = read_dataset(synthetic)
    with pytest.raises(UsageError, match="9"):
        make_soundscapes(dataset, tmp_path / "a", n=10, test_fold=9)
    with pytest.raises(UsageError, match="3"):
        make_soundscapes(dataset, tmp_path / "a", n=3, test_fold=5)
    with pytest.raises(DataError, match="rain"):
        make_soundscapes(dataset, tmp_path / "a", n=10, test_fold=5)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match="full"):
        make_soundscapes(dataset, tmp_path / "full", n=10, test_fold=5)
