"""Runs trained by the workers of a cluster are those that this machine trains, and outlive the death of a worker."""

import os
import secrets
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from acoustic_kit.cluster import Cluster, connect
from acoustic_kit.cluster.folds import run_on_cluster
from acoustic_kit.device import Compute
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.prediction.teacher import open_pseudo_labels
from acoustic_kit.recipe.job import RunEvents, make_job
from acoustic_kit.recipe.recipe import Recipe, load_recipe
from acoustic_kit.recipe.settings import Settings
from acoustic_kit.runs.remote_runs import pull
from acoustic_kit.runs.run import Run, open_run
from acoustic_kit.runs.runner import run_job, run_recipe
from acoustic_kit.workspace.workspace import Workspace
from acoustic_store.files import open_files

CPU = Compute(device="cpu")
pytestmark = pytest.mark.slow


def train_on_cluster(
    workspace: Workspace, cluster: Cluster, recipe: Recipe, settings: Settings, on_epoch: Callable[..., None]
) -> Run:
    """The small form of a network, where `on_epoch` is called after each epoch."""
    job, events = make_job(workspace, recipe, settings, fast=True), RunEvents(on_epoch=on_epoch)
    ((run, trained),) = run_on_cluster([job], cluster, compute=CPU, events=events)
    assert trained
    return run


def test_network_is_bit_identical_after_worker_death(
    workspace: Workspace, elsewhere: Workspace, cluster: Cluster, two_workers, kill_worker, one_thread: None, tree
) -> None:
    recipe = load_recipe("logmel_cnn")
    settings = recipe.settings({"epochs": 3}, fast=True)
    epochs: list[tuple[str, int]] = []

    def on_epoch(fold: str, stage: str, done: int, total: int, figures) -> None:
        epochs.append((fold, done))
        assert figures["valid_loss"] > 0
        if len(epochs) == 2:  # folds of a network go to the one worker that says that it has a GPU
            kill_worker(two_workers.processes[2])

    run = train_on_cluster(workspace, cluster, recipe, settings, on_epoch)
    assert run.finished
    assert epochs.count((epochs[0][0], 1)) == 1  # it went on from its checkpoint, as the workspace is shared
    here, _ = run_recipe(elsewhere, recipe, settings, fast=True, compute=CPU)
    assert tree(run.path) == tree(here.path)


def test_pseudo_labels_are_those_of_this_machine(
    workspace: Workspace, elsewhere: Workspace, cluster: Cluster, one_thread: None, tree
) -> None:
    recipe, jobs = load_recipe("stats_pca_linear"), []
    for one in (workspace, elsewhere):
        run_recipe(one, recipe)
        jobs.append(make_job(one, recipe, recipe.settings(), pseudo=open_pseudo_labels(one, recipe.name, {})))
    ((there, _),) = run_on_cluster(jobs[:1], cluster, compute=CPU)
    here, _ = run_job(jobs[1], compute=CPU)
    assert there.done["1"].pseudo_clips == 12
    assert tree(there.path) == tree(here.path)


FAILS = '''"""Fails in one fold."""
from sklearn.dummy import DummyClassifier
import acoustic_kit as akit

class Settings(akit.Settings):
    fails_in: str = "2"

def features(s): return {"x": akit.Stats()}

def train(fold, s):
    class OwnError(Exception): pass
    if fold.name == s.fails_in:
        raise OwnError("no luck")
    return DummyClassifier(strategy="prior").fit(fold.train["x"], fold.train.labels)

def predict(model, clips, s):
    return akit.class_probabilities(model, clips["x"], len(clips.classes))
'''


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    path = tmp_path / "fails.py"
    path.write_text(FAILS)
    return load_recipe(path)


def test_a_fold_that_fails_is_told_at_the_end_and_stops_no_other(
    workspace: Workspace, recipe: Recipe, cluster: Cluster
) -> None:
    with pytest.raises(AkitError, match=r"^1 of 4 folds failed, first fold 2 of fails-.{8}: .*OwnError: no luck\n"):
        run_on_cluster([make_job(workspace, recipe, recipe.settings())], cluster)
    (path,) = workspace.runs_path.iterdir()
    assert open_run(path).missing_folds == ["2"]
    with pytest.raises(UsageError, match="There is no fold 9"):
        run_on_cluster([make_job(workspace, recipe, recipe.settings())], cluster, folds=["9"])
    settings = recipe.settings({"fails_in": "none"})
    ((one, _),) = run_on_cluster([make_job(workspace, recipe, settings)] * 2, cluster, folds=["2"])
    assert list(one.done) == ["2"]


