"""The ITMO winner against its specification: shapes, the transformer's quirk, training, and how weights are found."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import ASTConfig, ASTForAudioClassification, ASTModel

from acoustic_kit.cli.assignments import parse_assignments
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.recipe.job import SILENT, Job, RunEvents, fast_manifest, fit_fold, stored_features
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.recipe.settings import Fast
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.training import load_tensors
from acoustic_kit.workspace.init import init_workspace
from acoustic_kit.workspace.workspace import Workspace

RECIPE = load_recipe("itmo_ast_inception")
REFERENCES = {"finetune": "itmo_ast_inception", "frozen": "itmo_ast_inception_head"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of ASTForAudioClassification for 64 frames of 32 bands, 32 wide, two layers."""
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    model = ASTForAudioClassification(ASTConfig(**shape, max_length=64, num_mel_bins=32))
    with torch.no_grad():
        for parameter in model.parameters():  # transformers starts tokens and biases at 0
            parameter.add_(0.1 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("tiny_ast")
    model.save_pretrained(folder)
    return folder


def build(n_classes: int = 41, **settings: object) -> nn.Module:
    torch.manual_seed(0)
    return RECIPE.build_model(n_classes, **settings)


def n_parameters(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


# The published network


@pytest.fixture(scope="module")
def published() -> nn.Module:
    """The network of the defaults, without memory for its 230,994,449 parameters."""
    with torch.device("meta"):
        return RECIPE.build_model(41)


@pytest.mark.parametrize("ast", ["finetune", "frozen"])
def test_parameters_and_buffers_are_the_originals(originals: Callable[[str], dict], ast: str) -> None:
    reference = originals(f"{REFERENCES[ast]}.json")
    with torch.device("meta"):
        net = RECIPE.build_model(41, ast=ast)
        assert list(net(torch.zeros(reference["input_shape"])).shape) == reference["output_shape"]
    assert n_parameters(net) == reference["params_total"]
    assert len(list(net.parameters())) == reference["n_param_tensors"]
    for tensors, key in ((net.parameters(), "param_shapes"), (net.buffers(), "buffers_shapes")):
        assert Counter(tuple(t.shape) for t in tensors) == {tuple(shape): n for shape, n in reference[key]}


def test_every_part_has_the_published_number_of_parameters(published: nn.Module) -> None:
    head = published.head
    assert n_parameters(published.ast) == 86_187_264
    assert [n_parameters(block) for block in head.blocks] == [4_488, 338_192, 1_348_128, 4_012_848]
    parts = head.reduce, head.norm, head.project, head.transformer, head.output
    assert [n_parameters(part) for part in parts] == [196_864, 393_216, 100_663_808, 37_828_608, 21_033]


def test_the_head_as_it_was_executed_has_131072_outputs() -> None:
    with torch.device("meta"):
        net = RECIPE.build_model(41, head_outputs=131_072)
    assert n_parameters(net) == 298_213_352
    assert n_parameters(net.head.output) == 67_239_936


def test_a_vector_of_768_becomes_an_image_of_24_by_32_row_by_row(published: nn.Module) -> None:
    assert published.head.image == (1, 24, 32)
    seen: list[torch.Tensor] = []
    small = build(3, ast="frozen", weights="tiny").eval()
    assert small.image == (1, 4, 8)
    small.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    small(torch.arange(32.0)[None])
    assert torch.equal(seen[0][0, 0, 1], torch.arange(8.0, 16.0))


# Blocks


def test_a_block_is_four_branches_a_shortcut_and_an_excitation() -> None:
    torch.manual_seed(0)
    block = RECIPE.module.InceptionBlock(3, 32)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean), nn.init.uniform_(module.running_var, 0.5, 2)
    block.eval()
    x = torch.randn(2, 3, 5, 6)

    def conv_norm(parts: nn.Sequential, x: torch.Tensor, padding: int = 0) -> torch.Tensor:
        conv, norm = (part for part in parts if isinstance(part, nn.Conv2d | nn.BatchNorm2d))
        x = nn.functional.conv2d(x, conv.weight, conv.bias, padding=padding)
        return nn.functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-5)

    pooled = nn.functional.conv2d(nn.functional.pad(x, (1, 1, 1, 1)), torch.ones(3, 1, 3, 3) / 9, groups=3)
    one, five, three, pool = block.branches
    branches = [conv_norm(one, x), conv_norm(five, x, 2), conv_norm(three, x, 1), conv_norm(pool, pooled)]
    added = torch.cat(branches, dim=1).relu() + conv_norm(block.shortcut, x)
    squeeze, excite = (layer for layer in block.excitation.gate if isinstance(layer, nn.Linear))
    assert squeeze.out_features == 2
    added = added * excite(squeeze(added.mean(dim=(2, 3))).relu()).sigmoid()[:, :, None, None]
    torch.testing.assert_close(block(x), block.norm(added).relu())


