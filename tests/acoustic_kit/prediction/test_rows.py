"""Rows of predictions: which are asked for, and the windows that each is averaged from."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from acoustic_kit.data.windows import WindowId, Windows
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.prediction import RowPlan, choose_windows, plan_rows
from acoustic_kit.prediction.new_clips import NO_FILE
from acoustic_kit.prediction.rows import row_length

FIVE, OVERLAPPING = Windows(length=5, hop=5), Windows(length=5, hop=2.5)
Recordings = Callable[..., dict[str, Path]]


@pytest.fixture
def recordings(tmp_path: Path) -> Recordings:
    """Write silent recordings of some lengths at 100 samples a second, and return them by name."""

    def write(**seconds: float) -> dict[str, Path]:
        paths = {f"{name}.wav": tmp_path / f"{name}.wav" for name in seconds}
        for path, length in zip(paths.values(), seconds.values(), strict=True):
            soundfile.write(path, np.zeros(round(1000 * length)), 1000)
        return paths

    return write


def spans(plan: RowPlan) -> dict[str, list[tuple[str, float]]]:
    """Row → the windows that it is averaged from, by start, and their seconds of overlap."""
    of_row = zip(plan.rows, plan.overlaps, strict=True)
    return {row.id: [(plan.clips[i].id, overlap) for i, overlap in found.items()] for row, found in of_row}


def test_rows_are_consecutive_windows(recordings: Recordings) -> None:
    plan = RowPlan.of_windows(recordings(a=12, b=3), FIVE)
    assert spans(plan) == {id: [(id, 5)] for id in ("a_5", "a_10", "a_15", "b_5")}
    assert [(clip.start, clip.end) for clip in plan.clips] == [(0, 5), (5, 10), (10, 15), (0, 5)]


def test_rows_are_averaged_from_overlapping_windows(recordings: Recordings) -> None:
    plan = RowPlan.of_windows(recordings(a=10), OVERLAPPING)
    assert spans(plan) == {"a_5": [("a_5", 5), ("a_7.5", 2.5)], "a_10": [("a_7.5", 2.5), ("a_10", 5)]}
    probabilities = np.array([[0.5, 0.5], [0.2, 0.8], [0.9, 0.1]])
    found, errors = plan.averaged(probabilities, {})
    np.testing.assert_allclose(found[:, 0], [(5 * 0.5 + 2.5 * 0.2) / 7.5, (2.5 * 0.2 + 5 * 0.9) / 7.5], rtol=1e-15)
    assert errors == {}
    found, errors = plan.averaged(probabilities, {"a_5": "bad", "a_7.5": "bad"})  # of what can be read
    np.testing.assert_array_equal(found[1], probabilities[2])
    assert errors == {"a_5": "bad"}


def test_template_decides_rows_and_their_order(recordings: Recordings) -> None:
    files = recordings(a=10, b=60)
    plan = RowPlan.of_windows(files, FIVE, ["b_10", "a_10", "b_5", "a_5"])
    assert spans(plan) == {id: [(id, 5)] for id in ("b_10", "a_10", "b_5", "a_5")}
    assert [clip.id for clip in plan.clips] == ["b_5", "b_10", "a_5", "a_10"]  # in order of time; no others


def test_windows_longer_than_the_templates_rows(recordings: Recordings) -> None:
    plan = RowPlan.of_windows(recordings(a=20), Windows(length=10, hop=5), ["a_5", "a_10", "a_15", "a_20"])
    assert spans(plan) == {
        "a_5": [("a_10", 5)],
        "a_10": [("a_10", 5), ("a_15", 5)],
        "a_15": [("a_15", 5), ("a_20", 5)],
        "a_20": [("a_20", 5)],
    }


def test_row_behind_the_end_is_a_clip_of_its_own(recordings: Recordings) -> None:
    plan = RowPlan.of_windows(recordings(a=10), FIVE, ["a_5", "a_10", "a_15", "a_20"])
    assert [(clip.start, clip.end) for clip in plan.clips] == [(0, 5), (5, 10), (10, 15), (15, 20)]
    with_bad = plan.averaged(np.eye(4), {"a_15": "behind", "a_20": "behind"})
    assert with_bad[1] == {"a_15": "behind", "a_20": "behind"}


def test_unreadable_recording_has_one_row(recordings: Recordings, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_text("no sound")
    plan = RowPlan.of_windows({"bad.wav": tmp_path / "bad.wav", **recordings(a=5)}, FIVE)
    assert list(spans(plan)) == ["bad_5", "a_5"]


def test_template_rows_of_present_recordings(recordings: Recordings) -> None:
    notes: list[str] = []
    files = recordings(a=10, c=10)
    template = ["a_5", "a_10", "b_5", "b_10"]
    plan = plan_rows(files, FIVE, template, on_note=notes.append)
    assert list(spans(plan)) == ["a_5", "a_10"]
    assert "2 of the template's 4 rows" in notes[0]
    assert "1 of 2 recordings" in notes[1]
    plan = plan_rows(files, FIVE, template, allow_missing=True)
    assert list(spans(plan)) == template
    assert [clip.path for clip in plan.clips[2:]] == [NO_FILE, NO_FILE]


def test_placeholder_template_gives_the_form_of_all_rows(recordings: Recordings) -> None:
    notes: list[str] = []
    plan = plan_rows(recordings(x=10, y=10), Windows(length=10, hop=10), ["s_5", "s_10"], on_note=notes.append)
    assert list(spans(plan)) == ["x_5", "x_10", "y_5", "y_10"]  # rows of 5 s, as in the template
    assert "None of the template's 2 rows" in notes[0]


def test_template_without_any_files_keeps_its_rows() -> None:
    notes: list[str] = []
    for windows in (FIVE, None):
        plan = plan_rows({}, windows, ["s_5", "s_10"], on_note=notes.append)
        assert [row.id for row in plan.rows] == ["s_5", "s_10"]
        assert {clip.path for clip in plan.clips} == {NO_FILE}
    assert "the 2 rows of the template" in notes[0]


def test_template_of_whole_files_needs_no_windows(recordings: Recordings) -> None:
    notes: list[str] = []
    files = recordings(clip_1=5, clip_2=5)
    plan = plan_rows(files, FIVE, ["clip_2", "clip_1"], are_asked=False, on_note=notes.append)
    assert [clip.start for clip in plan.clips] == [None, None]
    assert len(notes) == 1
    assert plan_rows(files, FIVE, ["clip_1_5"], are_asked=False).clips[0].end == 5


@pytest.mark.parametrize(
    ("template", "says"),
    [(["a_5", "a"], r"1 of the template's 2 ids .* \{stem\}_\{end\}: 'a'"), (["a_0"], "ends at 0")],
)
def test_bad_template_ids_are_named(recordings: Recordings, template: list[str], says: str) -> None:
    with pytest.raises(AkitError, match=says):
        RowPlan.of_windows(recordings(a=10), FIVE, template)


def test_windows_of_one_id_are_an_error(recordings: Recordings) -> None:
    (path,) = recordings(a=5).values()
    files = {"x/a.wav": path, "y/a.wav": path}
    with pytest.raises(AkitError, match=r"x/a.wav and y/a.wav have the same id, a_5"):
        RowPlan.of_windows(files, FIVE)
    by_path = Windows(length=5, hop=5, id_format="{path}_{end}")
    assert list(spans(RowPlan.of_windows(files, by_path))) == ["x/a_5", "y/a_5"]


def test_too_many_windows_are_refused(recordings: Recordings) -> None:
    for windows in (Windows(length=5, hop=1e-6), Windows(length=1e-6, hop=1e-6)):
        with pytest.raises(AkitError, match="--hop"):
            RowPlan.of_windows(recordings(a=10), windows)


@pytest.mark.parametrize(
    ("ends", "window", "length"),
    [
        ([5, 10, 15], 10, 5),
        ([20, 40], 5, 20),
        ([5], 10, 5),
        ([5, 60], 10, 5),
        ([10, 60], 5, 5),
        ([10, 30, 40], 5, 5),
    ],
)
def test_length_of_a_templates_rows(ends: list[float], window: float, length: float) -> None:
    assert row_length([WindowId("a", None, end) for end in ends], window) == length


def test_length_of_rows_by_starts() -> None:
    assert row_length([WindowId("a", start, None) for start in (0, 4, 8)], 5) == 4
    assert row_length([WindowId("a", 3, None)], 5) == 5
    assert row_length([WindowId("a", 3, 7)], 5) == 4


def test_windows_are_as_asked_else_as_in_training() -> None:
    notes: list[str] = []

    def choose(remembered: Windows | None, *options: float | str | None) -> Windows | None:
        return choose_windows(remembered, "first", *options, notes.append)  # type: ignore[arg-type]

    named = Windows(length=5, hop=2.5, id_format="{path}_{end}")
    assert choose(None, None, None, None) is None
    assert choose(named, None, None, None) == choose(named, 5, None, None) == named
    assert choose(None, 5, None, None) == FIVE
    assert choose(Windows(length=5, hop=30), None, None, None) == FIVE  # training windows may have gaps
    assert notes == []
    assert choose(named, 10, None, None) == Windows(length=10, hop=10, id_format="{path}_{end}")
    assert "windows of 5 s" in notes[0]
    assert "10 s" in notes[0]
    for options, says in (((None, 2.5, None), "--hop needs"), ((None, None, "{stem}_{end}"), "--id-format needs")):
        with pytest.raises(UsageError, match=says):
            choose(None, *options)
    with pytest.raises(UsageError, match="--hop 6"):
        choose(None, 5, 6, None)
