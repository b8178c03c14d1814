"""A workspace: found from below, its settings checked, its files left alone."""

import re
import shutil
from contextlib import nullcontext
from pathlib import Path

import polars as pl
import pytest

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.files import write_atomically
from acoustic_kit.workspace.config import CONFIG_NAME, Config, config_text, read_config
from acoustic_kit.workspace.init import init_workspace
from acoustic_kit.workspace.workspace import Workspace


def test_is_found_from_a_folder_within(workspace: Workspace) -> None:
    within = workspace.root / "a" / "b"
    within.mkdir(parents=True)
    assert Workspace.find(within).root == workspace.root


def test_none_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(AkitError, match="akit init"):
        Workspace.find(tmp_path)


def test_init_keeps_the_truth_of_test_clips_apart(workspace: Workspace) -> None:
    test = workspace.manifest.filter(pl.col("split") == "test")
    truth = pl.read_parquet(workspace.truth_path)
    assert len(test) == len(truth) == 12
    assert test["label"].list.len().sum() == 0
    assert set(test["id"]) == set(truth["id"])


def test_init_refuses_a_folder_that_is_a_workspace(workspace: Workspace) -> None:
    before = workspace.manifest_path.read_bytes()
    with pytest.raises(UsageError, match="already is a workspace"):
        init_workspace(workspace.root, workspace.data_root)
    assert workspace.manifest_path.read_bytes() == before


