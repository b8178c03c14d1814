"""Blends of runs: candidates, scores, and the submission written from a blend."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from acoustic_kit.blending.recordings import Recordings, mix_mean, smooth
from acoustic_kit.cli.app import app
from acoustic_kit.cli.assignments import parse_assignments
from acoustic_kit.ensemble.blend_submission import rebuild
from acoustic_kit.ensemble.competition import check
from acoustic_kit.ensemble.run_blend import BlendResult, blend_runs
from acoustic_kit.errors import AkitError, SubmissionError, UsageError
from acoustic_kit.prediction import predict_clips
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.imported import import_run
from acoustic_kit.runs.run import Run
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.submission.record import annotate, read_record
from acoustic_kit.workspace.workspace import Workspace


def train(workspace: Workspace, *assignments: str, **options: bool | list[str]) -> Run:
    recipe = load_recipe("stats_pca_linear")
    settings = recipe.settings(parse_assignments(recipe, list(assignments)), fast=bool(options.get("fast")))
    return run_recipe(workspace, recipe, settings, **options)[0]  # type: ignore[arg-type]


@pytest.fixture
def runs(workspace: Workspace) -> list[Run]:
    return [train(workspace), train(workspace, "n_components=2"), train(workspace, "n_components=5")]


def names(result: BlendResult) -> list[str]:
    return [one.name for one in result.members]


def test_top_chooses_the_best_and_the_submission_is_their_mean(workspace: Workspace, runs: list[Run]) -> None:
    result = blend_runs(workspace, top=2, metric="accuracy", method="mean", name="first")
    best_first = sorted(runs, key=lambda run: -run.record.metrics["accuracy"])
    assert names(result)[0] == best_first[0].name
    assert len(names(result)) == 2
    assert result.submission == workspace.submissions_path / "first.csv"
    table = pl.read_csv(result.submission)
    members = [run for name in names(result) for run in runs if run.name == name]
    mean = np.mean([run.test.aligned(table["id"].to_list()) for run in members if run.test], axis=0)
    classes = list(workspace.config.classes)
    assert table["label"].to_list() == [classes[i] for i in mean.argmax(axis=1)]
    assert check(workspace, result.submission) == []


def test_the_record_describes_the_blend(workspace: Workspace, runs: list[Run]) -> None:
    result = blend_runs(workspace, metric="map3", method="geometric", name="x")
    assert result.submission is not None
    document = json.loads(result.submission.with_suffix(".json").read_text())
    assert {run["name"] for run in document["runs"]} == {run.name for run in runs}
    assert document["method"] == "geometric"
    assert document["metric"] == "map3"
    assert document["scores"]["out_of_fold"] == result.blend.score
    assert document["scores"]["nested"] == result.blend.nested_score


def test_map3_writes_three_labels_and_the_check_knows_it(workspace: Workspace, runs: list[Run]) -> None:
    path = blend_runs(workspace, metric="map3", name="three").submission
    assert path is not None
    assert all(len(label.split(" ")) == 3 for label in pl.read_csv(path)["label"])
    assert check(workspace, path) == []  # the record names the metric
    assert check(workspace, path, "f1")
    path.with_suffix(".json").write_text("[]")
    assert check(workspace, path)


def test_blending_joins_by_id(workspace: Workspace, runs: list[Run]) -> None:
    before = blend_runs(workspace, name="a").submission
    for run in runs[1:]:
        for part in ("oof", "test"):
            path = run.path / f"{part}.parquet"
            shuffled = pl.read_parquet(path).sample(fraction=1, shuffle=True, seed=3)
            shuffled.select(reversed(shuffled.columns)).write_parquet(path)
        run.with_record(files={})  # as of an older akit, which kept no digests of predictions
    joined = blend_runs(workspace, name="b")
    assert joined.left_out == {}
    after = joined.submission
    assert before is not None
    assert after is not None
    assert after.read_bytes() == before.read_bytes()


def test_runs_that_cannot_be_scored_are_left_out_and_named(workspace: Workspace, runs: list[Run]) -> None:
    full, fast = train(workspace, full=True), train(workspace, fast=True)
    part = train(workspace, "n_components=3", folds=["1", "3"])
    result = blend_runs(workspace)
    assert set(result.left_out) == {full.name, fast.name, part.name}
    assert "of fold 2, 4" in result.left_out[part.name]
    assert {one.name for one in result.candidates} == {run.name for run in runs}


def test_runs_without_any_score_are_an_error(workspace: Workspace) -> None:
    with pytest.raises(AkitError, match="no runs to blend"):
        blend_runs(workspace)
    full = train(workspace, full=True)
    with pytest.raises(AkitError, match=full.name):
        blend_runs(workspace)


def test_a_full_run_is_blended_by_name_without_a_score(workspace: Workspace, runs: list[Run]) -> None:
    full = train(workspace, full=True)
    result = blend_runs(workspace, runs=[full.name, runs[0].name], name="named")
    assert not result.scored
    assert names(result) == [full.name, runs[0].name]
    assert result.submission is not None


def test_without_test_clips_there_are_scores_and_no_submission(workspace: Workspace, synthetic: Path) -> None:
    manifest = workspace.manifest.filter(pl.col("split") == "train")
    manifest.write_parquet(workspace.manifest_path)
    workspace = Workspace.find(workspace.root)
    train(workspace)
    result = blend_runs(workspace)
    assert result.scored
    assert result.submission is None
    assert "no test clips" in result.no_submission
    assert not workspace.submissions_path.exists()


def test_without_test_clips_a_named_blend_is_recorded(workspace: Workspace, synthetic: Path) -> None:
    manifest = workspace.manifest.filter(pl.col("split") == "train")
    manifest.write_parquet(workspace.manifest_path)
    workspace = Workspace.find(workspace.root)
    run = train(workspace)
    result = blend_runs(workspace, name="first")
    assert (result.submission, result.record) == (None, workspace.submissions_path / "first.json")
    files = sorted((workspace.data_root / path) for path in manifest["path"][:2])
    found = predict_clips(workspace.submissions_path / "first.json", files).probabilities
    np.testing.assert_allclose(found, predict_clips(run.path, files).probabilities)
    annotate(workspace.submissions_path, "first", "kept", public=0.5)
    assert blend_runs(workspace, name="first").record == result.record
    assert read_record(workspace.submissions_path / "first.json").note == "kept"
    train(workspace, "n_components=2")
    assert "--overwrite" in blend_runs(workspace, name="first", method="mean").no_submission
    with pytest.raises(SubmissionError, match="no test clips"):
        rebuild(workspace, workspace.submissions_path / "first.json")


def test_the_competitions_template_decides_the_form(workspace: Workspace, runs: list[Run], tmp_path: Path) -> None:
    test = workspace.manifest.filter(pl.col("split") == "test")["id"].to_list()
    classes = list(workspace.config.classes)
    columns = {name: [0.0] * len(test) for name in reversed(classes)}
    template = tmp_path / "sample_submission.csv"
    pl.DataFrame({"clip": test[::-1], **columns}).write_csv(template)
    config = workspace.config.model_copy(update={"template": str(template)})
    result = blend_runs(Workspace(workspace.root, config), name="form")
    assert result.submission is not None
    written = pl.read_csv(result.submission)
    assert written.columns == ["clip", *reversed(classes)]
    assert written["clip"].to_list() == test[::-1]
    np.testing.assert_allclose(written.select(classes).to_numpy().sum(axis=1), 1, atol=1e-6)


def test_nothing_but_score_needs_the_truth(workspace: Workspace) -> None:
    workspace.truth_path.write_bytes(b"not to be opened")
    train(workspace)
    assert blend_runs(workspace).submission is not None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"method": "median"}, "mean, geometric, rank"),
        ({"metric": "f2"}, "f2"),
        ({"name": "../escape"}, "--name"),
        ({"name": ""}, "chosen"),
        ({"runs": ["nothing"]}, "no run"),
        ({"runs": ["x"], "top": 2}, "--top"),
    ],
)
def test_invalid_options_are_refused(workspace: Workspace, options: dict, says: str) -> None:
    train(workspace)
    if says == "chosen":  # an empty name is no name: one is made up
        assert blend_runs(workspace, **options).name.startswith("blend-")
        return
    with pytest.raises(UsageError, match=says):
        blend_runs(workspace, **options)


def test_a_template_with_semicolons_and_blanks_is_followed(
    workspace: Workspace, runs: list[Run], tmp_path: Path
) -> None:
    test = workspace.manifest.filter(pl.col("split") == "test")["id"].to_list()
    template = tmp_path / "sample_submission.csv"
    template.write_text("fname ;label\n" + "".join(f" {id};\n" for id in test))
    config = workspace.config.model_copy(update={"template": str(template)})
    path = blend_runs(Workspace(workspace.root, config), name="form").submission
    assert path is not None
    lines = path.read_text().splitlines()
    assert lines[0] == "fname;label"
    assert [line.partition(";")[0] for line in lines[1:]] == test


def test_one_run_named_twice_counts_once(workspace: Workspace, runs: list[Run]) -> None:
    result = blend_runs(workspace, runs=[runs[0].name, runs[0].name[-8:], runs[1].name])
    assert names(result) == [runs[0].name, runs[1].name]


def test_runs_of_some_folds_are_blended_and_scored_on_those(workspace: Workspace) -> None:
    """A protocol may hold out one fold of several, as that of Speech Commands does."""
    part = train(workspace, folds=["2"])
    other, more = train(workspace, "n_components=2", folds=["2"]), train(workspace, "n_components=3", folds=["1", "3"])
    fold = workspace.manifest.filter(pl.col("fold") == 2)
    for options in ({"runs": [part.name]}, {"runs": [part.name, other.name]}):
        result = blend_runs(workspace, method="mean", metric="accuracy", **options)  # type: ignore[arg-type]
        assert result.scored
        assert f"fold 2, {len(fold)} of" in result.scored_on
        assert result.submission is not None
    assert result.blend.single_best[1] == max(run.record.metrics["accuracy"] for run in (part, other))
    found = blend_runs(workspace, method="mean")
    assert names(found) == [more.name]  # it predicted most clips
    assert set(found.left_out) == {part.name, other.name}
    unscored = blend_runs(workspace, runs=[part.name, more.name])
    assert not unscored.scored
    whole = train(workspace, "n_components=4")
    assert names(blend_runs(workspace)) == [whole.name]
    assert "fold 2, " in blend_runs(workspace, runs=[whole.name, part.name]).scored_on


def test_a_run_that_lacks_requested_folds_is_left_out(workspace: Workspace) -> None:
    protocol, stopped = train(workspace, folds=["2"]), train(workspace, "n_components=2", folds=["1", "2"])
    asked = protocol.record.folds
    assert (protocol.record.asked, stopped.record.asked) == (["2"], ["1", "2"])
    shutil.rmtree(stopped.with_record(asked=asked).path / "folds" / "1")
    result = blend_runs(workspace, method="mean")
    assert names(result) == [protocol.name]
    assert "of fold 1, 3, 4" in result.left_out[stopped.name]
    train(workspace, folds=["1", "3", "4"])
    assert names(blend_runs(workspace)) == [protocol.name]
    assert train(workspace).record.asked == asked


def test_single_fold_models_are_blended_by_name(workspace: Workspace, runs: list[Run]) -> None:
    asked = [f"{runs[0].name}/2", f"{runs[1].name[-8:]}/1", f"{runs[0].name}/4"]
    result = blend_runs(workspace, runs=asked, method="mean", name="twelve")
    assert sorted(names(result)) == sorted([asked[0], f"{runs[1].name}/1", asked[2]])
    assert result.by == "fold"
    assert result.submission is not None
    ids = pl.read_csv(result.submission)["id"].to_list()
    tests = [pl.read_parquet(one.folder / "test.parquet") for one in result.members]
    mean = np.mean([probabilities(test, workspace, ids) for test in tests], axis=0)
    classes = list(workspace.config.classes)
    assert pl.read_csv(result.submission)["label"].to_list() == [classes[i] for i in mean.argmax(axis=1)]
    before = result.submission.read_bytes()
    assert rebuild(workspace, result.submission.with_suffix(".json"), "again").read_bytes() == before
    with pytest.raises(UsageError, match="7"):
        blend_runs(workspace, runs=[f"{runs[0].name}/7"])
    with pytest.raises(UsageError, match="--by fold"):
        blend_runs(workspace, runs=[asked[0], runs[1].name])
    assert len(blend_runs(workspace, runs=[asked[0], runs[1].name], by="fold").members) == 5


def test_equal_predictions_count_once(workspace: Workspace, runs: list[Run]) -> None:
    copied = workspace.runs_path / f"{runs[0].record.recipe}-00000000"
    shutil.copytree(runs[0].path, copied)
    record = json.loads((copied / "run.json").read_text())
    (copied / "run.json").write_text(json.dumps(record | {"name": copied.name, "setting": "", "seed": 1}))
    for by in ("run", "fold"):
        result = blend_runs(workspace, method="mean", by=by)  # type: ignore[arg-type]
        assert any(name.split("/")[0] in {copied.name, runs[0].name} for name in result.left_out)
        assert len(result.members) == (3 if by == "run" else 12)
        assert np.allclose(result.blend.weights.sum(), 1)


def probabilities(table: pl.DataFrame, workspace: Workspace, ids: list[str]) -> np.ndarray:
    rows = {row[0]: row for row in table.select("id", *workspace.config.classes).iter_rows()}
    return np.array([rows[id][1:] for id in ids])


def test_by_fold_ranks_each_model_on_the_clips_it_did_not_see(workspace: Workspace, runs: list[Run]) -> None:
    result = blend_runs(workspace, by="fold", top=3, metric="accuracy", name="folds")
    label = dict(zip(workspace.manifest["id"], workspace.manifest["label"].to_list(), strict=True))
    classes = list(workspace.config.classes)
    expected = {}
    for run in runs:
        for fold in ("1", "2", "3", "4"):
            oof = pl.read_parquet(run.path / "folds" / fold / "oof.parquet")
            hits = [classes[int(np.argmax(row[1:]))] == label[row[0]][0] for row in oof.iter_rows()]
            expected[f"{run.name}/{fold}"] = np.mean(hits)
    assert result.own_scores == pytest.approx(expected)
    assert [expected[name] for name in names(result)] == sorted(expected.values(), reverse=True)[:3]
    assert not result.scored
    assert result.submission is not None
    ids = pl.read_csv(result.submission)["id"].to_list()
    tests = [pl.read_parquet(one.folder / "test.parquet") for one in result.members]
    mean = np.mean([probabilities(test, workspace, ids) for test in tests], axis=0)
    assert pl.read_csv(result.submission)["label"].to_list() == [classes[i] for i in mean.argmax(axis=1)]
    document = json.loads(result.submission.with_suffix(".json").read_text())
    assert [f"{one['name']}/{one['fold']}" for one in document["runs"]] == names(result)


def test_a_lower_log_loss_is_better(workspace: Workspace, runs: list[Run]) -> None:
    by_fold = blend_runs(workspace, by="fold", top=3, metric="log_loss", name="folds")
    assert by_fold.own_scores is not None
    assert [by_fold.own_scores[name] for name in names(by_fold)] == sorted(by_fold.own_scores.values())[:3]
    result = blend_runs(workspace, metric="log_loss", method="mean", name="whole")
    scores = [run.record.metrics["log_loss"] for run in runs]
    assert result.blend.single_best[1] == pytest.approx(min(scores))
    assert result.candidates[0].name == runs[int(np.argmin(scores))].name
    assert result.submission is not None
    assert pl.read_csv(result.submission).columns == ["id", *workspace.config.classes]


@pytest.mark.parametrize("options", [{"method": "greedy"}, {"decision": "tuned"}, {"diverse": True}])
def test_by_fold_fits_nothing(workspace: Workspace, options: dict) -> None:
    train(workspace)
    with pytest.raises(UsageError, match="no common labeled clips"):
        blend_runs(workspace, by="fold", **options)


@pytest.mark.parametrize("options", [{"method": "mean"}, {"method": "stack"}, {"method": "greedy", "decision": "tuned"},
                                     {"by": "fold", "top": 5, "method": "geometric"}])  # fmt: skip
def test_a_submission_is_rebuilt_from_its_record(workspace: Workspace, runs: list[Run], options: dict) -> None:
    path = blend_runs(workspace, name="first", **options).submission
    assert path is not None
    before = path.read_bytes()
    record = path.with_suffix(".json")
    again = rebuild(workspace, record, "again")
    assert again == workspace.submissions_path / "again.csv"
    assert again.read_bytes() == before
    path.unlink()
    assert rebuild(workspace, record) == path
    assert path.read_bytes() == before
    assert json.loads(record.read_text())["submission"] == "first.csv"


def test_a_rebuild_from_other_predictions_is_refused(workspace: Workspace, runs: list[Run]) -> None:
    result = blend_runs(workspace, name="first")
    assert result.submission is not None
    before = result.submission.read_bytes()
    test = result.members[0].folder / "test.parquet"
    pl.read_parquet(test).sample(fraction=1, shuffle=True, seed=1).write_parquet(test)
    with pytest.raises(AkitError, match=f"{result.members[0].name} are not those"):
        rebuild(workspace, result.submission.with_suffix(".json"))
    assert result.submission.read_bytes() == before
    other = workspace.root / "other.json"
    record = result.submission.with_suffix(".json").read_text()
    other.write_text(record.replace(result.members[0].name, "gone-12345678"))
    with pytest.raises(UsageError, match="not in this workspace"):
        rebuild(workspace, other)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"submission": 3}', "not json", '{"runs": [{"name": "../../etc"}]}'])
def test_an_invalid_record_is_refused(workspace: Workspace, text: str) -> None:
    path = workspace.root / "x.json"
    path.write_text(text)
    with pytest.raises(AkitError, match=r"x\.json"):
        rebuild(workspace, path)


def test_a_submission_that_does_not_fit_replaces_none(workspace: Workspace, runs: list[Run], tmp_path: Path) -> None:
    path = blend_runs(workspace, name="first").submission
    assert path is not None
    before = path.read_bytes()
    template = tmp_path / "sample_submission.csv"
    template.write_text("id,label\nnobody.wav,x\n")
    config = workspace.config.model_copy(update={"template": str(template)})
    with pytest.raises(AkitError, match="nobody"):
        blend_runs(Workspace(workspace.root, config), name="first")
    assert path.read_bytes() == before


def noted(path: Path) -> tuple[object, ...]:
    record = json.loads(path.with_suffix(".json").read_text())
    return record["public"], record["note"], record["submitted"]


def note(path: Path, public: float) -> tuple[object, ...]:
    record = path.with_suffix(".json")
    there = read_record(record)
    there.model_copy(update={"public": public, "note": "rank 14", "submitted": ["2025-01-01T00:00:00+00:00"]}).write(
        record
    )
    return noted(path)


def test_the_same_blend_again_keeps_what_was_noted_of_it(workspace: Workspace, runs: list[Run]) -> None:
    path = blend_runs(workspace, method="mean").submission
    assert path is not None
    before = path.with_suffix(".json").read_text()
    kept = note(path, 0.913)
    assert blend_runs(workspace, method="mean").submission == path
    assert noted(path) == kept
    assert blend_runs(workspace, method="mean", name=path.stem, overwrite=True).submission == path
    assert noted(path) == kept
    older = workspace.root / "older.json"
    older.write_text(before)
    assert rebuild(workspace, older) == path
    assert noted(path) == kept
    assert noted(rebuild(workspace, older, "elsewhere")) == (None, "", [])


def test_another_submission_is_replaced_only_if_told_to(workspace: Workspace, runs: list[Run]) -> None:
    path = blend_runs(workspace, method="mean", name="first", runs=[runs[0].name]).submission
    assert path is not None
    other = blend_runs(workspace, method="mean", name="other", runs=[runs[1].name]).submission
    assert other is not None
    kept, before = note(path, 0.9), path.read_bytes()
    assert other.read_bytes() != before
    refused = blend_runs(workspace, method="mean", name="first", runs=[runs[1].name])
    assert refused.submission is None
    assert "0.9" in refused.no_submission
    assert "--overwrite" in refused.no_submission
    with pytest.raises(AkitError, match="--overwrite"):
        rebuild(workspace, other.with_suffix(".json"), "first")
    path.unlink()  # the record still has the score
    assert blend_runs(workspace, method="mean", name="first", runs=[runs[1].name]).submission is None
    assert noted(path) == kept
    assert rebuild(workspace, path.with_suffix(".json")).read_bytes() == before
    assert blend_runs(workspace, method="mean", name="first", runs=[runs[1].name], overwrite=True).submission == path
    assert path.read_bytes() == other.read_bytes()
    assert noted(path) == (None, "", [])


@pytest.fixture
def windows(workspace: Workspace, tmp_path: Path) -> Workspace:
    """The workspace with its clips as windows of recordings of one class each, and a noisy run of them."""
    labels = dict(pl.read_parquet(workspace.truth_path).select("id", pl.col("label").list.first()).iter_rows())
    truth = [label[0] if label else labels[id] for id, label in workspace.manifest.select("id", "label").iter_rows()]
    manifest = workspace.manifest.with_columns(truth=pl.Series(truth))
    manifest = manifest.with_columns(n=pl.int_range(pl.len()).over("split", "truth"))
    manifest = manifest.with_columns(path=pl.format("{}-{}-{}.wav", "split", "truth", pl.col("n") // 4))
    manifest = manifest.with_columns(
        group="path",
        start=pl.col("n") % 4 * 5.0,
        end=pl.col("n") % 4 * 5.0 + 5,
        fold=pl.when(split="train").then(pl.col("n") // 4 + 1),
    )
    manifest.select(workspace.manifest.columns).write_parquet(workspace.manifest_path)
    workspace = Workspace.find(workspace.root)
    rng, classes, files = np.random.default_rng(4), list(workspace.config.classes), {}
    for split in ("train", "test"):
        rows = manifest.filter(pl.col("split") == split)
        at = np.array([classes.index(name) for name in rows["truth"]])
        p = np.exp(1.5 * np.eye(3)[at] + rng.standard_normal((len(at), 3)))
        p /= p.sum(axis=1, keepdims=True)
        files[split] = tmp_path / f"{split}.parquet"
        pl.DataFrame({"id": rows["id"], **dict(zip(classes, p.T, strict=True))}).write_parquet(files[split])
    import_run(workspace, files["test"], files["train"], name="noisy")
    return workspace


def test_a_blend_of_windows_is_smoothed_and_the_submission_too(windows: Workspace) -> None:
    result = blend_runs(windows, metric="accuracy", name="smooth")
    assert result.submission is not None
    assert result.blend.postprocessing == ("smooth", "mean")
    rows = windows.manifest.filter(pl.col("split") == "test")
    p = result.members[0].predictions("test", windows.task_spec.names)
    assert p is not None
    recordings = Recordings.of(rows["path"], rows["start"])
    assert recordings is not None
    table, classes = pl.read_csv(result.submission), list(windows.config.classes)
    found = dict(table.iter_rows())
    expected = mix_mean(smooth(p.aligned(rows["id"].to_list()), recordings), recordings).argmax(axis=1)
    assert [found[id] for id in rows["id"]] == [classes[i] for i in expected]
    assert (expected != p.aligned(rows["id"].to_list()).argmax(axis=1)).any()
    record = read_record(result.submission.with_suffix(".json"))
    assert record.blend["postprocessing"] == ["smooth", "mean"]
    assert record.blend["postprocessing_gains"]["smooth"] > 0
    again = rebuild(windows, result.submission.with_suffix(".json"), name="again")
    assert again.read_bytes() == result.submission.read_bytes()
    told = CliRunner().invoke(app, ["-C", str(windows.root), "blend", "--metric", "accuracy", "--name", "smooth"])
    gain = result.blend.postprocessing_gains["smooth"]
    assert f"{gain:+.4f} nested, kept." in told.stdout
