"""EAT against its specification: the eight networks, their start, losses, optimiser, schedule, and what it offers."""

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import acoustic_kit
from acoustic_kit.cli.assignments import parse_assignments
from acoustic_kit.data.clips import Clips, Fold
from acoustic_kit.device import Compute
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.features import build_features
from acoustic_kit.metrics.scores import score
from acoustic_kit.recipe.recipe import Recipe, load_recipe
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.training import Progress, save_tensors
from acoustic_kit.workspace.init import init_workspace
from acoustic_kit.workspace.workspace import Workspace

DATA = {"esc50": 50, "us8k": 10, "speechcommands": 35, "audioset": 527}
NAMES = [f"eat_{size}_{data}" for size in "sm" for data in DATA]
TINY = ["nf=4", "emb_dim=32", "n_head=4", "n_layers=1", "dim_feedforward=64", "seq_len=32768", "batch_size=10"]


def full_size(name: str) -> nn.Module:
    """The published model without any values: it costs nothing, and has shapes."""
    with torch.device("meta"):
        return load_recipe(name).build_model(DATA[name.rpartition("_")[2]]).eval()


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_buffers_are_the_originals(originals: Callable[[str], dict], name: str) -> None:
    figures, net = originals(f"{name}.json"), full_size(name)
    assert sum(p.numel() for p in net.parameters()) == figures["params_total"]
    for tensors, key in ((net.parameters(), "param_shapes"), (net.buffers(), "buffers_shapes")):
        assert Counter(tuple(t.shape) for t in tensors) == {tuple(shape): n for shape, n in figures[key]}
    assert load_recipe(name).settings().seq_len == figures["config"]["seq_len"]


