"""`embedding_linear` and `embedding_mlp`: on statistics, and on two tiny models with random weights side by side."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.torch import load_file, save_file

import acoustic_kit as akit
from acoustic_kit.device import Compute
from acoustic_kit.errors import AkitError
from acoustic_kit.recipe.heads import choice
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.run import Run
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.workspace import Workspace

LINEAR, MLP = load_recipe("embedding_linear"), load_recipe("embedding_mlp")
STATS = {"models": (), "stats": True}
SMALL = {"epochs": 15, "batch_size": 8, "hidden": 32}


@pytest.fixture(scope="module")
def other_ast(tiny_ast: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint with other weights."""
    folder = shutil.copytree(tiny_ast, tmp_path_factory.mktemp("models") / "other")
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor.flip(0).contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return folder


def trained(
    workspace: Workspace, recipe: akit.load_recipe, folds: Sequence[str] | None = ("1",), **settings: object
) -> Run:
    values = {**STATS, **(SMALL if recipe is MLP else {}), **settings}
    return run_recipe(workspace, recipe, recipe.settings(values), folds=folds, compute=Compute("cpu"))[0]


@pytest.mark.parametrize("head", ["logistic", "ridge", "knn"])
def test_every_head_beats_chance(workspace: Workspace, head: str) -> None:
    run = trained(workspace, LINEAR, folds=None, head=head)
    test = workspace.manifest.filter(pl.col("split") == "test").head(4)
    found = akit.predict_clips(run.path, [workspace.data_root / path for path in test["path"]])
    assert run.test is not None
    np.testing.assert_allclose(found.probabilities, run.test.aligned(test["id"].to_list()), atol=1e-5)
    assert run.record.metrics["accuracy"] > 0.6
    assert run.notes[0].startswith(f"fold 1: { {'logistic': 'C', 'ridge': 'α', 'knn': 'k'}[head] } = ")


def test_the_strength_is_one_of_those_given(workspace: Workspace) -> None:
    assert trained(workspace, LINEAR, strengths=(0.02,)).notes == ["fold 1: C = 0.02"]
    assert trained(workspace, LINEAR, strengths=(0.1, 1e-6)).notes == ["fold 1: C = 0.1"]
    with pytest.raises(akit.UsageError, match="strengths"):
        LINEAR.settings({"strengths": (0,)})


@pytest.mark.parametrize("recipe", [LINEAR, MLP], ids=lambda recipe: recipe.name)
def test_several_models_predict_new_clips(
    workspace: Workspace, tiny_ast: Path, other_ast: Path, recipe: akit.load_recipe
) -> None:
    """Without trusting types of the model's file, and without knowing the number of columns."""
    run = trained(workspace, recipe, models=(str(tiny_ast), str(other_ast)), pool="mean+std")
    assert sorted(run.record.features) == ["embed1", "embed2", "stats"]
    assert len(set(run.record.features.values())) == 3
    test = workspace.manifest.filter(pl.col("split") == "test").head(4)
    files = [workspace.data_root / path for path in test["path"]]
    found = akit.predict_clips(run.path, files, weights=[tiny_ast, other_ast])
    assert run.test is not None
    np.testing.assert_allclose(found.probabilities, run.test.aligned(test["id"].to_list()), atol=1e-5)


@pytest.mark.parametrize("recipe", [LINEAR, MLP], ids=lambda recipe: recipe.name)
def test_a_missing_model_is_named_before_any_work(workspace: Workspace, recipe: akit.load_recipe) -> None:
    before = sorted(workspace.root.rglob("*"))
    with pytest.raises(AkitError, match="/none"):
        run_recipe(workspace, recipe, recipe.settings({"models": ("/none",)}))
    assert sorted(workspace.root.rglob("*")) == before


def test_a_run_of_the_workspace_is_a_model(workspace: Workspace) -> None:
    cnn = load_recipe("logmel_cnn")
    small = cnn.settings({"epochs": 1, "width": 4, "frames": 16, "n_mels": 16})
    model, _ = run_recipe(workspace, cnn, small, compute=Compute("cpu"))
    run = trained(workspace, LINEAR, models=(model.name,), stats=False)
    assert run.done["1"].without_features == []