@pytest.fixture
def on_s3(elsewhere: Workspace, bucket: str) -> Workspace:
    """A workspace whose clips, features and runs lie on S3; nothing is built."""
    url = f"s3://{bucket}/{secrets.token_hex(4)}"
    for path in Path(elsewhere.data_root).rglob("*.wav"):
        open_files(f"{url}/clips").write(path.relative_to(elsewhere.data_root).as_posix(), path.read_bytes())
    path = elsewhere.root / "akit.toml"
    rest = [line for line in path.read_text().splitlines() if not line.startswith("data =")]
    places = [f'data = "{url}/clips"', f'store = "{url}/features.zarr"', f'runs = "{url}/runs"']
    path.write_text("\n".join([*places, *rest]))
    return Workspace.find(elsewhere.root)


def test_another_worker_resumes_from_last_epoch_on_s3(
    workspace: Workspace, on_s3: Workspace, machines, kill_worker, one_thread: None, tree
) -> None:
    recipe = load_recipe("logmel_cnn")
    settings = recipe.settings({"epochs": 4}, fast=True)
    epochs: list[tuple[str, int]] = []
    first = machines.start_worker()

    def on_epoch(fold: str, stage: str, done: int, total: int, figures) -> None:
        epochs.append((fold, done))
        if len(epochs) == 3:
            os.killpg(first.pid, signal.SIGKILL)
            machines.start_worker()

    with connect(machines.address) as cluster:
        run = train_on_cluster(on_s3, cluster, recipe, settings, on_epoch)
    assert epochs.count(("1", 1)) == 1
    assert len(epochs) > 8  # of two folds of four epochs: something was done again
    names = {path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file()}
    models = {f"folds/{fold}/model.safetensors" for fold in run.record.folds}
    assert set(open_files(f"{on_s3.config.runs}/{run.name}").sizes()) == names | models
    pull(on_s3, models=True)
    here, _ = run_recipe(workspace, recipe, settings, fast=True, compute=CPU)
    assert tree(run.path) == tree(here.path)


OWN_FEATURE = '''"""A feature of the recipe's own, and a module beside it."""
import os, sys
sys.path.insert(0, os.path.dirname(__file__))
from dataclasses import dataclass
from typing import ClassVar
import numpy as np
from sklearn.tree import DecisionTreeClassifier
import acoustic_kit as akit
from _akit_cluster_helper import PARTS

@dataclass(frozen=True)
class Parts(akit.Feature):
    name: ClassVar[str] = "parts"
    version: ClassVar[int] = 1
    wave: akit.Wave = akit.Wave(sample_rate=8000)
    def compute(self, source):
        return np.array([np.std(part) for part in np.array_split(source, PARTS)], dtype=np.float32)

class Settings(akit.Settings): pass
def features(s): return {"x": Parts()}
def train(fold, s): return DecisionTreeClassifier(random_state=0).fit(fold.train["x"], fold.train.labels)
def predict(model, clips, s): return akit.class_probabilities(model, clips["x"], len(clips.classes))
'''


def test_a_feature_of_the_recipes_own_is_computed_by_the_workers(
    workspace: Workspace, cluster: Cluster, tmp_path: Path
) -> None:
    (tmp_path / "_akit_cluster_helper.py").write_text("PARTS = 5")
    (tmp_path / "own.py").write_text(OWN_FEATURE)
    recipe = load_recipe(tmp_path / "own.py")
    for path in tmp_path.glob("*.py"):
        path.unlink()  # a worker on another machine does not see them
    ((run, trained),) = run_on_cluster([make_job(workspace, recipe, recipe.settings())], cluster)
    assert trained
    assert run.finished
    (feature,) = recipe.features(recipe.settings()).values()
    assert workspace.store()[feature.key].stack().shape[1] == 5
