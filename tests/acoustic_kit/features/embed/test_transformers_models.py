"""Tiny checkpoints of every family, which give what transformers itself computes."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.features.embed.embed import Embed

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
CONVOLUTIONS = {
    **{"conv_dim": (8, 8), "conv_kernel": (10, 3), "conv_stride": (80, 2), "num_feat_extract_layers": 2},
    **{"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "vocab_size": 5},
}
LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}


@dataclass
class Peer:
    """A checkpoint, and what transformers computes with it: the frames of one window."""

    folder: Path
    frames: Callable[[np.ndarray], np.ndarray]
    rate: int = 16000


def save(folder: Path, model: Any, extractor: Any) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)


def wave_model(folder: Path, prefix: str, head: str, extractor: dict, **changes: Any) -> Peer:
    config = getattr(transformers, f"{prefix}Config")(**SMALL, **CONVOLUTIONS | changes)
    save(folder, getattr(transformers, f"{prefix}{head}")(config), transformers.Wav2Vec2FeatureExtractor(**extractor))
    model = getattr(transformers, f"{prefix}Model").from_pretrained(folder).eval()
    theirs = transformers.AutoFeatureExtractor.from_pretrained(folder)

    @torch.inference_mode()
    def frames(wave: np.ndarray) -> np.ndarray:
        return model(**theirs(wave, sampling_rate=16000, return_tensors="pt")).last_hidden_state[0].numpy()

    return Peer(folder, frames)


def whisper(folder: Path) -> Peer:
    config = transformers.WhisperConfig(
        vocab_size=12, num_mel_bins=8, d_model=16, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_source_positions=50, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    extractor = transformers.WhisperFeatureExtractor(feature_size=8, chunk_length=1)
    save(folder, transformers.WhisperForConditionalGeneration(config), extractor)
    model = transformers.WhisperModel.from_pretrained(folder).get_encoder().eval()

    @torch.inference_mode()
    def frames(wave: np.ndarray) -> np.ndarray:
        found = model(extractor(wave, sampling_rate=16000, return_tensors="pt").input_features)
        return found.last_hidden_state[0, : -(-len(wave) // 320)].numpy()

    return Peer(folder, frames)


def clap(folder: Path, fused: bool) -> Peer:
    config = transformers.ClapConfig(
        audio_config={
            **{"patch_embeds_hidden_size": 8, "depths": [1, 1], "num_attention_heads": [1, 2], "hidden_size": 16},
            **{"num_hidden_layers": 2, "spec_size": 64, "num_mel_bins": 16, "window_size": 4, "enable_fusion": fused},
            **({"fusion_type": "aff_2d"} if fused else {}),
        },
        text_config={**SMALL, "vocab_size": 5},
        projection_dim=12,
    )
    extractor = transformers.ClapFeatureExtractor(
        feature_size=16, sampling_rate=8000, hop_length=80, max_length_s=1, fft_window_size=512, frequency_max=4000,
        truncation="fusion" if fused else "rand_trunc",
    )  # fmt: skip
    save(folder, transformers.ClapModel(config), extractor)
    model = transformers.ClapAudioModelWithProjection.from_pretrained(folder).eval()

    @torch.inference_mode()
    def frames(wave: np.ndarray) -> np.ndarray:
        given = extractor(wave, sampling_rate=8000, return_tensors="pt")
        found = model(given["input_features"], torch.tensor([[False]]))  # no window is longer than the model takes
        return found.audio_embeds.numpy()

    return Peer(folder, frames, rate=8000)


def ast(folder: Path) -> Peer:
    config = transformers.ASTConfig(**SMALL, max_length=64, num_mel_bins=32)
    extractor = transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=64)
    save(folder, transformers.ASTForAudioClassification(config), extractor)
    model = transformers.ASTModel.from_pretrained(folder).eval()

    @torch.inference_mode()
    def frames(wave: np.ndarray) -> np.ndarray:
        return model(extractor(wave, sampling_rate=16000, return_tensors="pt").input_values).pooler_output.numpy()

    return Peer(folder, frames)


PEERS: dict[str, Callable[[Path], Peer]] = {
    "ast": ast,
    "clap": lambda f: clap(f, fused=False),
    "clap fused": lambda f: clap(f, fused=True),
    "whisper": whisper,
    "wav2vec2": lambda f: wave_model(f, "Wav2Vec2", "ForPreTraining", {"do_normalize": True}),
    "wav2vec2 layer": lambda f: wave_model(f, "Wav2Vec2", "ForCTC", {"return_attention_mask": True}, **LAYER_NORM),
    "hubert": lambda f: wave_model(f, "Hubert", "ForSequenceClassification", {"do_normalize": False}),
    "wavlm": lambda f: wave_model(f, "WavLM", "Model", {"return_attention_mask": True}, **LAYER_NORM),
    "data2vec": lambda f: wave_model(
        f, "Data2VecAudio", "Model", {}, conv_pos_kernel_size=3, num_conv_pos_embeddings=2
    ),
    "unispeech": lambda f: wave_model(f, "UniSpeech", "Model", {}, **LAYER_NORM),
    "unispeech-sat": lambda f: wave_model(f, "UniSpeechSat", "Model", {}, **LAYER_NORM),
    "sew": lambda f: wave_model(f, "SEW", "Model", {}, squeeze_factor=2),
    "sew-d": lambda f: wave_model(f, "SEWD", "Model", {}, squeeze_factor=2),
    "conformer": lambda f: wave_model(f, "Wav2Vec2Conformer", "Model", {}, **LAYER_NORM),
}


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Peer]:
    made: dict[str, Peer] = {}

    def peer(name: str) -> Peer:
        if name not in made:
            made[name] = PEERS[name](tmp_path_factory.mktemp("checkpoint"))
        return made[name]

    return peer


def waves(rate: int, *seconds: float) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [0.1 * random.standard_normal(round(rate * s)).astype(np.float32) for s in seconds]


@pytest.mark.parametrize("name", PEERS)
def test_frames_are_transformers_alone_and_in_any_batch(name: str, peers: Callable[[str], Peer]) -> None:
    peer = peers(name)
    clips = waves(peer.rate, 0.5, 0.31, 0.5, 0.43)
    feature = Embed(str(peer.folder), pool="none")
    found = feature.compute_batch(clips)
    for clip, frames in zip(clips, found, strict=True):
        np.testing.assert_allclose(frames, peer.frames(clip), atol=1e-5)
        np.testing.assert_allclose(frames, feature.compute(clip), atol=1e-5)
    assert {x.dtype for x in found} == {np.dtype(np.float32)}


def test_a_hidden_state_is_taken_by_number_from_either_end(peers: Callable[[str], Peer]) -> None:
    folder, (clip,) = str(peers("hubert").folder), waves(16000, 0.2)
    model = transformers.HubertModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        states = model(torch.from_numpy(clip)[None], output_hidden_states=True).hidden_states
    for number, layer in ((0, "0"), (1, "1"), (1, "-2"), (2, "-1")):
        found = Embed(folder, layer, pool="none")
        np.testing.assert_allclose(found.compute(clip), states[number][0], atol=1e-5)
        assert found.key == Embed(folder, str(number), pool="none").key
    assert Embed(folder).key == Embed(folder, "last_hidden_state").key != Embed(folder, "2").key


@pytest.mark.parametrize("layer", ["3", "-4", "pooler_output", "first"])
def test_other_layers_are_refused_before_any_work(layer: str, peers: Callable[[str], Peer]) -> None:
    with pytest.raises(UsageError, match=f"layer is '{layer}'; .*last_hidden_state and the numbers -3 to 2"):
        _ = Embed(str(peers("hubert").folder), layer).key


def test_named_outputs_of_the_families_with_one_vector_a_window(peers: Callable[[str], Peer]) -> None:
    folder, (clip,) = str(peers("clap").folder), waves(8000, 0.4)
    assert Embed(folder).compute(clip).shape == (12,)
    pooled, patches = Embed(folder, "pooler_output").compute(clip), Embed(folder, "last_hidden_state").compute(clip)
    np.testing.assert_allclose(pooled, patches, atol=1e-5)  # its mean
    assert Embed(folder, "1", pool="none").compute(clip).shape == (64, 16)


def test_the_patches_of_ast_are_frames_of_the_clip_alone(peers: Callable[[str], Peer]) -> None:
    folder = str(peers("ast").folder)
    short, whole = waves(16000, 0.3, 0.655)
    assert Embed(folder, "last_hidden_state", pool="none").compute(whole).shape == (5, 16)
    assert Embed(folder, "-1", pool="none").compute(short).shape == (2, 16)


def test_the_pooled_ast_is_that_of_the_feature_ast(tiny_ast: Path) -> None:
    from acoustic_kit.features.ast import Ast
    from acoustic_kit.features.ast_input import AstInput

    (clip,) = waves(16000, 0.5)
    small = AstInput(n_mels=32, max_length=64)
    np.testing.assert_array_equal(
        Embed(str(tiny_ast)).compute(clip), Ast(small, str(tiny_ast)).compute(small.compute(clip))
    )


@pytest.mark.parametrize("name", ["whisper", "hubert", "sew", "ast", "clap"])
def test_a_clip_of_one_sample_has_a_frame(name: str, peers: Callable[[str], Peer]) -> None:
    found = Embed(str(peers(name).folder), pool="none").compute(np.ones(1, np.float32))
    assert len(found) == (2 if name == "sew" else 1)  # it halves the frames, and doubles them again
    assert np.isfinite(found).all()


@pytest.fixture
def hubert(peers: Callable[[str], Peer], tmp_path: Path) -> Path:
    """A copy of a checkpoint, to do with as one likes."""
    return shutil.copytree(peers("hubert").folder, tmp_path / "hubert")


def configure(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_processor_holds_the_feature_extractor(hubert: Path) -> None:
    (clip,), extractor = waves(16000, 0.2), hubert / "preprocessor_config.json"
    before = Embed(str(hubert)).compute(clip)
    (hubert / "processor_config.json").write_text(json.dumps({"feature_extractor": json.loads(extractor.read_text())}))
    extractor.unlink()
    np.testing.assert_array_equal(Embed(str(hubert)).compute(clip), before)


def test_settings_that_would_fetch_or_run_code_are_ignored(hubert: Path) -> None:
    (clip,) = waves(16000, 0.2)
    before = Embed(str(hubert)).compute(clip)
    evil = {"auto_map": {"AutoModel": "evil--evil.Model", "AutoFeatureExtractor": "evil--evil.E"}}
    configure(hubert / "config.json", **evil, _attn_implementation="evil/kernel", quantization_config={"x": 1})
    configure(hubert / "preprocessor_config.json", **evil, feature_extractor_type="Evil")
    np.testing.assert_array_equal(Embed(str(hubert)).compute(clip), before)


def change(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors")


LAST = "hubert.encoder.layers.1.final_layer_norm.bias"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: change(f, lambda t: t.pop(LAST)), "model.safetensors lacks 1 .*layers.1.final_layer_norm.bias"),
        (lambda f: configure(f / "config.json", num_hidden_layers=1), "model.safetensors holds 16 tensors"),
        (lambda f: configure(f / "config.json", intermediate_size=8), "model.safetensors does not fit its config.json"),
        (lambda f: configure(f / "config.json", hidden_act="none such"), "config.json describes no model"),
        (lambda f: configure(f / "config.json", model_type="bert"), "type bert, .*hubert"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x80\x04" * 500), "model.safetensors is damaged"),
        (lambda f: (f / "preprocessor_config.json").write_text("{"), "preprocessor_config.json cannot be read"),
        (lambda f: (f / "preprocessor_config.json").unlink(), "lacks preprocessor_config.json"),
        (lambda f: configure(f / "preprocessor_config.json", sampling_rate="x"), "describes no feature extractor"),
    ],
)
def test_damaged_folders_are_refused_with_the_path(
    hubert: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(hubert)
    with pytest.raises(AkitError, match=message) as raised:
        Embed(str(hubert)).compute(waves(16000, 0.2)[0])
    assert str(hubert) in str(raised.value)
    assert len(str(raised.value).splitlines()) <= 2


def test_a_mask_that_only_training_uses_may_be_missing(hubert: Path) -> None:
    (clip,) = waves(16000, 0.2)
    before = Embed(str(hubert)).compute(clip)
    change(hubert, lambda tensors: tensors.pop("hubert.masked_spec_embed"))
    np.testing.assert_array_equal(Embed(str(hubert)).compute(clip), before)
