"""Submissions: what is written passes the check and scores as the predictions do; damage is found where it is."""

import csv
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.metrics import fitting_metrics, score, score_ranked, top_k
from acoustic_kit.submission.submission import (
    Template,
    check_submission,
    default_template,
    read_template,
    require_writable,
    score_submission,
    write_submission,
)
from acoustic_kit.task import TaskSpec

CLASSES = {"dog": 3, "rain": 7, "sea_waves": 1, "siren": 40}
laws = settings(deadline=None, max_examples=60)


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def labels(truth):
    return pl.DataFrame(
        {"id": list(truth), "label": list(truth.values())}, schema_overrides={"label": pl.List(pl.String)}
    )


def template_of(tmp_path, text, classes=CLASSES):
    return read_template(write(tmp_path / "sample_submission.csv", text), classes)


# Reading the template


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


# Writing


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_rows_are_joined_by_id_and_extra_ids_left_out(tmp_path):
    template = Template(("fname", "label"), ("c", "a"), "labels")
    p = np.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25]])
    path = tmp_path / "new" / "first.csv"
    write_submission(path, template, ["a", "b", "c"], p, TaskSpec(CLASSES, "map3"))
    assert path.read_bytes() == b"fname,label\nc,dog rain sea_waves\na,siren sea_waves rain\n"
    write_submission(path, template, ["a", "b", "c"], p, TaskSpec(CLASSES, "f1"))
    assert rows_of(path)[1:] == [["c", "dog"], ["a", "siren"]]
    write_submission(path, replace(template, form="indices"), ["a", "b", "c"], p, TaskSpec(CLASSES, "map3"))
    assert rows_of(path)[1:] == [["c", "3 7 1"], ["a", "40 1 7"]]
    wide = Template(("fname", "siren", "dog", "sea_waves", "rain"), ("a",), "probabilities")
    write_submission(path, wide, ["a", "b", "c"], p, TaskSpec(CLASSES, "map3"))
    assert rows_of(path)[1:] == [["a", "0.4", "0.1", "0.3", "0.2"]]
    own = Template(("fname", "1", "3", "7", "40"), ("a",), "probabilities")
    write_submission(path, own, ["a", "b", "c"], p, TaskSpec(CLASSES, "f1"))
    assert rows_of(path)[1:] == [["a", "0.3", "0.1", "0.2", "0.4"]]
    assert os.listdir(path.parent) == ["first.csv"]  # noqa: PTH208 - hidden files too


def test_multi_label_cells_hold_what_is_likely_or_the_best(tmp_path):
    template = Template(("id", "label"), ("a", "b"), "labels")
    p = np.array([[0.5, 0.9, 0.1, 0.49], [0.1, 0.2, 0.3, 0.0]])
    path = tmp_path / "s.csv"
    write_submission(path, template, ["a", "b"], p, TaskSpec(CLASSES, "f1", task="multi"))
    assert rows_of(path)[1:] == [["a", "rain,dog"], ["b", "sea_waves"]]
    write_submission(path, template, ["a", "b"], p, TaskSpec(CLASSES, "f1", task="multi", label_separator=" "))
    assert rows_of(path)[1:] == [["a", "rain dog"], ["b", "sea_waves"]]


def test_class_names_with_spaces(tmp_path):
    classes, path = {"dog bark": 0, "rain": 1, "sea waves": 2}, tmp_path / "s.csv"
    template, p = default_template(["a"], "map3", classes), np.array([[0.2, 0.1, 0.7]])
    with pytest.raises(AkitError, match=r"' ' separates .* part of class 'dog bark', 'sea waves'; rename"):
        write_submission(path, template, ["a"], p, TaskSpec(classes, "map3"))
    assert not path.exists()
    write_submission(path, template, ["a"], p, TaskSpec(classes, "f1"))
    assert rows_of(path)[1] == ["a", "sea waves"]
    assert check_submission(path, template, TaskSpec(classes, "f1")) == []
    underscored = replace(template, underscores=True)
    write_submission(path, underscored, ["a"], p, TaskSpec(classes, "map3"))
    assert rows_of(path)[1] == ["a", "sea_waves dog_bark rain"]
    assert check_submission(path, underscored, TaskSpec(classes, "map3")) == []
    assert score_submission(path, labels({"a": ["dog bark"]}), TaskSpec(classes, "accuracy"))["map3"] == 0.5
    with pytest.raises(AkitError, match="two classes"):
        write_submission(path, underscored, ["a"], p[:, :2], TaskSpec({"dog bark": 0, "dog_bark": 1}, "accuracy"))


