"""How the eight models of UrbanSound8K's winner are trained: the published settings, schedules and options."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from acoustic_kit.cli.assignments import parse_assignments
from acoustic_kit.recipe import urbansound8k
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.training import Phase, Progress

SCORE = "0.8*accuracy+0.2*f1"
# Epochs, batch (and whether the last is dropped), rate, decay, smoothing, mixup's α, ρ, clipping, kept by.
# fmt: off
PUBLISHED = {
    "resnet34_pcen_sam_8fold": (100, 128, False, 1e-3, 1e-2, 0.0, 1.0, 0.05, None, "accuracy"),
    "resnet34_pcen_sam_8f_200e": (200, 256, False, 1.28176e-3, 2.67431e-4, 0.1, 1.88550, 0.0724, None, SCORE),
    "resnet34_attention": (150, 128, True, 1e-3, 1e-4, 0.1, 1.0, 0.05, None, SCORE),
    "resnet34_pcen_salience_fusion_attention": (120, 128, True, 1e-3, 1e-3, 0.1, 1.0, 0.05, None, "accuracy"),
    "resnet34_salience_fusion_film_attention": (160, 256, True, 1e-3, 1e-2, 0.1, 2.0, 0.05, 2.0, "accuracy"),
    "resnet34_mr_salience_fusion_film_attention": (160, 128, True, 1e-3, 1e-4, 0.1, 1.0, 0.05, 2.0, SCORE),
    "wideresnet": (120, 128, True, 1e-3, 1e-3, 0.1, 1.0, 0.05, None, "accuracy"),
    "res2net50": (120, 128, True, 1e-3, 1e-3, 0.1, 1.0, 0.05, None, "accuracy"),
}
# fmt: on
MASKS = {  # bands and frames
    "resnet34_pcen_sam_8f_200e": (18, 84),
    "resnet34_attention": (19, 80),
    "resnet34_mr_salience_fusion_film_attention": (20, 80),
}
DROPOUT = {
    "resnet34_pcen_sam_8fold": None,
    "resnet34_pcen_sam_8f_200e": 0.0,
    "resnet34_salience_fusion_film_attention": 0.4,
    "resnet34_mr_salience_fusion_film_attention": 0.4,
}
STEPS = 24  # batches in an epoch


@pytest.fixture
def fit_call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """What a recipe hands to `fit`, without a model and without training."""

    def call(name: str, *assignments: str) -> dict[str, Any]:
        recipe = load_recipe(name)
        seen: dict[str, Any] = {}
        monkeypatch.setattr(urbansound8k, "fit", lambda _fold, _stage, _net, **rest: seen.update(rest))
        monkeypatch.setattr(recipe.module, "build_model", lambda *_: nn.Linear(2, 2))
        fold = SimpleNamespace(seed=1, n_classes=10, train=SimpleNamespace(task="single"))
        recipe.train(fold, recipe.settings(parse_assignments(recipe, assignments)))
        return seen

    return call


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_defaults_are_the_published_settings(fit_call: Callable[..., dict], name: str) -> None:
    epochs, batch, drop_last, lr, decay, smoothing, alpha, rho, clip, keep = PUBLISHED[name]
    call = fit_call(name)
    optimizer = call["optimizer"]([nn.Parameter(torch.zeros(1))])
    group = optimizer.param_groups[0]
    assert isinstance(optimizer, torch.optim.AdamW)
    assert (group["betas"], group["eps"]) == ((0.9, 0.999), 1e-8)
    assert group["weight_decay"] == pytest.approx(decay, rel=1e-4)
    assert group["lr"] == pytest.approx(lr, rel=1e-4)
    (phase,) = call["phases"]
    assert (phase.epochs, phase.patience) == (epochs, None)
    form = call["batches"]
    assert (form.batch_size, form.drop_last, form.frames) == (batch, drop_last, 128000)
    assert form.mixup == pytest.approx(alpha, rel=1e-5)
    assert (form.mixup_by, form.mixup_share) == ("batch", 0.9 if "_mr_" in name else 1.0)
    assert call["sam"] == pytest.approx(rho, rel=1e-3)
    assert (call.get("clip_norm"), call["keep"]) == (clip, keep)
    loss = call.get("loss")
    assert (0.0 if loss is None else loss.unweighted.label_smoothing) == smoothing
    assert fit_call(name, "checkpoint=last")["keep"] == "last"


@pytest.mark.parametrize("name", PUBLISHED)
def test_masks_and_dropout_are_the_published_ones(name: str) -> None:
    with torch.device("meta"):
        net = load_recipe(name).build_model(10)
    masks = net.front_end.masks
    assert (masks.max_bands, masks.max_frames) == MASKS.get(name, (20, 40))
    rates = [module.p for module in net.modules() if isinstance(module, nn.Dropout)]
    expected = DROPOUT.get(name, 0.3)
    assert rates == ([] if expected is None else [expected])
    assert all(pcen.extra_eps == (1e-6 if "film" in name else 0.0) for pcen in net.front_end.pcens)


def rates(phase: Phase, what: str = "schedule") -> np.ndarray:
    """The rate of every batch: (epochs, batches)."""
    schedule = getattr(phase, what)
    steps = range(phase.epochs * STEPS)
    return np.array([schedule(Progress(step, STEPS, phase.epochs)) for step in steps]).reshape(-1, STEPS)


def by_torch(lr: float, make: Callable[[torch.optim.Optimizer], Any], n: int) -> tuple[np.ndarray, np.ndarray]:
    """The rate, and the first β, before each of `n` steps of one of torch's schedulers."""
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make(optimizer)
    found = []
    for _ in range(n):
        found.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["betas"][0]))
        optimizer.step()
        scheduler.step()
    lrs, betas = np.array(found).T
    return lrs, betas


