"""The eighth place of Freesound 2018 against its specification: shapes, features, stages, prediction, submission."""

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

import acoustic_kit
from acoustic_kit.cli.assignments import parse_assignments
from acoustic_kit.data.clips import Clips, Fold
from acoustic_kit.data.folds import FULL
from acoustic_kit.device import Compute
from acoustic_kit.dsp.decoding import decode, resample
from acoustic_kit.dsp.trimming import trim
from acoustic_kit.ensemble.run_blend import blend_runs
from acoustic_kit.errors import AkitError
from acoustic_kit.features import LogMel, Pca, Stats, Wave, build_features, for_folds
from acoustic_kit.nn.same_padding import SameConv2d
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.training import load_tensors
from acoustic_kit.workspace.init import init_workspace
from acoustic_kit.workspace.workspace import Workspace

RECIPE = load_recipe("freesound_mobilenet_pca")
DEFAULTS = RECIPE.settings()
TINY = ["width=0.1", "hidden=8,8", "lengths=24,40", "tries=2", "epochs=1", "last_epochs=1", "batch_size=16", "n_pca=8"]
TINY += ["pretrained=false", "backbone_momentum=0.1", "norm_momentum=0.1"]


def shapes(net: nn.Module) -> Counter:
    return Counter(tuple(p.shape) for p in net.parameters())


def statistics(net: nn.Module) -> list[torch.Tensor]:
    return [tensor for name, tensor in net.named_buffers() if not name.endswith("num_batches_tracked")]


def size(*tensors: torch.Tensor) -> int:
    return sum(tensor.numel() for tensor in tensors)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return RECIPE.build_model(41).eval()


def test_parameters_and_statistics_are_those_of_both_stages(originals: Callable[[str], dict], net: nn.Module) -> None:
    figures = originals("freesound_mobilenet_pca.json")
    assert shapes(net) == {tuple(shape): n for shape, n in figures["param_shapes"]}
    assert Counter(tuple(b.shape) for b in statistics(net)) == {tuple(s): n for s, n in figures["buffers_shapes"]}
    first = figures["stage1_mel_only"]
    mel = RECIPE.build_model(41, n_pca=0)
    assert shapes(mel) == {tuple(shape): n for shape, n in first["param_shapes"]}
    assert (size(*mel.parameters()), size(*statistics(mel))) == (first["params_total"], first["bn_moving_stats"])


def test_it_has_as_many_parameters_as_keras_counts(net: nn.Module) -> None:
    assert (size(*net.parameters()), size(*statistics(net))) == (5_339_676, 38_654)
    assert (len(list(net.parameters())), len(statistics(net))) == (174, 112)
    rows = [
        (part, size(*part.parameters()), size(*statistics(part))) for part in (net.norm, net.backbone, net.pca_norm)
    ]
    assert [row[1:] for row in rows] == [(2, 2), (2_223_872, 34_112), (700, 700)]
    assert [size(*net.colours[i].parameters()) for i in (0, 2)] == [20, 33]
    assert [size(*layer.parameters()) for layer in net.head if size(*layer.parameters())] == [
        2_505_216, 3_072, 590_208, 768, 15_785,
    ]  # fmt: skip


@torch.no_grad()
def test_the_backbones_map_has_the_originals_size(originals: Callable[[str], dict], net: nn.Module) -> None:
    sizes = originals("freesound_mobilenet_pca.json")["backbone_output_spatial"]
    for name, expected in sizes.items():
        frames = int(name.removeprefix("T="))
        assert list(net.backbone.features(torch.zeros(1, 3, 64, frames)).shape) == [1, 1280, *expected]
    assert net(torch.zeros(2, 1, 64, 263), torch.zeros(2, 350)).shape == (2, 41)


def test_normalisation_padding_and_starting_weights_are_keras(net: nn.Module) -> None:
    norms = {name: m for name, m in net.named_modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)}
    assert {m.eps for m in norms.values()} == {1e-3}
    assert {m.momentum for name, m in norms.items() if name.startswith("backbone")} == {0.001}
    assert {m.momentum for name, m in norms.items() if not name.startswith("backbone")} == {0.01}
    assert [type(m).__name__ for m in net.head] == ["Linear", "ReLU", "BatchNorm1d"] * 2 + ["Linear"]
    assert not [m for m in net.modules() if isinstance(m, nn.Dropout)]
    assert sum(isinstance(m, SameConv2d) for m in net.modules()) == 5
    for layer in (*net.colours, *net.head):
        if hasattr(layer, "weight") and layer.weight.ndim > 1:
            bound = (6 / sum(layer.weight.shape[:2])) ** 0.5
            assert 0.5 * bound < layer.weight.abs().max() <= bound
            assert not layer.bias.any()