@pytest.mark.parametrize("name", NAMES)
def test_operations_are_the_originals(
    originals: Callable[[str], dict], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures, net = originals(f"{name}.json"), full_size(name)
    monkeypatch.setattr(torch.backends.mha, "get_fastpath_enabled", lambda: False)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        found = net(torch.zeros(figures["input_shape"], device="meta"))
    assert list(found.shape) == figures["output_shape"]
    by_op = {str(op): n for op, n in counter.get_flop_counts()["Global"].items()}
    assert by_op == figures["flops_macs"]["by_op"]


@pytest.mark.parametrize("name", NAMES)
def test_downsampling_gives_one_token_per_position(name: str) -> None:
    net, seen = full_size(name), []
    net.body.register_forward_hook(lambda _, __, out: seen.append(out.shape[2]))
    lengths = []
    for layer in net.body:
        if type(layer).__name__ == "AntiAlias":
            layer.register_forward_hook(lambda m, i, out: lengths.append((i[0].shape[2], m.d, out.shape[2])))
    s = load_recipe(name).settings()
    net(torch.zeros(1, 1, s.seq_len, device="meta"))
    assert all(before == d * after for before, d, after in lengths)
    assert len(lengths) == len(s.ds_factors) + 2
    assert seen == [net.positions.shape[1] - 1] == [s.seq_len // (math.prod(s.ds_factors) * 4)]


@pytest.fixture(scope="module")
def fresh() -> nn.Module:
    torch.manual_seed(0)
    return load_recipe("eat_s_esc50").build_model(50)


def test_filters_are_triangles(fresh: nn.Module) -> None:
    layers = [layer for layer in fresh.body if type(layer).__name__ == "AntiAlias"]
    for layer, d in zip(layers, (4, 4, 4, 4, 2, 2), strict=True):
        triangle = [*range(1, d + 1), d + 1, *range(d, 0, -1)]
        torch.testing.assert_close(layer.filter[0, 0], torch.tensor(triangle) / (d + 1) ** 2)
        torch.testing.assert_close(layer.filter.sum(dim=2), torch.ones(len(layer.filter), 1))


def test_the_network_starts_as_the_original_does(fresh: nn.Module) -> None:
    assert not fresh.class_token.any()
    assert not fresh.positions.any()
    first, *others = (layer.state_dict() for layer in fresh.encoder.layers)
    assert len(others) == 3
    assert all(torch.equal(first[key], other[key]) for other in others for key in first)
    for module in fresh.modules():
        if isinstance(module, nn.Conv1d):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.25)
        if isinstance(module, nn.Conv1d | nn.Linear) and module.bias is not None:
            assert not module.bias.any()
    assert {m.negative_slope for m in fresh.modules() if isinstance(m, nn.LeakyReLU)} == {0.2}


PUBLISHED = {  # rate, samples, factors, epochs, batch, epochs before mixing, loss, noise
    "esc50": (22050, 114688, (4, 4, 4, 4), 3500, 128, 12, "label_smooth", 0.5, "uniform"),
    "us8k": (22050, 90112, (4, 4, 4, 4), 3500, 128, 12, "label_smooth", 0.5, "uniform"),
    "speechcommands": (16000, 16384, (4, 4, 4), 1500, 128, 12, "label_smooth", 0.5, "uniform"),
    "audioset": (22050, 221184, (4, 4, 4, 4), 250, 208, 2, "bce", 0.0, "balanced"),
}


@pytest.mark.parametrize("name", NAMES)
def test_the_defaults_are_the_published_settings(name: str) -> None:
    _, size, data = name.split("_")
    s = load_recipe(name).settings()
    found = (s.sample_rate, s.seq_len, s.ds_factors, s.epochs, s.batch_size, s.epoch_mix, s.loss, s.augment.noise)
    assert (*found, s.sampler) == PUBLISHED[data]
    sizes = (s.emb_dim, s.nf, s.dim_feedforward, s.n_layers, s.n_head)
    assert sizes == ((128, 16, 512, 4, 8) if size == "s" else (256, 32, 2048, 6, 16))
    assert (s.augment.mix, s.mix_loss, s.checkpoint, s.ema, s.background) == (1, "bce", "last", None, None)
    wave = load_recipe(name).features(s)["wave"]
    assert (wave.trim_top_db, wave.peak) == (None, 0.95)


@pytest.fixture
def fit_call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """What the recipe hands to `fit`, without training."""

    def call(*assignments: str, clips: int = 1600, task: str = "single") -> dict[str, Any]:
        recipe, seen = load_recipe("eat_s_esc50"), {}

        def fake_fit(_fold: object, _stage: str, net: nn.Module, **rest: Any) -> acoustic_kit.FitResult:
            seen.update(rest, net=net)
            return acoustic_kit.FitResult(net)

        monkeypatch.setattr(acoustic_kit, "fit", fake_fit)
        train = type("Train", (), {"task": task, "__len__": lambda _: clips})()
        settings = recipe.settings(parse_assignments(recipe, [*TINY, *assignments]))
        recipe.train(SimpleNamespace(seed=1, n_classes=50, train=train), settings)
        return seen

    return call


def test_one_cycle_moves_the_rate_and_beta1_as_torchs_does(fit_call: Callable[..., dict]) -> None:
    (phase,), steps = fit_call("epochs=350")["phases"], 12
    total = phase.epochs * steps
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([weight], lr=3e-4, betas=(0.9, 0.99))
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 3e-4, total, pct_start=0.1, div_factor=25, final_div_factor=1e4
    )
    for step in range(total):
        if step % 100 == 0 or step in {total // 10, total - 1}:
            progress = Progress(step, steps, phase.epochs)
            group = optimizer.param_groups[0]
            assert phase.schedule(progress) == pytest.approx(group["lr"], abs=2e-6)  # theirs ends a step earlier
            assert phase.beta1(progress) == pytest.approx(group["betas"][0], abs=5e-4)
        optimizer.step()
        theirs.step()
    first, peak, last = (Progress(step, steps, phase.epochs) for step in (0, total // 10, total))
    assert [phase.schedule(p) for p in (first, peak, last)] == pytest.approx([1.2e-5, 3e-4, 1.2e-9])
    assert [phase.beta1(p) for p in (first, peak, last)] == pytest.approx([0.95, 0.85, 0.95])


def test_the_optimiser_decays_kernels_and_matrices_only(fit_call: Callable[..., dict]) -> None:
    call = fit_call()
    decayed, plain = call["optimizer"](call["net"].parameters()).param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (1e-5, 0)
    assert (decayed["betas"], decayed["eps"]) == ((0.95, 0.99), 1e-4)
    assert all(p.ndim >= 2 for p in decayed["params"])
    assert all(p.ndim == 1 for p in plain["params"])
    assert len(decayed["params"]) + len(plain["params"]) == len(list(call["net"].parameters()))
    assert any(p is call["net"].positions for p in decayed["params"])
    assert call["clip_norm"] == 1


def test_losses_are_sums_over_the_batch(fit_call: Callable[..., dict]) -> None:
    targets = nn.functional.one_hot(torch.arange(10), 50).float()
    assert fit_call()["loss"](torch.zeros(10, 50), targets).item() == pytest.approx(10 * math.log(50), rel=1e-5)
    assert fit_call("loss=bce")["loss"](torch.zeros(10, 50), targets).item() == pytest.approx(
        500 * math.log(2), rel=1e-5
    )
    assert fit_call(clips=7)["loss"](torch.zeros(7, 50), targets[:7]).item() == pytest.approx(
        7 * math.log(50), rel=1e-5
    )


def test_named_options_reach_the_loop(fit_call: Callable[..., dict]) -> None:
    assert fit_call()["keep"] == "last"
    assert fit_call()["ema"] is None
    assert fit_call("checkpoint=best")["keep"] == "accuracy"
    assert fit_call("checkpoint=best", "loss=bce", task="multi")["keep"] == "map"
    assert fit_call("ema=0.5", clips=100)["ema"] ** 10 == pytest.approx(0.5)  # in ten steps of ten clips
    with pytest.raises(AkitError, match="--set loss=bce --set mix_loss=bce"):
        fit_call(task="multi")


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("sample_rate=44100", "must be one of"),
        ("seq_len=114000", "must be a multiple of 1024"),
        ("seq_len=16384", "must be over 32256"),
        ("n_head=7", "must be a multiple of n_head"),
        ("mixup=0", "Did you mean augment.mixup"),
    ],
)
def test_settings_that_cannot_work_say_so(assignment: str, says: str) -> None:
    recipe = load_recipe("eat_s_esc50")
    with pytest.raises(UsageError, match=says):
        recipe.settings(parse_assignments(recipe, [assignment]))


def some_clips(workspace: Workspace, recipe: Recipe, assignments: list[str], task: str = "single") -> Clips:
    """Two clips of each class of each fold; with several labels a clip, their neighbour's class too."""
    rows = workspace.manifest.filter(pl.col("split") == "train")
    rows = rows.filter(pl.int_range(pl.len()).over("label", "fold") < 2)
    if task == "multi":
        labels = rows["label"].to_list()
        both = [sorted({*own, *other}) for own, other in zip(labels, labels[1:] + labels[:1], strict=True)]
        rows = rows.with_columns(label=pl.Series(both))
    wave = recipe.features(recipe.settings(parse_assignments(recipe, assignments)))["wave"]
    build_features(rows, workspace.data_root, workspace.store(), [wave])
    return Clips(rows, tuple(workspace.config.classes), task, {"wave": workspace.store()[wave.key]}, Compute("cpu"))


def halves(clips: Clips, folder: Path, device: str = "cpu") -> Fold:
    """Half of the clips to train on, the others to validate on."""
    first, second = (
        replace(clips, rows=clips.rows.filter(pl.int_range(pl.len()) % 2 == i), compute=Compute(device)) for i in (0, 1)
    )
    return Fold("1", first, second, 0, "map" if clips.task == "multi" else "accuracy", folder, lambda *_: None)


def test_several_labels_are_drawn_by_rarity_and_scored_by_map(workspace: Workspace, tmp_path: Path) -> None:
    recipe = load_recipe("eat_s_audioset")
    given = [*TINY, "batch_size=4", "epochs=3", "epoch_mix=1", "checkpoint=best"]
    clips = some_clips(workspace, recipe, given, "multi")
    fold, s = halves(clips, tmp_path), recipe.settings(parse_assignments(recipe, given))
    weights = recipe.module.balanced(clips)
    count = clips.labels.sum(axis=0)
    np.testing.assert_allclose(weights, [sum(1 / count[row]) for row in clips.labels])
    result = recipe.train(fold, s)
    found = recipe.predict(result.model, fold.valid, s)
    assert found.shape == (len(fold.valid), 3)
    assert ((found > 0) & (found < 1)).all()
    log = [json.loads(line) for line in (tmp_path / "eat" / "log.jsonl").read_text().splitlines()]
    best = max(entry["valid_map"] for entry in log)
    assert score("map", fold.valid.labels, found) == pytest.approx(best)
    assert "best on the fold it is scored on" in result.bias_warnings[0]


def test_switch_changes_training_and_seed_alone_does_not(workspace: Workspace, tmp_path: Path) -> None:
    recipe, given = load_recipe("eat_s_us8k"), [*TINY, "batch_size=4", "epochs=2", "epoch_mix=0"]
    clips = some_clips(workspace, recipe, given)

    def weights(folder: str, *more: str) -> torch.Tensor:
        net = recipe.train(
            halves(clips, tmp_path / folder), recipe.settings(parse_assignments(recipe, [*given, *more]))
        ).model
        return torch.cat([p.detach().flatten() for p in net.parameters()])

    assert torch.equal(weights("a"), weights("b"))
    assert not torch.equal(weights("a"), weights("c", "augment.mixup=0"))


def test_an_average_of_the_weights_may_predict(workspace: Workspace, tmp_path: Path) -> None:
    recipe = load_recipe("eat_s_esc50")
    clips = some_clips(workspace, recipe, TINY)
    nets = [
        recipe.train(
            halves(clips, tmp_path / name), recipe.settings(parse_assignments(recipe, [*TINY, "epochs=2", *more]))
        ).model
        for name, more in (("raw", []), ("average", ["ema=0.9"]))
    ]
    assert not torch.equal(nets[0].classifier.weight, nets[1].classifier.weight)


def test_it_starts_from_an_audioset_run(workspace: Workspace, tmp_path: Path) -> None:
    old = load_recipe("eat_s_audioset")
    sizes = [f for f in TINY if not f.startswith("seq_len")]
    torch.manual_seed(0)
    source = old.module.build_model(old.settings(parse_assignments(old, [*sizes, "seq_len=65536"])), 527)
    nn.init.normal_(source.positions)
    save_tensors(tmp_path / "run" / "folds" / "full" / "model.safetensors", source.state_dict())
    recipe = load_recipe("eat_s_esc50")
    net = recipe.build_model(3, **parse_assignments(recipe, TINY))
    recipe.module.start_from(net, tmp_path / "run")
    tokens, before = net.positions.shape[1], source.positions.shape[1]
    assert (before, tokens) == (65, 33)
    nearest = [i * before // tokens for i in range(tokens)]
    torch.testing.assert_close(net.positions[0], source.positions[0, nearest])
    own, other = net.state_dict(), source.state_dict()
    assert all(torch.equal(own[k], other[k]) for k in own if k != "positions" and not k.startswith("classifier"))
    assert net.classifier.weight.shape == (3, 32)
    # And so that training begins there, and the record says so.
    clips = some_clips(workspace, recipe, TINY)
    fold = halves(clips, tmp_path / "fold")
    result = recipe.train(
        fold, recipe.settings(parse_assignments(recipe, [*TINY, "epochs=1", f"pretrained={tmp_path / 'run'}"]))
    )
    assert result.notes == (f"started from the weights of {tmp_path / 'run'}",)
    for given, says in (
        (["nf=8"], "another size"),
        (["ds_factors=4,4,4"], "only in one|in one of the two only|another"),
    ):
        with pytest.raises(AkitError, match=says):
            recipe.train(
                fold, recipe.settings(parse_assignments(recipe, [*TINY, *given, f"pretrained={tmp_path / 'run'}"]))
            )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eat_s_esc50", "eat_m_speechcommands", "eat_m_audioset"])
def test_the_small_form_runs_on_real_clips(esc10: Path, tmp_path: Path, name: str) -> None:
    workspace = init_workspace(tmp_path / "work", esc10, test_folds=[5])
    recipe = load_recipe(name)
    run, _ = run_recipe(workspace, recipe, recipe.settings(fast=True), fast=True, workers=2)
    assert run.finished
    assert run.name.startswith(f"{name}-")
    assert not run.bias_warnings
    stored = load_recipe(run.path / "recipe.py")  # what a run keeps is enough to build its model
    settings = stored.settings_class(**run.record.settings)
    assert settings.model_dump() == recipe.settings(fast=True).model_dump()
    full, _ = run_recipe(workspace, recipe, recipe.settings({"epochs": 1}, fast=True), fast=True, full=True)
    assert full.finished
    with pytest.raises(AkitError, match="checkpoint=last"):
        run_recipe(workspace, recipe, recipe.settings({"checkpoint": "best"}, fast=True), fast=True, full=True)


@pytest.mark.slow
def test_it_over_fits_twenty_clips(esc10: Path, tmp_path: Path) -> None:
    """Two seconds of each, from the middle: one place, as EAT cuts long clips anywhere, and where there is sound.

    Predictions need the running statistics of batch normalisation, whose start is forgotten after some 150 steps.
    """
    recipe = load_recipe("eat_s_esc50")
    workspace = init_workspace(tmp_path / "work", esc10)
    off = ("amp", "neg", "tshift", "tmask", "ampsegment", "cycshift", "noise", "resample", "mix")
    given = [*TINY, "sample_rate=8000", "seq_len=16384", "ds_factors=4,4,4", "batch_size=20", "epochs=160"]
    given += [*(f"augment.{key}=0" for key in off), "dropout=0", "max_lr=3e-3", "loss=cross_entropy"]
    s = recipe.settings(parse_assignments(recipe, given))
    wave = replace(recipe.features(s)["wave"], seconds=s.seq_len / s.sample_rate)
    rows = workspace.manifest.filter(pl.col("fold") == 1)
    build_features(rows, workspace.data_root, workspace.store(), [wave])
    stored = {"wave": workspace.store()[wave.key]}
    rows = rows.filter(stored["wave"].stack(rows["id"].to_list()).std(axis=1) > 0.02)
    rows = rows.filter(pl.int_range(pl.len()).over("label") < 2)
    clips = Clips(rows, tuple(workspace.config.classes), "single", stored, Compute("cpu"))
    fold = Fold("1", clips, None, 0, "accuracy", tmp_path / "fold", lambda *_: None)
    found = recipe.predict(recipe.train(fold, s).model, clips, s)
    assert len(clips) == 20
    assert np.mean(found.argmax(axis=1) == clips.labels) == 1