@pytest.fixture(scope="module")
def head() -> nn.Module:
    """The head for vectors of 32 numbers."""
    return build(3, ast="frozen", weights="tiny")


def test_the_twelve_layers_start_alike_with_the_published_shape(head: nn.Module) -> None:
    first, *others = (layer.state_dict() for layer in head.transformer.layers)
    assert len(others) == 11
    assert all(torch.equal(first[name], other[name]) for other in others for name in first)
    layer = head.transformer.layers[0]
    assert (layer.self_attn.num_heads, layer.linear1.out_features, layer.norm1.eps) == (8, 2048, 1e-5)
    assert not layer.norm_first
    assert layer.activation is nn.functional.relu
    assert {m.p for m in head.modules() if isinstance(m, nn.Dropout)} == {0.4} == {layer.self_attn.dropout}
    assert head.transformer.norm is None


def test_queries_and_keys_get_no_gradient_and_values_do(head: nn.Module) -> None:
    head.train()
    nn.functional.cross_entropy(head(torch.randn(4, 32)), torch.tensor([0, 1, 2, 0])).backward()
    for layer in head.transformer.layers:
        for gradient in (layer.self_attn.in_proj_weight.grad, layer.self_attn.in_proj_bias.grad):
            assert not gradient[:1024].any()
            assert gradient[1024:].any()
    head.zero_grad()


def test_attention_hands_on_the_values(head: nn.Module) -> None:
    attention = head.eval().transformer.layers[0].self_attn
    x = torch.randn(1, 3, 512)
    values = nn.functional.linear(x, attention.in_proj_weight[1024:], attention.in_proj_bias[1024:])
    torch.testing.assert_close(attention(x, x, x)[0], attention.out_proj(values))


