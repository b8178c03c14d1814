"""Tables on narrow terminals: names and numbers stay whole."""

import io
import re

import pytest

from acoustic_kit.api.progress import progress
from acoustic_kit.cli import console
from acoustic_kit.cli.tables import column_widths, print_fitting

COLUMNS = ["", "run", "f1", "± folds", "95 % interval", "folds", "parameters", "time", "notes"]
RIGHT = ["", "f1", "± folds", "parameters", "time"]
NAME = "resnet34_mr_salience_fusion_film_attention-1a2b3c4d"
ROWS = [
    ["1", NAME, "0.9131", "0.0123", "0.8912 – 0.9310", "10/10", "23,456,789", "12 h 59 min", "lr=0.001, a long remark"],
    ["2", "stats_pca_linear-deadbeef", "0.8748", "0.0210", "0.8512 – 0.9004", "10/10", "", "8.2 s", ""],
]  # fmt: skip


def printed(
    columns: list[str], rows: list[list[str]], right: list[str], width: int, monkeypatch: pytest.MonkeyPatch
) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("sys.stdout", out := io.StringIO())
    print_fitting(columns, rows, right)
    return out.getvalue()


@pytest.mark.parametrize("width", [40, 80, 100, 120, 200])
def test_names_and_numbers_stay_whole(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = printed(COLUMNS, ROWS, RIGHT, width, monkeypatch)
    for row in ROWS:
        assert all(cell in text for cell in row[:-1])
        assert set(row[-1].split()) <= set(text.split())
    longest = max(len(NAME) + 3, width)
    assert max(map(len, text.splitlines())) <= longest


def test_columns_without_values_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    text = printed(["name", "public", "note"], [["a", "", "x"], ["b", "", ""]], ["public"], 80, monkeypatch)
    assert text.splitlines()[0].split() == ["name", "note"]


def test_prose_gives_way_first() -> None:
    rows = [["esc50", "Fifty classes of environmental sound, two thousand clips of five seconds", "0.5"]]
    widths = column_widths(["name", "what", "score"], rows, ["score"], 40)
    assert widths is not None
    assert (widths[0], widths[2]) == (5, 5)
    assert sum(widths) + 4 <= 40


def test_no_widths_where_a_name_would_be_cut() -> None:
    assert column_widths(["name", "score"], [["x" * 80, "0.5"]], ["score"], 80) is None


def test_wide_characters_count_twice() -> None:
    assert column_widths(["name", "n"], [["犬" * 10, "1"]], [], 80) == [20, 1]


def test_control_codes_reach_no_bar_and_no_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress() as bar:
        bar("clips[v2]\x1b]0;owned\a", 1, 2, "[red]\x1b]0;owned\a")
    console.print_table(["name"], [["x\x1b]0;owned\a"]])
    console.print_line("x\x1b]0;owned\a")
    console.print_json({"x\x9b0m": "\ud800"})
    said, err = capsys.readouterr()
    assert "\x1b]" not in said + err
    assert "\x9b" not in said
    assert "clips[v2]" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", err)
    assert "[red]" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", err)
