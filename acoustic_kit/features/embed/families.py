"""The families of transformers' audio models: how each is built, called and read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from acoustic_kit.dsp.kaldi import FRAME_LENGTH, HOP_LENGTH
from acoustic_kit.features.weights import part_below

if TYPE_CHECKING:
    from torch import Tensor, nn

Settings = Mapping[str, Any]  # of config.json, or of the feature extractor


@dataclass(frozen=True)
class Family:
    """Models that take waves of any length, as wav2vec 2.0 does, and return a frame every 20 ms or so."""

    prefix: str  # of the names of the classes
    base: str = ""  # begins the names of the encoder's tensors in files of whole models
    masks: bool = True  # whether padding, with its attention mask, leaves the frames of a clip as they are
    extractor: str = "Wav2Vec2FeatureExtractor"
    sample_rate: int = 16000  # unless the feature extractor has another
    outputs: tuple[str, ...] = ("last_hidden_state",)  # the usual one first
    untrained: tuple[str, ...] = ("masked_spec_embed",)  # tensors for training only, which files may lack

    def classes(self) -> tuple[type[nn.Module], type]:
        """Return the classes of transformers of the network and of its configuration."""
        import transformers

        return getattr(transformers, f"{self.prefix}Model"), getattr(transformers, f"{self.prefix}Config")

    def settings(self, config: Settings) -> Settings:
        """Return the part of `config.json` that describes the encoder."""
        return config

    def part(self, name: str, names: Collection[str]) -> str | None:
        """Return the name in the network of a tensor of a file with these names; None if it is of another part."""
        return part_below(self.base)(name, names)

    def n_layers(self, config: Settings) -> int:
        """Return the number of layers; there is one hidden state more."""
        return int(config.get("num_hidden_layers", 12))

    def max_samples(self, config: Settings, extractor: Settings, rate: int) -> int | None:
        """Return the longest wave that the model takes; None for any."""
        return None

    def pads(self, config: Settings) -> bool:
        """Return whether waves of several lengths can be computed at once.

        Group norm over the whole wave sees the padding, and an adapter changes the number of frames.
        """
        grouped = config.get("feat_extract_norm", "group") == "group"
        return self.masks and not grouped and not config.get("add_adapter", False)

    def inputs(self, config: Settings, extractor: Any, waves: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Return the arguments of the network for some waves."""
        import torch

        shortest = int(config.get("squeeze_factor", 1))
        for kernel, stride in zip(reversed(config["conv_kernel"]), reversed(config["conv_stride"]), strict=True):
            shortest = (shortest - 1) * stride + kernel
        rows = [
            extractor(padded(wave, shortest), sampling_rate=self._rate(extractor)).input_values[0] for wave in waves
        ]
        longest = max(map(len, rows))
        values = torch.from_numpy(np.stack([padded(row, longest) for row in rows]))
        if len(set(map(len, rows))) == 1:
            return {"input_values": values}
        lengths = torch.tensor([[len(row)] for row in rows])
        return {"input_values": values, "attention_mask": (torch.arange(longest) < lengths).long()}

    def output(self, model: Any, inputs: dict[str, Tensor], layer: str) -> Tensor:
        """Return the frames of a batch: (waves, frames, d)."""
        return taken(model(**inputs, output_hidden_states=layer.isdecimal()), layer)

    def n_frames(self, model: Any, samples: Sequence[int], layer: str) -> list[int | None]:
        """Return the number of frames that belong to each wave; None for all."""
        if len(set(samples)) == 1:
            return [None] * len(samples)
        return [max(1, int(model._get_feat_extract_output_lengths(n))) for n in samples]

    @staticmethod
    def _rate(extractor: Any) -> int:
        return int(extractor.sampling_rate)


