"""Soft, unknown and weighted targets, from the manifest to the trained network."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from acoustic_kit.data.clips import ALL_TARGETS, Clips, FitResult, Fold
from acoustic_kit.data.schema import clip_schema
from acoustic_kit.device import Compute
from acoustic_kit.metrics import score
from acoustic_kit.training import Batches, Phase, constant, fit, forward
from acoustic_kit.training.losses import make_loss
from acoustic_store import FeatureStore, StoredFeature

CPU = torch.device("cpu")
CLASSES = ("a", "b", "c", "d")
PLAIN = Batches("x", 512, 3)
N = 320


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """bool (N, 4), about a third of them True."""
    return np.random.default_rng(1).random((N, 4)) < 0.35


@pytest.fixture(scope="module")
def feature(truth: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> StoredFeature:
    """float32 (6, 3) of each clip: a sum of patterns of its classes, and noise."""
    random = np.random.default_rng(0)
    patterns = random.standard_normal((4, 6))
    x = (truth @ patterns)[:, :, None] + random.standard_normal((N, 6, 3))
    store = FeatureStore.open(tmp_path_factory.mktemp("soft") / "features.zarr", create=True)
    with store.writer("x-1", "float32", {}) as writer:
        for block in writer.plan([(f"clip{i:03}", "") for i in range(N)]):
            block.write(x[int(id.removeprefix("clip"))].astype(np.float32) for id, _ in block.clips)
    return store["x-1"]


def clips_of(feature: StoredFeature, targets: np.ndarray, weights: list[float] | None = None, first: int = 0) -> Clips:
    """Clips from `first` on with the targets, float (clips, 4), NaN if unknown; the first class is the main one."""
    soft = [
        [{"label": name, "target": None if np.isnan(t) else t} for name, t in zip(CLASSES, row, strict=True)]
        for row in targets.tolist()
    ]
    names = [[name for name, t in zip(CLASSES, row, strict=True) if t >= 0.5] for row in targets.tolist()]
    rows = pl.DataFrame(
        {
            "id": [f"clip{i:03}" for i in range(first, first + len(targets))],
            "label": names,
            "weight": weights,
            "soft": soft,
            "split": ["train"] * len(targets),
        },
        schema={
            name: dtype for name, dtype in clip_schema().items() if name in {"id", "label", "weight", "soft", "split"}
        },
    )
    return Clips(rows, CLASSES, "multi", {"x": feature}, Compute("cpu"))


def trained(train: Clips, valid: Clips | None, folder: Path, steps: int = 1, **options: object) -> FitResult:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(18, 4))
    fold = Fold("1", train, valid, 0, "map", folder, lambda *_: None)
    settings = {"batches": PLAIN, "optimizer": partial(torch.optim.SGD, lr=1.0)}
    return fit(fold, "net", net, phases=[Phase(steps, constant(1.0))], **{**settings, **options})  # type: ignore[arg-type]


def head(result: FitResult) -> torch.Tensor:
    return torch.cat([result.model[1].weight.detach(), result.model[1].bias.detach()[:, None]], dim=1)


def test_clip_of_weight_two_trains_as_two_clips(feature: StoredFeature, truth: np.ndarray, tmp_path: Path) -> None:
    targets = truth[:6].astype(float)
    weighted = trained(clips_of(feature, targets, [2.0, 1, 1, 1, 1, 1]), None, tmp_path / "weighted")
    once = clips_of(feature, targets)
    twice = trained(replace(once, rows=pl.concat([once.rows[:1], once.rows])), None, tmp_path / "twice")
    torch.testing.assert_close(head(weighted), head(twice))
    assert not torch.allclose(head(weighted), head(trained(once, None, tmp_path / "once")))


@pytest.mark.parametrize("loss", ["bce", "focal"])
def test_class_without_known_targets_is_not_trained(
    feature: StoredFeature, truth: np.ndarray, tmp_path: Path, loss: str
) -> None:
    targets = truth[:20].astype(float)
    targets[:, 2] = np.nan
    result = trained(clips_of(feature, targets), None, tmp_path, loss=make_loss(loss, "multi"))  # type: ignore[arg-type]
    torch.manual_seed(0)
    before = torch.nn.Linear(18, 4)
    moved = (result.model[1].weight != before.weight).any(dim=1)
    assert moved.tolist() == [True, True, False, True]
    assert result.uses == ALL_TARGETS


def test_micro_batches_train_alike(feature: StoredFeature, truth: np.ndarray, tmp_path: Path) -> None:
    targets = truth[:20].astype(float)
    targets[3, 1:3] = np.nan
    clips = clips_of(feature, targets, [0.5] * 10 + [3.0] * 10)
    whole = trained(clips, None, tmp_path / "whole")
    parts = trained(clips, None, tmp_path / "parts", micro_batch=3)
    torch.testing.assert_close(head(parts), head(whole))


def test_equal_weights_are_no_weights(feature: StoredFeature, truth: np.ndarray) -> None:
    assert PLAIN.open(clips_of(feature, truth[:6].astype(float), [3.0] * 6), CPU).weights is None


def test_scaled_weights_average_to_one_over_known_targets(feature: StoredFeature, truth: np.ndarray) -> None:
    targets = truth[:6].astype(float)
    targets[0, :3] = targets[4] = np.nan
    loader = PLAIN.open(clips_of(feature, targets, [1.0, 2, 3, 4, 5, 6]), CPU)
    assert loader.weights is not None
    known = ~loader.targets.isnan()
    np.testing.assert_array_equal(known, ~np.isnan(targets))
    assert (known * loader.weights[:, None]).mean().item() == pytest.approx(1)
    hard = PLAIN.open(clips_of(feature, targets, [1.0, 2, 3, 4, 5, 6]), CPU, hard=True)
    assert hard.weights is None
    np.testing.assert_array_equal(hard.targets, targets == 1)


def test_loss_that_takes_no_soft_targets_gets_hard_ones(
    feature: StoredFeature, truth: np.ndarray, tmp_path: Path
) -> None:
    targets = truth[:20] * 0.7
    targets[0, 1] = np.nan
    seen = []

    def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        seen.append(targets)
        return make_loss("bce", "multi")(logits, targets)

    result = trained(clips_of(feature, targets, [0.5] * 10 + [2.0] * 10), None, tmp_path, loss=loss)
    assert result.uses == frozenset()
    assert set(torch.cat(seen).unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("by", ["clip", "batch"])
def test_union_has_the_labels_of_both(feature: StoredFeature, truth: np.ndarray, by: str) -> None:
    clips = clips_of(feature, truth.astype(float))
    x, targets = {}, {}
    for labels in ("weighted", "union"):
        form = Batches("x", 64, 3, mixup=1.0, mixup_by=by, mixup_labels=labels)  # type: ignore[arg-type]
        found = list(form.open(clips, CPU).training("0"))
        x[labels], targets[labels] = torch.cat([b.x for b in found]), torch.cat([b.targets for b in found])
    torch.testing.assert_close(x["union"], x["weighted"], rtol=0, atol=0)  # only the targets differ
    assert set(targets["union"].unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(targets["union"], (targets["weighted"] > 0).float())
    assert (targets["union"] >= targets["weighted"]).all()
    assert (targets["union"] > targets["weighted"]).any()


@pytest.mark.parametrize(("labels", "known"), [("weighted", 0.0), ("union", 1.0)])
def test_unknown_targets_stay_unknown_where_it_matters(feature: StoredFeature, labels: str, known: float) -> None:
    """Of the first half of the clips, class a is unknown and b is 1; of the others, a is 1 and b is unknown."""
    targets = np.tile([np.nan, 1.0, np.nan, 0.0], (40, 1))
    targets[20:] = [1.0, np.nan, 0.5, 0.0]
    form = Batches("x", 64, 3, mixup=1.0, mixup_labels=labels)  # type: ignore[arg-type]
    (batch,) = form.open(clips_of(feature, targets), CPU).training("0")
    assert batch.weights is not None
    first = batch.targets
    alike = ((first[:, 0].isnan() & (first[:, 1] == 1)) | ((first[:, 0] == 1) & first[:, 1].isnan())).numpy()
    mixed = first[~alike]
    assert 10 < alike.sum() < 30
    assert (mixed[:, :2] == 1).all() if known else mixed[:, :2].isnan().all()
    assert (first[:, 2].isnan() | (first[:, 2] == 0.5)).all()
    assert mixed[:, 2].isnan().all()
    assert (first[:, 3] == 0).all()


def test_masking_wrong_labels_is_better_than_training_on_them(
    feature: StoredFeature, truth: np.ndarray, tmp_path: Path
) -> None:
    random = np.random.default_rng(2)
    targets = truth[:160].astype(float)
    wrong = (random.random(targets.shape) < 0.3) & (np.arange(4) < 2)  # as if the first two classes were mislabeled
    noisy, masked = np.where(wrong, 1 - targets, targets), np.where(wrong, np.nan, targets)
    valid = clips_of(feature, truth[160:].astype(float), first=160)
    found = {}
    for name, one in (("noisy", noisy), ("masked", masked), ("clean", targets)):
        result = trained(clips_of(feature, one), valid, tmp_path / name, 20)
        found[name] = score("map", valid.labels, forward(result.model, valid, PLAIN))
    assert found["masked"] > found["noisy"] + 0.03
    assert found["masked"] > found["clean"] - 0.02
