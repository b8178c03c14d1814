"""Tuning: nested, resumable to the trial, honest about failures, and clear about mistakes."""

import fcntl
import json
import os
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from acoustic_kit.cli.assignments import parse_assignments
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.recipe.recipe import Recipe, load_recipe
from acoustic_kit.runs.tuning import TrialRecord, TuneEvents, TuneResult, tune_recipe
from acoustic_kit.workspace.init import init_workspace
from acoustic_kit.workspace.workspace import Workspace

RECIPE = '''"""A recipe that is right about a share of the clips, and writes down what it was given."""
import json
from pathlib import Path
import numpy as np
import acoustic_kit as akit

LOG, EVENT = Path(__file__).with_suffix(".log"), Path(__file__).with_suffix(".event")

class Settings(akit.Settings):
    share: float = 0.1
    sizes: tuple[int, ...] = (1, 2)
    kind: str = "plain"

FAST = akit.Fast(clips_per_class=2, folds=2)

def features(s): return {"x": akit.Stats()}

def search(trial):
    return {SEARCH}

class Killed(BaseException): ...

def train(fold, s):
    lines = LOG.read_text().splitlines() if LOG.exists() else []
    with LOG.open("a") as log:
        log.write(json.dumps([fold.name, fold.train.ids, fold.valid.ids, s.share]) + "\\n")
    if EVENT.exists() and len(lines) in json.loads(EVENT.read_text())["at"]:
        raise {"stop": KeyboardInterrupt, "kill": Killed}[json.loads(EVENT.read_text())["what"]]
    if s.kind == "bad":
        raise akit.AkitError("the loss is not finite")
    if s.kind == "huge":
        raise MemoryError("too large")

def predict(model, clips, s):
    right = np.arange(len(clips)) < s.share * len(clips)
    return np.eye(3)[np.where(right, clips.labels, (clips.labels + 1) % 3)]
'''
SEARCH = '{"share": trial.suggest_float("share", 0, 1), "sizes": range(1, trial.suggest_int("n", 2, 9))}'


def write_recipe(folder: Path, search: str | None = SEARCH) -> Recipe:
    path = folder / "shared.py"
    text = RECIPE.replace("{SEARCH}", search or "")
    path.write_text(text if search else text.replace("def search", "def find"))
    return load_recipe(path)


def diary(recipe: Recipe) -> list[list]:
    return [json.loads(line) for line in recipe.path.with_suffix(".log").read_text().splitlines()]


def outcome(result: TuneResult) -> list[tuple]:
    """What must not depend on whether the study was stopped: all but the trials' numbers."""
    trials = sorted(result.trials, key=lambda trial: trial.number)
    return [(trial.state, trial.score, trial.settings) for trial in trials]


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return write_recipe(tmp_path)


def test_no_trial_sees_the_fold_that_scores_the_best(workspace: Workspace, recipe: Recipe) -> None:
    result = tune_recipe(workspace, recipe, n_trials=4)
    fold_of = dict(workspace.manifest.drop_nulls("fold").select("id", "fold").iter_rows())
    *trials, (name, train, valid, share) = diary(recipe)
    assert [entry[0] for entry in trials] == ["1", "2", "3"] * 4
    for fold, seen, held_out, _ in trials:
        assert {fold_of[id] for id in seen} == {1, 2, 3} - {int(fold)}
        assert {fold_of[id] for id in held_out} == {int(fold)}
    assert (name, {fold_of[id] for id in train}, {fold_of[id] for id in valid}) == ("4", {1, 2, 3}, {4})
    assert (result.searched, result.kept_out) == (("1", "2", "3"), "4")
    assert share == max(entry[3] for entry in trials)
    assert result.best.settings["share"] == share
    assert result.best.score is not None
    assert result.best.score == max(trial.score or 0 for trial in result.trials)
    assert not (result.folder / "checkpoints").exists()
    assert not workspace.runs_path.exists()


