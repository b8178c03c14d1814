"""What changed in a data set since `akit init` is noticed and taken in; ids, folds and what is built stay."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile
from typer.testing import CliRunner, Result

from acoustic_kit.cli import app
from acoustic_kit.data import CsvOptions
from acoustic_kit.data.targets import label_digest
from acoustic_kit.data.windows import Windows
from acoustic_kit.errors import AkitError
from acoustic_kit.runs.data_update import changes_of, update_data
from acoustic_kit.workspace.config import read_config
from acoustic_kit.workspace.init import init_workspace
from acoustic_kit.workspace.init_options import INIT_NAME
from acoustic_kit.workspace.workspace import Workspace

Row = tuple[str, str, str]  # file, label, speaker
ROWS: list[Row] = [(f"{kind}{i}.wav", kind, f"{kind}-{i // 2}") for kind in ("dog", "rain") for i in range(6)]


def akit(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result


def write_clip(path: Path, seed: int = 0, length: float = 0.25) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng([seed, *path.name.encode()]).standard_normal(round(8000 * length))
    soundfile.write(path, 0.1 * noise, 8000)


def write_table(data: Path, rows: Sequence[Row]) -> None:
    for name, _, _ in rows:
        if not (data / "audio" / name).exists():
            write_clip(data / "audio" / name)
    (data / "train.csv").write_text("fname,label,speaker\n" + "".join(f"{','.join(row)}\n" for row in rows))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_table(tmp_path / "data", ROWS)
    return tmp_path / "data"


@pytest.fixture
def mine(data: Path, tmp_path: Path) -> Workspace:
    return init_workspace(tmp_path / "work", data, n_folds=2, options=CsvOptions(group_column="speaker"))


def again(workspace: Workspace) -> Workspace:
    return Workspace.find(workspace.root)


def columns(workspace: Workspace, *names: str) -> dict[str, tuple[object, ...]]:
    rows = again(workspace).manifest.select("id", *names).rows()
    return {id: tuple(rest) for id, *rest in rows}


def test_nothing_changes_where_nothing_changed(mine: Workspace) -> None:
    before = mine.manifest_path.stat().st_mtime_ns
    assert not changes_of(mine)
    assert "Nothing to update" in akit("-C", mine.root, "data", "update").stderr
    assert mine.manifest_path.stat().st_mtime_ns == before


def test_changed_labels_and_added_or_removed_rows_are_applied(mine: Workspace, data: Path) -> None:
    folds = columns(mine, "fold")
    rows = [("dog0.wav", "rain", "dog-0"), *ROWS[1:-1], ("dog8.wav", "dog", "dog-1"), ("new.wav", "rain", "new")]
    write_table(data, rows)
    changes = changes_of(mine)
    assert (changes.relabeled, changes.new, changes.gone) == (("dog0.wav",), ("dog8.wav", "new.wav"), ("rain5.wav",))
    said = akit("-C", mine.root, "data", "inspect").stderr
    assert all(name in said for name in ("dog0.wav", "dog8.wav", "rain5.wav", "akit data update"))
    assert columns(mine, "fold") == folds
    akit("-C", mine.root, "data", "update")
    after = columns(mine, "label", "fold")
    assert after["dog0.wav"] == (["rain"], *folds["dog0.wav"])
    assert after["dog8.wav"][1:] == folds["dog2.wav"]  # its speaker's
    assert {id: fold for id, (_, fold) in after.items() if id in folds} == {
        id: fold for id, (fold,) in folds.items() if id != "rain5.wav"
    }
    assert not changes_of(again(mine))


def test_a_changed_file_is_looked_at_again_and_others_are_not(mine: Workspace, data: Path) -> None:
    known = columns(mine, "content", "peak")
    write_clip(data / "audio" / "dog1.wav", seed=1)
    (data / "audio" / "dog0.wav").write_bytes(b"not looked at")
    stat = mine.manifest.filter(pl.col("id") == "dog0.wav").select("size", "mtime_ns").row(0)
    (data / "audio" / "dog0.wav").write_bytes(bytes(stat[0]))
    os.utime(data / "audio" / "dog0.wav", ns=(stat[1], stat[1]))
    assert update_data(mine).changed_files == 1
    after = columns(mine, "content", "peak")
    assert {id for id in known if known[id] != after[id]} == {"dog1.wav"}


def test_a_new_clip_is_in_the_fold_of_a_clip_of_equal_content(mine: Workspace, data: Path) -> None:
    new = [(f"copy{i}.wav", "dog", f"new {i}") for i in range(6)]
    for i, (name, _, _) in enumerate(new):
        (data / "audio" / name).write_bytes((data / "audio" / f"dog{i}.wav").read_bytes())
    write_table(data, [*ROWS, *new])
    update_data(mine)
    folds = columns(mine, "fold")
    assert [folds[f"copy{i}.wav"] for i in range(6)] == [folds[f"dog{i}.wav"] for i in range(6)]


def test_a_table_elsewhere_is_found_again(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    table = (data / "train.csv").rename("labels.csv")
    options = CsvOptions(train_csv="labels.csv", label_column="label")
    mine = init_workspace(tmp_path / "work", data, n_folds=2, options=options)
    monkeypatch.chdir("/")
    assert not changes_of(mine)
    path = tmp_path / table
    path.write_text(path.read_text().replace("dog0.wav,dog", "dog0.wav,rain"))
    assert changes_of(mine).relabeled == ("dog0.wav",)


def test_another_value_in_a_column_of_the_data_set_is_a_change(mine: Workspace, data: Path) -> None:
    write_table(data, [("dog0.wav", "dog", "dog-2"), *ROWS[1:]])
    assert changes_of(mine).other == ("dog0.wav",)
    update_data(mine)
    assert columns(mine, "group")["dog0.wav"] == ("dog-2",)


def test_a_new_class_is_appended_and_the_user_keeps_the_remarks(mine: Workspace, data: Path) -> None:
    path = mine.root / "akit.toml"
    path.write_text(path.read_text() + "# the end\n")
    write_table(data, [*ROWS, ("cat0.wav", "cat", "c0"), ("cat1.wav", "cat", "c1")])
    assert update_data(mine).new_classes == ("cat",)
    classes = read_config(path).classes
    assert list(classes) == ["dog", "rain", "cat"]
    assert len(set(classes.values())) == 3
    assert {name: classes[name] for name in mine.config.classes} == mine.config.classes
    assert "# the end" in path.read_text()
    assert len({columns(mine, "fold")[f"cat{i}.wav"][0] for i in range(2)}) == 2  # the class is in both folds


@pytest.mark.parametrize("forget", [False, True])
def test_held_out_clips_stay_held_out_and_their_truth_is_mended(forget: bool, data: Path, tmp_path: Path) -> None:
    mine = init_workspace(
        tmp_path / "work", data, n_folds=3, test_folds=[3], options=CsvOptions(group_column="speaker")
    )
    if forget:  # a workspace that was made before init.json
        (mine.root / INIT_NAME).unlink()
    test = mine.clip_ids("test")
    write_table(data, [(name, {"dog": "rain", "rain": "dog"}[label], group) for name, label, group in ROWS])
    update_data(mine)
    assert again(mine).clip_ids("test") == test
    truth = dict(pl.read_parquet(mine.truth_path).rows())
    assert truth == {id: ["rain"] if id.startswith("dog") else ["dog"] for id in test}


def test_test_clips_that_got_labels_become_training_clips(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_table(data, ROWS)
    write_clip(data / "audio" / "t0.wav")
    (data / "test.csv").write_text("fname\nt0.wav\n")
    mine = init_workspace(tmp_path / "work", data, n_folds=2)
    assert mine.clip_ids("test") == ["t0.wav"]
    (data / "test.csv").unlink()
    write_table(data, [*ROWS, ("t0.wav", "dog", "t")])
    update_data(mine)
    assert again(mine).clip_ids("test") == []
    assert columns(mine, "label", "split")["t0.wav"] == (["dog"], "train")


def test_official_folds_of_new_clips_are_kept(synthetic: Path, tmp_path: Path) -> None:
    import shutil

    data = shutil.copytree(synthetic, tmp_path / "data")
    mine = init_workspace(tmp_path / "work", data, test_folds=[5])
    table = data / "meta" / "esc50.csv"
    header, first, *rest = table.read_text().splitlines()
    cells = first.split(",")
    for fold in "35":
        name = f"{fold}-999-A-{cells[2]}.wav"
        write_clip(data / "audio" / name)
        rest.append(",".join([name, fold, *cells[2:]]))
    table.write_text("\n".join([header, first, *rest]) + "\n")
    update_data(mine)
    after = columns(mine, "fold", "split")
    assert after[f"3-999-A-{cells[2]}.wav"] == (3, "train")
    assert after[f"5-999-A-{cells[2]}.wav"] == (None, "test")


def test_runs_made_before_are_marked_and_blends_name_them(mine: Workspace, data: Path) -> None:
    run = ["-C", mine.root, "recipe", "run", "stats_pca_linear", "--set", "sample_rate=8000", "--workers", "0"]
    akit(*run)
    (record,) = [path / "run.json" for path in mine.runs_path.iterdir()]
    digest = label_digest(mine.manifest)
    assert digest in record.read_text()
    record.write_text(record.read_text().replace(digest, ""))  # as an older akit wrote it
    assert "other labels" not in akit("-C", mine.root, "runs", "list").stdout
    write_table(data, [("dog0.wav", "rain", "dog-0"), *ROWS[1:]])
    akit("-C", mine.root, "data", "update")
    assert "other labels" in akit("-C", mine.root, "runs", "list").stdout
    assert record.parent.name in akit("-C", mine.root, "blend", "--method", "mean").stderr
    write_table(data, ROWS)
    assert "dog0.wav" in akit(*run).stderr
    akit("-C", mine.root, "data", "update")
    assert "dog0.wav" not in akit(*run).stderr


def test_a_data_set_that_cannot_be_read_any_more_is_named(mine: Workspace, data: Path) -> None:
    before = mine.manifest_path.read_bytes()
    (data / "audio" / "dog0.wav").unlink()
    with pytest.raises(AkitError, match=r"dog0\.wav"):
        update_data(mine)
    assert "dog0.wav" in akit("-C", mine.root, "data", "inspect").stderr
    data.rename(data.with_name("away"))
    assert "data set" not in akit("-C", mine.root, "data", "inspect").stderr
    assert mine.manifest_path.read_bytes() == before


def test_a_new_recording_keeps_the_windows_of_the_others(tmp_path: Path) -> None:
    data = tmp_path / "data"
    seconds = {"dog": (2.5, 0.5, 4), "rain": (1, 1.75, 3)}
    for kind, lengths in seconds.items():
        for i, length in enumerate(lengths):
            write_clip(data / kind / f"{kind}{i}.wav", length=length)
    options = CsvOptions(windows=Windows(length=1, hop=0.5), id_format="{stem}_{end}")
    mine = init_workspace(tmp_path / "work", data, n_folds=2, options=options)
    before = columns(mine, "fold", "start", "end", "duration", "group")
    assert {"dog0_1", "dog0_2.5", "rain1_2"} <= before.keys()
    assert not changes_of(mine)
    write_clip(data / "dog" / "another.wav", length=1.5)
    assert changes_of(mine).new == ("another_1", "another_1.5")
    assert changes_of(mine).gone == ()
    update_data(mine)
    after = columns(again(mine), "fold", "start", "end", "duration", "group")
    assert {id: after[id] for id in before} == before
    assert after["another_1"][0] == after["another_1.5"][0]
    assert after["another_1.5"][1:] == (0.5, 1.5, 1, "dog/another.wav")
    write_clip(data / "dog" / "dog0.wav", seed=1, length=1)
    assert changes_of(again(mine)).gone == ("dog0_1.5", "dog0_2", "dog0_2.5")
    assert update_data(again(mine)).changed_files == 1


def test_windows_without_an_event_remain_without_a_label(tmp_path: Path) -> None:
    data = tmp_path / "data"
    events = [(f"{kind}{i}.wav", i / 4, i / 4 + 0.5, kind) for kind in ("dog", "rain") for i in range(6)]
    for name, *_ in events:
        write_clip(data / "audio" / name, length=3)
    (data / "train.csv").write_text(
        "".join(f"{','.join(map(str, row))}\n" for row in [("file", "start", "end", "label"), *events])
    )
    work = tmp_path / "work"
    akit("init", work, "--data", data, "--window", 1, "--n-folds", 2, "--metric", "map")
    mine = Workspace.find(work)
    labels = columns(mine, "label")
    assert labels["dog0_1"] == (["dog"],)
    assert labels["dog0_3"] == ([],)
    assert not changes_of(mine)
    (data / "train.csv").write_text((data / "train.csv").read_text() + "dog0.wav,2,2.9,rain\n")
    assert changes_of(mine).relabeled == ("dog0_3",)
    update_data(mine)
    assert columns(again(mine), "label")["dog0_3"] == (["rain"],)
    run = ["-C", work, "recipe", "run", "stats_pca_linear", "--set", "sample_rate=8000", "--workers", "0"]
    assert "map" in akit(*run).stdout


def with_targets(data: Path, weights: Sequence[float], others: Sequence[str]) -> None:
    rows = [
        f"{name},{label},{weight},{other}\n"
        for (name, label, _), weight, other in zip(ROWS, weights, others, strict=True)
    ]
    (data / "train.csv").write_text("fname,label,weight,secondary_labels\n" + "".join(rows))


def test_weights_and_soft_targets_are_refreshed(data: Path, tmp_path: Path) -> None:
    with_targets(data, [1.0] * 12, ["rain"] * 2 + [""] * 10)
    (tmp_path / "soft.csv").write_text("id,dog,rain\nrain0.wav,0.4,1\n")
    options = CsvOptions(secondary="mask", soft_targets=str(tmp_path / "soft.csv"))
    workspace = init_workspace(tmp_path / "work", data, n_folds=2, options=options)
    folds = workspace.manifest["fold"].to_list()
    assert not changes_of(workspace)
    with_targets(data, [1.0] * 11 + [3.0], [""] + ["rain"] * 2 + [""] * 9)
    (tmp_path / "soft.csv").write_text("id,dog,rain\nrain0.wav,0.2,1\n")
    changes = changes_of(workspace)
    assert set(changes.relabeled) == {"dog0.wav", "dog2.wav", "rain0.wav", "rain5.wav"}
    update_data(workspace)
    rows = again(workspace).manifest
    assert rows["weight"].to_list() == [1.0] * 11 + [3.0]
    assert rows["soft"].is_not_null().to_list() == [False, True, True] + [False] * 3 + [True] + [False] * 5
    assert rows["soft"][6].to_list() == [{"label": "dog", "target": 0.2}]
    assert rows["fold"].to_list() == folds
    assert not changes_of(again(workspace))


def test_column_of_an_earlier_version_does_not_become_weights(data: Path, tmp_path: Path) -> None:
    with_targets(data, [2.0] * 12, [""] * 12)
    workspace = init_workspace(tmp_path / "work", data, n_folds=2, options=CsvOptions(weight_column=""))
    (workspace.root / INIT_NAME).unlink()
    assert not changes_of(workspace)
    assert workspace.manifest["weight"].null_count() == 12