def warm_cosine(optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
    parts = [
        lr_scheduler.LinearLR(optimizer, 0.01, total_iters=2),
        lr_scheduler.CosineAnnealingLR(optimizer, 198, 1e-6),
    ]
    return lr_scheduler.SequentialLR(optimizer, parts, [2])


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("resnet34_pcen_sam_8fold", lambda o: lr_scheduler.CosineAnnealingLR(o, 100, 1e-6)),
        ("resnet34_pcen_sam_8f_200e", warm_cosine),
        ("resnet34_attention", lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 10, 2, 1e-6)),
        ("resnet34_pcen_salience_fusion_attention", lambda o: lr_scheduler.CosineAnnealingLR(o, 120, 1e-6)),
        ("wideresnet", lambda o: lr_scheduler.CosineAnnealingLR(o, 120, 1e-6)),
        ("res2net50", lambda o: lr_scheduler.CosineAnnealingLR(o, 120, 1e-6)),
    ],
)
@pytest.mark.filterwarnings("ignore:The epoch parameter")
def test_these_schedules_are_torchs_stepped_once_an_epoch(
    fit_call: Callable[..., dict], name: str, make: Callable[[torch.optim.Optimizer], Any]
) -> None:
    call = fit_call(name)
    (phase,) = call["phases"]
    found = rates(phase)
    assert (found == found[:, :1]).all()
    lr = load_recipe(name).settings().lr
    np.testing.assert_allclose(found[:, 0], by_torch(lr, make, phase.epochs)[0], rtol=1e-6)