BLANKS = {"Tearing paper": 0, "paper": 1, "Bass drum": 2, "drum": 3, "it's": 4}


@pytest.mark.parametrize(
    ("shown", "written"),
    [
        ('"paper,drum,it\'s"', '"Bass drum,Tearing paper,paper"'),
        ('"Bass drum, paper, drum"', '"Bass drum, Tearing paper, paper"'),
        ("Tearing paper;paper;drum", "Bass drum;Tearing paper;paper"),
        ("drum|paper|it's", "Bass drum|Tearing paper|paper"),
        ('"""Tearing paper"" paper drum"', '"""Bass drum"" ""Tearing paper"" paper"'),
        ('"""Tearing paper"",paper,drum"', '"""Bass drum"",""Tearing paper"",paper"'),
        ("Tearing_paper paper drum", "Bass_drum Tearing_paper paper"),
        ("Tearing_paper|paper|drum", "Bass_drum|Tearing_paper|paper"),
    ],
)
def test_the_template_shows_how_labels_with_blanks_are_written(tmp_path, shown, written):
    path = tmp_path / "s.csv"
    template = read_template(write(tmp_path / "t.csv", f"fname,label\na,{shown}\nb,{shown}\n"), BLANKS)
    p = np.array([[0.3, 0.2, 0.4, 0.1, 0.0], [0.0, 0.1, 0.2, 0.3, 0.4]])
    require_writable(template, TaskSpec(BLANKS, "map3"))
    write_submission(path, template, ["a", "b"], p, TaskSpec(BLANKS, "map3"))
    assert path.read_text().splitlines()[1] == f"a,{written}"
    assert check_submission(path, template, TaskSpec(BLANKS, "map3")) == []
    truth = {"a": ["Tearing paper"], "b": ["it's"]}
    assert score_submission(path, labels(truth), TaskSpec(BLANKS, "accuracy"))["map3"] == 0.75
    assert check_submission(path, template, TaskSpec(BLANKS, "f1")) != []


@pytest.mark.parametrize("shown", ["paper", "paper drum it's", "?", "Tearing paper"])
def test_unjoinable_labels_are_refused_before_writing(tmp_path, shown):
    template = read_template(write(tmp_path / "t.csv", f"fname,label\na,{shown}\n"), BLANKS)
    with pytest.raises(AkitError, match=r"' ' separates .* 'Tearing paper', 'Bass drum'"):
        require_writable(template, TaskSpec(BLANKS, "map3"))
    require_writable(template, TaskSpec(BLANKS, "f1"))


def test_a_multi_label_template_shows_its_separator(tmp_path):
    template = read_template(write(tmp_path / "t.csv", "id,label\na,dog;rain\nb,dog\n"), CLASSES)
    path, p = tmp_path / "s.csv", np.array([[0.5, 0.9, 0.1, 0.49], [0.1, 0.2, 0.3, 0.0]])
    write_submission(path, template, ["a", "b"], p, TaskSpec(CLASSES, "f1", task="multi"))
    assert rows_of(path)[1:] == [["a", "rain;dog"], ["b", "sea_waves"]]
    indices = read_template(write(tmp_path / "t.csv", "id,label\na,1;3\nb,1\n"), CLASSES)
    write_submission(path, indices, ["a", "b"], p, TaskSpec(CLASSES, "f1", task="multi"))
    assert rows_of(path)[1][1].count(";") == 1


