"""What is written passes the check and scores as the predictions do."""

import csv
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
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


def test_class_names_with_spaces(tmp_path, labels):
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
def test_the_template_shows_how_labels_with_blanks_are_written(tmp_path, shown, written, write, labels):
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
def test_unjoinable_labels_are_refused_before_writing(tmp_path, shown, write):
    template = read_template(write(tmp_path / "t.csv", f"fname,label\na,{shown}\n"), BLANKS)
    with pytest.raises(AkitError, match=r"' ' separates .* 'Tearing paper', 'Bass drum'"):
        require_writable(template, TaskSpec(BLANKS, "map3"))
    require_writable(template, TaskSpec(BLANKS, "f1"))


def test_a_multi_label_template_shows_its_separator(tmp_path, write):
    template = read_template(write(tmp_path / "t.csv", "id,label\na,dog;rain\nb,dog\n"), CLASSES)
    path, p = tmp_path / "s.csv", np.array([[0.5, 0.9, 0.1, 0.49], [0.1, 0.2, 0.3, 0.0]])
    write_submission(path, template, ["a", "b"], p, TaskSpec(CLASSES, "f1", task="multi"))
    assert rows_of(path)[1:] == [["a", "rain;dog"], ["b", "sea_waves"]]
    indices = read_template(write(tmp_path / "t.csv", "id,label\na,1;3\nb,1\n"), CLASSES)
    write_submission(path, indices, ["a", "b"], p, TaskSpec(CLASSES, "f1", task="multi"))
    assert rows_of(path)[1][1].count(";") == 1


def test_what_cannot_be_written_leaves_the_former_file(tmp_path, monkeypatch, write):
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


def test_saturated_and_nearly_equal_probabilities_are_kept(tmp_path: Path) -> None:
    p = np.array([[1 - 2e-15, 1e-15, 1e-15, 0.0], [0.25 + 1e-12, 0.25, 0.25 - 1e-12, 0.25], [1e-300, 0.0, 0.5, 0.5]])
    ids = ["1.wav", "2.wav", "3.wav"]
    template = Template(("id", *CLASSES), tuple(ids), "probabilities")
    write_submission(tmp_path / "s.csv", template, ids, p, TaskSpec(CLASSES, "map"))
    assert check_submission(tmp_path / "s.csv", template, TaskSpec(CLASSES, "map")) == []
    found = np.array([line.split(",")[1:] for line in (tmp_path / "s.csv").read_text().splitlines()[1:]], dtype=float)
    assert np.array_equal(found, p)


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
def test_written_submissions_are_valid_and_keep_their_score(labels, case, metric):
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
        assert set(found) - {"kappa"} == {"accuracy", "balanced_accuracy", "f1", "map3"}


@laws
@given(st.integers(0, 10_000), st.sampled_from(["labels", "indices", "probabilities"]))
def test_multi_label_round_trips(labels, seed, form):
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
