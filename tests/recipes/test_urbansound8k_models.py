"""The eight models of UrbanSound8K's winner against the originals' shapes, and what holds for each of them."""

import re
from collections import Counter
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from acoustic_kit.data.clips import Clips
from acoustic_kit.errors import AkitError
from acoustic_kit.features import build_features
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.workspace.workspace import Workspace

PLAIN = ["resnet34_pcen_sam_8fold", "resnet34_pcen_sam_8f_200e", "resnet34_attention"]
WITH_SALIENCE = [
    "resnet34_pcen_salience_fusion_attention",
    "resnet34_salience_fusion_film_attention",
    "resnet34_mr_salience_fusion_film_attention",
    "wideresnet",
    "res2net50",
]
RECIPES = PLAIN + WITH_SALIENCE
# fmt: off
NAMES = {  # of our modules, and what the originals call them
    "front_end.mels.0": ("mel_layer", "mel_big"), "front_end.mels.1": ("mel_small",), "front_end.norm": ("input_bn",),
    "backbone.conv1": ("backbone.conv1", "conv1"), "backbone.stem": ("backbone.conv1",),
    "backbone.maxpool": ("backbone.maxpool", "maxpool"), "backbone.cbam": ("cbam",),
    **{f"backbone.layer{i}": (f"backbone.layer{i}", f"layer{i}") for i in range(1, 5)},
    **{f"backbone.cbam{i}": (f"cbam{i}",) for i in range(1, 5)},
    "backbone.avgpool": ("backbone.avgpool",), "backbone.fc": ("backbone.fc",),
    "embedding": ("salience_embedding", "sal_emb"), "film": ("film_layer", "film"),
    "head.pooling": ("asp",), "pooling": ("pool",), "head.norm": ("asp_bn", "bn_embedding"), "norm": ("bn",),
    "head.output": ("fc_final", "fc"), "output": ("fc",),
}
# fmt: on
NOT_COMPARED = re.compile(  # parts that have no module of their own here, and those that change no shape
    r"\.(spectrogram|mel_scale|ca|sa|attn|film_gen|\d)$|(^|\.)(relu|bn1|pcen_\w+|drop|dropout|wave_aug|gru|backbone)$"
)


def full_size(name: str, n_classes: int = 10, **settings: object) -> nn.Module:
    """The published model without any values: it costs nothing, and has shapes."""
    with torch.device("meta"):
        return load_recipe(name).build_model(n_classes, **settings).to("meta").eval()


def small(name: str, **settings: object) -> tuple[nn.Module, torch.Tensor, tuple[torch.Tensor, ...]]:
    """The model of the recipe's small form, four waves of a second, and their saliences where it takes some."""
    torch.manual_seed(0)
    recipe = load_recipe(name)
    net = recipe.build_model(4, **{**recipe.fast.settings, **settings})
    n_values = 0 if name in PLAIN else net.embedding.table.shape[0]
    side = (torch.eye(n_values)[[-1, -2, -1, -2]],) if n_values else ()
    return net, torch.randn(4, 1, 32000) * 0.1, side


@pytest.mark.parametrize("name", RECIPES)
def test_parameter_count_is_the_original_without_unused_ones(originals: Callable[[str], dict], name: str) -> None:
    figures = originals(f"{name}.json")
    dead = figures["params_never_receiving_gradient"]
    shape_of = {key: tuple(shape) for key, shape in figures["state_dict_order"]}
    expected = Counter({tuple(shape): n for shape, n in figures["param_shapes"]})
    expected -= Counter(shape_of[key] for key in dead["names"])
    parameters = list(full_size(name).parameters())
    assert Counter(tuple(p.shape) for p in parameters) == expected
    assert sum(p.numel() for p in parameters) == figures["params_total"] - dead["count"]


@pytest.mark.parametrize("name", RECIPES)
def test_buffers_are_the_originals(originals: Callable[[str], dict], name: str) -> None:
    """The mel filters are transposed here, and `bn1` of the two deep stems is left out as its parameters are."""
    figures = originals(f"{name}.json")
    expected = Counter({tuple(shape): n for shape, n in figures["buffers_shapes"]})
    if figures["params_never_receiving_gradient"]["count"]:
        expected -= Counter([(64,), (64,), ()])
    net = full_size(name)
    filters = [mel.filters for mel in net.front_end.mels]
    found = Counter(tuple(b.shape) for b in net.buffers() if not any(b is f for f in filters))
    assert found + Counter(tuple(f.T.shape) for f in filters) == expected