@pytest.mark.parametrize("settings", [{}, {"head_input": "tokens"}])
def test_logits_do_not_depend_on_the_batch(tiny: Path, settings: dict) -> None:
    net = build(weights=str(tiny), **settings).eval()
    x = torch.randn(5, 64, 32)
    with torch.no_grad():
        whole = net(x)
        torch.testing.assert_close(torch.cat([net(one[None]) for one in x]), whole, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(net(x.flip(0)).flip(0), whole, atol=1e-5, rtol=1e-4)
    assert whole.shape == (5, 41)
    assert (whole[0] - whole[1]).abs().max() > 1e-4


def test_flattened_spectrograms_give_the_same_logits(tiny: Path) -> None:
    net, x = build(weights=str(tiny)).eval(), torch.randn(2, 64, 32)
    with torch.no_grad():
        assert torch.equal(net(x.flatten(1)), net(x))


def test_the_head_sees_what_transformers_calls_the_pooled_output(tiny: Path) -> None:
    net, x = build(weights=str(tiny)).eval(), torch.randn(2, 64, 32)
    theirs = ASTModel.from_pretrained(tiny)
    net.ast.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(net(x), net.head(theirs(x).pooler_output), atol=1e-5, rtol=1e-4)


def test_more_outputs_than_classes_are_seen_by_training_alone(tiny: Path) -> None:
    net, x = build(3, weights=str(tiny), head_outputs=50), torch.randn(2, 64, 32)
    assert net.train()(x).shape == (2, 50)
    assert net.eval()(x).shape == (2, 3)
    with pytest.raises(UsageError, match=r"head_outputs is 2; .*at least 3"):
        build(3, weights=str(tiny), head_outputs=2)


# The head that sees tokens


def test_tokens_are_averaged_over_frequency_and_four_steps() -> None:
    head = build(3, ast="frozen", weights="tiny", head_input="tokens").eval()
    seen: list[torch.Tensor] = []
    head.norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    tokens = torch.randn(2, 2 + 12 * 101, 32)
    head(tokens)
    patches = tokens[:, 2:].reshape(2, 12, 101, 32)  # frequency by frequency
    assert seen[0].shape == (2, 1 + 26, 32)
    torch.testing.assert_close(seen[0][:, 0], (tokens[:, 0] + tokens[:, 1]) / 2)
    torch.testing.assert_close(seen[0][:, 1], patches[:, :, :4].mean(dim=(1, 2)))
    torch.testing.assert_close(seen[0][:, 26], patches[:, :, 100].mean(dim=1))


def test_tokens_train_queries_and_keys_in_a_smaller_head() -> None:
    head = build(3, ast="frozen", weights="tiny", head_input="tokens")
    head(torch.randn(2, 2 + 12 * 101, 32))[:, 0].sum().backward()
    assert all(layer.self_attn.in_proj_weight.grad[:1024].any() for layer in head.transformer.layers)
    with torch.device("meta"):
        sizes = [n_parameters(RECIPE.build_model(41, ast="frozen", head_input=i)) for i in ("tokens", "pooled")]
    assert sizes[0] < sizes[1] / 3.5


# Features


def test_clip_of_20000_samples_has_123_frames_and_one_output() -> None:
    feature = RECIPE.features(RECIPE.settings())["input"]
    made = feature.compute(np.random.default_rng(0).uniform(-0.5, 0.5, 20_000).astype(np.float32))
    assert (made.shape, made.dtype) == ((1024, 128), np.float32)
    np.testing.assert_allclose(made[123:], 0.46703237, rtol=1e-6)
    assert made[:123].std(axis=1).min() > 0


def test_waves_are_16_khz_and_trimmed_60_db_below_peak() -> None:
    wave = RECIPE.features(RECIPE.settings())["input"].wave
    assert (wave.sample_rate, wave.trim_top_db, wave.trim_pad, wave.peak) == (16_000, 60.0, "constant", None)


def test_size_of_input_and_network_are_those_of_the_weights(tiny: Path) -> None:
    feature = RECIPE.features(RECIPE.settings({"weights": str(tiny)}))["input"]
    assert (feature.max_length, feature.n_mels) == (64, 32)
    net = build(3, weights=str(tiny))
    assert (net.ast.config.num_hidden_layers, net.head.image) == (2, (1, 4, 8))


def test_listing_and_building_published_recipe_need_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("weights were looked for")

    monkeypatch.setattr("acoustic_kit.features.weights.find_weights", refuse)
    monkeypatch.setattr(RECIPE.module, "find_weights", refuse)
    assert RECIPE.features(RECIPE.settings())["input"].key.startswith("ast_input-")
    gone = ["weights=/a/folder/on/another/machine"]
    assert RECIPE.features(RECIPE.settings(parse_assignments(RECIPE, gone))) == RECIPE.features(RECIPE.settings())


# Training


@pytest.fixture
def one_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """One narrow layer of the transformer instead of twelve, which is quicker."""
    encoder = partial(nn.TransformerEncoder, num_layers=1, enable_nested_tensor=False)
    monkeypatch.setattr(
        RECIPE.module, "transformer", lambda s: encoder(nn.TransformerEncoderLayer(512, 8, 64, s.dropout))
    )


@pytest.fixture
def fold_record(workspace: Workspace, one_layer: None):
    """A function that trains fold 1 with some settings and gives its record, its log and the run."""

    def train(*assignments: str, **options: object) -> tuple:
        run, _ = run_recipe(
            workspace, RECIPE, RECIPE.settings(parse_assignments(RECIPE, assignments)), **{"folds": ["1"], **options}
        )
        (name, record), *_ = run.done.items()
        log = next((run.path / "folds" / name).glob("*.jsonl"))
        return record, [json.loads(line) for line in log.read_text().splitlines()], run

    return train


def test_the_published_settings() -> None:
    s = RECIPE.settings()
    assert (s.lr, s.epochs, s.batch_size, s.dropout, s.head_outputs) == (1e-5, 15, 10, 0.4, None)
    assert (s.ast, s.weights, s.head_input) == ("finetune", "MIT/ast-finetuned-audioset-10-10-0.4593", "pooled")
    form = RECIPE.module.batches(s)
    assert (form.augment, form.batch_augment, form.mixup, form.weights, form.drop_last) == ((), None, 0, None, False)


def test_the_rate_falls_to_a_tenth_after_every_so_many_epochs(tiny: Path, fold_record) -> None:
    _, log, run = fold_record(f"weights={tiny}", "ast=frozen", "head_input=tokens", "epochs=5", "lr_epochs=2")
    assert [entry["lr"] for entry in log] == pytest.approx([1e-5, 1e-5, 1e-6, 1e-6, 1e-7])
    assert run.bias_warnings == []


def test_fine_tuning_starts_from_weights_and_updates_all(tiny: Path, fold_record) -> None:
    record, _, run = fold_record(f"weights={tiny}", "epochs=1", "head_input=tokens")
    digest = hashlib.sha256((tiny / "model.safetensors").read_bytes()).hexdigest()
    assert record.notes == [f"the AST started from weights in a folder, SHA-256 {digest}"]
    after = load_tensors(run.path / "folds" / "1" / "model.safetensors")
    for name, before in ASTModel.from_pretrained(tiny).state_dict().items():
        moved = (after[f"ast.{name}"] - before).abs().max()
        assert 0 < moved < 2e-4, name  # 6 steps of Adam at 1e-5


def test_random_weights_are_told_in_the_record(tiny: Path, fold_record) -> None:
    record, _, _ = fold_record("ast=random", f"weights={tiny}", "epochs=1", "head_input=tokens")
    assert record.notes == ["the AST started from random weights: compare the score with no published one"]


def test_more_outputs_than_classes_train_and_predict(tiny: Path, fold_record) -> None:
    few, wide = (
        fold_record(f"weights={tiny}", "ast=frozen", "head_input=tokens", "epochs=1", *more)
        for more in ([], ["head_outputs=5000"])
    )
    assert wide[1][0]["train_loss"] > few[1][0]["train_loss"] + 4  # log(5000 / 3) is 7.4
    assert wide[2].oof.probabilities.shape == (len(wide[2].oof.ids), 3)


def test_full_trains_on_every_clip(tiny: Path, fold_record, workspace: Workspace) -> None:
    record, _, run = fold_record(
        f"weights={tiny}", "ast=frozen", "head_input=tokens", "epochs=1", full=True, folds=None
    )
    assert record.trained_on == (workspace.manifest["split"] == "train").sum()
    assert run.oof is None
    assert run.test is not None


@pytest.mark.parametrize("head_input", ["pooled", "tokens"])
@pytest.mark.usefixtures("one_layer")
def test_the_small_form_runs_on_stored_embeddings(tiny: Path, workspace: Workspace, head_input: str) -> None:
    s = RECIPE.settings({"weights": str(tiny), "ast": "frozen", "head_input": head_input, "epochs": 1}, fast=True)
    run, _ = run_recipe(workspace, RECIPE, s, fast=True)
    assert run.finished
    assert [key.rpartition("-")[0] for key in run.record.features.values()] == ["ast"]
    assert run.done["1"].notes == []
    net = RECIPE.build_model(3, **s.model_dump())
    net.load_state_dict(load_tensors(run.path / "folds" / "1" / "model.safetensors"))
    np.testing.assert_allclose(run.oof.probabilities.sum(1), 1)


@pytest.mark.slow
def test_the_small_form_runs_without_weights(workspace: Workspace) -> None:
    run, _ = run_recipe(workspace, RECIPE, RECIPE.settings(fast=True), fast=True)
    assert run.finished
    assert run.done["1"].notes == ["the small AST started from random weights: compare the score with no published one"]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [["ast=frozen"], ["ast=frozen", "head_input=tokens"], ["ast=finetune"]])