def test_the_best_trial_has_the_lowest_log_loss(workspace: Workspace, recipe: Recipe) -> None:
    workspace = replace(workspace, config=workspace.config.model_copy(update={"metric": "log_loss"}))
    result = tune_recipe(workspace, recipe, n_trials=4)
    assert result.best.settings["share"] == max(entry[3] for entry in diary(recipe))
    done = [trial.score for trial in result.trials if trial.score is not None]
    assert result.best.score == min(done)
    assert done == sorted(done)


def test_last_named_fold_is_kept_out_of_the_search(workspace: Workspace, recipe: Recipe) -> None:
    result = tune_recipe(workspace, recipe, n_trials=1, folds=["4", "1", "2"])
    assert (result.searched, result.kept_out) == (("4", "1"), "2")
    fold_of = dict(workspace.manifest.drop_nulls("fold").select("id", "fold").iter_rows())
    assert [{fold_of[id] for id in entry[1]} for entry in diary(recipe)] == [{1, 3}, {3, 4}, {1, 3, 4}]


def test_the_settings_file_gives_the_best_settings_again(workspace: Workspace, recipe: Recipe) -> None:
    result = tune_recipe(workspace, recipe, {"kind": "a b"}, n_trials=3)
    read = recipe.settings(parse_assignments(recipe, [f"@{result.settings_path}"]))
    assert read == recipe.settings({"kind": "a b", **result.best.settings})
    assert read.model_dump()["sizes"] in {tuple(range(1, n)) for n in range(2, 10)}
    head = result.settings_path.read_text()
    assert f"{result.best.score:.4f} on folds 1, 2, 3" in head
    assert f"{result.kept_out_score:.4f} on fold 4" in head


@pytest.mark.parametrize("what", ["stop", "kill"])
def test_a_study_that_was_stopped_ends_as_one_that_was_not(workspace: Workspace, recipe: Recipe, what: str) -> None:
    whole = tune_recipe(workspace, recipe, n_trials=13)
    for path in whole.folder.iterdir():
        path.unlink()
    trained = len(diary(recipe))  # folds, the kept-out one last
    recipe.path.with_suffix(".log").unlink()
    recipe.path.with_suffix(".event").write_text(json.dumps({"what": what, "at": [4, trained - 4, trained + 2]}))
    for _ in range(3):
        with pytest.raises({"stop": KeyboardInterrupt, "kill": recipe.module.Killed}[what]):
            tune_recipe(workspace, recipe, n_trials=13)
    again = tune_recipe(workspace, recipe, n_trials=13)
    assert outcome(again) == outcome(whole)
    assert again.kept_out_score == whole.kept_out_score
    assert len({str(trial.settings) for trial in again.trials}) == 13  # no draw twice


def test_more_trials_continue_the_study(workspace: Workspace, recipe: Recipe) -> None:
    first = tune_recipe(workspace, recipe, n_trials=2)
    again = tune_recipe(workspace, recipe, n_trials=2)
    assert outcome(again) == outcome(first)
    assert len(diary(recipe)) == 7
    more = tune_recipe(workspace, recipe, n_trials=4)
    assert outcome(more)[:2] == outcome(first)
    assert len(more.trials) == 4
    assert more.folder == first.folder


def test_a_study_with_settings_stored_as_text_goes_on(workspace: Workspace, recipe: Recipe) -> None:
    first = tune_recipe(workspace, recipe, n_trials=2)
    with sqlite3.connect(first.folder / "study.db") as database:
        for id, text in database.execute("SELECT trial_user_attribute_id, value_json FROM trial_user_attributes"):
            found = json.loads(text)
            if isinstance(found, dict):  # earlier versions: the lines of `best.txt`
                lines = [f"share={found['share']}", f"sizes={','.join(map(str, found['sizes']))}"]
                update = "UPDATE trial_user_attributes SET value_json = ? WHERE trial_user_attribute_id = ?"
                database.execute(update, (json.dumps(lines), id))
    again = tune_recipe(workspace, recipe, n_trials=2)
    assert len(diary(recipe)) == 7  # nothing is trained again
    assert [recipe.settings(t.settings) for t in again.trials] == [recipe.settings(t.settings) for t in first.trials]
    assert again.settings_path.read_text() == first.settings_path.read_text()