@pytest.mark.parametrize("name", RECIPES)
@torch.no_grad()
def test_each_module_has_original_shape_and_accepts_one_second(originals: Callable[[str], dict], name: str) -> None:
    shapes = originals(f"{name}.json")["feature_shapes_batch1"]
    net, seen = load_recipe(name).build_model(10).eval(), {}
    for own, module in net.named_modules():
        module.register_forward_hook(lambda _, __, out, own=own: seen.update({own: out}))
    side = () if name in PLAIN else (torch.zeros(1, net.embedding.table.shape[0]),)
    assert net(torch.zeros(1, 1, 128000), *side).shape == (1, 10)
    pairs = [(own, other) for own in set(seen) & set(NAMES) for other in set(NAMES[own]) & set(shapes)]
    for own, other in pairs:
        assert list(seen[own].shape) == shapes[other], (own, other)
    left = set(shapes) - {other for _, other in pairs}
    assert {other for other in left if not NOT_COMPARED.search(other)} == set()
    if "gru" in shapes:
        assert [list(out.shape) for out in seen["gru"]] == shapes["gru"]
    assert net(torch.zeros(2, 1, 32000), *(x.expand(2, -1) for x in side)).shape == (2, 10)


@pytest.mark.parametrize("name", RECIPES)
def test_prediction_does_not_depend_on_other_clips_in_batch(name: str) -> None:
    net, waves, side = small(name)
    net.eval()
    with torch.no_grad():
        together = net(waves, *side)
        assert torch.equal(net(waves, *side), together)
        alone = torch.cat([net(waves[i : i + 1], *(x[i : i + 1] for x in side)) for i in range(4)])
    torch.testing.assert_close(alone, together, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", RECIPES)
def test_no_weight_is_dead(name: str) -> None:
    settings = {"train_salience": True} if name == "resnet34_salience_fusion_film_attention" else {}
    net, waves, side = small(name, **settings)
    if hasattr(net, "film"):  # its weights start at 0, and let nothing through to the embedding
        nn.init.normal_(net.film.linear.weight, std=0.1)
    nn.functional.cross_entropy(net(waves, *side), torch.arange(4)).backward()
    without = [key for key, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    # Softmax over time does not see what all frames have in common: the gradient of its last bias is zero.
    assert [key for key in without if ".attention.2.bias" not in key] == []
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("name", RECIPES)
def test_masks_and_dropout_differ_from_pass_to_pass(name: str) -> None:
    net, waves, side = small(name, max_mask_frames=60)
    with torch.no_grad():
        assert not torch.equal(net(waves, *side), net(waves, *side))


@pytest.mark.parametrize("name", WITH_SALIENCE)
def test_salience_speaks_where_it_is_given_and_is_zero_where_not(name: str) -> None:
    net, waves, side = small(name)
    if hasattr(net, "film"):
        nn.init.normal_(net.film.linear.weight, std=0.1)
    net.eval()
    with torch.no_grad():
        with_salience, turned, without = net(waves, *side), net(waves, side[0].flip(0)), net(waves)
        zeros = net(waves, torch.zeros_like(side[0]))
    assert not torch.allclose(with_salience, turned)
    assert not torch.allclose(with_salience, without)
    torch.testing.assert_close(zeros, without)


def test_the_wider_fusion_is_the_write_ups_second_variant() -> None:
    net = full_size("resnet34_pcen_salience_fusion_attention", salience_width=128)
    assert net.head.output.weight.shape == (10, 1152)
    assert net.embedding.table.shape == (2, 128)


def test_film_embedding_stays_as_initialized_by_default() -> None:
    name = "resnet34_salience_fusion_film_attention"
    for settings, trains in (({}, False), ({"train_salience": True}, True)):
        net, waves, side = small(name, **settings)
        net(waves, *side).sum().backward()
        assert (net.embedding.table.grad is not None) == trains
    assert full_size(name).film.linear.weight.shape == (1024, 64)


def test_the_padding_row_is_zero_and_never_looked_at(clips: Clips) -> None:
    recipe = load_recipe("resnet34_mr_salience_fusion_film_attention")
    net = small(recipe.name)[0]
    assert not net.embedding.table[0].any()
    assert net.embedding.table[1:].any()
    rows = clips.rows.with_columns(salience=pl.Series([1, 2, None, 5] + [2] * (len(clips) - 4)))
    found = recipe.module.salience(Clips(rows, clips.classes, "single", {}))
    np.testing.assert_array_equal(found[:4], [[0, 1, 0], [0, 0, 1], [0, 1, 0], [0, 1, 0]])


def test_noise_and_gain_come_to_all_waves_or_to_none() -> None:
    torch.manual_seed(0)
    apply = load_recipe("resnet34_salience_fusion_film_attention").module.noise_and_gain
    waves = torch.sin(torch.arange(8000) * 0.05).expand(16, 1, -1)
    changed, drawn = [], []
    for _ in range(200):
        out = apply(waves, 0.6)
        changed.append(not torch.equal(out, waves))
        if changed[-1]:
            gain = (out * waves).mean(dim=-1) / waves.square().mean(dim=-1)
            noise = (out / gain[..., None] - waves).std(dim=-1)
            drawn.append((gain.min().item(), gain.max().item(), noise.min().item(), noise.max().item()))
    assert 0.5 < np.mean(changed) < 0.7
    (lowest, _, quietest, _), (_, highest, _, loudest) = np.min(drawn, axis=0), np.max(drawn, axis=0)
    np.testing.assert_allclose([lowest, highest, quietest, loudest], [0.8, 1.2, 0.0, 0.02], atol=2e-3)
    assert torch.equal(apply(waves, 0.0), waves)


def res2net_by_hand(block: nn.Module, x: torch.Tensor, stride: int) -> torch.Tensor:
    """The block of the specification, step by step."""
    a, b, c, d = torch.relu(block.reduce(x)).chunk(4, dim=1)
    first, second, third = block.branches
    b0 = first(a)
    b1 = second(b + b0 if stride == 1 else b)
    b2 = third(c + b1 if stride == 1 else c)
    d = d if stride == 1 else nn.functional.avg_pool2d(d, 3, 2, 1)
    return torch.relu(block.expand(torch.cat([b0, b1, b2, d], dim=1)) + block.shortcut(x))


def test_res2net_blocks_match_a_reference_implementation() -> None:
    backbone = small("res2net50")[0].eval().backbone
    x = torch.randn(1, 64, 10, 12)
    with torch.no_grad():
        for layer, first_stride in ((backbone.layer1, 1), (backbone.layer2, 2), (backbone.layer3, 2)):
            for number, block in enumerate(layer):
                expected = res2net_by_hand(block, x, first_stride if number == 0 else 1)
                torch.testing.assert_close(block(x), expected)
                x = expected
    assert x.shape == (1, 1024, 3, 3)


@pytest.fixture
def clips(workspace: Workspace) -> Clips:
    """The synthetic training clips of fold 1, with the wave that the first model's small form reads."""
    recipe = load_recipe("resnet34_pcen_sam_8fold")
    feature = recipe.features(recipe.settings({"seconds": 4}, fast=True))["wave"]
    build_features(workspace.manifest, workspace.data_root, workspace.store(), [feature])
    rows = workspace.manifest.filter(pl.col("fold") == 1)
    return Clips(rows, tuple(workspace.config.classes), "single", {"wave": workspace.store()[feature.key]})


def test_waves_are_padded_at_the_end_and_float_at_full_scale_one(clips: Clips) -> None:
    waves = clips["wave"]
    assert waves.shape == (len(clips), 32000)
    assert waves[:, :16000].any()
    assert not waves[:, 16000:].any()
    assert 0.01 < np.abs(waves).max() <= 1


def test_tta_averages_clip_and_two_shifts_of_a_tenth_second(clips: Clips) -> None:
    recipe = load_recipe("resnet34_pcen_sam_8fold")
    net = recipe.build_model(len(clips.classes), **recipe.fast.settings).eval()
    settings = recipe.settings({"tta": True, "seconds": 4}, fast=True)
    waves = torch.from_numpy(clips["wave"])[:, None]
    with torch.no_grad():
        tenth = settings.sample_rate // 10
        shifted = [torch.roll(waves, shift, dims=-1) for shift in (0, tenth, -tenth)]
        views = [torch.cat([net(x).softmax(dim=1) for x in view.split(16)]) for view in shifted]
    found = recipe.predict(net, clips, settings)
    np.testing.assert_allclose(found, torch.stack(views).mean(dim=0), atol=1e-5)
    plain = recipe.predict(net, clips, recipe.settings({"seconds": 4}, fast=True))
    np.testing.assert_allclose(plain, views[0], atol=1e-5)


@pytest.mark.parametrize("name", WITH_SALIENCE)
def test_a_data_set_without_salience_is_said_with_the_way_out(clips: Clips, name: str) -> None:
    recipe = load_recipe(name)
    form = recipe.module.batches(recipe.settings({"salience": "manifest", "seconds": 0.5}, fast=True))
    with pytest.raises(AkitError, match=r"no column 'salience'(.|\n)*--set salience=none"):
        form.open(clips, torch.device("cpu"))