def test_init_refuses_unfitting_metric_before_writing(synthetic: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="f2"):
        init_workspace(tmp_path / "work", synthetic, metric="f2")
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("data = [", "not valid TOML"),
        ("", "Field required"),
        ('data="x"\nlayout="csv"\ntask="triple"\nmetric="f1"\nclasses={}', "task"),
        ('data="x"\nlayout="csv"\ntask="single"\nmetric="f1"\nmetrik="f1"\nclasses={}', "metrik"),
    ],
)
def test_mistakes_in_the_settings_are_named(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / CONFIG_NAME
    path.write_text(text)
    with pytest.raises(AkitError, match=says) as caught:
        read_config(path)
    assert str(path) in str(caught.value)


def test_settings_survive_writing_and_reading(tmp_path: Path) -> None:
    config = Config(
        data='a "b" \\ ünï',
        layout="csv",
        task="multi",
        metric="0.8*f1+0.2*map",
        features=("stats", "x"),
        template="t.csv",
        label_separator=",",
        classes={"dog, barking": 3, 'a "quoted" one': 1, "tab\there": 2, "": 0},
    )
    path = tmp_path / CONFIG_NAME
    path.write_text(config_text(config), "utf-8")
    assert read_config(path) == config
    assert list(read_config(path).classes) == list(config.classes)


def test_remembering_features_leaves_the_users_lines_alone(workspace: Workspace) -> None:
    path = workspace.root / CONFIG_NAME
    path.write_text("# mine\n" + path.read_text("utf-8"), "utf-8")
    workspace.remember_features(["stats", "new_one"])
    assert read_config(path).features == ("stats", "new_one")
    assert path.read_text("utf-8").startswith("# mine\n")


@pytest.mark.parametrize(
    "line",
    [
        'features = [\n  "stats",  # see [1]\n]',
        'features = [\n  "stats",  # don\'t remove\n]',
        'features = [\n  "stats"  # say "hi\n  # and more\n]',
        "\"features\" = [ 'stats' ]  # mine",
        '  features = ["stats"]',
        "# no features yet",
    ],
)
def test_remembering_features_keeps_every_comment(line: str, workspace: Workspace) -> None:
    path = workspace.root / CONFIG_NAME
    text = re.sub("^features.*$", lambda _: line, path.read_text("utf-8"), flags=re.M)
    path.write_text(text, "utf-8")
    before = read_config(path).features
    workspace.remember_features(["new_one", 'logmel:window="hann"'])
    assert sorted(read_config(path).features) == sorted((*before, "new_one", 'logmel:window="hann"'))
    assert read_config(path).classes == workspace.config.classes
    written = path.read_text("utf-8")
    assert [found for found in re.findall("#.*", text) if found not in written] == []


def test_settings_behind_a_link_stay_there(workspace: Workspace, tmp_path: Path) -> None:
    real = (workspace.root / CONFIG_NAME).rename(tmp_path / "mine.toml")
    (workspace.root / CONFIG_NAME).symlink_to(real)
    workspace.remember_features(["new_one"])
    assert "new_one" in read_config(real).features
    assert (workspace.root / CONFIG_NAME).is_symlink()


@pytest.mark.parametrize(("begin", "end"), [("\ufeff", "\n"), ("", "\r\n")])
def test_settings_saved_by_a_windows_editor_are_kept(begin: str, end: str, workspace: Workspace) -> None:
    path = workspace.root / CONFIG_NAME
    path.write_bytes((begin + path.read_text("utf-8").replace("\n", end)).encode())
    Workspace.find(workspace.root).remember_features(["new_one"])
    assert read_config(path).features == (*workspace.config.features, "new_one")
    assert path.read_bytes().count(end.encode()) == path.read_bytes().count(b"\n")


@pytest.mark.parametrize("name", ["data", "store", "template"])
def test_links_in_a_circle_are_no_defect(name: str, workspace: Workspace) -> None:
    (workspace.root / "circle").symlink_to("circle")
    path = workspace.root / CONFIG_NAME
    text = re.sub(f"^{name} = .*\n", "", path.read_text("utf-8"), flags=re.M)
    path.write_text(f'{name} = "circle"\n{text}', "utf-8")
    found = Workspace.find(workspace.root)
    assert found.data_root
    assert found.template_path != workspace.root
    with pytest.raises(OSError, match="circle") if name == "store" else nullcontext():
        found.built_store()


def test_nothing_is_written_through_links_out_of_the_workspace(workspace: Workspace, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (workspace.root / "reports").symlink_to(victim)
    with pytest.raises(AkitError, match="victim"):
        workspace.output_folder("reports")
    (victim / "akit.toml").write_text("keep")
    link = workspace.output_folder("submissions") / "first.csv"
    link.parent.mkdir()
    link.symlink_to(victim / "akit.toml")
    write_atomically(link, "new")
    assert (link.read_text(), link.is_symlink()) == ("new", False)
    assert (victim / "akit.toml").read_text() == "keep"


def test_settings_nested_too_deeply_are_named(tmp_path: Path) -> None:
    path = tmp_path / CONFIG_NAME
    path.write_text("data = " + "[" * 5000 + "]" * 5000)
    with pytest.raises(AkitError, match=r"akit\.toml"):
        read_config(path)


def test_workspace_path_that_looks_like_a_pattern(workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "kaggle [2024]*"
    shutil.copytree(workspace.root, folder)
    assert len(Workspace.find(folder).manifest) == len(workspace.manifest)


def test_a_damaged_manifest_is_named(workspace: Workspace) -> None:
    workspace.manifest_path.write_bytes(b"PAR1 nothing")
    with pytest.raises(AkitError, match=r"manifest\.parquet"):
        _ = workspace.manifest


def test_what_would_fail_after_hours_is_told_before_any_work(synthetic: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("id", "other"):
        (data / name).mkdir(parents=True)
        for path in sorted((synthetic / "audio").iterdir())[:6]:
            shutil.copy(path, data / name)
    with pytest.raises(AkitError, match="called 'id'"):
        init_workspace(tmp_path / "work", data)
    table = tmp_path / "table"
    shutil.copytree(synthetic / "audio", table / "audio")
    clips = sorted(path.name for path in (table / "audio").iterdir())
    (table / "train.csv").write_text(
        "fname,label\n" + "".join(f"{clip},{'xy'[i % 2]}\n" for i, clip in enumerate(clips[:40]))
    )
    (table / "sample_submission.csv").write_text("fname,x,z\n" + "".join(f"{clip},0,0\n" for clip in clips[40:]))
    with pytest.raises(AkitError, match="neither the 2 class names nor their indices"):
        init_workspace(tmp_path / "work", table)
    assert not (tmp_path / "work").exists()


def test_unknown_metric_is_reported_on_reading_settings(workspace: Workspace) -> None:
    path = workspace.root / CONFIG_NAME
    path.write_text(path.read_text("utf-8").replace('"f1"', '"f2"'), "utf-8")
    with pytest.raises(AkitError, match=r"akit\.toml: metric: unknown metric 'f2'"):
        Workspace.find(workspace.root)