def test_what_decides_the_search_makes_another_study(workspace: Workspace, recipe: Recipe, tmp_path: Path) -> None:
    other = workspace.config.model_copy(update={"metric": "accuracy"})
    results = [
        tune_recipe(workspace, recipe, n_trials=1),
        tune_recipe(workspace, recipe, {"kind": "other"}, n_trials=1),
        tune_recipe(workspace, recipe, n_trials=1, seed=1),
        tune_recipe(workspace, recipe, n_trials=1, folds=["1", "2", "4"]),
        tune_recipe(Workspace(workspace.root, other), recipe, n_trials=1),
        tune_recipe(workspace, write_recipe(tmp_path, SEARCH + "  # changed"), n_trials=1),
    ]
    assert len({result.folder for result in results}) == 6
    assert results[0].trials[0].settings != results[2].trials[0].settings


def test_a_study_that_is_pruned_never_prunes_the_best(synthetic: Path, tmp_path: Path, recipe: Recipe) -> None:
    """Five folds: four choose, and from the second on a trial below the median of those before it is pruned."""
    workspace = init_workspace(tmp_path / "work", synthetic)
    result = tune_recipe(workspace, recipe, n_trials=14)
    pruned = [trial for trial in result.trials if trial.state == "pruned"]
    assert pruned
    assert {trial.folds for trial in pruned} == {2}  # as the steps of the write-up's search, counted from one
    assert min(trial.number for trial in pruned) >= 5
    assert all((trial.score or 0) < (result.best.score or 0) for trial in pruned)
    assert result.best.state == "done"
    assert [t.state for t in result.trials] == ["done"] * (14 - len(pruned)) + ["pruned"] * len(pruned)


def test_a_trial_that_fails_is_recorded_and_the_search_goes_on(workspace: Workspace, tmp_path: Path) -> None:
    recipe = write_recipe(
        tmp_path,
        '{"share": trial.suggest_float("share", 0, 1), '
        '"kind": trial.suggest_categorical("kind", ["plain", "bad", "huge"])}',
    )
    heard: list[tuple[int, str]] = []
    events = TuneEvents(on_failure=lambda number, reason: heard.append((number, reason)))
    result = tune_recipe(workspace, recipe, n_trials=12, events=events)
    failed = sorted((t for t in result.trials if t.state == "failed"), key=lambda t: t.number)
    assert [(t.number, t.reason) for t in failed] == heard
    assert {t.reason for t in failed} == {"the loss is not finite", "MemoryError: too large"}
    assert result.best.state == "done"
    assert result.best.settings["kind"] == "plain"
    assert all((t.settings["kind"] == "plain") == (t.state == "done") for t in result.trials)


def test_ten_failures_in_a_row_end_the_search(workspace: Workspace, recipe: Recipe) -> None:
    with pytest.raises(AkitError, match=r"10 trials .*the loss is not finite"):
        tune_recipe(workspace, recipe, {"kind": "bad"}, n_trials=30)
    assert len(diary(recipe)) == 10


def test_without_a_completed_trial_there_is_no_best(workspace: Workspace, recipe: Recipe) -> None:
    with pytest.raises(AkitError, match="None of the 2 trials was completed"):
        tune_recipe(workspace, recipe, {"kind": "bad"}, n_trials=2)


def test_a_trial_that_kills_its_process_twice_counts_as_failed(workspace: Workspace, recipe: Recipe) -> None:
    event = recipe.path.with_suffix(".event")
    event.write_text(json.dumps({"what": "kill", "at": [3, 4]}))  # the second trial, and that again
    for _ in range(2):
        with pytest.raises(recipe.module.Killed):
            tune_recipe(workspace, recipe, n_trials=3)
    result = tune_recipe(workspace, recipe, n_trials=3)
    assert [t.state for t in result.trials] == ["done", "done", "failed"]
    assert "killed 2 times" in result.trials[-1].reason


