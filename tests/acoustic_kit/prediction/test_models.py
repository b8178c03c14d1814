"""Run folders may come from anywhere: what runs, what is refused, and what they need."""

import json
import py_compile
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
import torch
from safetensors.numpy import load_file, save_file
from sklearn.preprocessing import FunctionTransformer

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.prediction import MemberModel, open_predictor, predict_clips
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.run import RECORD_NAME, Run, open_run
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.workspace import Workspace

RunOf = Callable[[str], Run]


def change(run: Run, **changes: Any) -> Path:
    """Write other things into a run's record."""
    path = run.path / RECORD_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return run.path


def member(path: Path, **options: Any) -> MemberModel:
    (only,) = open_predictor(path, **options).members
    return only


# Recipes


def test_installed_recipe_of_same_text_runs_instead_of_copy(run_of: RunOf) -> None:
    run = run_of("stats_pca_linear")
    (run.path / "recipe.py").write_text("raise SystemExit('the copy ran')")
    found = member(run.path, trust=True).recipe
    assert found.path == load_recipe("stats_pca_linear").path
    assert found.name == "stats_pca_linear"


def test_the_workspaces_own_recipe_counts_as_installed(trained: Workspace, run_of: RunOf) -> None:
    run = run_of("components")
    assert member(run.path, folder=trained.root).recipe.path == trained.recipes_path / "components.py"


def test_another_recipe_runs_only_when_trusted(run_of: RunOf) -> None:
    run = run_of("components")
    with pytest.raises(AkitError, match=rf"components, as it trained {run.name}, is not installed here(.|\n)*--trust"):
        open_predictor(run.path)
    found = member(run.path, trust=True)
    assert found.recipe.path == run.path / "recipe.py"
    assert found.recipe.name == "components"


def test_a_copy_that_is_not_the_recipe_does_not_run(run_of: RunOf) -> None:
    run = run_of("components")
    (run.path / "recipe.py").write_text("raise SystemExit('the copy ran')")
    with pytest.raises(AkitError, match=r"recipe.py is missing, or not the recipe that trained"):
        open_predictor(run.path, trust=True)


def test_what_is_read_is_what_runs_no_compiled_file_beside_it(run_of: RunOf, tmp_path: Path) -> None:
    run = run_of("components")
    copy, evil = run.path / "recipe.py", tmp_path / "evil.py"
    evil.write_text("raise SystemExit('the compiled file ran')")
    (copy.parent / "__pycache__").mkdir()
    from importlib.util import cache_from_source

    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH  # python takes it for the source, whatever that is
    py_compile.compile(str(evil), cache_from_source(str(copy)), str(copy), invalidation_mode=mode)
    assert member(run.path, trust=True).recipe.name == "components"


def test_settings_that_are_none_of_the_recipes_are_refused(run_of: RunOf) -> None:
    with pytest.raises(AkitError, match=r"settings in .* do not fit the recipe"):
        open_predictor(change(run_of("stats_pca_linear"), settings={"C": "much"}))


# What a folder holds


def test_a_fold_cannot_lead_out_of_the_folder(run_of: RunOf) -> None:
    with pytest.raises(AkitError, match="cannot be read"):
        open_predictor(change(run_of("stats_pca_linear"), folds=["../../x"]))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"imported": {"x.csv": "0"}}, "was imported: it has predictions, but no models"),
        ({"parameters": {}}, "akit recipe run stats_pca_linear --fresh"),
        ({"class_indices": [1]}, "--fresh"),
        ({"recipe_sha256": ""}, "--fresh"),
        ({"folds": ["7"]}, "has no trained model"),
    ],
)
def test_a_run_that_cannot_predict_says_why(run_of: RunOf, changes: dict, says: str) -> None:
    with pytest.raises(AkitError, match=says):
        open_predictor(change(run_of("stats_pca_linear"), **changes))


def test_a_name_is_one_of_the_workspaces_runs(trained: Workspace, tmp_path: Path) -> None:
    assert open_predictor("stats_pca", trained.root).name.startswith("stats_pca_linear-")
    with pytest.raises(UsageError, match="There is no run 'none'"):
        open_predictor("none", trained.root)
    with pytest.raises(UsageError, match="is in no workspace"):
        open_predictor("none", tmp_path)


def test_weights_of_another_network_are_told_in_one_line(run_of: RunOf) -> None:
    run = run_of("logmel_cnn")
    settings = run.record.settings | {"width": 5}
    found = member(change(run, settings=settings))
    with pytest.raises(AkitError, match=r"network of another size: .* builds another network") as raised:
        found.model("1", "cpu")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["model.safetensors", "model.skops"])
def test_a_damaged_model_is_told(run_of: RunOf, name: str) -> None:
    run = run_of("logmel_cnn" if name == "model.safetensors" else "stats_pca_linear")
    for path in run.path.glob(f"folds/*/{name}"):
        path.write_bytes(b"damaged")
    with pytest.raises(AkitError, match=f"{name} cannot be read as"):
        member(run.path).model("1", "cpu")


