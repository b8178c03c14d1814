"""Extra clips without labels, from the folder to the manifest."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from acoustic_kit.data import CsvOptions, Dataset, check_manifest, make_manifest, read_dataset, summarize
from acoustic_kit.data.extra import read_extra, read_with_extra
from acoustic_kit.data.folds import fold_names, training_rows
from acoustic_kit.data.targets import label_digest
from acoustic_kit.data.windows import Windows
from acoustic_kit.errors import DataError
from acoustic_kit.recipe.job import make_job
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.data_update import changes_of
from acoustic_kit.workspace.init import init_workspace


@pytest.fixture
def dataset(tmp_path: Path, write_clip: Callable[..., object]) -> Dataset:
    for clip in range(8):
        write_clip(tmp_path / "data" / "xy"[clip % 2] / f"{clip}.wav")
    return read_dataset(tmp_path / "data")


@pytest.mark.parametrize("folder", [".", "site 1"])
def test_files_without_labels_are_unlabeled_clips(
    dataset: Dataset, tmp_path: Path, write_clip: Callable[..., object], folder: str
) -> None:
    write_clip(tmp_path / "more" / folder / "a.wav")
    write_clip(tmp_path / "more" / folder / "b.wav")
    extra = read_extra(tmp_path / "more", dataset, CsvOptions())
    assert "2 audio files without labels" in extra.notes[0]
    manifest, _ = make_manifest(dataset, n_folds=2, extra=extra)
    check_manifest(manifest, dataset.classes)
    added = manifest.filter(pl.col("split") == "extra")
    assert added["label"].to_list() == [[], []]
    assert summarize(manifest, dataset.classes).clips == {"train": 8, "unlabeled": 2}
    alone, _ = make_manifest(dataset, n_folds=2)
    assert label_digest(manifest) == label_digest(alone)
    for fold in [*fold_names(manifest), "full"]:
        rows, without = training_rows(manifest, fold), training_rows(alone, fold)
        assert rows.train["id"].to_list() == without.train["id"].to_list()
        assert rows.valid["id"].to_list() == without.valid["id"].to_list()


def test_recordings_without_labels_are_divided(
    dataset: Dataset, tmp_path: Path, write_clip: Callable[..., object]
) -> None:
    write_clip(tmp_path / "more" / "long.wav", seconds=3.0)
    extra = read_extra(tmp_path / "more", dataset, CsvOptions(windows=Windows.checked(1.0)))
    assert extra.clips.select("id", "start").rows() == [("long_1", 0.0), ("long_2", 1.0), ("long_3", 2.0)]


def test_folder_called_like_a_class_has_labels(
    dataset: Dataset, tmp_path: Path, write_clip: Callable[..., object]
) -> None:
    write_clip(tmp_path / "more" / "x" / "1.wav")
    write_clip(tmp_path / "more" / "whale" / "2.wav")
    with pytest.raises(DataError, match="whale"):
        make_manifest(dataset, n_folds=2, extra=read_extra(tmp_path / "more", dataset, CsvOptions()))
    (tmp_path / "more" / "whale" / "2.wav").rename(tmp_path / "more" / "x" / "2.wav")
    (tmp_path / "more" / "whale").rmdir()
    assert read_extra(tmp_path / "more", dataset, CsvOptions()).clips["label"].to_list() == [["x"], ["x"]]


def test_test_clips_of_another_data_set_are_unlabeled(
    dataset: Dataset, tmp_path: Path, write_clip: Callable[..., object]
) -> None:
    for path in ("train/x/1.wav", "train/y/2.wav", "test/3.wav"):
        write_clip(tmp_path / "more" / path)
    manifest, _ = make_manifest(dataset, n_folds=2, extra=read_extra(tmp_path / "more", dataset, CsvOptions()))
    assert summarize(manifest, dataset.classes).clips == {"train": 8, "extra": 2, "unlabeled": 1}


def test_unlabeled_clips_do_not_change_the_names_of_runs(
    dataset: Dataset, tmp_path: Path, write_clip: Callable[..., object]
) -> None:
    recipe, root = load_recipe("stats_pca_linear"), tmp_path / "data"
    workspace = init_workspace(tmp_path / "alone", root, n_folds=2)
    write_clip(tmp_path / "more" / "a.wav")
    others = init_workspace(tmp_path / "with", root, n_folds=2, extra=tmp_path / "more")
    jobs = [make_job(one, recipe, recipe.settings()) for one in (workspace, others)]
    assert len(others.manifest) == len(workspace.manifest) + 1
    assert jobs[0].name == jobs[1].name


HEADER = "primary_label,secondary_labels,filename,weight"


def _birdclef(root: Path, write_clip: Callable[..., object], *rows: str, header: str = HEADER) -> Path:
    for row in rows:
        write_clip(root / "train_audio" / row.split(",")[2])
    (root / "train_metadata.csv").write_text("\n".join([header, *rows]) + "\n")
    return root


@pytest.fixture
def birds(tmp_path: Path, write_clip: Callable[..., object]) -> Path:
    rows = [f"{'owl' if n % 2 else 'wren'},\"['robin']\",a/{n}.ogg,1" for n in range(6)]
    return _birdclef(tmp_path / "birds", write_clip, *rows, *[f"robin,[],r/{n}.ogg,1" for n in range(4)])


def _extra_of(birds: Path, more: Path, folder: str = "work", **options: str) -> dict[str, tuple[object, ...]]:
    root = birds.parent / folder
    workspace = init_workspace(root, birds, n_folds=2, extra=more, options=CsvOptions(**options))  # type: ignore[arg-type]
    assert not changes_of(workspace)
    rows = workspace.manifest.filter(pl.col("split") == "extra").select("id", "label", "soft", "weight").rows()
    return {row[0]: row[1:] for row in rows}


@pytest.mark.parametrize(
    ("option", "label", "soft"),
    [
        ({}, ["owl", "robin"], None),  # as in the layout without the option
        ({"secondary": "positive"}, ["owl", "robin"], None),
        ({"secondary": "soft=0.3"}, ["owl"], [{"label": "robin", "target": 0.3}]),
        ({"secondary": "mask"}, ["owl"], [{"label": "robin", "target": None}]),
        ({"secondary": "ignore"}, ["owl"], None),
    ],
)
def test_secondary_labels_of_extra_recordings(
    birds: Path, tmp_path: Path, write_clip: Callable[..., object], option: dict, label: list, soft: list | None
) -> None:
    more = _birdclef(tmp_path / "more", write_clip, 'owl,"robin;whale",b/1.ogg,0.5')
    assert _extra_of(birds, more, **option) == {"extra/b/1.ogg": (label, soft, 0.5)}


def test_extra_recordings_without_secondary_labels(
    birds: Path, tmp_path: Path, write_clip: Callable[..., object]
) -> None:
    more = _birdclef(tmp_path / "more", write_clip, "owl,5,b/1.ogg", header="primary_label,rating,filename")
    assert _extra_of(birds, more, secondary="mask") == {"extra/b/1.ogg": (["owl"], None, None)}
    _, extra = read_with_extra(birds, "auto", CsvOptions(secondary="mask"), more)
    assert any("'secondary_labels'" in note and str(more) in note for note in extra.notes)


@pytest.mark.parametrize("layout", ["csv", "birdclef"])
def test_extra_clips_have_the_wanted_values(layout: str, tmp_path: Path, write_clip: Callable[..., object]) -> None:
    """The same values are wanted of the columns that both have; a note names those that the extra clips lack."""
    roots = {"data": "rating,site", "more": "rating"}
    for folder, own in roots.items():
        values = [("5,north" if "site" in own else "5"), ("2,north" if "site" in own else "2")]
        rows = [f"{'owl' if n % 2 else 'wren'},{folder}/{n}.ogg,{values[n // 4]}" for n in range(8)]
        if layout == "birdclef":
            _birdclef(tmp_path / folder, write_clip, *[row.replace(",", ",[],", 1) for row in rows],
                      header=f"primary_label,secondary_labels,filename,{own}")  # fmt: skip
        else:
            for row in rows:
                write_clip(tmp_path / folder / row.split(",")[1])
            (tmp_path / folder / "train.csv").write_text("\n".join([f"label,filename,{own}", *rows]) + "\n")
    options = CsvOptions(where=("rating=5", "site=north"))
    dataset, extra = read_with_extra(tmp_path / "data", "auto", options, tmp_path / "more")
    assert extra is not None
    assert [dataset.layout, extra.layout] == [layout, layout]
    assert extra.clips["path"].str.extract(r"(\d)\.ogg$").to_list() == ["0", "1", "2", "3"]
    assert any("'site'" in note for note in extra.notes)
    assert not any("'rating'" in note and "no column" in note for note in extra.notes)
    with pytest.raises(DataError, match="rating=7"):
        read_extra(tmp_path / "more", dataset, CsvOptions(where=("rating=7",)))


@pytest.mark.parametrize(
    ("use", "label", "soft"), [("positive", ["owl", "robin"], None), ("mask", ["owl"], [("robin", None)])]
)
def test_only_extra_recordings_have_secondary_labels(
    use: str, label: list, soft: list | None, birds: Path, tmp_path: Path, write_clip: Callable[..., object]
) -> None:
    rows = [f"{name},{name}/{n}.wav" for name in ("owl", "robin") for n in range(2)]
    for row in rows:
        write_clip(tmp_path / "one" / row.split(",")[1])
    (tmp_path / "one" / "train.csv").write_text("\n".join(["label,filename", *rows]) + "\n")
    more = _birdclef(tmp_path / "more", write_clip, 'owl,"robin",b/1.ogg,0.5')
    dataset, extra = read_with_extra(tmp_path / "one", "auto", CsvOptions(secondary=use), more)
    assert extra is not None
    assert [dataset.task, extra.task] == ["multi", "multi"]
    assert dataset.clips["label"].to_list() == [[row.split(",")[0]] for row in rows]
    expected = None if soft is None else [{"label": name, "target": target} for name, target in soft]
    assert extra.clips.select("label", "soft").rows() == [(label, expected)]
    lacking = _birdclef(tmp_path / "lacking", write_clip, "owl,5,b/1.ogg", header="primary_label,rating,filename")
    with pytest.raises(DataError, match="secondary_labels"):
        read_with_extra(tmp_path / "one", "auto", CsvOptions(secondary=use), lacking)


def test_soft_targets_of_extra_clips(birds: Path, tmp_path: Path, write_clip: Callable[..., object]) -> None:
    more = tmp_path / "more"
    for name in ("one", "two", "three"):
        write_clip(more / f"{name}.wav")
    table = tmp_path / "soft.csv"
    table.write_text("id,owl,robin\na/1.ogg,1,0.4\nextra/one.wav,0.9,0.2\ntwo.wav,0.1,\nelse,0,0\n")
    found = _extra_of(birds, more, soft_targets=str(table))
    assert found == {
        "extra/one.wav": (["owl"], [{"label": "owl", "target": 0.9}, {"label": "robin", "target": 0.2}], None),
        "extra/three.wav": ([], None, None),
        "extra/two.wav": ([], [{"label": "owl", "target": 0.1}, {"label": "robin", "target": None}], None),
    }
    dataset, extra = read_with_extra(birds, "auto", CsvOptions(soft_targets=str(table)), more)
    assert "targets of 3 clips, of which 2 are extra; 1 of its rows" in dataset.notes[-1]
    manifest, _ = make_manifest(dataset, n_folds=2, extra=extra)
    assert summarize(manifest, dataset.classes).clips == {"train": 10, "extra": 2, "unlabeled": 1}
    table.write_text("id,owl,robin\ntwo.wav,0.1,0.2\n")  # of extra clips only
    assert len(_extra_of(birds, more, "other", soft_targets=str(table))) == 3


def test_an_id_of_both_is_of_the_data_set(birds: Path, tmp_path: Path, write_clip: Callable[..., object]) -> None:
    more = _birdclef(tmp_path / "more", write_clip, "owl,[],a/1.ogg,1")
    table = tmp_path / "soft.csv"
    table.write_text("id,robin\na/1.ogg,0.4\n")
    assert _extra_of(birds, more, soft_targets=str(table))["extra/a/1.ogg"][1] is None


def test_events_of_extra_recordings_count_by_the_same_share(tmp_path: Path, write_clip: Callable[..., object]) -> None:
    for folder, name in (("data", "a"), ("data", "b"), ("more", "c")):
        write_clip(tmp_path / folder / "clips" / f"{name}.wav", seconds=4.0)
    rows = "filename,start,end,label\n{0}.wav,0,2,x\n{0}.wav,1.4,3.6,y\n"
    (tmp_path / "data" / "train.csv").write_text(rows.format("a") + rows.format("b").partition("\n")[2])
    (tmp_path / "more" / "train.csv").write_text(rows.format("c"))
    labels = {}
    for share in (0.2, 0.5):
        options = CsvOptions(windows=Windows.checked(2.0), min_overlap=share)
        dataset, extra = read_with_extra(tmp_path / "data", "auto", options, tmp_path / "more")
        assert extra is not None
        labels[share] = [dataset.clips["label"].to_list()[:2], extra.clips["label"].to_list()]
        assert labels[share][0] == labels[share][1]
    assert labels[0.2] != labels[0.5]
