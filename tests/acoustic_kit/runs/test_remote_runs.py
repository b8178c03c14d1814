"""Runs on S3: what one machine trained another one lists, blends and predicts with; nothing is half there."""

import json
import os
import secrets
import shutil
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from acoustic_kit.cli.app import app
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs import remote_runs
from acoustic_kit.runs.remote_runs import RemoteCheckpoints, RemoteRuns
from acoustic_kit.runs.run import list_runs, open_run
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.workspace import Workspace
from acoustic_store import LockedError
from acoustic_store.files import open_files
from acoustic_store.object_files import ObjectFiles


@pytest.fixture
def url(bucket: str) -> str:
    return f"s3://{bucket}/{secrets.token_hex(4)}/runs"


@pytest.fixture
def here(workspace: Workspace, url: str) -> Workspace:
    """A workspace whose runs lie on S3."""
    path = workspace.root / "akit.toml"
    path.write_text(f'runs = "{url}"\n' + path.read_text())
    return Workspace.find(workspace.root)


@pytest.fixture
def there(here: Workspace, tmp_path: Path) -> Workspace:
    """The same on another machine."""
    return Workspace.find(shutil.copytree(here.root, tmp_path / "there"))


def akit(workspace: Workspace, *arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["-C", str(workspace.root), *arguments])
    assert result.exit_code == code, result.output
    return result


def objects(url: str) -> set[str]:
    return set(open_files(url).sizes())


def test_run_of_one_machine_is_usable_on_another(
    here: Workspace, there: Workspace, url: str, tree, tmp_path: Path
) -> None:
    akit(here, "recipe", "run", "stats_pca_linear", "--set", "n_components=10", "--workers", "0")
    (run,) = list_runs(here.runs_path)
    names = {path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file()}
    assert objects(f"{url}/{run.name}") == names
    listed = [json.loads(akit(workspace, "runs", "list", "--json").stdout) for workspace in (here, there)]
    assert listed[0] == listed[1]
    copy = there.runs_path / run.name
    assert not list(copy.rglob("model.*"))
    akit(there, "blend", "--name", "first")
    clips = sorted(Path(here.data_root).rglob("*.wav"))[:2]
    akit(there, "predict", run.name, *map(str, clips), "--out", str(tmp_path / "new.csv"))
    assert tree(copy) == tree(run.path)
    akit(there, "runs", "rm", run.name)
    assert objects(url) == set()


@pytest.mark.slow
def test_folds_trained_on_two_machines_are_one_run(here: Workspace, there: Workspace, url: str, tree) -> None:
    recipe = load_recipe("stats_pca_linear")
    first, _ = run_recipe(here, recipe, folds=["1", "2"])
    with remote_runs.synchronized(here, first.name), pytest.raises(LockedError, match=f"{first.name} is being written"):
        run_recipe(there, recipe)
    whole, trained = run_recipe(there, recipe)
    assert trained
    assert whole.finished
    before = (whole.path / "folds" / "1" / "fold.json").read_bytes()
    again, trained = run_recipe(here, recipe)
    assert not trained
    assert again.record == whole.record
    assert (again.path / "folds" / "1" / "fold.json").read_bytes() == before
    fresh, _ = run_recipe(here, recipe, folds=["3"], fresh=True)
    remote_runs.pull(there)
    assert list(fresh.done) == ["3"]
    assert {name for name in objects(f"{url}/{first.name}") if name.startswith("folds/")} == {
        f"folds/3/{path.name}" for path in (fresh.path / "folds" / "3").iterdir()
    }