def test_a_fold_without_a_model_is_told(run_of: RunOf) -> None:
    run = run_of("stats_pca_linear")
    (run.path / "folds" / "2" / "model.skops").unlink()
    with pytest.raises(AkitError, match="2 contains no model"):
        open_predictor(run.path)


def test_foreign_types_are_loaded_only_when_trusted(run_of: RunOf) -> None:
    run = run_of("stats_pca_linear")
    skops.io.dump(FunctionTransformer(shutil.rmtree), run.path / "folds" / "2" / "model.skops")
    with pytest.raises(AkitError, match=r"types that are not known to be harmless: shutil.rmtree(.|\n)*--trust"):
        open_predictor(run.path)
    assert member(run.path, trust=True).model("2", "cpu").func is shutil.rmtree


def test_a_type_of_the_recipes_own_is_known_with_the_recipe(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.recipes_path.mkdir()
    (workspace.recipes_path / "own_type.py").write_text(
        '"""Own."""\nfrom sklearn.dummy import DummyClassifier\nimport acoustic_kit as akit\n'
        "VARIANTS = {'one': {}, 'two': {}}\n"
        "class Settings(akit.Settings): pass\nclass Mine(DummyClassifier): pass\n"
        "def features(s): return {'x': akit.Stats()}\n"
        "def train(fold, s): return Mine(strategy='prior').fit(fold.train['x'], fold.train.labels)\n"
        "def predict(model, clips, s): return model.predict_proba(clips['x'])\n"
    )
    run, _ = run_recipe(workspace, load_recipe("one", workspace.recipes_path), folds=["1"])
    assert type(member(run.path, folder=workspace.root).model("1", "cpu")).__name__ == "Mine"
    monkeypatch.delitem(sys.modules, "_akit_recipe_own_type")
    found = member(shutil.copytree(run.path, tmp_path / "copies" / run.name), trust=True)
    assert (found.recipe.name, type(found.model("1", "cpu")).__name__) == ("one", "Mine")


def test_a_missing_or_foreign_fit_is_told(run_of: RunOf) -> None:
    run = run_of("components")
    path = run.path / "folds" / "1" / "features.safetensors"
    found, arrays = member(run.path, trust=True), load_file(path)
    save_file(arrays | {"pca/mean": arrays["pca/mean"][1:]}, path)
    with pytest.raises(AkitError, match=r"does not fit this run"):
        found.features_of("1")
    path.unlink()
    with pytest.raises(AkitError, match=r"a fit of pca is mean, .*; here is nothing"):
        found.features_of("1")


def test_the_folds_of_a_run_have_fits_of_their_own(run_of: RunOf) -> None:
    found = member(run_of("components").path, trust=True)
    one, other = found.features_of("1")["pca"], found.features_of("2")["pca"]
    assert one.key != other.key


def test_other_resampler_is_a_note_other_feature_an_error(run_of: RunOf) -> None:
    run, notes = run_of("stats_pca_linear"), []
    parameters = json.loads((run.path / RECORD_NAME).read_text())["parameters"]
    parameters["x"]["wave"]["soxr"] = "0.0.1"
    open_predictor(change(run, parameters=parameters), on_note=notes.append)
    assert len(notes) == 1
    assert "trained with soxr 0.0.1" in notes[0]
    parameters["x"]["n_fft"] = {"what": "is this"}
    with pytest.raises(AkitError, match="its feature x"):
        open_predictor(change(run, parameters=parameters))
    parameters["x"] |= {"version": 99, "n_fft": 2048}
    with pytest.raises(AkitError, match="its feature x"):
        open_predictor(change(run, parameters=parameters))


# Blends


def blend_file(folder: Path, name: str, **changes: Any) -> Path:
    """A submission's JSON that blends one run by itself."""
    blend = {
        "members": [0], "weights": [1.0], "method": "mean", "task": "single", "score": None, "nested_score": None,
        "interval": [None, None], "single_best": [-1, None], "asked": "mean", "metric": "", "gain": None,
        "gain_interval": [None, None], "considered": {}, "decision": None, "decision_gain": None, "parameters": {},
    }  # fmt: skip
    run = {"name": name, "fold": None, "recipe": "r", "weight": 1.0, "optimistic": [], "test_sha256": ""}
    document = {
        "submission": "s.csv", "sha256": "", "metric": "f1", "method": "mean", "seed": 0, "runs": [run],
        "candidates": [name], "blend": blend | changes, "scores": None, "template": None, "template_sha256": None,
        "akit": "0", "created": "",
    }  # fmt: skip
    path = folder / "blend.json"
    path.write_text(json.dumps(document))
    return path


def test_the_runs_of_a_blend_lie_beside_it(run_of: RunOf, tmp_path: Path) -> None:
    run = run_of("stats_pca_linear")
    assert open_predictor(blend_file(run.path.parent, run.name)).name == "blend"
    runs = tmp_path / "runs"
    run.path.parent.rename(runs)
    (tmp_path / "submissions").mkdir()
    assert open_predictor(blend_file(tmp_path / "submissions", run.name)).n_models == 4
    (tmp_path / "submissions" / "deeper").mkdir()
    with pytest.raises(UsageError, match=f"blends the run {run.name}, which is in none of "):
        open_predictor(blend_file(tmp_path / "submissions" / "deeper", run.name))


def test_a_blend_that_does_not_fit_its_runs_is_told(run_of: RunOf, new_files: dict[str, Path]) -> None:
    run = run_of("stats_pca_linear")
    with pytest.raises(AkitError, match="is damaged"):
        open_predictor(blend_file(run.path.parent, run.name, members=[0, 1], weights=[0.5, 0.5]))
    path = blend_file(run.path.parent, run.name, decision=[1.0, 2.0])
    with pytest.raises(AkitError, match="the blend does not fit its runs"):
        predict_clips(path, new_files)


@pytest.mark.parametrize("name", ["../x", "/etc", "a/b"])
def test_a_run_of_a_blend_cannot_lie_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(AkitError, match=r"runs.0.name"):
        open_predictor(blend_file(tmp_path, name))


# Pretrained models

EMBEDDINGS = '''"""A recipe on embeddings."""
from sklearn.linear_model import LogisticRegression
import acoustic_kit as akit

class Settings(akit.Settings):
    weights: str = ""

def features(s): return {"x": akit.Ast(akit.AstInput(n_mels=32, max_length=64), s.weights)}
def train(fold, s): return LogisticRegression().fit(fold.train["x"], fold.train.labels)
def predict(model, clips, s): return akit.class_probabilities(model, clips["x"], len(clips.classes))
'''


def test_a_models_weights_are_named_and_must_be_the_same(
    workspace: Workspace, tiny_ast: Path, tmp_path: Path, new_files: dict[str, Path]
) -> None:
    (tmp_path / "embeddings.py").write_text(EMBEDDINGS)
    recipe, old, moved = load_recipe(tmp_path / "embeddings.py"), tmp_path / "old", tmp_path / "moved"
    shutil.copytree(tiny_ast, old)
    run, _ = run_recipe(workspace, recipe, recipe.settings({"weights": str(old)}), folds=["1"])
    old.rename(moved)
    with pytest.raises(AkitError, match=r"weights came from a folder \(SHA-256 \w{64}\)(.|\n)*--weights FOLDER"):
        open_predictor(run.path, trust=True)
    found = predict_clips(run.path, new_files, trust=True, weights=moved)
    assert open_run(run.path).test is not None
    own = Run(run.path, run.record).test
    assert own is not None
    np.testing.assert_allclose(found.probabilities, own.aligned(found.ids), rtol=0, atol=1e-6)
    parameters = json.loads((run.path / RECORD_NAME).read_text())["parameters"]
    parameters["x"]["weights"] = str(moved)
    other = Run(shutil.copytree(run.path, tmp_path / "other"), run.record)
    with pytest.raises(AkitError, match="Hugging Face hub"):
        open_predictor(change(other, parameters=parameters), trust=True)
    tensors = load_file(moved / "model.safetensors")
    name = next(iter(tensors))
    save_file(tensors | {name: tensors[name] + 1}, moved / "model.safetensors")
    with pytest.raises(AkitError, match="other weights than"):
        open_predictor(run.path, trust=True, weights=[moved])


def test_a_run_keeps_the_shape_of_its_backbone(tiny_ast: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_ast, tmp_path / "weights")
    recipe = load_recipe("itmo_ast_inception")
    settings = recipe.settings({"weights": str(folder), "head_input": "tokens"})
    backbone = json.loads(json.dumps(recipe.backbone(settings)))
    with torch.device("meta"):
        before = recipe.module.build_model(settings, 3)
        shutil.rmtree(folder)
        after = recipe.rebuild_model(settings, 3, backbone)
    assert {k: v.shape for k, v in after.state_dict().items()} == {k: v.shape for k, v in before.state_dict().items()}
    assert after.ast.config.hidden_size == 32


def test_recipes_build_their_networks_without_pretrained_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("weights were asked for")

    for name in ("torch.hub.load_state_dict_from_url", "torchvision.models._api.load_state_dict_from_url"):
        monkeypatch.setattr(name, refuse)
    monkeypatch.setattr("acoustic_kit.features.weights._from_hub", refuse)
    from acoustic_kit.recipe.recipe import find_recipes, recipe_folders

    for name in find_recipes(recipe_folders()):
        recipe = load_recipe(name)
        if not hasattr(recipe.module, "build_model"):
            continue
        settings = recipe.settings(
            {"pretrained": True} if recipe.settings().model_dump().get("pretrained") is False else {}
        )
        with torch.device("meta"):
            assert recipe.rebuild_model(settings, 3, recipe.backbone(settings)) is not None
