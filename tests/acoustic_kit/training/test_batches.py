"""Batches: every clip once an epoch, cut or padded, mixed, and the same whatever the batch size or the memory."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from acoustic_kit.data.clips import Clips
from acoustic_kit.training import batches as module_batches
from acoustic_kit.training import clip_reader as module
from acoustic_kit.training.augment import time_shift
from acoustic_kit.training.batch import Batch, BatchRng
from acoustic_kit.training.batches import Batches
from acoustic_kit.training.crops import decibel_power, halved_inputs, input_length, spread_crops
from acoustic_kit.training.evaluation import forward
from acoustic_store import FeatureStore

CPU = torch.device("cpu")
Make = Callable[[pl.Expr], Clips]


@pytest.fixture
def clips(clips_with_mel: Make) -> Clips:
    return clips_with_mel(pl.col("fold") > 1)


def epoch(clips: Clips, key: str = "0/1", **options: object) -> tuple[torch.Tensor, torch.Tensor]:
    """x and targets of a whole epoch, in the order of the batches."""
    loader = Batches("mel", **{"batch_size": 8, "frames": 12, **options}).open(clips, CPU)  # type: ignore[arg-type]
    found = list(loader.training(key))
    assert len(found) == len(loader)
    return torch.cat([batch.x for batch in found]), torch.cat([batch.targets for batch in found])


def test_every_clip_comes_once_in_another_order_each_epoch(clips: Clips) -> None:
    first, targets = epoch(clips, "1", frames=400, pad="wrap")
    second, _ = epoch(clips, "2", frames=400, pad="wrap")
    assert not torch.equal(first, second)
    key = [tuple(clip[:, 0].tolist()) for clip in first]
    assert sorted(key) == sorted(tuple(clip[:, 0].tolist()) for clip in second)
    assert len(set(key)) == len(clips) == 36
    np.testing.assert_array_equal(targets.sum(0), np.bincount(clips.labels))


def test_the_batch_size_and_the_memory_change_nothing(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"mixup": 0.4, "frames": 10}
    whole = epoch(clips, **options)
    parts = epoch(clips, batch_size=5, **options)
    monkeypatch.setattr(module, "RESIDENT_BYTES", 0)
    mapped = epoch(clips, **options)
    for other in (parts, mapped):
        torch.testing.assert_close(other, whole, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", ["int16", "float32"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
@pytest.mark.parametrize("options", [{"frames": 12}, {"frames": 12, "pad": "wrap"}, {"frames": None}])
def test_clips_beyond_memory_are_those_that_are_read(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, shape: tuple[int, ...], options: dict
) -> None:
    random = np.random.default_rng(0)
    store = FeatureStore.open(tmp_path / "features.zarr", create=True)
    with store.writer("x-1", dtype, {}) as writer:
        for block in writer.plan([(id, "") for id in clips.ids]):
            block.write(random.standard_normal((*shape, 5 + i % 20)) for i, _ in enumerate(block.clips))
    other = replace(clips, features={"mel": store["x-1"]})
    whole = list(Batches("mel", 8, **options).open(other, CPU).training("0"))
    monkeypatch.setattr(module, "RESIDENT_BYTES", 0)
    mapped = list(Batches("mel", 8, **options).open(other, CPU).training("0"))
    for one, two in zip(whole, mapped, strict=True):
        torch.testing.assert_close(two.x, one.x, rtol=0, atol=0)


def test_long_clips_are_cut_at_random_places_and_in_the_middle(clips: Clips) -> None:
    loader = Batches("mel", 64, frames=5).open(clips, CPU)
    ((x,),) = loader.in_order()
    for id, found in zip(clips.ids, x.numpy(), strict=True):
        mel = clips.features["mel"].read(id)
        first = int(0.5 * (mel.shape[1] - 5 + 1))
        np.testing.assert_array_equal(found, mel[:, first : first + 5])
    places = {tuple(clip[0].tolist()) for clip in torch.cat([epoch(clips, str(e), frames=5)[0] for e in range(20)])}
    assert len(places) > 4 * len(clips)


def test_short_clips_are_padded_or_repeated(clips: Clips) -> None:
    mel = clips.features["mel"].read(clips.ids[0])
    n = mel.shape[1]
    ((padded,),) = Batches("mel", 64, frames=n + 7, pad=-5.0).open(clips, CPU).in_order()
    before = int(0.5 * 8)
    np.testing.assert_array_equal(padded[0, :, before : before + n], mel)
    assert (padded[0, :, :before] == -5).all()
    assert (padded[0, :, before + n :] == -5).all()
    ((wrapped,),) = Batches("mel", 64, frames=3 * n + 2, pad="wrap").open(clips, CPU).in_order()
    np.testing.assert_array_equal(wrapped[0], np.tile(mel, 4)[:, : 3 * n + 2])


def test_without_a_length_a_batch_is_as_long_as_its_longest_clip(clips: Clips) -> None:
    for (x,) in Batches("mel", 8, pad=-7.0).open(clips, CPU).in_order():
        assert (x[:, 0, :] != -7).all(dim=1).any()
        assert (x[:, 0, 0] != -7).all()  # padding is on the right


def test_mixup_mixes_features_and_targets_alike(clips: Clips) -> None:
    x, targets = epoch(clips, mixup=1.0, frames=10, batch_size=64)
    plain, labels = epoch(clips, frames=10, batch_size=64)
    torch.testing.assert_close(targets.sum(1), torch.ones(36))
    weights = (targets * labels).sum(1)  # λ, or 1 where both have one class
    assert 0.3 < weights.mean() < 0.9
    mixed = targets.max(1).values < 1
    assert mixed.sum() > 15
    assert not torch.isclose(x, plain).all(dim=(1, 2))[mixed].any()
    with pytest.raises(ValueError, match="frames"):
        Batches("mel", 8, mixup=0.4)


def test_a_clip_left_over_joins_the_last_batch(clips: Clips) -> None:
    loader = Batches("mel", 7, frames=10).open(clips, CPU)
    assert [len(batch.x) for batch in loader.training("0")] == [7, 7, 7, 7, 8]


def test_a_channel_axis_is_given_on_request(clips: Clips) -> None:
    seen = []

    def augment(x: torch.Tensor, rng: object) -> torch.Tensor:
        seen.append(x.shape)
        return x

    assert epoch(clips, channel_axis=True, augment=[augment])[0].shape == (36, 1, 8, 12)
    assert set(seen) == {(8, 8, 12), (4, 8, 12)}  # augmentations see it without
    loader = Batches("mel", 64, 12, channel_axis=True).open(clips, CPU)
    ((x,),) = loader.in_order()
    assert x.shape == (36, 1, 8, 12)


def test_clips_without_labels_can_be_predicted(clips_with_mel: Make) -> None:
    test = clips_with_mel(pl.col("split") == "test")
    ((x,),) = Batches("mel", 64, frames=10).open(test, CPU).in_order()
    assert len(x) == len(test) == 12


def of_one_batch(clips: Clips, key: str = "0", **options: object) -> tuple[module_batches.Batch, torch.Tensor]:
    """The mixed batch of all clips, and the labels of its first parts: one-hot (clips, classes)."""
    options = {"frames": 10, "batch_size": 64, **options}
    (mixed,) = Batches("mel", mixup=0.7, **options).open(clips, CPU).training(key)  # type: ignore[arg-type]
    (plain,) = Batches("mel", **options).open(clips, CPU).training(key)  # type: ignore[arg-type]
    return mixed, plain.targets


def test_batch_mixup_has_one_weight_and_partners_of_the_batch(clips: Clips) -> None:
    (plain,) = Batches("mel", 64, frames=10).open(clips, CPU).training("0")
    mixed, labels = of_one_batch(clips, mixup_by="batch")
    shares = {round(value, 5) for value in (mixed.targets * labels).sum(1).tolist()} - {1.0}
    assert len(shares) == 1
    (share,) = shares
    for x, target, own, own_x in zip(mixed.x, mixed.targets, labels, plain.x, strict=True):
        if target.max() < 1:
            partners = plain.x[(labels == (target - share * own).round(decimals=4).gt(0)).all(1)]
            distances = [(x - share * own_x - (1 - share) * partner).abs().max() for partner in partners]
            assert min(distances) < 1e-3


def test_a_share_of_the_batches_is_left_as_it_is(clips: Clips) -> None:
    def are_mixed(share: float) -> int:
        loader = Batches("mel", 4, 10, mixup=1.0, mixup_by="batch", mixup_share=share).open(clips, CPU)
        batches = [batch for epoch in range(10) for batch in loader.training(str(epoch))]
        return sum(bool((batch.targets.max(1).values < 1).any()) for batch in batches)

    assert are_mixed(0.0) == 0
    assert 20 < are_mixed(0.5) < 70
    assert are_mixed(1.0) > 70


@pytest.mark.parametrize("by", ["clip", "batch"])
def test_a_side_input_is_mixed_as_the_targets_are(clips: Clips, by: str) -> None:
    def one_hot(clips: Clips) -> np.ndarray:
        return np.eye(len(clips.classes))[clips.labels]

    for mixup in (0.0, 0.7):
        loader = Batches("mel", 8, 10, side=one_hot, mixup=mixup, mixup_by=by).open(clips, CPU)  # type: ignore[arg-type]
        for batch in loader.training("0"):
            torch.testing.assert_close(batch.inputs[1], batch.targets)
    for _, side in loader.in_order():
        assert (side.sum(1) == 1).all()


def test_the_last_batch_is_dropped_in_training_only(clips: Clips) -> None:
    loader = Batches("mel", 10, frames=10, drop_last=True).open(clips, CPU)
    assert [len(batch) for batch in loader.training("0")] == [10, 10, 10]
    assert len(loader) == 3
    assert sum(len(x) for (x,) in loader.in_order()) == 36
    assert len(Batches("mel", 64, frames=10, drop_last=True).open(clips, CPU)) == 1  # else there would be none


@pytest.mark.parametrize("batch_size", [5, 7, 12, 18, 35, 36])  # 36 clips: one left over with 5, 7 and 35
def test_dropping_the_last_batch_takes_the_steps_of_torch(clips: Clips, batch_size: int) -> None:
    reference = torch.utils.data.DataLoader(list(range(len(clips))), batch_size, drop_last=True)
    loader = Batches("mel", batch_size, frames=10, drop_last=True).open(clips, CPU)
    assert [len(batch) for batch in loader.training("0")] == [len(batch) for batch in reference]
    assert len(loader) == len(reference)


def test_clips_are_drawn_in_proportion_to_their_weights(clips: Clips) -> None:
    def weights(clips: Clips) -> np.ndarray:
        return np.where(clips.labels == 0, 3.0, np.where(clips.labels == 1, 1.0, 0.0))

    loader = Batches("mel", 6, frames=400, pad="wrap", weights=weights).open(clips, CPU)
    counts = sum(batch.targets.sum(0) for epoch in range(40) for batch in loader.training(str(epoch)))
    assert counts[2] == 0
    assert counts.sum() == 40 * 36
    assert counts[0] / counts[1] == pytest.approx(3, rel=0.2)


def test_clips_without_a_label_are_drawn_by_weight_too(clips: Clips) -> None:
    labels = pl.Series([[] if i < 9 else names for i, names in enumerate(clips.rows["label"])])
    multi = replace(clips, rows=clips.rows.with_columns(label=labels), task="multi")
    loader = Batches("mel", 36, frames=4, weights=lambda c: (c.labels.sum(axis=1) == 0) * 1.0).open(multi, CPU)
    (batch,) = loader.training("0")
    assert not batch.targets.any()


def test_a_clip_that_is_drawn_twice_is_augmented_twice(clips: Clips) -> None:
    first = clips.ids[0]
    loader = Batches("mel", 36, frames=4, weights=lambda c: np.array([id == first for id in c.ids])).open(clips, CPU)
    (batch,) = loader.training("0")
    assert len({tuple(x[0].tolist()) for x in batch.x}) > 3


def test_a_short_clip_lies_at_the_start_on_request(clips: Clips) -> None:
    n = clips.features["mel"].shape(clips.ids[0])[1]
    loader = Batches("mel", 64, frames=n + 9, pad=-5.0, short="start").open(clips, CPU)
    ((x,),) = loader.in_order()
    assert (x[0, :, :n] != -5).all()
    assert (x[0, :, n:] == -5).all()
    (batch,) = loader.training("0")
    assert (batch.x[:, 0, 0] != -5).all()


def test_clips_of_one_length_lie_in_one_array(clips: Clips, tmp_path: Path) -> None:
    store = FeatureStore.open(tmp_path / "features.zarr", create=True)
    with store.writer("x-1", "int16", {}) as writer:
        for block in writer.plan([(id, "") for id in clips.ids]):
            block.write(np.random.default_rng(i).standard_normal(50) for i, _ in enumerate(block.clips))
    same = replace(clips, features={"mel": store["x-1"]})
    batches = Batches("mel", 8, 50).open(same, CPU).training("0")
    shuffled = {tuple(x.tolist()) for batch in batches for x in batch.x}
    assert shuffled == {tuple(store["x-1"].read(id).tolist()) for id in clips.ids}


def test_each_batch_has_a_length_of_its_own_from_a_range(clips: Clips) -> None:
    loader = Batches("mel", 4, range(6, 13)).open(clips, CPU)
    lengths = [batch.x.shape[-1] for epoch in range(10) for batch in loader.training(str(epoch))]
    assert set(lengths) == set(range(6, 13))
    assert {x.shape[-1] for (x,) in loader.in_order()} == {12}


@pytest.mark.parametrize("resident", [2**31, 0])
def test_a_short_clip_is_mirrored_as_numpy_does(clips: Clips, monkeypatch: pytest.MonkeyPatch, resident: int) -> None:
    monkeypatch.setattr(module, "RESIDENT_BYTES", resident)
    n = clips.features["mel"].shape(clips.ids[0])[1]
    for frames in (n + 5, 4 * n + 3):
        ((x,),) = Batches("mel", 64, frames, "symmetric").open(clips, CPU).in_order()
        mel = clips.features["mel"].read(clips.ids[0])
        before = int(0.5 * (frames - n + 1))
        np.testing.assert_array_equal(x[0], np.pad(mel, ((0, 0), (before, frames - n - before)), "symmetric"))


def test_a_key_cuts_at_random_places_which_it_decides(clips: Clips) -> None:
    loader = Batches("mel", 64, frames=5).open(clips, CPU)
    middle, one, again, other = (next(loader.in_order(loader.crops(key)))[0] for key in (None, "1", "1", "2"))
    torch.testing.assert_close(one, again)
    assert not torch.equal(one, other)
    assert not torch.equal(one, middle)


def test_a_batch_is_augmented_as_a_whole_and_may_bring_its_loss(clips: Clips) -> None:
    seen = []

    def augment(batch: module_batches.Batch, rng: module_batches.BatchRng) -> module_batches.Batch:
        seen.append((rng.epoch, len(rng.clips.clips), float(rng.batch.uniform64("x")[0, 0])))
        return replace(batch, targets=batch.targets * 0, loss=lambda logits, targets: logits.sum())

    batches = list(Batches("mel", 10, 12, batch_augment=augment).open(clips, CPU).training("0", epoch=3))
    assert [(epoch, n) for epoch, n, _ in seen] == [(3, 10), (3, 10), (3, 10), (3, 6)]
    assert len({number for *_, number in seen}) == 4
    assert all(batch.loss is not None and not batch.targets.any() for batch in batches)


def halve(batch: Batch, rng: BatchRng) -> Batch:
    """Something that looks at the whole batch, and at its clips."""
    share = rng.clips.uniform("share").reshape(-1, *[1] * (batch.x.ndim - 1))
    return replace(batch, inputs=(batch.x * share - batch.x.mean(), *batch.inputs[1:]))


@pytest.mark.parametrize("world", [2, 3, 5])
@pytest.mark.parametrize(
    "options",
    [
        {"mixup": 0.4},
        {"mixup": 0.4, "mixup_by": "batch"},
        {"batch_augment": halve, "side": lambda clips: clips.labels[:, None]},
        {"frames": None},
        {"frames": range(8, 14)},
        {"weights": lambda clips: clips.labels + 0.5},
        {"batch_size": 17, "mixup": 0.4},  # the last batch has two clips
    ],
)
def test_shares_of_several_processes_are_the_batches_of_one(clips: Clips, world: int, options: dict) -> None:
    form = Batches("mel", **{"batch_size": 8, "frames": 12, "augment": [time_shift()], **options})
    alone = list(form.open(clips, CPU).training("0/1"))
    ranks = [list(form.open(clips, CPU, rank, world).training("0/1")) for rank in range(world)]
    for whole, *shares in zip(alone, *ranks, strict=True):
        assert {share.whole for share in shares} == {len(whole)} == {whole.whole}
        if len(whole) < world:
            joined = [(*share.inputs, share.targets) for share in shares]
            assert len(joined) == world
        else:
            sizes = [len(share) for share in shares]
            assert min(sizes) >= 1
            assert max(sizes) - min(sizes) <= 1
            parts = zip(*((*share.inputs, share.targets) for share in shares), strict=True)
            joined = [tuple(torch.cat(part) for part in parts)]
        for found in joined:
            torch.testing.assert_close(found, (*whole.inputs, whole.targets), rtol=0, atol=0)


@pytest.mark.parametrize("world", [2, 3, 9])
def test_in_evaluation_no_clip_is_dropped_and_none_comes_twice(clips: Clips, world: int) -> None:
    form = Batches("mel", 7, None)
    alone = form.open(clips, CPU)
    crops = alone.crops("key")
    whole = list(alone.in_order(crops))
    loaders = [form.open(clips, CPU, rank, world) for rank in range(world)]
    dealt = {}
    for loader in loaders:
        dealt |= {place[0]: x for place, (x,) in zip(loader.places(crops), loader.in_order(crops), strict=True)}
    torch.testing.assert_close([dealt[start] for start in sorted(dealt)], [x for (x,) in whole], rtol=0, atol=0)


@pytest.fixture
def uneven(clips: Clips, tmp_path: Path) -> Clips:
    """Clips of 2 to 40 frames, each with its own value in all frames."""
    store = FeatureStore.open(tmp_path / "uneven.zarr", create=True)
    lengths = [2 + (7 * i) % 39 for i in range(len(clips))]
    with store.writer("x-1", "float32", {}) as writer:
        for block in writer.plan([(id, "") for id in clips.ids]):
            block.write(np.full((3, n), i + 1.0, np.float32) for i, n in enumerate(lengths))
    return replace(clips, features={"mel": store["x-1"]})


def test_halved_inputs_cost_what_clips_last(uneven: Clips) -> None:
    form = Batches("mel", 6, 40, pad="wrap", halves=True, mixup=0.4)
    loader = form.open(uneven, CPU)
    mixed = list(loader.training("0/1"))
    plain = [batch.x for batch in replace(form, mixup=0).open(uneven, CPU).training("0/1")]
    assert [batch.x.shape for batch in mixed] == [x.shape for x in plain]
    values = [x[:, 0, 0] for x in plain]
    assert sorted(torch.cat(values).tolist()) == list(range(1, 37))  # each clip once
    needed = [halved_inputs(np.array([2 + 7 * (int(i) - 1) % 39 for i in of]), 40) for of in values]
    assert [x.shape[-1] for x in plain] == [frames.max() for frames in needed]
    assert [frames.max() for frames in needed] != sorted(frames.max() for frames in needed)  # batches are shuffled
    assert sum(len(set(frames)) > 1 for frames in needed) <= len({x.shape[-1] for x in plain})
    again = [batch.x for batch in form.open(uneven, CPU).training("0/1")]
    torch.testing.assert_close(again, [batch.x for batch in mixed], rtol=0, atol=0)


def test_halved_inputs_do_not_depend_on_the_other_clips(uneven: Clips) -> None:
    class Total(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.weight * x[:, 0].sum(-1, keepdim=True) / 1000 * torch.arange(3)

    form = Batches("mel", 5, 40, pad="wrap", halves=True)
    whole = forward(Total(), uneven, form)
    some = replace(uneven, rows=uneven.rows[3:9])
    np.testing.assert_array_equal(forward(Total(), some, form), whole[3:9])
    frames = halved_inputs(np.array([2 + 7 * i % 39 for i in range(36)]), 40)
    logits = torch.tensor(frames * np.arange(1, 37) / 1000)[:, None] * torch.arange(3)
    np.testing.assert_allclose(whole, logits.softmax(1).numpy(), atol=1e-6)


def test_halved_inputs_leave_long_clips_as_they_are(clips: Clips) -> None:
    options = {"frames": 12, "pad": "wrap", "mixup": 0.4}
    torch.testing.assert_close(epoch(clips, halves=True, **options), epoch(clips, **options), rtol=0, atol=0)
    with pytest.raises(ValueError, match="halves"):
        Batches("mel", 8, None, halves=True)


def long_parts(clips: Clips, frames: int, **options: object) -> dict[str, set[int]]:
    """By id, the first frames of the parts of 20 epochs that are trained on: of clips longer than `frames`."""
    loader = Batches("mel", 64, frames, pad="wrap", **options).open(clips, CPU)  # type: ignore[arg-type]
    found: dict[str, set[int]] = {}
    mels = {id: clips.features["mel"].read(id) for id in clips.ids}
    rows = [x.numpy() for epoch in range(20) for batch in loader.training(str(epoch)) for x in batch.x]
    for id, mel in mels.items():
        starts = range(mel.shape[1] - frames + 1)
        parts = {mel[:, start : start + frames].tobytes(): start for start in starts}
        found[id] = {parts[row.tobytes()] for row in rows if row.tobytes() in parts}
        assert len(starts) > 1
    return found


def test_first_or_loudest_part_of_a_longer_clip_is_used(clips: Clips) -> None:
    options = {"loudest": {"power": decibel_power}}
    for window in ("random", "first", "loudest"):
        for id, starts in long_parts(clips, 5, window=window, **options.get(window, {})).items():
            mel = clips.features["mel"].read(id)
            powers = [(10 ** (mel[:, s : s + 5] / 10)).mean() for s in range(mel.shape[1] - 4)]
            if window == "random":
                assert len(starts) > 2
            else:
                assert starts == {0 if window == "first" else int(np.argmax(powers))}
                loader = Batches("mel", 64, 5, window=window, power=decibel_power).open(clips, CPU)  # type: ignore[arg-type]
                assert loader.crops().first[clips.ids.index(id)] in starts


@pytest.mark.parametrize("options", [{}, {"pad": "wrap"}, {"short": "start", "pad": "symmetric"}])
def test_clips_that_are_not_longer_are_the_same_with_any_window(clips: Clips, options: dict) -> None:
    random = epoch(clips, frames=400, **options)
    for window in ("first", "loudest"):
        torch.testing.assert_close(epoch(clips, frames=400, window=window, crops=5, **options), random, rtol=0, atol=0)
    with pytest.raises(ValueError, match="frames"):
        Batches("mel", 8, range(3, 5), window="loudest")


def test_long_clips_are_predicted_in_crops_that_cover_them(clips: Clips) -> None:
    lengths = [clips.features["mel"].shape(id)[1] for id in clips.ids]
    loader = Batches("mel", 7, frames=max(lengths) // 3).open(clips, CPU)
    crops = loader.crops(most=4)
    x = torch.cat([x for (x,) in loader.in_order(crops)])
    assert len(x) == len(crops.clips) > 2 * len(clips)
    for clip, id in enumerate(clips.ids):
        first = crops.first[crops.clips == clip]
        assert (first[0], first[-1] + loader.form.frames) == (0, lengths[clip])  # type: ignore[operator]
        mel = clips.features["mel"].read(id)
        for row, start in zip(x[crops.clips == clip].numpy(), first, strict=True):
            np.testing.assert_array_equal(row, mel[:, start : start + row.shape[1]])
    np.testing.assert_array_equal(loader.crops(most=None).first, loader.crops(most=12).first)
    loudest = Batches("mel", 7, frames=max(lengths) // 3, window="loudest").open(clips, CPU)
    np.testing.assert_array_equal(loudest.crops(most=None).first, loudest.crops().first)  # as it was trained on
    np.testing.assert_array_equal(loudest.crops(most=3).first, loader.crops(most=3).first)
    once = loader.crops(most=1)
    np.testing.assert_array_equal(once.first, loader.crops().first)
    slightly = Batches("mel", 7, frames=-(-max(lengths) * 2 // 3)).open(clips, CPU)  # no clip is over 1.5 times as long
    np.testing.assert_array_equal(slightly.crops(most=4).first, slightly.crops().first)


def test_input_is_as_long_as_the_longest_clip_up_to_a_limit(clips: Clips) -> None:
    lengths = [clips.features["mel"].shape(id)[1] for id in clips.ids]
    assert input_length(clips, "mel", 400) == max(lengths)
    assert input_length(clips, "mel", max(lengths) - 1) == max(lengths) - 1


def test_probabilities_are_averaged_over_the_crops_of_a_clip(clips: Clips) -> None:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8 * 5, 3))
    several, middle = (forward(net, clips, Batches("mel", 8, 5, crops=crops)) for crops in (3, 1))
    assert not np.allclose(several, middle)
    mel = torch.from_numpy(clips.features["mel"].read(clips.ids[0]).copy())
    parts = torch.stack([mel[:, start : start + 5] for start in spread_crops(mel.shape[1], 5, 3)])
    with torch.no_grad():
        np.testing.assert_allclose(several[0], net(parts).softmax(dim=1).mean(dim=0), rtol=1e-5)
    part = replace(clips, rows=clips.rows[3:5])
    np.testing.assert_allclose(forward(net, part, Batches("mel", 8, 5, crops=3)), several[3:5], atol=1e-6)