def test_what_cannot_be_written_leaves_the_former_file(tmp_path, monkeypatch):
    path, template = write(tmp_path / "s.csv", "former"), Template(("id", "label"), tuple("abcdefgh"), "labels")
    with pytest.raises(AkitError, match=r"7 of 8 ids .*'b', 'c', 'd', 'e', 'f' and 2 more"):
        write_submission(path, template, ["a"], np.ones((1, 4)), TaskSpec(CLASSES, "f1"))
    template = replace(template, ids=("a",))
    for wrong in (np.ones((1, 3)), np.ones((2, 4)), np.full((1, 4), np.nan)):
        with pytest.raises(ValueError, match="must be finite"):
            write_submission(path, template, ["a"], wrong, TaskSpec(CLASSES, "f1"))
    with pytest.raises(ValueError, match="predicted twice"):
        write_submission(path, template, ["a", "a"], np.ones((2, 4)), TaskSpec(CLASSES, "f1"))
    with pytest.raises(UsageError, match="does not fit"):
        write_submission(path, template, ["a"], np.ones((1, 4)), TaskSpec(CLASSES, "map3", task="multi"))

    def full_disk(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(AkitError, match=r"s\.csv cannot be written: No space left"):
        write_submission(path, template, ["a"], np.ones((1, 4)), TaskSpec(CLASSES, "f1"))
    assert path.read_text() == "former"
    assert os.listdir(tmp_path) == ["s.csv"]  # noqa: PTH208 - hidden files too


def test_the_default_template_holds_labels_or_what_map_needs():
    assert default_template(["b", "a"], "f1", CLASSES) == Template(("id", "label"), ("b", "a"), "labels")
    assert default_template(["a"], "0.5*map+f1", CLASSES) == Template(("id", *CLASSES), ("a",), "probabilities")


# Round trips


@st.composite
def competitions(draw):
    """Ids, classes and predictions as untidy as they come, with the form of the submission."""
    tidy = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=8)
    tidy = tidy.filter(lambda text: text == text.strip())  # blanks around a cell of a template do not count
    ids = draw(st.lists(tidy, min_size=1, max_size=12, unique=True))
    name = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Z", "C"]), min_size=1, max_size=6)
    names = draw(st.lists(name, min_size=2, max_size=7, unique=True))
    own = draw(st.permutations(range(len(names))))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    p = rng.dirichlet(np.full(len(names), 0.5), size=len(ids)).round(4)
    truth = {clip: [names[c]] for clip, c in zip(ids, rng.integers(0, len(names), len(ids)), strict=True)}
    form = draw(st.sampled_from(["labels", "indices", "names", "numbers"]))
    classes = dict(zip(names, own, strict=True))
    if form in ("labels", "indices"):
        return Template(("id", "label"), tuple(draw(st.permutations(ids))), form), classes, ids, p, truth
    columns = draw(st.permutations(names if form == "names" else [str(i) for i in own]))
    return Template(("the id", *columns), tuple(draw(st.permutations(ids))), "probabilities"), classes, ids, p, truth


@laws
@given(competitions(), st.sampled_from(["f1", "map3"]))
def test_written_submissions_are_valid_and_keep_their_score(case, metric):
    template, classes, ids, p, truth = case
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.csv"
        write_submission(path, template, ids, p, TaskSpec(classes, metric))
        assert check_submission(path, template, TaskSpec(classes, metric)) == []
        integers = template.form == "indices" and any(name.lstrip("-").isdigit() for name in classes)
        if integers:  # a file of integers is then read as class names, as the template would have been
            return
        found = score_submission(path, labels(truth), TaskSpec(classes, "accuracy"))
        again = read_template(path, classes)
    assert (again.columns, again.ids, again.form) == (template.columns, template.ids, template.form)
    targets = np.array([list(classes).index(truth[clip][0]) for clip in ids])
    if template.form == "probabilities":
        assert found == pytest.approx({m: score(m, targets, p) for m in found})
        assert "map" in found
    else:
        ranked = top_k(p, 3 if metric == "map3" else 1)
        assert found == pytest.approx({m: score_ranked(m, targets, ranked) for m in found})
        assert (
            {"accuracy", "balanced_accuracy", "f1", "map3"}
            <= set(found)
            <= {"accuracy", "balanced_accuracy", "f1", "map3", "kappa"}
        )