def test_small_form_has_three_folds_if_recipe_has_two(workspace: Workspace, recipe: Recipe) -> None:
    result = tune_recipe(workspace, recipe, n_trials=1, fast=True)
    assert (result.searched, result.kept_out) == (("1", "2"), "3")
    assert [len(entry[1]) for entry in diary(recipe)] == [6, 6, 12]


def test_progress_is_told(workspace: Workspace, recipe: Recipe) -> None:
    told: list[tuple[int, int, float | None]] = []
    result = tune_recipe(workspace, recipe, n_trials=3, events=TuneEvents(on_trial=lambda *t: told.append(t)))
    assert [(done, total) for done, total, _ in told] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert told[0][2] is None
    assert told[-1][2] == result.best.score


def test_why_the_last_score_flatters_is_said(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "peeking.py"
    path.write_text(
        RECIPE.replace("{SEARCH}", SEARCH).replace(
            'MemoryError("too large")', 'MemoryError("too large")\n    return akit.FitResult(None, ("peeked",))'
        )
    )
    assert tune_recipe(workspace, load_recipe(path), n_trials=1).bias_warnings == ("peeked",)


@pytest.mark.parametrize(
    ("search", "arguments", "says"),
    [
        (None, {}, r"Define it in .*shared\.py"),
        ('{"share": 0.5}', {"settings": {"share": 0.1}}, "--set share: "),
        (SEARCH, {"folds": ["1", "2"]}, "needs three folds.*1, 2"),
        (SEARCH, {"folds": ["1", "2", "2"]}, "needs three folds.*1, 2"),
        (SEARCH, {"folds": ["1", "2", "9"]}, "no fold 9"),
        ('{"shar": 0.5}', {}, "Did you mean share"),
        ('{"share": "much"}', {}, "share: .*number"),
    ],
)
def test_mistakes_are_usage_errors_before_any_work(
    workspace: Workspace, tmp_path: Path, search: str | None, arguments: dict, says: str
) -> None:
    recipe = write_recipe(tmp_path, search)
    with pytest.raises(UsageError, match=f"(?s){says}"):
        tune_recipe(workspace, recipe, **arguments)
    assert not workspace.tuning_path.exists()


def test_a_search_that_gives_no_dictionary(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(AkitError, match="must return a dictionary of settings, not list"):
        tune_recipe(workspace, write_recipe(tmp_path, '["share"]'))


def damage(folder: Path) -> Callable[[], None]:
    (folder / "study.db").write_bytes(b"no database" * 500)
    return lambda: None


def lock(folder: Path) -> Callable[[], None]:
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return lambda: os.close(descriptor)


@pytest.mark.parametrize(
    ("trouble", "says"), [(damage, r"study\.db cannot be used .*not a database"), (lock, "by another process")]
)
def test_a_damaged_study_and_one_that_is_in_use_say_so(
    workspace: Workspace, recipe: Recipe, trouble: Callable[[Path], Callable[[], None]], says: str
) -> None:
    release = trouble(tune_recipe(workspace, recipe, n_trials=1).folder)
    with pytest.raises(AkitError, match=says):
        tune_recipe(workspace, recipe, n_trials=2)
    release()


def test_a_real_recipe_finds_better_settings_than_its_worst(workspace: Workspace) -> None:
    result = tune_recipe(workspace, load_recipe("stats_pca_linear"), n_trials=4)
    scores = [trial.score for trial in result.trials if trial.score is not None]
    assert isinstance(result.best, TrialRecord)
    assert result.best.score == max(scores)
    assert np.isfinite(result.kept_out_score)
    assert result.kept_out_score > 1 / 3  # chance
