"""Reading CSV files from outside: the cells as they were written, and the line on which each row begins."""

import csv
import io
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acoustic_kit.errors import AkitError
from acoustic_kit.tables import Problem, Table, first_rows, listed, parse_table, problems, quoted, read_table

cells = st.text(st.characters(codec="utf-8", exclude_characters="\ufeff"), max_size=5)


@settings(deadline=None, max_examples=100)
@given(st.data(), st.sampled_from(["\n", "\r\n"]), st.sampled_from(["utf-8", "utf-8-sig"]))
def test_cells_and_lines_are_those_of_the_file(data, line_end, encoding):
    width = data.draw(st.integers(1, 3))
    rows = data.draw(st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=6))
    text, lines = io.StringIO(newline=""), []
    for row in rows:
        text.write(line_end * data.draw(st.integers(0, 2)))  # blank lines
        so_far = text.getvalue().replace("\r\n", "\n").replace("\r", "\n")
        lines.append(so_far.count("\n") + 1)
        csv.writer(text, lineterminator=line_end, quoting=csv.QUOTE_ALL).writerow(row)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_bytes(text.getvalue().encode(encoding))
        assert parse_table(path) == Table(rows[0], rows[1:], lines[1:])


def test_read_raises_what_parse_returns(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n3\n4,5,6\n")
    problem = parse_table(path)
    assert problem == Problem("not 2 cells, as the header has: 2 rows, the first with 1", (3, 4))
    with pytest.raises(AkitError) as caught:
        read_table(path)
    assert str(caught.value) == f"{path}: {problem}"


def test_messages_stay_short_and_on_one_line():
    found = {"odd": [(line, "x") for line in range(2, 99)], "none": []}
    assert [str(p) for p in problems(found)] == ["odd: 97 rows, the first x (line 2, 3, 4, 5, 6)"]
    assert quoted("a\nb") == r"'a\nb'"
    assert len(quoted("x" * 1000)) == 42
    assert listed([]) == "none"
    assert listed(list("abcdefg")) == "'a', 'b', 'c', 'd', 'e' and 2 more"


def test_what_is_no_regular_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (tmp_path / "pipe.csv", Path("/dev/zero"), tmp_path):
        assert isinstance(parse_table(path), Problem)


@pytest.mark.parametrize("text", ["a,b\n1," + "x" * 200_000, "a,b\n1,\0", '"' * 9999])
def test_odd_text_is_a_table_or_a_problem(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    assert isinstance(parse_table(tmp_path / "t.csv"), Table | Problem)


def test_a_header_can_be_given_and_comments_skipped(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b'# from, elsewhere\nx, 1, "a,b"\n\ny, 2, c\n')
    table = parse_table(path, columns=("id", "n", "labels"), comment="#")
    assert table == Table(["id", "n", "labels"], [["x", "1", "a,b"], ["y", "2", "c"]], [2, 4])
    path.write_bytes(b"x, 1\n")
    problem = parse_table(path, columns=("id", "n", "labels"), comment="#")
    assert isinstance(problem, Problem)
    assert problem.rows == (1,)
    assert "id, n, labels" in problem.message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a;b\n1;2\n3;4\n", [["a", "b"], ["1", "2"]]),
        (b"\xffa,b\n", [["\ufffda", "b"]]),
        (b"a,b\n" + b"1,2\n" * 100 + b"3", [["a", "b"], ["1", "2"]]),
        (b"", []),
    ],
)
def test_first_rows_of_any_file_can_be_looked_at(tmp_path, content, expected):
    (tmp_path / "t.txt").write_bytes(content)
    assert first_rows(tmp_path / "t.txt", ",;", n_rows=1) == expected
    assert first_rows(tmp_path / "missing") == []


def test_a_row_cut_by_the_limit_of_bytes_is_left_out(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n")
    assert first_rows(tmp_path / "t.csv", n_bytes=9) == [["a", "b"], ["1", "2"]]