@dataclass(frozen=True)
class AstFamily(Family):
    """The Audio Spectrogram Transformer: one vector a window, or a frame for each step of its patches over time."""

    prefix: str = "AST"
    base: str = "audio_spectrogram_transformer."
    extractor: str = "ASTFeatureExtractor"
    outputs: tuple[str, ...] = ("pooler_output", "last_hidden_state")
    untrained: tuple[str, ...] = ()

    def max_samples(self, config: Settings, extractor: Settings, rate: int) -> int | None:
        """Return the samples of its frames."""
        return FRAME_LENGTH + (int(config.get("max_length", 1024)) - 1) * HOP_LENGTH

    def pads(self, config: Settings) -> bool:
        """Return True: the input has one length."""
        return True

    def inputs(self, config: Settings, extractor: Any, waves: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Return the spectrograms, as `ast_input` computes them."""
        import torch

        from acoustic_kit.features.ast_input import AstInput

        mean, std = (extractor.mean, extractor.std) if extractor.do_normalize else (0.0, 0.5)
        bands, length = config.get("num_mel_bins", 128), config.get("max_length", 1024)
        frames = AstInput(n_mels=bands, max_length=length, mean=mean, std=std)
        return {"input_values": torch.from_numpy(np.stack([frames.compute(wave) for wave in waves]))}

    def output(self, model: Any, inputs: dict[str, Tensor], layer: str) -> Tensor:
        """Return the pooled vector, or the mean over frequency of the patches, (waves, steps, d)."""
        found = super().output(model, inputs, layer)
        if layer == "pooler_output":
            return found
        config = model.config
        bands = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
        return found[:, 2:].reshape(len(found), bands, -1, found.shape[2]).mean(dim=1)  # without the two tokens

    def n_frames(self, model: Any, samples: Sequence[int], layer: str) -> list[int | None]:
        """Return the number of steps whose patches begin within the wave."""
        if layer == "pooler_output":
            return [1] * len(samples)
        config = model.config
        spectrogram = [1 + max(0, n - FRAME_LENGTH) // HOP_LENGTH for n in samples]
        return [1 + max(0, n - config.patch_size) // config.time_stride for n in spectrogram]


@dataclass(frozen=True)
class WhisperFamily(Family):
    """Whisper's encoder, whose input is padded to 30 s: only the frames of the clip are kept."""

    prefix: str = "Whisper"
    extractor: str = "WhisperFeatureExtractor"
    untrained: tuple[str, ...] = ()

    def classes(self) -> tuple[type[nn.Module], type]:
        """Return the encoder alone."""
        from transformers import WhisperConfig
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        return WhisperEncoder, WhisperConfig

    def part(self, name: str, names: Collection[str]) -> str | None:
        """Return the name of a tensor of the encoder."""
        name = name.removeprefix("model.")
        return name.removeprefix("encoder.") if name.startswith("encoder.") else None

    def n_layers(self, config: Settings) -> int:
        """Return the number of layers of the encoder."""
        return int(config.get("encoder_layers", 4))

    def max_samples(self, config: Settings, extractor: Settings, rate: int) -> int | None:
        """Return the samples of a chunk, 30 s."""
        return int(extractor.get("chunk_length", 30)) * rate

    def pads(self, config: Settings) -> bool:
        """Return True: the input has one length."""
        return True

    def inputs(self, config: Settings, extractor: Any, waves: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Return the log-mel spectrograms. Those of the clips alone are computed; silence, like their end, follows."""
        import torch

        hop, longest = extractor.hop_length, extractor.n_samples
        found = []
        for wave in waves:
            ended = padded(wave, min(longest, -(-(len(wave) + extractor.n_fft) // hop) * hop))
            given = extractor(ended, sampling_rate=self._rate(extractor), padding="do_not_pad", return_tensors="np")
            mel = np.asarray(given.input_features[0], np.float32)
            found.append(np.pad(mel, ((0, 0), (0, longest // hop - mel.shape[1])), mode="edge"))
        return {"input_features": torch.from_numpy(np.stack(found))}

    def n_frames(self, model: Any, samples: Sequence[int], layer: str) -> list[int | None]:
        """Return the number of frames, each of two of the spectrogram, that begin within the wave."""
        return [-(-n // (2 * HOP_LENGTH)) for n in samples]


@dataclass(frozen=True)
class ClapFamily(Family):
    """CLAP's audio tower: one vector a window, or the patches of its last feature map."""

    prefix: str = "Clap"
    extractor: str = "ClapFeatureExtractor"
    sample_rate: int = 48000
    outputs: tuple[str, ...] = ("audio_embeds", "pooler_output", "last_hidden_state")
    untrained: tuple[str, ...] = ()

    def classes(self) -> tuple[type[nn.Module], type]:
        """Return the audio tower with its projection."""
        from transformers import ClapAudioConfig, ClapAudioModelWithProjection

        return ClapAudioModelWithProjection, ClapAudioConfig

    def settings(self, config: Settings) -> Settings:
        """Return the settings of the tower, and of the projection, which are those of the whole model."""
        shared = {name: config[name] for name in ("projection_dim", "projection_hidden_act") if name in config}
        return {**config.get("audio_config", config), **shared}

    def part(self, name: str, names: Collection[str]) -> str | None:
        """Return the name of a tensor of the tower or its projection."""
        return name if name.startswith(("audio_model.", "audio_projection.")) else None

    def n_layers(self, config: Settings) -> int:
        """Return the number of stages."""
        return len(self.settings(config).get("depths", (2, 2, 6, 2)))

    def max_samples(self, config: Settings, extractor: Settings, rate: int) -> int | None:
        """Return the samples of a window, 10 s."""
        return int(extractor.get("max_length_s", 10)) * rate

    def pads(self, config: Settings) -> bool:
        """Return True: the input has one length."""
        return True

    def inputs(self, config: Settings, extractor: Any, waves: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Return the mel spectrograms, as `logmel` computes them; the extractor draws parts and marks at random."""
        import torch

        from acoustic_kit.features.logmel import LogMel
        from acoustic_kit.features.wave import Wave

        rate, fused = self._rate(extractor), extractor.truncation == "fusion"
        mel = LogMel(
            Wave(rate), extractor.fft_window_size, extractor.hop_length, len(extractor.mel_filters[0]),
            mel_scale="htk" if fused else "slaney", fmin=extractor.frequency_min, fmax=extractor.frequency_max,
            pad_mode="reflect", top_db=None,
        )  # fmt: skip
        rows = [mel.compute(repeated(wave, extractor.nb_max_samples, extractor.padding)).T for wave in waves]
        features = torch.from_numpy(np.stack(rows))[:, None].expand(-1, 4 if fused else 1, -1, -1)
        return {"input_features": features, "is_longer": torch.zeros((len(waves), 1), dtype=torch.bool)}

    def output(self, model: Any, inputs: dict[str, Tensor], layer: str) -> Tensor:
        """Return the projected or pooled vector, (waves, 1, d), or the patches, (waves, patches, d)."""
        found = model.audio_model(**inputs, output_hidden_states=layer.isdecimal())
        return model.audio_projection(found.pooler_output)[:, None] if layer == "audio_embeds" else taken(found, layer)

    def n_frames(self, model: Any, samples: Sequence[int], layer: str) -> list[int | None]:
        """Return None: short clips are repeated, so all belongs to them."""
        return [None] * len(samples)


FAMILIES: dict[str, Family] = {  # by `model_type`
    "audio-spectrogram-transformer": AstFamily(),
    "clap": ClapFamily(),
    "clap_audio_model": ClapFamily(),
    "whisper": WhisperFamily(),
    "wav2vec2": Family("Wav2Vec2", "wav2vec2."),
    "hubert": Family("Hubert", "hubert."),
    "wavlm": Family("WavLM", "wavlm."),
    "data2vec-audio": Family("Data2VecAudio", "data2vec_audio.", masks=False),
    "unispeech": Family("UniSpeech", "unispeech."),
    "unispeech-sat": Family("UniSpeechSat", "unispeech_sat."),
    "sew": Family("SEW", "sew.", masks=False),
    "sew-d": Family("SEWD", "sew_d.", masks=False),
    "wav2vec2-conformer": Family("Wav2Vec2Conformer", "wav2vec2_conformer.", masks=False),
}


def padded(wave: np.ndarray, n: int) -> np.ndarray:
    """Return a wave with zeros at its end, at least n samples long."""
    return np.pad(wave, (0, max(0, n - len(wave))))


def repeated(wave: np.ndarray, n: int, padding: str) -> np.ndarray:
    """Return a wave at n samples, padded as CLAP's extractor does: `repeat`, `repeatpad` (whole times), or zeros."""
    times = {"repeat": n // len(wave) + 1, "repeatpad": max(1, n // len(wave))}.get(padding, 1)
    return padded(np.tile(wave, times)[:n], n)


def taken(output: Any, layer: str) -> Tensor:
    """Return a hidden state by its number, or a named output: (waves, frames, d)."""
    return as_frames(output.hidden_states[int(layer)] if layer.isdecimal() else getattr(output, layer))


def as_frames(values: Tensor) -> Tensor:
    """Return vectors (n, d), frames (n, frames, d) or feature maps (n, d, height, width) as (n, frames, d)."""
    if values.ndim == 4:
        return values.flatten(2).transpose(1, 2)
    return values[:, None] if values.ndim == 2 else values
