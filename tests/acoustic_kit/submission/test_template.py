"""The form of submissions, as the competition's template shows it."""

import pytest

from acoustic_kit.errors import AkitError
from acoustic_kit.submission.submission import (
    Template,
    read_template,
)

CLASSES = {"dog": 3, "rain": 7, "sea_waves": 1, "siren": 40}


def template_of(tmp_path, text, classes=CLASSES):
    path = tmp_path / "sample_submission.csv"
    path.write_bytes(text.encode())
    return read_template(path, classes)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("fname,label\n1.wav,dog\n2.wav,dog\n", "labels"),
        ("fname,label\n1.wav,dog rain siren\n2.wav,dog rain siren\n", "labels"),
        ("fname,label\n1.wav,\n2.wav,\n", "labels"),
        ("fname,label\n1.wav,unknown\n2.wav,unknown\n", "labels"),
        ('fname,label\n1.wav,"dog,rain"\n2.wav,dog\n', "labels"),
        ("fname,label\n1.wav,0\n2.wav,0\n", "indices"),
        ("fname,label\n1.wav,3 7 1\n2.wav,3 7 1\n", "indices"),
        ("fname,siren,dog,rain,sea_waves\n1.wav,0,0,0,0\n2.wav,0,0,0,0\n", "probabilities"),
        ("fname,40,1,3,7\n1.wav,0,0,0,0\n2.wav,0,0,0,0\n", "probabilities"),
    ],
)
@pytest.mark.parametrize("dialect", ["plain", "bom", "crlf", "cr", "blank lines", "quoted", "no last newline"])
def test_the_template_decides_the_form(tmp_path, text, form, dialect):
    header = text.split("\n")[0].split(",")
    damage = {
        "plain": text,
        "bom": "\ufeff" + text,
        "crlf": text.replace("\n", "\r\n"),
        "cr": text.replace("\n", "\r"),
        "blank lines": text.replace("\n", "\n\n"),
        "quoted": text.replace("1.wav", '"1.wav"'),
        "no last newline": text.rstrip("\n"),
    }
    template = template_of(tmp_path, damage[dialect])
    assert template == Template(tuple(header), ("1.wav", "2.wav"), form)


def test_integer_class_names_are_labels(tmp_path):
    digits = {"0": 5, "1": 6}
    assert template_of(tmp_path, "id,label\na,0\nb,1\n", digits).form == "labels"
    assert template_of(tmp_path, "id,1,0\na,0,0\n", digits).columns == ("id", "1", "0")


def test_underscores_are_seen_in_the_template(tmp_path):
    classes = {"dog bark": 0, "rain": 1}
    assert template_of(tmp_path, "id,label\na,dog_bark rain\n", classes).underscores
    assert template_of(tmp_path, "id,label\na,dog_bark\n", classes).underscores
    assert not template_of(tmp_path, "id,label\na,dog bark\n", classes).underscores
    assert not template_of(tmp_path, "id,label\na,rain\n", classes).underscores
    assert not template_of(tmp_path, "id,label\na,sea_waves\n").underscores


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "file is empty"),
        ("id,label\n", "no rows"),
        ("id\na\nb\n", "one column, 'id'"),
        ("id:label\na:dog\n", "one column, 'id:label'"),
        ("id,dog,dog\na,0,0\n", "more than one column of a name: 'dog'"),
        ("id,label\na,dog\nb,dog\na,dog\n", r"repeated id: 1 row, the first 'a' \(line 4\)"),
        ("id,label\na,dog\n,dog\n", r"unknown id: 1 row, the first '' \(line 3\)"),
        ("id,dog,rain,cat\na,0,0,0\n", "missing: 'sea_waves', 'siren'; unknown: 'cat'"),
        ("id,3,7,1,41\na,0,0,0,0\n", "neither the 4 class names nor their indices"),
        ("id,label\na,dog\nb\n", r"not 2 cells, as the header has: 1 row, the first with 1 \(line 3\)"),
        ('id,label\na,dog\nb,"rain\n', r"not readable as CSV: .* \(line 3\)"),
        ("id,label\na," + "x" * 200_000 + "\n", r"field larger than field limit .* \(line 2\)"),
    ],
)
def test_a_template_that_does_not_fit_says_why(tmp_path, text, message):
    with pytest.raises(AkitError, match=message) as caught:
        template_of(tmp_path, text)
    assert "sample_submission.csv" in str(caught.value)
    assert len(str(caught.value)) < 600


def test_files_that_are_no_csv_say_why(tmp_path):
    with pytest.raises(AkitError, match="No such file"):
        read_template(tmp_path / "missing.csv", CLASSES)
    with pytest.raises(AkitError, match="directory"):
        read_template(tmp_path, CLASSES)
    path = tmp_path / "latin.csv"
    path.write_bytes(b"\xef\xbb\xbfid,label\na,dog\n\xe9,dog\n")
    with pytest.raises(AkitError, match=r"not UTF-8 text; .* \(line 3\)"):
        read_template(path, CLASSES)