@torch.no_grad()
def test_decibels_are_scaled_as_at_the_originals_loading(net: nn.Module) -> None:
    seen: list[torch.Tensor] = []
    handle = net.norm.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    lowest_and_highest = torch.tensor([-90.5, 39.21]) + 20 * np.log10(2)
    net(lowest_and_highest.repeat(16).expand(1, 1, 64, 32), torch.zeros(1, 350))
    handle.remove()
    torch.testing.assert_close(seen[0][0, 0, 0, :2], torch.tensor([0.0, 1.0]), atol=1e-5, rtol=0)


def test_mel_bands_are_the_originals_but_for_the_highest(originals: Callable[[str], dict], esc10: Path) -> None:
    given = originals("freesound_logmel_public.npz")
    mel = RECIPE.features(DEFAULTS)["mel"]
    for i, name in enumerate(given["files"]):
        found = mel.compute(mel.source.compute(esc10 / "audio" / name)) - 20 * np.log10(2)
        assert found.shape == given[f"logmel_{i}"].shape
        difference = np.abs(found - given[f"logmel_{i}"])
        assert difference.mean() < 0.15
        assert difference[:59].mean() < 0.003
        assert np.mean(difference < 0.1) > 0.97


def test_they_come_from_the_wave_trimmed_at_its_own_rate(esc10: Path) -> None:
    """Trimmed at 22.05 kHz, a quarter of the clips would begin or end elsewhere."""
    mel = RECIPE.features(DEFAULTS)["mel"]
    original, elsewhere = LogMel(Wave(22050), 1764, 220, 64, fmax=11025.0, pad_mode="reflect"), 0
    paths = sorted((esc10 / "audio").iterdir())[::20]
    for path in paths:
        samples = decode(path).samples
        expected = original.compute(resample(trim(samples, 60, "reflect")[0], 44100, 22050))
        found = mel.compute(mel.source.compute(path)) - 20 * np.log10(2)
        assert found.shape == expected.shape
        assert np.abs(found - expected)[:59].mean() < 0.03
        elsewhere += len(trim(resample(samples, 44100, 22050), 60, "reflect")[0]) // 220 + 1 != expected.shape[1]
    assert 0 < elsewhere < len(paths) / 2


def test_the_table_behind_the_components_is_the_originals(originals: Callable[[str], dict], esc10: Path) -> None:
    given = originals("summary_features_public.npz")
    table = RECIPE.features(DEFAULTS)["pca"].table
    stable = given["version_stable"]
    for name, theirs in zip(given["files"], given["features"], strict=True):
        found = table.compute(table.wave.compute(esc10 / "audio" / name))
        np.testing.assert_allclose(found[stable], theirs[stable], rtol=1e-3)


def test_components_are_350_fitted_on_all_folds_unless_asked() -> None:
    wave = Wave(44100, trim_pad="reflect", encoding="float32")
    assert RECIPE.features(DEFAULTS)["pca"] == Pca(Stats(wave, "freesound"), 350, fit_on="all")
    assert RECIPE.features(DEFAULTS)["pca"].sees_validation
    assert not RECIPE.features(RECIPE.settings({"pca_fit": "fold"}))["pca"].sees_validation
    assert set(RECIPE.features(RECIPE.settings({"n_pca": 0}))) == {"mel"}


@torch.no_grad()
def test_a_network_that_sees_nothing_is_drawn_again() -> None:
    net = RECIPE.module.MelPcaNet(RECIPE.settings(parse_assignments(RECIPE, TINY)), 2, 0)
    x = torch.tensor([-1.0, 1.0]).reshape(2, 1, 1, 1)
    net.colours[2].weight.fill_(-1.0)
    assert not net.colours(torch.linspace(-3, 3, 50).reshape(50, 1, 1, 1)).any()
    net.reinit_dead_stem()
    assert net.colours(x).any()
    drawn = net.colours[2].weight.clone()
    net.reinit_dead_stem()  # sees already
    assert torch.equal(net.colours[2].weight, drawn)


def clips_of(workspace: Workspace, settings: Any, rows: pl.DataFrame) -> Clips:
    """Rows of the manifest with the recipe's features, PCA fitted on all of them."""
    features = RECIPE.features(settings)
    (of_fold,) = for_folds(list(features.values()), rows, workspace.data_root, [FULL]).values()
    build_features(rows, workspace.data_root, workspace.store(), of_fold)
    stored = {name: workspace.store()[f.key] for name, f in zip(features, of_fold, strict=True)}
    return Clips(rows, tuple(workspace.config.classes), "single", stored, Compute("cpu"))