def test_the_one_cycle_runs_as_it_did_and_as_it_was_meant(fit_call: Callable[..., dict]) -> None:
    name = "resnet34_salience_fusion_film_attention"
    (slipped,), (intended,) = fit_call(name)["phases"], fit_call(name, "schedule=intended")["phases"]
    total = slipped.epochs * STEPS

    def one_cycle(optimizer: torch.optim.Optimizer) -> lr_scheduler.OneCycleLR:
        return lr_scheduler.OneCycleLR(optimizer, 1e-3, total, pct_start=0.1, div_factor=25, final_div_factor=1e4)

    lrs, betas = by_torch(1e-3, one_cycle, total)
    for phase, steps in ((slipped, [e for e in range(160) for _ in range(STEPS)]), (intended, range(total))):
        # torch reaches the top one step earlier than a tenth of the way
        np.testing.assert_allclose(rates(phase).ravel(), lrs[list(steps)], rtol=0.01, atol=2e-6)
        np.testing.assert_allclose(rates(phase, "beta1").ravel(), betas[list(steps)], atol=1e-3)
    assert rates(slipped)[0, 0] == pytest.approx(4e-5)
    assert rates(slipped)[-1, -1] == pytest.approx(3.94e-4, rel=0.01)  # the specification's measured figure
    assert rates(slipped, "beta1")[-1, -1] == pytest.approx(0.913, abs=1e-3)
    assert rates(intended).max() == pytest.approx(1e-3, rel=1e-3)


def test_two_resolution_model_warms_up_by_batch_and_ends_at_zero(fit_call: Callable[..., dict]) -> None:
    (phase,) = fit_call("resnet34_mr_salience_fusion_film_attention")["phases"]
    found, warm, total = rates(phase).ravel(), 5 * STEPS, 160 * STEPS
    np.testing.assert_allclose(found[:warm], 1e-3 * np.arange(warm) / warm, atol=1e-12)
    share = np.arange(total - warm) / (total - warm)
    np.testing.assert_allclose(found[warm:], 1e-3 * (1 + np.cos(np.pi * share)) / 2, atol=1e-12)


def test_crops_are_random_and_class_balancing_is_optional(fit_call: Callable[..., dict]) -> None:
    name = "resnet34_mr_salience_fusion_film_attention"
    assert load_recipe(name).features(load_recipe(name).settings())["wave"].seconds is None
    form = fit_call(name)["batches"]
    assert (form.short, form.weights) == ("start", None)
    weights = fit_call(name, "balanced=true")["batches"].weights(SimpleNamespace(labels=np.array([0, 0, 0, 2, 2, 1])))
    np.testing.assert_allclose(weights, [1 / 3, 1 / 3, 1 / 3, 1 / 2, 1 / 2, 1])


def test_the_unused_warm_up_is_an_option(fit_call: Callable[..., dict]) -> None:
    (phase,) = fit_call("resnet34_attention", "warm_up_epochs=5")["phases"]
    np.testing.assert_allclose(rates(phase)[:6, 0], 1e-3 * np.array([0.01, 0.208, 0.406, 0.604, 0.802, 1.0]), rtol=1e-6)


def test_search_space_is_the_write_ups_and_has_its_optimum() -> None:
    optuna = pytest.importorskip("optuna")
    recipe = load_recipe("resnet34_pcen_sam_8f_200e")
    best = recipe.settings()
    found = {key: getattr(best, key) for key in recipe.module.search(FirstValues())}
    assert recipe.module.search(optuna.trial.FixedTrial(found)) == found
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(sampler=sampler)
    for _ in range(20):
        recipe.settings_class(**recipe.module.search(study.ask()))
    distributions = study.trials[0].distributions
    assert (distributions["lr"].low, distributions["lr"].high, distributions["lr"].log) == (1e-4, 5e-3, True)
    assert distributions["max_mask_frames"].low == 30
    assert distributions["hop_length"].choices == (320, 512, 640)
    assert "epochs" not in distributions


class FirstValues:
    """Answers each question with its first possible value."""

    def suggest_categorical(self, _name: str, choices: list) -> object:
        return choices[0]

    def suggest_float(self, _name: str, low: float, _high: float, **_: object) -> float:
        return low

    def suggest_int(self, _name: str, low: int, _high: int) -> int:
        return low