def test_it_reads_something() -> None:
    with pytest.raises(akit.UsageError, match="stats=true"):
        LINEAR.settings({"models": ()})


def multi(workspace: Workspace) -> Workspace:
    """The same clips with a second label, `loud` or `quiet`, which some do not know; one is soft, others weigh more."""
    rows = workspace.manifest.select("label", "rms").rows()
    heard = [i % 5 > 0 for i in range(len(rows))]
    labels = [
        [*label, *(["loud" if rms > 0.1 else "quiet"] if known else [])] if label else []
        for (label, rms), known in zip(rows, heard, strict=True)
    ]
    unknown = [{"label": "loud", "target": None}, {"label": "quiet", "target": None}]
    kind = pl.List(pl.Struct({"label": pl.String, "target": pl.Float64}))
    likely = [[{"label": label[-1], "target": 0.7}] if label else None for label in labels]
    soft = [unknown if i % 5 == 0 else likely[i] if i % 5 == 1 else None for i in range(len(rows))]
    train = pl.col("split") == "train"
    workspace.manifest.with_columns(
        label=pl.Series(labels),
        soft=pl.when(train).then(pl.Series(soft, dtype=kind)),
        weight=pl.when(train).then(pl.lit(1.5)),
    ).write_parquet(workspace.manifest_path)
    classes = {**workspace.config.classes, "loud": 3, "quiet": 4}
    config = workspace.config.model_copy(update={"task": "multi", "classes": classes, "label_separator": ","})
    return Workspace(workspace.root, config)


@pytest.mark.parametrize("head", ["logistic", "ridge", "knn", "mlp"])
def test_several_labels_soft_and_unknown_targets(workspace: Workspace, head: str) -> None:
    changed = multi(workspace)
    run = trained(changed, MLP) if head == "mlp" else trained(changed, LINEAR, head=head)
    assert run.record.metrics["map"] > 0.6
    assert any("unknown targets" in note for note in run.notes) == (head == "ridge")
    assert not any("soft targets" in note or "weights of" in note for note in run.notes)


def test_inner_folds_keep_groups_whole(workspace: Workspace) -> None:
    rows = workspace.manifest.filter(pl.col("split") == "train")
    rows = rows.with_columns(group=pl.format("take {}", pl.int_range(pl.len()) // 3))
    clips = akit.Clips(rows, tuple(workspace.config.classes), "single", {})
    folds = LINEAR.module.inner_folds(clips, 3)
    assert set(folds) == {0, 1, 2}
    assert all(len(set(folds[clips.groups == group])) == 1 for group in clips.groups)
    extra = rows.with_columns(split=pl.when(pl.int_range(pl.len()) < 6).then(pl.lit("extra")).otherwise("split"))
    found = LINEAR.module.inner_folds(akit.Clips(extra, clips.classes, "single", {}), 3)
    assert (found[:6] == -1).all()
    np.testing.assert_array_equal(found[6:], folds[6:])
    one = akit.Clips(rows.with_columns(group=pl.lit("one")), clips.classes, "single", {})
    assert set(LINEAR.module.inner_folds(one, 3)) == {0, 1, 2}  # a single group must be divided


def test_one_and_two_cores_agree(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for cores in (1, 2):
        monkeypatch.setattr(choice, "worker_count", lambda _, n=cores: n)
        run, _ = run_recipe(workspace, LINEAR, LINEAR.settings(STATS), folds=["1"], fresh=True, workers=cores)
        assert run.oof is not None
        found.append(run.oof.probabilities)
    np.testing.assert_array_equal(*found)


def test_the_network_standardizes_by_its_first_input() -> None:
    import torch

    torch.manual_seed(0)
    x = torch.randn(50, 7) * 5 + 3
    x[:, 2] = 1
    standardize = MLP.module.Standardize(limit=3)
    first = standardize(x)
    assert first.mean(dim=0).abs().max() < 0.1
    assert (first[:, 2] == 0).all()
    torch.testing.assert_close(standardize(x[:5] + 100), ((x[:5] + 100 - x.mean(0)) / standardize.scale).clamp(-3, 3))
