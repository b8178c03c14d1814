"""An open workspace does what the commands do: settings as keywords, frames, warnings."""

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

import acoustic_kit as akit
from acoustic_kit.api.recipes import merged_settings

pytestmark = pytest.mark.filterwarnings("ignore:.*not above chance:acoustic_kit.AkitWarning")


@pytest.fixture(scope="module")
def ws(built: Path, tmp_path_factory: pytest.TempPathFactory) -> akit.OpenWorkspace:
    """A workspace with `stats` and one run."""
    folder = tmp_path_factory.mktemp("api") / "work"
    shutil.copytree(built, folder)
    return akit.open_workspace(folder, progress=False)


@pytest.fixture(scope="module")
def run(ws: akit.OpenWorkspace) -> akit.TrainedRun:
    return ws.run("stats_pca_linear", fast=True, workers=0)


def test_a_setting_is_given_as_keyword_mapping_or_full_name() -> None:
    recipe = akit.load_recipe("eat_s_esc50")
    for settings, keywords in (
        ({}, {"augment": {"amp": 0}}),
        ({}, {"augment.amp": 0}),
        ({"augment.amp": 0}, {}),
        ({"augment": {"amp": 0}}, {}),
    ):
        assert recipe.settings(merged_settings(recipe, settings, keywords)).augment.amp == 0
    with pytest.raises(akit.UsageError, match=r"augment\.amp"):
        merged_settings(recipe, {"augment.amp": 0}, {"augment": {"amp": 1}})


def test_an_unknown_setting_names_the_nearest(ws: akit.OpenWorkspace) -> None:
    with pytest.raises(akit.UsageError, match="n_components"):
        ws.run("stats_pca_linear", n_component=3)


def test_full_excludes_folds(ws: akit.OpenWorkspace) -> None:
    with pytest.raises(akit.UsageError, match="folds"):
        ws.run("stats_pca_linear", full=True, folds=[1])


def test_a_run_has_frames_and_a_score(ws: akit.OpenWorkspace, run: akit.TrainedRun) -> None:
    assert run.oof.columns == ["id", *ws.classes]
    assert set(run.test["id"]) == set(ws.manifest.filter(split="test")["id"])
    assert run.log.is_empty()
    assert run.score is not None
    assert 0 <= run.score <= 1
    assert ws.runs[run.name].score == run.score
    assert list(ws.runs) == [run.name]
    board = ws.leaderboard("accuracy")
    assert board["run"].to_list() == [run.name]
    assert "fast" in board["notes"][0]


def test_a_feature_is_an_array_and_a_frame(ws: akit.OpenWorkspace) -> None:
    stats = ws.features.build("stats", workers=0)
    ids = stats.ids[3:1:-1]
    frame = stats.frame(ids)
    assert frame["id"].to_list() == ids
    assert frame.columns[1:] == akit.Stats().columns()
    np.testing.assert_array_equal(frame.drop("id").to_numpy(), stats.stack(ids))
    wave = ws.features["wave"].frame(ids)
    assert wave["shape"].to_list() == [list(ws.features["wave"].read(id).shape) for id in ids]
    assert set(ws.features.list()["name"]) >= {"stats", "wave"}
    assert ws.features.verify() == {}


def test_a_feature_of_each_fold_needs_the_fold(ws: akit.OpenWorkspace) -> None:
    with pytest.raises(akit.UsageError, match="fold="):
        ws.features.build("pca", workers=0)
    with pytest.raises(akit.AkitError, match="logmel"):
        _ = ws.features["logmel"]


def test_a_blend_predicts_also_without_a_submission(
    ws: akit.OpenWorkspace, run: akit.TrainedRun, synthetic: Path
) -> None:
    blend = ws.blend(runs=[run], method="mean", name="alone")
    assert blend.members == [run.name]
    assert blend.frame["weight"].sum() == pytest.approx(1)
    clips = sorted((synthetic / "audio").iterdir())[:2]
    of_blend, of_run = ws.predict(blend, clips, workers=0), ws.predict(run, clips, workers=0)
    assert of_blend.columns == ["id", *ws.classes, "error"]
    np.testing.assert_allclose(of_blend.select(ws.classes).to_numpy(), of_run.select(ws.classes).to_numpy())
    assert blend.submission is not None
    assert ws.check(blend.submission) == []
    assert set(ws.score(blend.submission)) >= {"f1", "accuracy"}


def test_a_submission_is_annotated_and_rebuilt(ws: akit.OpenWorkspace, run: akit.TrainedRun) -> None:
    blend = ws.blend(runs=[run], method="mean", name="noted")
    ws.submissions.note("noted", "a remark", public=0.5)
    row = ws.submissions.list().filter(submission="noted").row(0, named=True)
    assert (row["note"], row["public"]) == ("a remark", 0.5)
    assert blend.submission is not None
    content = blend.submission.read_bytes()
    assert ws.submissions.rebuild(blend.submission.with_suffix(".json")).read_bytes() == content
    with pytest.raises(akit.UsageError, match="91"):
        ws.submissions.note("noted", public=91)


def test_predictions_made_elsewhere_are_imported_and_removed(
    ws: akit.OpenWorkspace, run: akit.TrainedRun, tmp_path: Path
) -> None:
    run.test.write_csv(tmp_path / "test.csv")
    run.oof.write_csv(tmp_path / "oof.csv")
    imported = ws.import_run(tmp_path / "test.csv", tmp_path / "oof.csv", name="elsewhere")
    assert imported.score == pytest.approx(run.score)
    ws.runs.remove(imported.name)
    assert imported.name not in ws.runs


def test_notes_are_warnings_of_the_calling_line(ws: akit.OpenWorkspace) -> None:
    text = (ws.root / "akit.toml").read_text("utf-8")
    (ws.root / "akit.toml").write_text(text.replace("features = [", 'features = ["no_such_recipe", '), "utf-8")
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            ws.features.build_all(workers=0)
    finally:
        (ws.root / "akit.toml").write_text(text, "utf-8")
    (warning,) = [one for one in found if issubclass(one.category, akit.AkitWarning)]
    assert "no_such_recipe" in str(warning.message)
    assert warning.filename == __file__


def test_nothing_is_printed_without_progress(
    ws: akit.OpenWorkspace, run: akit.TrainedRun, capfd: pytest.CaptureFixture[str]
) -> None:
    ws.run("stats_pca_linear", fast=True, workers=0, fresh=True)
    ws.features.verify()
    assert capfd.readouterr() == ("", "")


def test_the_workspace_is_found_upwards(ws: akit.OpenWorkspace, tmp_path: Path) -> None:
    (ws.root / "deep").mkdir(exist_ok=True)
    assert akit.open_workspace(ws.root / "deep").root == ws.root
    with pytest.raises(akit.AkitError, match=tmp_path.name):
        akit.open_workspace(tmp_path)