@laws
@given(st.integers(0, 10_000), st.sampled_from(["labels", "indices", "probabilities"]))
def test_multi_label_round_trips(seed, form):
    rng = np.random.default_rng(seed)
    ids = [f"clip {i}" for i in range(15)]
    p = rng.random((15, 4)).round(6)
    targets = rng.random((15, 4)) < 0.4
    targets[:, 0] |= ~targets.any(axis=1)
    names = np.array(list(CLASSES))
    truth = {clip: names[row].tolist() for clip, row in zip(ids, targets, strict=True)}
    columns = ("id", *CLASSES) if form == "probabilities" else ("id", "label")
    template = Template(columns, tuple(ids), form)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.csv"
        write_submission(path, template, ids, p, TaskSpec(CLASSES, "f1", task="multi"))
        assert check_submission(path, template, TaskSpec(CLASSES, "f1", task="multi")) == []
        found = score_submission(path, labels(truth), TaskSpec(CLASSES, "f1", task="multi"))
    if form == "probabilities":
        assert found == pytest.approx({m: score(m, targets, p) for m in fitting_metrics("multi")})
    else:
        likely = np.where((p >= 0.5).any(axis=1, keepdims=True), p, p + (p == p.max(axis=1, keepdims=True)))
        assert found == pytest.approx({m: score(m, targets, likely) for m in ("f1", "micro_f1")})


# Checking

LABELS = Template(("fname", "label"), tuple("abcdefgh"), "labels")
GOOD = ["fname,label", *(f"{clip},dog" for clip in "abcdefgh")]
WIDE = Template(("fname", *CLASSES), tuple("abc"), "probabilities")
WIDE_GOOD = ["fname,dog,rain,sea_waves,siren", "a,1,0,0,0", "b,0.25,0.25,0.25,.25", "c,5e-1,0.5,0,0"]


def damaged(lines, **changes):
    """The lines with some replaced: ``line4="…"``; None takes a line out."""
    lines = dict(enumerate(lines, start=1)) | {int(key[4:]): value for key, value in changes.items()}
    return "\n".join(line for line in lines.values() if line is not None) + "\n"


def check(tmp_path, text, template, metric="f1", **kwargs):
    path = write(tmp_path / "s.csv", text)
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


def test_a_problem_prints_its_lines(tmp_path):
    path = write(tmp_path / "s.csv", damaged(GOOD, line2="a,cat", line3=None))
    problems = check_submission(path, LABELS, TaskSpec(CLASSES, "f1"))
    assert [str(p) for p in problems] == [
        "1 of 8 ids are missing: 'b'",
        "unknown label: 1 row, the first 'cat' (line 2)",
    ]


@settings(deadline=None, max_examples=300)
@given(st.one_of(st.binary(max_size=80), st.text(alphabet='ab,"\n\r fnamelogdi.01\ufeff', max_size=80).map(str.encode)))
def test_any_file_gives_messages_and_no_traceback(content):
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


# Scoring


def test_scores_are_joined_by_id_and_other_rows_left_out(tmp_path):
    path = write(tmp_path / "s.csv", "id,label\nx,siren\nb,dog rain\na,siren dog rain\n")
    found = score_submission(path, labels({"a": ["rain"], "b": ["dog"]}), TaskSpec(CLASSES, "accuracy"))
    by_label = {"accuracy": 0.5, "balanced_accuracy": 0.5, "f1": 1 / 3, "map3": (1 / 3 + 1) / 2}
    assert found == pytest.approx(by_label | {"kappa": found["kappa"]})


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
def test_what_cannot_be_scored_says_why(tmp_path, text, truth, message):
    with pytest.raises(AkitError, match=message):
        score_submission(write(tmp_path / "s.csv", text), labels(truth), TaskSpec(CLASSES, "accuracy"))


def test_damage_outside_the_scored_rows_does_not_matter(tmp_path):
    path = write(tmp_path / "s.csv", "id,label\na,dog\nb,cat\n")
    assert score_submission(path, labels({"a": ["dog"]}), TaskSpec(CLASSES, "accuracy"))["accuracy"] == 1


def test_saturated_and_nearly_equal_probabilities_are_kept(tmp_path: Path) -> None:
    p = np.array([[1 - 2e-15, 1e-15, 1e-15, 0.0], [0.25 + 1e-12, 0.25, 0.25 - 1e-12, 0.25], [1e-300, 0.0, 0.5, 0.5]])
    ids = ["1.wav", "2.wav", "3.wav"]
    template = Template(("id", *CLASSES), tuple(ids), "probabilities")
    write_submission(tmp_path / "s.csv", template, ids, p, TaskSpec(CLASSES, "map"))
    assert check_submission(tmp_path / "s.csv", template, TaskSpec(CLASSES, "map")) == []
    found = np.array([line.split(",")[1:] for line in (tmp_path / "s.csv").read_text().splitlines()[1:]], dtype=float)
    assert np.array_equal(found, p)
