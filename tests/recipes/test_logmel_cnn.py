"""The CNN on soft, unknown and weighted targets, with each loss."""

import polars as pl
import pytest

from acoustic_kit.errors import UsageError
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.run import Run
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.workspace import Workspace

SMALL = {"width": 4, "frames": 24, "n_mels": 16, "sample_rate": 8000, "epochs": 1}


@pytest.fixture
def soft(workspace: Workspace) -> Workspace:
    """A multi-label workspace in which the second class is unknown in half of the clips, and weights differ."""
    manifest, classes = workspace.manifest, list(workspace.config.classes)
    labels_of = manifest["label"].to_list()
    unknown = [{"label": classes[1], "target": None}]
    soft = [unknown if labels and i % 2 else None for i, labels in enumerate(labels_of)]
    label = [[name for name in labels if i % 2 == 0 or name != classes[1]] for i, labels in enumerate(labels_of)]
    weight = [None if not labels else 0.5 + i % 3 for i, labels in enumerate(labels_of)]
    manifest.with_columns(
        label=pl.Series(label, dtype=manifest.schema["label"]),
        soft=pl.Series(soft, dtype=manifest.schema["soft"]),
        weight=pl.Series(weight, dtype=pl.Float64),
    ).write_parquet(workspace.manifest_path)
    text = (workspace.root / "akit.toml").read_text().replace('task = "single"', 'task = "multi"')
    (workspace.root / "akit.toml").write_text(text.replace("[classes]", 'label_separator = ","\n[classes]'))
    return Workspace.find(workspace.root)


def run(workspace: Workspace, **settings: object) -> Run:
    recipe = load_recipe("logmel_cnn")
    return run_recipe(workspace, recipe, recipe.settings({**SMALL, **settings}), folds=["1"])[0]


@pytest.mark.parametrize("settings", [{"loss": "focal", "mixup_labels": "union"}, {"loss": "auto"}])
def test_all_targets_are_used(soft: Workspace, settings: dict[str, object]) -> None:
    done = run(soft, **settings)
    assert not [note for note in done.notes if "hard" in note]
    assert 0 < done.record.metrics["map"] <= 1


def test_cross_entropy_needs_one_label(soft: Workspace) -> None:
    with pytest.raises(UsageError, match="loss=bce"):
        run(soft, loss="cross_entropy")


def test_binary_losses_of_one_label(workspace: Workspace) -> None:
    oof = run(workspace, loss="bce").oof
    assert oof is not None
    assert abs(oof.probabilities.sum(axis=1) - 1).max() < 1e-6
