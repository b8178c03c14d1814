"""Damage to a submission is found, and where it is."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.submission.submission import (
    Template,
    check_submission,
    score_submission,
)
from acoustic_kit.task import TaskSpec

CLASSES = {"dog": 3, "rain": 7, "sea_waves": 1, "siren": 40}


LABELS = Template(("fname", "label"), tuple("abcdefgh"), "labels")
GOOD = ["fname,label", *(f"{clip},dog" for clip in "abcdefgh")]
WIDE = Template(("fname", *CLASSES), tuple("abc"), "probabilities")
WIDE_GOOD = ["fname,dog,rain,sea_waves,siren", "a,1,0,0,0", "b,0.25,0.25,0.25,.25", "c,5e-1,0.5,0,0"]


def damaged(lines, **changes):
    """The lines with some replaced: ``line4="…"``; None takes a line out."""
    lines = dict(enumerate(lines, start=1)) | {int(key[4:]): value for key, value in changes.items()}
    return "\n".join(line for line in lines.values() if line is not None) + "\n"


def check(tmp_path, text, template, metric="f1", **kwargs):
    path = tmp_path / "s.csv"
    path.write_bytes(text.encode())
    return [(p.message, p.rows) for p in check_submission(path, template, TaskSpec(CLASSES, metric, **kwargs))]


@pytest.mark.parametrize(
    ("text", "message", "rows"),
    [
        (damaged(GOOD, line1="fname,labels"), "missing: 'label'; not expected: 'labels'", (1,)),
        (damaged(["fname,label,x", *(line + ",1" for line in GOOD[1:])]), "not expected: 'x'", (1,)),
        (damaged(GOOD, line1="label,fname"), "columns are in another order", (1,)),
        (damaged(GOOD, line1="fname,fname"), "more than one column of a name: 'fname'", (1,)),
        (damaged(GOOD, line4=None, line9=None), "2 of 8 ids are missing: 'c', 'h'", ()),
        (damaged(GOOD, line10="H,dog"), "unknown id: 1 row, the first 'H'", (10,)),
        (damaged(GOOD, line10="b,dog", line11="a,dog"), "repeated id: 2 rows, the first 'b'", (10, 11)),
        (damaged(GOOD, line3="c,dog", line4="b,dog"), "another position than in the template: 2 rows", (3, 4)),
        (damaged(GOOD, line3="b,cat", line5="d,Dog"), "unknown label: 2 rows, the first 'cat'", (3, 5)),
        (damaged(GOOD, line3="b,dog "), "unknown label: 1 row, the first 'dog '", (3,)),
        (damaged(GOOD, line3="b,", line4="c,  "), "no label: 2 rows", (3, 4)),
        (damaged(GOOD, line7="f,dog rain"), "more than 1 label: 1 row, the first 'dog rain'", (7,)),
        (damaged(["fname,label", *(f"{clip},cat" for clip in "abcdefgh")]), "unknown label: 8 rows", (2, 3, 4, 5, 6)),
        (damaged(GOOD, line6="e"), "not 2 cells, as the header has: 1 row, the first with 1", (6,)),
        (damaged(GOOD, line6="e,dog,rain"), "first with 3", (6,)),
        (damaged(GOOD, line6='e,"dog'), "not readable as CSV", (6,)),
        (damaged(GOOD, line6='e,"do"g'), "not readable as CSV", (6,)),
        (damaged(GOOD, line2='a,"d\n\no\ng"', line6="e,cat"), "unknown label: 2 rows", (2, 9)),
        (damaged(GOOD, line4="\n\nc,cat"), "unknown label: 1 row", (6,)),
        ("", "empty", ()),
        ("\n\n", "empty", ()),
        (damaged(GOOD, line4="c," + "x" * 100), "the first '" + "x" * 39 + "…'", (4,)),
        (damaged(GOOD, line4="c,a\x00\x1b[31m"), r"\x00\x1b[31m", (4,)),
    ],
)
def test_damage_to_labels_is_found_in_its_row(tmp_path, text, message, rows):
    assert check(tmp_path, damaged(GOOD), LABELS) == []
    ((found, where),) = check(tmp_path, text, LABELS)
    assert message in found
    assert where == rows


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("dog rain siren sea_waves", "more than 3 labels"),
        ("dog rain dog", "a label twice"),
        ("dog rain cat", "unknown label"),
        ("dog  rain", "unknown label"),
        ("dog,rain", "unknown label"),
        ("3 7 1", "unknown label"),
    ],
)
def test_damage_to_a_top_three_cell_is_found(tmp_path, cell, message):
    good = damaged(GOOD, line3="b,rain siren dog", line4="c,rain dog")
    assert check(tmp_path, good, LABELS, metric="map3") == []
    ((found, where),) = check(tmp_path, damaged(GOOD, line5=f'd,"{cell}"'), LABELS, metric="map3")
    assert found.startswith(message)
    assert where == (5,)


def test_indices_are_the_data_sets_own(tmp_path):
    template = replace(LABELS, form="indices", ids=("a", "b"))
    assert check(tmp_path, "fname,label\na,40\nb,1\n", template) == []
    assert check(tmp_path, "fname,label\na,40 3 7\nb,1\n", template, metric="map3") == []
    ((found, where),) = check(tmp_path, "fname,label\na,40\nb,0\n", template)
    assert (found, where) == ("unknown label: 1 row, the first '0'", (3,))


def test_damage_to_several_labels_is_found(tmp_path):
    template = replace(LABELS, ids=("a", "b"))
    assert check(tmp_path, 'fname,label\na,"dog,rain,siren,sea_waves"\nb,dog\n', template, task="multi") == []
    assert check(tmp_path, "fname,label\na,dog|rain\nb,dog\n", template, task="multi", label_separator="|") == []
    ((found, where),) = check(tmp_path, 'fname,label\na,dog\nb,"dog,dog"\n', template, task="multi")
    assert (found, where) == ("a label twice: 1 row, the first 'dog,dog'", (3,))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("b,nan,0,0,1", "not a finite number: 1 row, the first 'nan' in column 'dog'"),
        ("b,0,,0,1", "not a finite number: 1 row, the first '' in column 'rain'"),
        ("b,0,0,0,dog", "not a finite number: 1 row, the first 'dog' in column 'siren'"),
        ("b,inf,0,0,0", "not a finite number"),
        ("b,1e999,0,0,0", "not a finite number"),
        ("b,1_0,0,0,0", "not a finite number"),
        ('b,"0,5",0.5,0,0', "not a finite number"),
        ("b,١,0,0,0", "not a finite number"),
        ("b,1.5,-0.5,0,0", "outside 0 … 1: 1 row, the first 'b'"),
        ("b,0.5,0.4,0,0", "do not sum to one: 1 row, the first 'b' with 0.9"),
    ],
)
def test_damage_to_probabilities_is_found_in_its_row(tmp_path, row, message):
    assert check(tmp_path, damaged(WIDE_GOOD), WIDE) == []
    ((found, where),) = check(tmp_path, damaged(WIDE_GOOD, line3=row), WIDE)
    assert message in found
    assert where == (3,)


def test_multi_label_probabilities_need_not_sum_to_one(tmp_path):
    text = damaged(WIDE_GOOD, line3="b,1,1,0,0.7")
    assert check(tmp_path, text, WIDE, task="multi") == []
    assert len(check(tmp_path, text, WIDE)) == 1


def test_all_kinds_of_damage_are_reported_at_once(tmp_path):
    text = damaged(GOOD, line2="a,cat", line3="b,", line4="z,dog", line9="g,dog")
    assert check(tmp_path, text, LABELS) == [
        ("unknown id: 1 row, the first 'z'", (4,)),
        ("repeated id: 1 row, the first 'g'", (9,)),
        ("2 of 8 ids are missing: 'c', 'h'", ()),
        ("no label: 1 row, the first ''", (3,)),
        ("unknown label: 1 row, the first 'cat'", (2,)),
    ]


def test_a_problem_prints_its_lines(tmp_path, write):
    path = write(tmp_path / "s.csv", damaged(GOOD, line2="a,cat", line3=None))
    problems = check_submission(path, LABELS, TaskSpec(CLASSES, "f1"))
    assert [str(p) for p in problems] == [
        "1 of 8 ids are missing: 'b'",
        "unknown label: 1 row, the first 'cat' (line 2)",
    ]


@settings(deadline=None, max_examples=300)
@given(st.one_of(st.binary(max_size=80), st.text(alphabet='ab,"\n\r fnamelogdi.01\ufeff', max_size=80).map(str.encode)))
def test_any_file_gives_messages_and_no_traceback(labels, content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.csv"
        path.write_bytes(content)
        for template in (LABELS, WIDE):
            assert check_submission(path, template, TaskSpec(CLASSES, "map3"))
        for body in (b"fname,label\n", b"fname,dog,rain,sea_waves,siren\n"):
            path.write_bytes(body + content)
            assert check_submission(path, LABELS, TaskSpec(CLASSES, "map3"))
            assert check_submission(path, WIDE, TaskSpec(CLASSES, "f1"))
            with pytest.raises(AkitError):
                score_submission(path, labels({"not there": ["dog"]}), TaskSpec(CLASSES, "accuracy"))


def test_missing_and_binary_files_are_problems(tmp_path):
    (problem,) = check_submission(tmp_path / "none.csv", LABELS, TaskSpec(CLASSES, "f1"))
    assert "No such file" in problem.message
    (tmp_path / "s.csv").write_bytes(b"PK\x03\x04\n\xff\xfe")
    (problem,) = check_submission(tmp_path / "s.csv", LABELS, TaskSpec(CLASSES, "f1"))
    assert problem.rows == (2,)
    with pytest.raises(UsageError, match="unknown metric"):
        check_submission(tmp_path / "s.csv", LABELS, TaskSpec(CLASSES, "f2"))