@pytest.mark.usefixtures("one_layer")
def test_it_over_fits_20_clips(tiny: Path, esc10: Path, tmp_path: Path, settings: list[str]) -> None:
    workspace = init_workspace(tmp_path / "work", esc10, test_folds=[5])
    given = [f"weights={tiny}", *settings, "dropout=0", "lr=3e-4", "lr_epochs=30", "epochs=40"]
    s = RECIPE.settings(parse_assignments(RECIPE, given))
    job = Job(workspace, RECIPE, s, fast_manifest(workspace.manifest, Fast(2, 2)), fast=True)
    stored = stored_features(job, ["1"], 0, SILENT)["1"]
    losses: list[float] = []
    events = RunEvents(on_epoch=lambda *told: losses.append(told[-1]["train_loss"]))
    fold, result = fit_fold(job, "1", stored, tmp_path / "checkpoints", events=events)
    assert len(fold.train) == 20
    assert (RECIPE.predict(result.model, fold.train, s).argmax(axis=1) == fold.train.labels).all()
    assert losses[0] > 2
    assert losses[-1] < 0.2


# Weights that are not there


@pytest.mark.parametrize("ast", ["finetune", "frozen"])
def test_without_weights_it_stops_with_the_ways_to_get_them(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, ast: str
) -> None:
    monkeypatch.setattr("huggingface_hub.is_offline_mode", lambda: True)
    monkeypatch.setattr("acoustic_kit.features.weights._in_cache", lambda *_: None)
    monkeypatch.setattr(RECIPE.module, "build_model", None)
    with pytest.raises(AkitError, match="MIT/ast-finetuned-audioset-10-10-") as raised:
        run_recipe(workspace, RECIPE, RECIPE.settings({"ast": ast}), folds=["1"])
    _, hub, folder = str(raised.value).splitlines()
    assert re.search(r"hf download MIT/\S+ config.json model.safetensors --revision \w{40} --local-dir FOLDER", hub)
    assert folder.endswith(": --set weights=FOLDER. Or train without them: --set ast=random.")


def test_a_small_random_ast_cannot_be_frozen() -> None:
    with pytest.raises(UsageError, match="ast=frozen needs weights, and weights=tiny has none"):
        RECIPE.features(RECIPE.settings({"ast": "frozen", "weights": "tiny"}))


def test_a_folder_that_is_not_there_is_named(workspace: Workspace) -> None:
    with pytest.raises(AkitError, match="There is no folder /none with weights"):
        run_recipe(workspace, RECIPE, RECIPE.settings({"weights": "/none"}), folds=["1"])


@pytest.mark.slow
def test_the_small_form_runs_on_esc10(esc10: Path, tmp_path: Path) -> None:
    workspace = init_workspace(tmp_path / "work", esc10, test_folds=[5])
    run, _ = run_recipe(workspace, RECIPE, RECIPE.settings(fast=True), fast=True)
    assert run.finished
    assert run.test is not None