def test_nothing_is_half_there_wherever_a_push_ends(
    here: Workspace, there: Workspace, url: str, monkeypatch: pytest.MonkeyPatch, tree
) -> None:
    run, _ = run_recipe(here, load_recipe("stats_pca_linear"), folds=["1"])
    n_objects = len(objects(url))
    remote, write = RemoteRuns(url, here.runs_path), ObjectFiles.write
    for allowed in range(n_objects):
        remote.remove(run.name)
        left = allowed

        def dies(self: ObjectFiles, name: str, content: bytes) -> None:
            nonlocal left
            if not left:
                raise KeyboardInterrupt
            left -= 1
            write(self, name, content)

        monkeypatch.setattr(ObjectFiles, "write", dies)
        with pytest.raises(KeyboardInterrupt):
            remote.push(run.name)
        monkeypatch.setattr(ObjectFiles, "write", write)
        shutil.rmtree(there.runs_path, ignore_errors=True)
        remote_runs.pull(there, models=True)
        copy = there.runs_path / run.name
        assert list_runs(there.runs_path) == []  # the record comes last
        if copy.exists():
            assert tree(copy / "folds" / "1") == tree(run.path / "folds" / "1")
    remote.push(run.name)
    remote_runs.pull(there, models=True)
    assert tree(there.runs_path) == tree(here.runs_path)


@pytest.mark.slow
def test_what_could_not_be_put_yet_is_not_overwritten(here: Workspace, there: Workspace, url: str) -> None:
    recipe = load_recipe("stats_pca_linear")
    run, _ = run_recipe(here, recipe, folds=["1"])
    offline = here.root / "akit.toml"
    text = offline.read_text()
    offline.write_text(text.replace(f'runs = "{url}"', 'runs = "runs"'))
    run_recipe(Workspace.find(here.root), recipe, folds=["2"])
    offline.write_text(text)
    remote_runs.pull(here)
    assert open_run(run.path).record.combined == ["1", "2"]
    run_recipe(here, recipe, folds=["3"])
    remote_runs.pull(there)
    assert open_run(there.runs_path / run.name).record.combined == ["1", "2", "3"]


def test_hostile_names_lead_nowhere(here: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A server can list what none of its clients could put.
    good = ["run-1/folds/1/fold.json", "run-1/folds/1/oof.parquet"]
    bad = [
        "../evil/run.json",
        "/evil/run.json",
        ".evil/run.json",
        "..\\evil/run.json",
        "run-1/folds/../fold.json",
        "run-1/folds/1/../../../../evil",
        "run-1/folds/1/..",
        "run-1/folds/1/.evil",
        "run-1/folds/1/deep/fold.json",
        "run-1/folds/1\n/fold.json",
        "run-1/folds/1/fold.json\n",
        "run-1/evil.py",
    ]
    before = set(tmp_path.rglob("*"))
    monkeypatch.setattr(ObjectFiles, "sizes", lambda self: dict.fromkeys([*good, *bad, "../evil", "stage/../evil"], 1))
    monkeypatch.setattr(ObjectFiles, "read", lambda self, name: b"x")
    remote_runs.pull(here, models=True)
    RemoteCheckpoints(here.config.runs, "run-1", "1", here.runs_path / "run-1" / "checkpoints" / "1").pull()
    new = {path.relative_to(here.runs_path).as_posix() for path in set(tmp_path.rglob("*")) - before if path.is_file()}
    assert new == {*good, "run-1/checkpoints/1/run-1/evil.py"}  # for a checkpoint, a stage and a file as any


def test_checkpoints_are_put_in_the_order_of_their_writing(url: str, tmp_path: Path) -> None:
    mine = RemoteCheckpoints(url, "run-1", "1", tmp_path / "mine")
    mine.pull()
    folder = tmp_path / "mine" / "stage"
    folder.mkdir(parents=True)
    for when, name in enumerate(["state.safetensors", "kept.safetensors", "log.jsonl"]):
        (folder / name).write_text(name)
        os.utime(folder / name, ns=(when + 10, when + 10))
    (folder / ".state.safetensors.1.tmp").write_text("half")
    mine.push()
    (folder / "log.jsonl").write_text("more")
    mine.push()
    other = RemoteCheckpoints(url, "run-1", "1", tmp_path / "other")
    other.pull()
    assert {path.name: path.read_text() for path in (tmp_path / "other" / "stage").iterdir()} == {
        "state.safetensors": "state.safetensors",
        "kept.safetensors": "kept.safetensors",
        "log.jsonl": "more",
    }
