import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ASTForAudioClassification, ASTModel

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.features.ast import Ast
from acoustic_kit.features.ast_input import AstInput

TINY = AstInput(n_mels=32, max_length=64)


def inputs(n: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return list(random.standard_normal((n, 64, 32)).astype(np.float32))


@pytest.fixture
def checkpoint(tiny_ast: Path, tmp_path: Path) -> Path:
    """A copy of `tiny_ast`, to do with as one likes."""
    return shutil.copytree(tiny_ast, tmp_path / "checkpoint")


def test_embeddings_are_transformers_to_1e4(tiny_ast: Path) -> None:
    sources = inputs(5)
    with torch.inference_mode():
        theirs = ASTModel.from_pretrained(tiny_ast)(torch.from_numpy(np.stack(sources)))
    pooled = Ast(TINY, str(tiny_ast)).compute_batch(sources)
    tokens = Ast(TINY, str(tiny_ast), output="tokens").compute_batch(sources)
    assert all((x.shape, x.dtype) == ((32,), np.float32) for x in pooled)
    assert all((x.shape, x.dtype) == ((2 + 2 * 5, 32), np.float32) for x in tokens)
    np.testing.assert_allclose(pooled, theirs.pooler_output, atol=1e-4)
    np.testing.assert_allclose(tokens, theirs.last_hidden_state, atol=1e-4)


def test_a_clip_gives_the_same_alone_and_in_any_batch(tiny_ast: Path) -> None:
    feature, sources = Ast(TINY, str(tiny_ast)), inputs(4)
    np.testing.assert_allclose(feature.compute_batch(sources), [feature.compute(x) for x in sources], atol=1e-5)


def test_embeddings_are_what_the_whole_model_classifies(tiny_ast: Path) -> None:
    source = inputs(1)[0]
    whole = ASTForAudioClassification.from_pretrained(tiny_ast)
    with torch.inference_mode():
        theirs = whole(torch.from_numpy(source[None])).logits
        ours = whole.classifier(torch.from_numpy(Ast(TINY, str(tiny_ast)).compute(source))[None])
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_bfloat16_is_near_and_stored_as_float32(tiny_ast: Path) -> None:
    source, exact = inputs(1)[0], Ast(TINY, str(tiny_ast))
    rounded = replace(exact, precision="bfloat16").compute(source)
    assert rounded.dtype == np.float32
    assert 0 < np.abs(rounded - exact.compute(source)).max() < 0.1


@pytest.mark.gpu
def test_the_gpu_agrees_with_the_cpu(tiny_ast: Path) -> None:
    feature, sources = Ast(TINY, str(tiny_ast)), inputs(3)
    with torch.inference_mode():
        theirs = ASTModel.from_pretrained(tiny_ast)(torch.from_numpy(np.stack(sources))).pooler_output
    np.testing.assert_allclose(feature.compute_batch(sources), theirs, atol=1e-4)


def test_the_same_weights_in_another_folder_have_the_same_key(tiny_ast: Path, checkpoint: Path) -> None:
    parameters = Ast(TINY, str(checkpoint)).parameters()
    assert parameters == Ast(TINY, str(tiny_ast)).parameters()
    assert str(checkpoint) not in json.dumps(parameters)
    assert {"weights_sha256", "config_sha256", "revision"} < set(parameters)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_other_bytes_have_another_key(checkpoint: Path, name: str) -> None:
    before = Ast(TINY, str(checkpoint)).key
    with (checkpoint / name).open("ab") as file:
        file.write(b" ")
    assert Ast(TINY, str(checkpoint)).key != before


def test_weights_that_were_replaced_are_loaded_anew(checkpoint: Path) -> None:
    feature, source = Ast(TINY, str(checkpoint)), inputs(1)[0]
    before = feature.compute(source)
    model = ASTModel.from_pretrained(checkpoint)
    with torch.no_grad():
        model.layernorm.weight.mul_(2)
        model.layernorm.bias.mul_(2)
    model.save_pretrained(checkpoint)
    np.testing.assert_allclose(feature.compute(source), 2 * before, rtol=1e-4)


def test_every_parameter_is_part_of_the_key(tiny_ast: Path) -> None:
    default = Ast(TINY, str(tiny_ast))
    changes = {"input": replace(TINY, mean=-6.8), "output": "tokens", "precision": "bfloat16"}
    keys = {default.key, *(replace(default, **{name: value}).key for name, value in changes.items())}
    assert len(keys) == 1 + len(changes)


def test_weights_for_another_size_of_input_are_named(tiny_ast: Path) -> None:
    message = "take 64 frames of 32 bands, the input has 1024 of 128; set input.max_length"
    with pytest.raises(UsageError, match=message):
        _ = Ast(weights=str(tiny_ast)).key
    with pytest.raises(UsageError, match=message):
        Ast(weights=str(tiny_ast)).compute(np.zeros((1024, 128), np.float32))


def test_a_feature_read_back_from_the_store_asks_for_the_folder(tiny_ast: Path) -> None:
    stored = Ast(TINY, str(tiny_ast)).parameters()
    with pytest.raises(AkitError, match="weights from a folder"):
        _ = Ast(TINY, stored["weights"]).key


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"output": "mean"}, "output is 'mean'"), ({"precision": "float16"}, "precision is 'float16'")],
)
def test_senseless_parameters_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Ast(**changes)