def test_predictions_are_geometric_means_over_lengths_and_tries(workspace: Workspace) -> None:
    settings = RECIPE.settings(parse_assignments(RECIPE, TINY))
    rows = workspace.manifest.filter(pl.col("split") == "train").head(12)
    clips = clips_of(workspace, settings, rows)
    torch.manual_seed(0)
    net, module = RECIPE.build_model(3, **settings.model_dump()), RECIPE.module
    with torch.no_grad():
        loader = module.batches(settings, 8, 40).open(clips, torch.device("cpu"))
        for n in range(20):  # until the running statistics let through what the clips differ in
            net(*next(loader.in_order(loader.crops(str(n)))))
    found = RECIPE.predict(net.eval(), clips, settings)
    each = np.stack(
        [
            acoustic_kit.forward(net, clips, module.batches(settings, 8, frames), key=f"{frames}/{n}")
            for frames in (24, 40)
            for n in (0, 1)
        ]
    )
    assert len({probabilities.tobytes() for probabilities in each}) == 4
    expected = np.exp(np.log(each + 1e-38).mean(axis=0))
    np.testing.assert_allclose(found, expected / expected.sum(axis=1, keepdims=True), rtol=1e-9)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert np.abs(found - each.mean(axis=0)).max() > 1e-6
    np.testing.assert_array_equal(RECIPE.predict(net, clips, settings), found)
    few = RECIPE.settings(parse_assignments(RECIPE, [*TINY, "batch_size=5"]))
    np.testing.assert_allclose(RECIPE.predict(net, clips, few), found, atol=1e-4)


def test_a_run_says_why_it_flatters_and_its_weights_can_be_read(workspace: Workspace) -> None:
    settings = RECIPE.settings(parse_assignments(RECIPE, [*TINY, "n_pca=60"]))
    run, _ = run_recipe(workspace, RECIPE, settings, folds=["1"], compute=Compute("cpu"))
    assert "pca was fitted on validation clips too" in run.bias_warnings
    assert {line.partition(":")[0] for line in run.bias_warnings if ":" in line} == {"mel", "mel_pca"}
    assert run.notes == [
        "48 principal components, not 60: there are no more clips to find them in",
        "MobileNetV2 started from random weights: pretrained=false",
    ]
    net = RECIPE.build_model(3, **settings.model_dump())
    net.load_state_dict(load_tensors(run.path / "folds" / "1" / "model.safetensors"))
    for stage in ("mel", "mel_pca"):
        log = [json.loads(line) for line in (run.path / "folds" / "1" / f"{stage}.jsonl").read_text().splitlines()]
        assert [entry["phase"] for entry in log] == [0, 1, 2]
        assert log[1]["lr"] == pytest.approx(1e-5)
        assert log[2]["lr"] == pytest.approx(1e-4)


@pytest.mark.slow
def test_unbiased_variant_has_no_warnings_and_trains_full(workspace: Workspace) -> None:
    honest = RECIPE.settings(parse_assignments(RECIPE, [*TINY, "checkpoint=last", "pca_fit=fold"]))
    run, _ = run_recipe(workspace, RECIPE, honest, folds=["1"], compute=Compute("cpu"))
    assert run.bias_warnings == []
    full, _ = run_recipe(workspace, RECIPE, honest, full=True, compute=Compute("cpu"))
    assert full.test is not None
    settings = RECIPE.settings(parse_assignments(RECIPE, TINY))
    with pytest.raises(AkitError, match="checkpoint=last"):
        run_recipe(workspace, RECIPE, settings, full=True, compute=Compute("cpu"))


@pytest.mark.slow
def test_it_over_fits_twenty_clips(esc10: Path, tmp_path: Path) -> None:
    """At half the width and with short crops; without what makes learning by heart hard."""
    workspace = init_workspace(tmp_path / "work", esc10, metric="accuracy")
    easy = "width=0.5 lengths=100 tries=3 mixup_mel=0 mixup_pca=0 shift=0 reversal=0 n_pca=20 pretrained=false "
    easy += "backbone_momentum=0.1 norm_momentum=0.1 checkpoint=last batch_size=10 epochs=16 last_epochs=4"
    settings = RECIPE.settings(parse_assignments(RECIPE, easy.split()))
    clips = clips_of(workspace, settings, workspace.manifest.filter(pl.int_range(pl.len()).over("label") < 2))
    fold = Fold("1", clips, None, 0, "accuracy", tmp_path / "fold", lambda *_: None)
    net = RECIPE.train(fold, settings).model
    assert len(clips) == 20
    assert np.mean(RECIPE.predict(net, clips, settings).argmax(axis=1) == clips.labels) == 1


@pytest.mark.slow
def test_the_small_form_ends_in_a_map3_submission(esc10: Path, tmp_path: Path) -> None:
    workspace = init_workspace(tmp_path / "work", esc10, test_folds=[5], metric="map3")
    run, _ = run_recipe(workspace, RECIPE, RECIPE.settings(fast=True), fast=True, workers=2)
    assert run.finished
    assert run.oof is not None
    assert run.test is not None
    result = blend_runs(workspace, runs=[run.record.name], method="mean")
    assert result.submission is not None
    rows = list(csv.DictReader(result.submission.open()))
    assert [*rows[0]] == ["id", "label"]
    classes = np.array(list(workspace.config.classes))
    best = classes[run.test.probabilities.argsort(axis=1)[:, ::-1][:, :3]]
    assert {row["id"]: row["label"].split(" ") for row in rows} == dict(zip(run.test.ids, best.tolist(), strict=True))
    assert len(rows) == 80
